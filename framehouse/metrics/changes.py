"""When something changed: the instants at which a history jumps, each with its difference before and after.

The days of a history are freed of what they had to do (each stratum's own mean is taken off), so that a week of long
jobs is no jump. Then the split is sought at which the weighted means before and after differ most, in units of what
the days scatter. Whether that is more than chance is asked of the days themselves: shuffled, they have no jump, so the
greatest split of shuffled days says what chance can do. What is found is split again, on either side.
"""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from framehouse.metrics.compare import Difference, LogSums, added, effect, judged

Floats = npt.NDArray[np.float64]
#: Of each side of a jump, at the least.
FEWEST_DAYS = 4
_SHUFFLES = 999
_CHANCE = 0.01
_MOST = 5


@dataclass(frozen=True, slots=True)
class Day:
    """A bucket of a history: when it starts, and what each stratum took in it."""

    start: datetime
    sums: Mapping[Hashable, LogSums]


@dataclass(frozen=True, slots=True)
class Change:
    """A jump: the start of the first bucket after it, and that side beside the one before, up to the next jumps."""

    at: datetime
    difference: Difference


def changes(days: Sequence[Day], *, seed: int = 0) -> list[Change]:
    """The jumps of a history, in order: those that chance alone makes in less than 1 % of histories like it."""
    known = [day for day in days if any(sums.count for sums in day.sums.values())]
    rng = np.random.default_rng(seed)
    splits = sorted(_splits(known, 0, len(known), rng))[:_MOST]
    edges = [0, *splits, len(known)]
    effects = [
        effect([day.sums for day in known[before:split]], [day.sums for day in known[split:after]])
        for before, split, after in zip(edges, splits, edges[2:], strict=False)
    ]
    return [
        Change(known[split].start, told)
        for split, told in zip(splits, judged(effects), strict=True)
        if told.is_clear
    ]


def _splits(days: Sequence[Day], start: int, end: int, rng: np.random.Generator) -> Iterator[int]:
    if end - start < 2 * FEWEST_DAYS:
        return
    levels, weights = _levels(days[start:end])
    at, height = _highest(levels, weights)
    shuffled = (rng.permutation(end - start) for _ in range(_SHUFFLES))
    higher = sum(_highest(levels[order], weights[order])[1] >= height for order in shuffled)
    if (higher + 1) / (_SHUFFLES + 1) > _CHANCE:
        return
    yield start + at
    yield from _splits(days, start, start + at, rng)
    yield from _splits(days, start + at, end, rng)


def _levels(days: Sequence[Day]) -> tuple[Floats, Floats]:
    """Each day's mean logarithm beyond its strata's own, and its weight: how many attempts that is of."""
    whole = added([day.sums for day in days])
    weights = np.array([sum(sums.count for sums in day.sums.values()) for day in days], dtype=float)
    beyond = [
        math.fsum(sums.sum - sums.count * whole[key].mean for key, sums in day.sums.items() if sums.count)
        for day in days
    ]
    return np.array(beyond) / weights, weights


def _highest(levels: Floats, weights: Floats) -> tuple[int, float]:
    """The split whose sides differ most, and by how much, in the same units for all splits of these days."""
    mean = float((weights * levels).sum() / weights.sum())
    before, heavy = np.cumsum(weights * (levels - mean))[:-1], np.cumsum(weights)[:-1]
    height = np.abs(before) / np.sqrt(heavy * (1 - heavy / weights.sum()))
    allowed = height[FEWEST_DAYS - 1 : len(levels) - FEWEST_DAYS]
    place = int(np.argmax(allowed))
    return place + FEWEST_DAYS, float(allowed[place])
