"""What forecasts remember: attempts, how well candidates did, and what all histories have in common.

Each is an array of records of fixed layout, so that it is kept and read as it is. C is the number of costs.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from framehouse.estimates.candidates import BASES, HALF_LIVES, STATISTICS, WORKERS, WORKS, Array
from framehouse.estimates.totals import blocks_layout, shared_blocks_layout, together

#: Numbers of samples are told apart by their binary digits, up to so many.
BUCKETS = 8
NO_WORKER = -1
#: As many attempts as this weigh as much as what is expected of candidates before there are any.
_FIRST_WEIGHT = 30.0
#: By how much the intervals of few samples are stretched at first, by the binary digits of their number: what scatters
#: more than is usual shows that late.
_FIRST_STRETCH = {2: 1.25, 3: 1.1}


@dataclass(frozen=True, slots=True)
class Sample:
    """An attempt that succeeded.

    costs        in their units, None where not measured
    works        amounts by names of WORKS
    worker       the worker's number, None where unknown
    is_cold      whether a model had to be loaded
    finished_us  when it finished: microseconds since 1970
    identity     a number that no other attempt of this history has
    gpu_model    index into a list that the caller keeps
    """

    costs: Sequence[float | None]
    works: Mapping[str, float]
    worker: int | None = None
    is_cold: bool | None = None
    finished_us: int = 0
    identity: int = 0
    gpu_model: int = -1

    @property
    def amounts(self) -> Array:
        """The costs, (C,): NaN where not measured."""
        return np.array([math.nan if cost is None else cost for cost in self.costs])


def sample_layout(costs: int) -> np.dtype[np.void]:
    """A remembered attempt; costs that are unknown are NaN, and so are works."""
    return np.dtype(
        [
            ("finished_us", "i8"),
            ("identity", "i8"),
            ("worker", "i4"),
            ("gpu_model", "i2"),
            ("is_cold", "i1"),
            ("costs", "f8", (costs,)),
            ("ln_works", "f8", (len(WORKS),)),
        ]
    )


def judgement_layout(costs: int) -> np.dtype[np.void]:
    """How well a history's candidates did: pinball losses and their weights; stretch of the interval without
    and with knowing the worker (ln; down, up); scatter about the mean without (weight, sum of squared relative errors);
    and errors of totals."""
    return np.dtype(
        [
            ("losses", "f8", _losses(costs)),
            ("weights", "f8", _losses(costs)[:3]),
            ("stretch", "f8", (costs, 2, 2)),
            ("scatter", "f8", (costs, 2)),
            ("blocks", blocks_layout(costs)),
        ]
    )


def shared_layout(costs: int) -> np.dtype[np.void]:
    """What all histories have in common besides the workers' factors; the stretch by number of samples."""
    return np.dtype(
        [
            ("losses", "f8", _losses(costs)),
            ("weights", "f8", _losses(costs)[:3]),
            ("stretch", "f8", (costs, BUCKETS, 2, 2)),
            ("spread", "f8", (costs, 2, 2)),
            ("scatter", "f8", (costs, 2)),
            ("blocks", shared_blocks_layout(costs)),
        ]
    )


def _losses(costs: int) -> tuple[int, ...]:
    return (costs, len(WORKERS), len(BASES), len(HALF_LIVES), STATISTICS)


def _first_losses() -> Array:
    """What to expect of candidates while nobody knows better: segments before other work, any worker, a long memory.

    The tenth is about what costs lose that scatter by a third; a half-life of four attempts loses a tenth more where
    nothing changes.
    """
    losses = np.full(_losses(1)[1:], 0.1)
    losses += 0.002 * np.arange(len(BASES))[:, None, None]
    losses += 0.01 * np.arange(len(WORKERS))[:, None, None, None]
    losses += np.array([0.01, 0.003, 0.0])[:, None]
    return losses


@dataclass(slots=True)
class Shared:
    """What all histories have in common: the usual spread, which candidates do well, how far intervals have to be
    stretched, by the number of samples, and the workers' factors.

    effects maps a worker to (C, 2): weight, and ln of the factor; groups maps it to the number of those whom it shares
    work with, be it by way of third ones. Factors of different groups say nothing of each other.
    """

    costs: int = 1
    record: np.void = field(init=False)
    effects: dict[int, Array] = field(default_factory=dict)
    groups: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.record = np.zeros(1, shared_layout(self.costs))[0]
        self.record["losses"] = _FIRST_WEIGHT * _first_losses()
        self.record["weights"] = _FIRST_WEIGHT
        self.record["spread"] = self.record["scatter"] = (1.0, 0.09)
        self.record["blocks"]["rho"] = (5.0, 0.25)
        for digits, stretch in _FIRST_STRETCH.items():
            self.record["stretch"][:, digits] = math.log(stretch)

    @property
    def sd(self) -> Array:
        """Standard deviation of ln(cost) about its prediction, without and with knowing the worker: (C, 2)."""
        found: Array = np.sqrt(self.record["spread"][..., 1] / self.record["spread"][..., 0])
        return found

    def totals(self) -> npt.NDArray[np.void]:
        """What intervals of totals need besides each history's outlook, by cost: (C,) of TOGETHER."""
        return together(self.record["blocks"])

    def effect(self, worker: int | None, beside: Iterable[int]) -> Array | None:
        """ln of a worker's factor, (C,), where it is comparable with some of these; None where unknown."""
        if worker is None or worker not in self.comparable(beside):
            return None
        return self.effects[worker][:, 1]

    def comparable(self, workers: Iterable[int]) -> set[int]:
        """Who shares work with one of these workers, they themselves among them."""
        groups = {self.groups[worker] for worker in workers if worker in self.groups}
        return {worker for worker, group in self.groups.items() if group in groups}

    def join(self, worker: int, others: Sequence[int], ln_factor: Array) -> None:
        """A worker has this factor, (C,), beside others whom it was not comparable with: from now on it is, and so is
        its group, whose factors all move by as much. NaN moves nothing."""
        moved = self.comparable([worker]) or {worker}
        for one in (*moved, *others):
            self.effects.setdefault(one, np.zeros((self.costs, 2)))
        off = np.nan_to_num(ln_factor - self.effects[worker][:, 1])
        for one in moved:
            self.effects[one][:, 1] += off
        joined = self.comparable(others) | {*moved, *others}
        self.groups |= dict.fromkeys(joined, min(joined))

    def effects_of(self, workers: npt.NDArray[np.int32]) -> Array:
        """ln of the factors of attempts' workers, (n, C): 0 of a worker that is new, NaN where none is known."""
        different, place = np.unique(workers, return_inverse=True)
        found = np.zeros((len(different), self.costs))
        for row, worker in zip(found, different.tolist(), strict=True):
            if worker == NO_WORKER:
                row[:] = math.nan
            elif worker in self.effects:
                row[:] = self.effects[worker][:, 1]
        return found[place]


def ln_works(works: Mapping[str, float]) -> Array:
    """ln of the amounts in the order of WORKS, NaN where unknown or none; the job itself is always one."""
    found = [math.log(amount) if (amount := works.get(name) or 0.0) > 0 else math.nan for name in WORKS]
    found[-1] = 0.0
    return np.array(found)
