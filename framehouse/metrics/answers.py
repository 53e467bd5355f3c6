"""From a question about one source to its numbers: what the warehouse has, the plan, the rows that it gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from framehouse.errors import QueryError
from framehouse.events import Outcome, printable
from framehouse.metrics.compile import Query, histograms_query, metrics_query
from framehouse.metrics.definitions import Metric
from framehouse.metrics.plan import Built, Marks, Plan, State, plan
from framehouse.metrics.quantiles import quantile
from framehouse.metrics.question import Question
from framehouse.metrics.rollups import NAMES, ROLLUPS, Rollup, Source
from framehouse.metrics.table import Value
from framehouse.warehouse import Session
from framehouse.windows import Grain, Window, first_instant, following
from framehouse.zones import zone

#: Above so many marks near a window, the views sort out which buckets are current.
MOST_MARKS = 1000

Filter = str | None | Sequence[str | None]


Key = tuple[Value, ...]
#: Which bins of a histogram are not empty, from 1, and how many each of those holds.
Bins = tuple[Sequence[int], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Answer:
    """Values by name for each key (the bucket's start, if there is a grain, then the dimensions), in order.

    `bins` has the histograms of the quantities whose quantiles were asked for, by key and quantity.
    """

    values: dict[Key, dict[str, Value]]
    plans: tuple[Plan, ...]
    bins: Mapping[Key, Mapping[str, Bins]] = field(default_factory=dict)

    @property
    def sources(self) -> tuple[str, ...]:
        """The rollups (or raw) that were read."""
        return sources_of([self])

    @property
    def why_raw(self) -> str | None:
        """Why raw was among them."""
        return why_raw_of([self])


def read_parts(
    session: Session,
    source: Source,
    parts: Sequence[str],
    *,
    window: Window,
    by: Sequence[str] = (),
    grain: Grain | None = None,
    zone_name: str | None = None,
    where: Mapping[str, Filter] | None = None,
) -> Answer:
    """Parts, merged but in no formula yet, for what has to add up more than one answer's rows."""
    state = state_of(session, window)
    wanted = tuple(Metric(part, "", formula=part, source=source) for part in dict.fromkeys(parts))
    question = Question(
        source, wanted, tuple(by), window, grain, zone_name or state.studio_zone, ids(session, where or {})
    )
    return answer(session, question, state)


def sources_of(answers: Sequence[Answer]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(arm.name for answer in answers for plan in answer.plans for arm in plan.arms))


def why_raw_of(answers: Sequence[Answer]) -> str | None:
    return next((plan.why_raw for answer in answers for plan in answer.plans if plan.why_raw), None)


def answer(session: Session, question: Question, state: State, *, is_raw: bool = False) -> Answer:
    """Ask one source, in a snapshot whose state is known; `is_raw` computes everything from raw rows."""
    question.check()

    def planned(parts: frozenset[str]) -> Plan:
        return plan(
            question.source,
            question.dimensions,
            parts,
            question.window,
            state=state,
            grain=question.grain,
            zone_name=question.zone_name,
            is_raw=is_raw,
        )

    plans = [planned(question.parts())]
    found = _table(session, metrics_query(question, plans[0]), question)
    bins: dict[Key, dict[str, Bins]] = {}
    if question.quantiles:
        plans.append(planned(question.histograms()))
        rows = _table(session, histograms_query(question, plans[1]), question)
        bins = {
            key: {q.name: (row[f"{q.name}_bins"], row[f"{q.name}_counts"]) for q in question.quantiles}
            for key, row in rows.items()
        }
        for key, values in found.items():
            for m in question.metrics:
                if m.quantile is not None:
                    values[m.name] = quantile_of(m, values, bins.get(key, {}))
    for m in question.metrics:
        if m.is_rate:
            for key, values in found.items():
                values[m.name] = _per_hour(values[m.name], key, question)
    return Answer(found, tuple(plans), bins)


def _per_hour(amount: float | None, key: Key, question: Question) -> float | None:
    """An amount in an hour of its bucket, as far as that lies within the window."""
    window = question.window
    if question.grain is not None:
        start = key[0]
        assert isinstance(start, datetime)
        window = Window(
            max(start, window.start),
            min(following(start, question.grain, zone(question.zone_name)), window.end),
        )
    hours = (window.end - window.start) / timedelta(hours=1)
    return None if amount is None or not hours else amount / hours


def _table(session: Session, query: Query, question: Question) -> dict[Key, dict[str, Any]]:
    names, rows = session.table(query.text, query.params)
    count = len(question.by) + (question.grain is not None)
    return {_key(row[:count], question): dict(zip(names[count:], row[count:], strict=True)) for row in rows}


def _key(key: tuple[Any, ...], question: Question) -> Key:
    if question.grain is None:
        return key
    return (first_instant(key[0], question.grain, zone(question.zone_name)), *key[1:])


def quantile_of(m: Metric, values: Mapping[str, Any], bins: Mapping[str, Bins]) -> float | None:
    """A quantile from the parts that frame it (`_NAME_count` and so on, as an answer has them) and the bins."""
    assert m.quantity is not None
    assert m.quantity.histogram is not None
    assert m.quantile is not None
    name = m.quantity.name
    dense = [0] * (m.quantity.histogram.bins + 2)
    for place, number in zip(*bins.get(name, ((), ())), strict=True):
        dense[place - 1] = number
    return quantile(
        m.quantile,
        dense,
        m.quantity.histogram,
        count=values[f"_{name}_count"] or 0,
        low=values[f"_{name}_min"],
        high=values[f"_{name}_max"],
    )


def state_of(session: Session, window: Window) -> State:
    """What the warehouse has, as far as a question of this window needs to know."""
    row = session.row("metrics.state", {"start": window.start, "end": window.end, "limit": MOST_MARKS})
    assert row is not None
    built: dict[str, Built] = {}
    for rollup in ROLLUPS:  # each after the finer one that it is computed from
        if rollup.name in row["built"]:
            built[rollup.name] = _built(session, rollup, built, *row["built"][rollup.name])
    return State(
        row["studio_zone"] or "UTC", row["raw_from"], built, _marks(row["marks"]), row["block_minutes"] or 60
    )


def _built(
    session: Session,
    rollup: Rollup,
    finer: Mapping[str, Built],
    cells: str,
    definition_hash: str,
    since: str | None,
    parts_from: Mapping[str, str],
) -> Built:
    if definition_hash not in _PARTS:  # a definition never changes, so this is asked once
        _PARTS[definition_hash] = rollup.kept(session.value("metrics.definition", {"name": rollup.name}))
    parts = _PARTS[definition_hash]
    if rollup.finer is not None:
        parts &= finer[rollup.finer].parts if rollup.finer in finer else frozenset()
    later = {part: datetime.fromisoformat(at) for part, at in parts_from.items()}
    return Built(cells, parts, _instant(since), later)


_PARTS: dict[str, frozenset[str]] = {}


def _marks(found: list[tuple[str, str, str]] | None) -> Marks | None:
    if found is None:
        return None
    kinds: dict[str, dict[str, set[datetime]]] = {"touched": {}, "day": {}, "pending": {}}
    for kind, name, bucket in found:
        kinds[kind].setdefault(name, set()).add(datetime.fromisoformat(bucket))
    return Marks(*({name: frozenset(some) for name, some in of.items()} for of in kinds.values()))


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def ids(session: Session, where: Mapping[str, Filter]) -> dict[str, tuple[int | str | None, ...]]:
    """Names to ids, for dimensions that have ids. Raises QueryError for a name that nobody has."""
    lists = {k: _values(k, v) for k, v in where.items()}
    named = {kind: [name for name in lists.get(kind, []) if name is not None] for kind in NAMES}
    ids = {(row["kind"], row["name"]): row["id"] for row in session.rows("metrics.ids", named)}
    found: dict[str, tuple[int | str | None, ...]] = {}
    for dimension, values in lists.items():
        if dimension not in NAMES:
            found[dimension] = tuple(values)
            continue
        for name in values:
            if name is not None and (dimension, name) not in ids:
                raise QueryError(
                    f"there is no {dimension.replace('_', ' ')} {name!r}", hint="check the spelling"
                )
        found[dimension] = tuple(None if name is None else ids[dimension, name] for name in values)
    return found


def _values(dimension: str, given: Filter) -> list[str | None]:
    """What a filter names. Raises QueryError for anything but text that a database can hold, and unknown outcomes."""
    values = [given] if isinstance(given, str) or given is None else list(given)
    for value in values:
        if value is None:
            continue
        if not isinstance(value, str) or printable(value) != value[:500]:
            raise QueryError(
                f"{value!r} is no {dimension.replace('_', ' ')}", hint="give text, or None for none given"
            )
        if dimension == "outcome" and value not in set(Outcome):
            raise QueryError(f"there is no outcome {value!r}", hint=f"one of: {', '.join(Outcome)}")
    return values
