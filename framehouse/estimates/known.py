"""What is known of some workflows at this moment, as estimates read it.

Mostly that is what learning left behind. Of workflows and tiers whose attempts learning has not seen yet, the newest
attempts are read and added in memory, so an estimate rests on every attempt from its commit on.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from framehouse.estimates.learning import COSTS, FACTOR, VERSION, WALL, learnt, shared_of
from framehouse.estimates.outlook import INTERVAL_FROM, Outlook, is_at_times_nothing, layout
from framehouse.estimates.totals import TOGETHER
from framehouse.warehouse import Session

Confidence = Literal["high", "medium", "low"]
MEDIUM_FROM, HIGH_FROM = 3, 10
#: About so many of the attempts that learning has not seen judge candidates before it does; it takes a quarter second.
_JUDGED = 64
_LAYOUT = layout(len(COSTS))

Key = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Known:
    """One workflow at one tier: how many attempts succeeded, and what the next will cost.

    record      what the next will cost (framehouse.estimates.outlook), and its place among Knowledge.records
    factors     ln of each worker's factor of the wall time, by id
    own_factors those of the workers that did it
    gpu_models  the models that did it, each with its share of GPU time; None is an unknown one
    """

    workflow: str
    tier: str | None
    sample_count: int
    record: np.void
    place: int
    factors: Mapping[int, float]
    own_factors: Sequence[float]
    gpu_models: Sequence[tuple[str | None, float]]

    @property
    def confidence(self) -> Confidence:
        """high from 10 samples that it rests on, medium from 3, low below."""
        count = min(self.sample_count, int(self.record["counts"][WALL]))
        if count >= HIGH_FROM:
            return "high"
        return "medium" if count >= MEDIUM_FROM else "low"

    def why_no_interval(self, cost: int) -> str | None:
        """The reason why a cost that is predicted has no interval; None where it has one."""
        if self.record["counts"][cost] < INTERVAL_FROM:
            return "too_few_samples"
        return "zeros_among_samples" if is_at_times_nothing(self.record["known_ratio"][cost]) else None


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Everything that an estimate rests on; `totals` (COSTS,) of TOGETHER is what intervals of totals need besides."""

    by_key: Mapping[Key, Known]
    records: npt.NDArray[np.void]
    totals: npt.NDArray[np.void]

    def of(self, keys: Sequence[Key]) -> npt.NDArray[np.void]:
        """The record of each of these keys, all of which are known."""
        return self.records[[self.by_key[key].place for key in keys]]

    def outlook(self, keys: Sequence[Key]) -> Outlook:
        """The predictions for a job of each of these keys."""
        return Outlook(self.of(keys))


def knowledge(session: Session, workflows: Collection[str]) -> Knowledge:
    """What is known of all tiers of the named workflows; those without an attempt that succeeded are absent."""
    asked = {"workflows": sorted(workflows), "version": VERSION}
    rows = session.rows("forecasts.known", asked, is_binary=True)
    shared = session.row("forecasts.shared_totals", [VERSION])
    fresh = [row for row in rows if not row["is_outdated"]]
    records = np.frombuffer(b"".join(row["outlook"] for row in fresh), _LAYOUT)
    found = {}
    for place, row in enumerate(fresh):
        key = (row["workflow"], row["tier"])
        factors, models = np.frombuffer(row["factors"], FACTOR), [tuple(model) for model in row["gpu_models"]]
        found[key] = Known(*key, row["sample_count"], records[place], place, *_factors(factors), models)
    outdated = {(row["workflow_id"], row["tier_id"]): row for row in rows if row["is_outdated"]}
    if outdated:
        unlearnt = learnt(session, list(outdated), shared_of(session), judged_at_most=_JUDGED)
        for place, one in enumerate(unlearnt, start=len(records)):
            key = (outdated[one.ids]["workflow"], outdated[one.ids]["tier"])
            found[key] = Known(
                *key, one.sample_count, one.outlook.record, place, *_factors(one.factors), one.gpu_models
            )
        records = np.concatenate([records, np.array([one.outlook.record for one in unlearnt], _LAYOUT)])
    totals = np.zeros(len(COSTS), TOGETHER) if shared is None else np.frombuffer(shared["totals"], TOGETHER)
    return Knowledge(found, records, totals)


def _factors(found: npt.NDArray[np.void]) -> tuple[dict[int, float], list[float]]:
    every = dict(zip(found["worker"].tolist(), found["ln_factor"].tolist(), strict=True))
    return every, found["ln_factor"][found["is_own"]].tolist()
