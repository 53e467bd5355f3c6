"""What GPU time cost: seconds by GPU model, at the rates that held when they were used.

Rates change, also after the fact, so no rollup keeps money. A window is cut where a rate begins, each piece is asked
for GPU time by model, and each model's time takes the rate that holds within the piece.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

from framehouse.metrics.answers import Answer, answer
from framehouse.metrics.definitions import Metric
from framehouse.metrics.plan import Plan, State
from framehouse.metrics.question import Question
from framehouse.metrics.table import Value, number
from framehouse.warehouse import Session
from framehouse.warehouse.rates import Rate
from framehouse.windows import Window

_MODEL = "gpu_model"
_PARTS = (
    "gpu_seconds_sum",
    "wasted_gpu_seconds_sum",
    "attempt_count",
    "gpu_used_count",
    "gpu_untimed_count",
    "gpu_seconds_count",
    "wasted_gpu_seconds_count",
)


@dataclass(slots=True)
class _Spent:
    """GPU seconds, how many of them have a rate, and what those cost; attempts that say theirs, that should and do not,
    and that no rate covers."""

    seconds: float = 0.0
    priced: float = 0.0
    cost: float = 0.0
    wasted: float = 0.0
    known_count: float = 0
    unknown_count: float = 0
    unpriced_count: float = 0

    def add(self, model: Value, values: Mapping[str, Value], rate: Rate | None) -> None:
        useful, wasted, attempts, used, untimed, *known = (number(values[part]) or 0.0 for part in _PARTS)
        self.seconds += useful + wasted
        self.known_count += sum(known)
        # Who tells of no GPU and no GPU time had none; who had one and tells no time leaves the cost unknown.
        self.unknown_count += untimed if model is None else attempts - sum(known)
        if rate is None:
            self.unpriced_count += used
        else:
            self.priced += useful + wasted
            self.cost += (useful + wasted) / 3600 * rate.price_per_gpu_hour
            self.wasted += wasted / 3600 * rate.price_per_gpu_hour

    def metrics(self) -> dict[str, Value]:
        # Sums of the same numbers in another order; what has no rate is seconds, not the last bits of some.
        is_priced = self.seconds - self.priced <= 1e-9 * self.seconds
        is_whole = is_priced and self.known_count > 0 and self.unknown_count == 0
        is_some = self.known_count > 0 and (self.priced > 0 or self.seconds == 0)
        return {
            "gpu_cost": self.cost if is_whole else None,
            "wasted_gpu_cost": self.wasted if is_whole else None,
            "priced_gpu_cost": self.cost if is_some else None,
            "gpu_cost_unknown_count": round(self.unknown_count + self.unpriced_count),
            "priced_gpu_ratio": self.priced / self.seconds if self.seconds else None,
        }


def costs(
    session: Session, question: Question, state: State, listed: Sequence[Rate], *, is_raw: bool = False
) -> Answer:
    """The answer to a question about priced metrics, at rates that are listed by time. Nothing that is not priced is
    given a price."""
    question.check()
    is_total = not question.by and question.grain is None  # which is one row, also of nothing
    spent: dict[tuple[Value, ...], _Spent] = {(): _Spent()} if is_total else {}
    plans: list[Plan] = []
    by = (*question.by, *(() if _MODEL in question.by else (_MODEL,)))
    place = (question.grain is not None) + by.index(_MODEL)
    parts = tuple(Metric(part, "", formula=part, source=question.source) for part in _PARTS)
    for window in _pieces(question.window, listed):
        held = _holding(listed, window.start)
        piece = answer(session, replace(question, metrics=parts, by=by, window=window), state, is_raw=is_raw)
        plans += piece.plans
        for key, values in piece.values.items():
            own, model = key if _MODEL in question.by else key[:-1], key[place]
            rate = held.get(str(model)) if model is not None else None
            spent.setdefault(own, _Spent()).add(model, values, rate)
    return Answer({key: one.metrics() for key, one in spent.items()}, tuple(plans))


def _pieces(window: Window, listed: Sequence[Rate]) -> list[Window]:
    """The window, cut where a rate begins."""
    inner = {rate.valid_from for rate in listed if window.start < rate.valid_from < window.end}
    return [Window(*pair) for pair in pairwise([window.start, *sorted(inner), window.end])]


def _holding(listed: Sequence[Rate], instant: datetime) -> Mapping[str, Rate]:
    """The rate of each model at an instant: the last that began, as they are listed by time."""
    return {rate.gpu_model: rate for rate in listed if rate.valid_from <= instant}
