"""Whether estimates are off: tests that may be repeated with every scene that is scored.

Of one workflow, tier and quantity the newest scored scenes are looked at, in windows of about 12, 25 and 50. There are
two ways to be off:

    coverage  actuals miss P10-P90 more often than the promised one time in five (exact binomial test, one-sided)
    bias      actuals total more than a tenth above or below the predicted means, and ln(actual / predicted median) is
              not 0 on average (Student's t, two-sided)

How often this cries wolf. Where estimates are right, each window of each look is significant with a probability of at
most LEVEL. Nothing changes between two scored scenes, so there is at most one look a scene: on average 3 * LEVEL false
alarms a scored scene for each kind and quantity, whatever the looks have to do with each other (Boole's inequality).
That is the bound, one in 33,333; windows overlap, and a bias must also be large, so simulated false alarms are far
rarer (docs/decisions/0027-drift-alarms.md). LEVEL stays the same for ever: a warehouse has no last look for which some
of it would have to be saved.

Scenes of one estimate were predicted together and err together. With a correlation ALIKE between any two of them, n
scenes of an estimate tell as much as n / (1 + (n - 1) * ALIKE) scenes of different ones (Kish's design effect), and are
counted as so many: however large, one batch alone is at most 1 / ALIKE scenes' worth of evidence.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from framehouse.student import t_tails

Kind = Literal["coverage", "bias"]
KINDS: tuple[Kind, ...] = ("coverage", "bias")

#: How likely one window of one look is to be significant where estimates are right.
LEVEL = 1e-5
#: So many scenes of different estimates, or their worth, are a window.
WINDOWS = (12.0, 25.0, 50.0)
#: The window that closes an alarm when it is right.
_RIGHT_AGAIN = WINDOWS[1]
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
    usable = np.arange(len(scenes.actual))
    if kind == "bias":
        usable = usable[(scenes.mean > 0) & (scenes.p50 > 0) & (scenes.actual > 0)]
    worth = _worth(scenes.batch[usable])
    tails = np.cumsum(worth[::-1])
    if not len(tails) or tails[-1] < WINDOWS[0]:
        return None
    judged = _Judged(kind, scenes, usable, worth)
    starts = [_start(tails, size) for size in WINDOWS]
    chances = [judged.chance(start) for start in starts]
    best = int(np.argmin(chances))
    is_right = tails[-1] >= _RIGHT_AGAIN and judged.is_right(_start(tails, _RIGHT_AGAIN))
    return judged.verdict(starts[best], is_off=chances[best] <= LEVEL and not is_right, is_right=is_right)


@dataclass(frozen=True, slots=True)
class _Judged:
    """The scenes that can be judged in one way, and what each is worth."""

    kind: Kind
    scenes: Scenes
    usable: npt.NDArray[np.int64]
    worth: Array

    def chance(self, start: int) -> float:
        """How likely the scenes from there on would be as they are, or worse, if estimates were right."""
        worth = self.worth[start:]
        size = worth.sum()
        if self.kind == "coverage":
            return binomial_tail(math.floor(worth @ self._missed(start) + 1e-9), math.ceil(size - 1e-9))
        places = self.usable[start:]
        ratios = np.log(self.scenes.actual[places] / self.scenes.p50[places])
        mean = float(worth @ ratios / size)
        off = self._off(start)
        if abs(off) <= TENTH or off * mean <= 0:
            return 1.0
        variance = float(worth @ (ratios - mean) ** 2 / (size - 1))
        if variance == 0:
            return 0.0
        return t_tails(mean / math.sqrt(variance / size), math.floor(size + 1e-9) - 1)

    def is_right(self, start: int) -> bool:
        if self.kind == "coverage":
            worth = self.worth[start:]
            return bool(worth @ self._missed(start) <= _MISSED_AGAIN * worth.sum())
        return abs(self._off(start)) <= _OFF_AGAIN

    def verdict(self, start: int, *, is_off: bool, is_right: bool) -> Verdict:
        missed = self._missed(start)
        try:
            bias_ratio = math.exp(-self._off(start)) - 1
        except (ValueError, ZeroDivisionError):
            bias_ratio = None
        return Verdict(
            is_off=is_off,
            is_right=is_right,
            scene_count=len(missed),
            first=int(self.usable[start]),
            bias_ratio=bias_ratio,
            coverage_ratio=float(1 - missed.mean()),
        )

    def _missed(self, start: int) -> Array:
        places = self.usable[start:]
        low, high, actual = (one[places] for one in (self.scenes.p10, self.scenes.p90, self.scenes.actual))
        missed: Array = ((actual < low * (1 - _CLOSE)) | (actual > high * (1 + _CLOSE))).astype(np.float64)
        return missed

    def _off(self, start: int) -> float:
        """ln of the actuals' total over the predicted means'."""
        places = self.usable[start:]
        return math.log(math.fsum(self.scenes.actual[places]) / math.fsum(self.scenes.mean[places]))


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
def binomial_tail(missed: int, count: int, share: float = MISSED) -> float:
    """The probability of at least `missed` among `count`, each with a probability of `share`."""
    return math.fsum(
        math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(missed, count + 1)
    )
