"""Whether estimates are off: tests that may be repeated with every scene that is scored.

Of one workflow, tier and quantity the newest scored scenes are looked at, in three windows. Two ways to be off:

    coverage  actuals miss P10-P90 more often than the promised one time in five (exact binomial test, one-sided)
    bias      actuals total more than a tenth above or below the predicted means, and are on that side of the predicted
              median more often than the promised one time in two (exact binomial test of signs, two-sided)

Both ask for nothing but what estimates promise, so they hold for costs of any distribution. A median that is right
says nothing of the mean: means that alone are off, by a few scenes that take very long, raise no alarm of bias.

How often this cries wolf. Where estimates are right, each window of each look is significant with a probability of at
most LEVEL. Nothing changes between two scored scenes, so there is at most one look a scene: on average 3 * LEVEL false
alarms a scored scene for each kind and quantity, whatever the looks have to do with each other (Boole's inequality).
That is the bound, one in 33,333; windows overlap, and a bias must also be large, so simulated false alarms are rarer
(docs/decisions/0027-drift-alarms.md). LEVEL stays the same for ever: a warehouse has no last look for which some
of it would have to be saved.

Scenes of one estimate were predicted together and err together. With a correlation ALIKE between any two of them, n
scenes of an estimate tell as much as n / (1 + (n - 1) * ALIKE) scenes of different ones (Kish's design effect), and are
counted as so many: however large, one batch alone is at most 1 / ALIKE scenes' worth of evidence.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["coverage", "bias"]
KINDS: tuple[Kind, ...] = ("coverage", "bias")

#: How likely one window of one look is to be significant where estimates are right.
LEVEL = 1e-5
#: So many scenes of different estimates, or their worth, are a window. Signs tell less than misses do: fewer than 18
#: are never significant, and it takes 80 to tell a common shift from chance where costs vary.
WINDOWS: Mapping[Kind, tuple[float, ...]] = {"coverage": (12.0, 25.0, 50.0), "bias": (18.0, 30.0, 80.0)}
#: The window that closes an alarm when it is right.
_RIGHT_AGAIN = 25.0
#: The correlation of the errors of one estimate's scenes: what forecasts begin with, before they measured theirs.
ALIKE = 0.05
#: Of actuals, how many may lie outside P10-P90; of totals, how far they may be off.
MISSED, TENTH = 0.2, math.log(1.1)
#: Half way from right to off: where an alarm is closed.
_MISSED_AGAIN, _OFF_AGAIN = 0.25, TENTH / 2
#: An actual this close to the interval, as a share of it, is not called a miss: peaks are often the same to the byte.
_CLOSE = 0.01

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scenes:
    """Scored scenes of one workflow, tier and quantity, in the order in which they finished.

    `batch` is a number for the estimate that each belongs to. All predictions are known, with their intervals.
    """

    batch: npt.NDArray[np.int64]
    mean: Array
    p10: Array
    p50: Array
    p90: Array
    actual: Array


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the scenes say.

    is_off          one of the windows is significant
    is_right        the newest scenes are so near to right that an alarm is over
    scene_count     scenes in the window of which the following tells: the most significant one
    first           the place of its oldest scene among those that were given
    bias_ratio      total of predicted means over total of actuals, minus 1; None where one of both is nothing
    coverage_ratio  share of actuals within P10-P90
    """

    is_off: bool
    is_right: bool
    scene_count: int
    first: int
    bias_ratio: float | None
    coverage_ratio: float


def judge(kind: Kind, scenes: Scenes) -> Verdict | None:
    """Whether these scenes are off in that way; None where there are too few to say."""
    worth = _worth(scenes.batch)
    tails = np.cumsum(worth[::-1])
    if not len(tails) or tails[-1] < WINDOWS[kind][0]:
        return None
    judged = _Judged(kind, scenes, worth)
    starts = [_start(tails, size) for size in WINDOWS[kind]]
    chances = [judged.chance(start) for start in starts]
    best = int(np.argmin(chances))
    is_right = tails[-1] >= _RIGHT_AGAIN and judged.is_right(_start(tails, _RIGHT_AGAIN))
    return judged.verdict(starts[best], is_off=chances[best] <= LEVEL and not is_right, is_right=is_right)


@dataclass(frozen=True, slots=True)
class _Judged:
    """Scenes, what each is worth, and the way in which they are judged."""

    kind: Kind
    scenes: Scenes
    worth: Array

    def chance(self, start: int) -> float:
        """How likely the scenes from there on would be as they are, or worse, if estimates were right."""
        worth = self.worth[start:]
        size = worth.sum()
        if self.kind == "coverage":
            return binomial_tail(
                math.floor(worth @ self._missed(start) + 1e-9), math.ceil(size - 1e-9), MISSED
            )
        off = self._off(start)
        if off is None or abs(off) <= TENTH:
            return 1.0
        # No more than half of all should be above, or below. The same to the byte is neither, and still one of all.
        beyond = (self.scenes.actual[start:] - self.scenes.p50[start:]) * off > 0
        count = math.floor(size + 1e-9)
        return 2 * binomial_tail(max(0, count - math.ceil(worth @ ~beyond - 1e-9)), count, 0.5)

    def is_right(self, start: int) -> bool:
        if self.kind == "coverage":
            worth = self.worth[start:]
            return bool(worth @ self._missed(start) <= _MISSED_AGAIN * worth.sum())
        actual, mean = self._totals(start)
        off = self._off(start)
        # Where nothing is predicted, and nothing taken, no ratio says so.
        return actual == mean or (off is not None and abs(off) <= _OFF_AGAIN)

    def verdict(self, start: int, *, is_off: bool, is_right: bool) -> Verdict:
        missed, off = self._missed(start), self._off(start)
        return Verdict(
            is_off=is_off,
            is_right=is_right,
            scene_count=len(missed),
            first=start,
            bias_ratio=None if off is None else math.exp(-off) - 1,
            coverage_ratio=float(1 - missed.mean()),
        )

    def _missed(self, start: int) -> Array:
        low, high, actual = (one[start:] for one in (self.scenes.p10, self.scenes.p90, self.scenes.actual))
        missed: Array = ((actual < low * (1 - _CLOSE)) | (actual > high * (1 + _CLOSE))).astype(np.float64)
        return missed

    def _off(self, start: int) -> float | None:
        """ln of the actuals' total over the predicted means'; None where one of both is nothing."""
        actual, mean = self._totals(start)
        return math.log(actual / mean) if actual > 0 and mean > 0 else None

    def _totals(self, start: int) -> tuple[float, float]:
        """Of the actuals and of the predicted means."""
        return math.fsum(self.scenes.actual[start:]), math.fsum(self.scenes.mean[start:])


def _worth(batch: npt.NDArray[np.int64]) -> Array:
    """How much each scene tells beside the others of its estimate."""
    if not len(batch):
        return np.zeros(0)
    _, place, count = np.unique(batch, return_inverse=True, return_counts=True)
    worth: Array = 1 / (1 + (count[place] - 1) * ALIKE)
    return worth


def _start(tails: Array, size: float) -> int:
    """Where the newest scenes begin that are worth so many; the oldest one, where all are worth less."""
    return max(0, len(tails) - 1 - int(np.searchsorted(tails, size - 1e-9)))


@lru_cache(maxsize=4096)
def binomial_tail(least: int, count: int, share: float) -> float:
    """The probability of at least `least` among `count`, each with a probability of `share`."""
    return math.fsum(
        math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(least, count + 1)
    )
