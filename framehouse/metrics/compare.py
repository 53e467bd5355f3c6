"""Differences that are real: two histories of the same quantity, like for like, in proportion and with an interval.

What takes time is spread in proportion, so logarithms are compared: the difference of their means is the logarithm of a
ratio. Histories are cut into strata (a tier, a worker, an amount of work), and only what is alike is compared: within
each stratum that both have, and then the strata's differences are averaged with weights n_a n_b / (n_a + n_b), by which
each stratum counts as much as it knows. Everything is computed from sums that rollups keep.

A difference is called clear only where its interval, widened for the number of comparisons that are made together
(Bonferroni), leaves out "none", and where it is large enough to matter at all.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from framehouse.student import t_quantile

#: From so many strata on their own scatter says how sure their mean is, also where attempts within one are alike.
MANY_STRATA = 12
#: Differences below one percent are no reason to do anything, however surely they are there.
SMALLEST = 0.01
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class LogSums:
    """Of the natural logarithms of a positive quantity: how many, their sum, the sum of their squares."""

    count: int
    sum: float
    sumsq: float

    @property
    def mean(self) -> float:
        return self.sum / self.count

    @property
    def variance(self) -> float:
        """Unbiased; of two or more."""
        return max(self.sumsq - self.sum * self.sum / self.count, 0.0) / (self.count - 1)


class Unclear(StrEnum):
    """Why there is no difference to tell."""

    NOTHING_ALIKE = "nothing_alike"  # no stratum that both have
    TOO_FEW_SAMPLES = "too_few_samples"  # nothing says how far the samples scatter


@dataclass(frozen=True, slots=True)
class Difference:
    """How many times as much the second history took as the first: 1.2 is 20 % more.

    ratio          None where it is not known, for `reason`
    low, high      simultaneous confidence interval of the ratio, at `level` for all comparisons made together
    counts         samples of the first and the second that were compared
    left_out       samples of each that have no counterpart
    is_clear       whether one may act on it
    """

    ratio: float | None
    low: float | None = None
    high: float | None = None
    counts: tuple[int, int] = (0, 0)
    left_out: tuple[int, int] = (0, 0)
    strata_count: int = 0
    level: float = LEVEL
    is_clear: bool = False
    reason: Unclear | None = None


def difference(
    first: Mapping[Hashable, LogSums],
    second: Mapping[Hashable, LogSums],
    *,
    comparisons: int = 1,
    level: float = LEVEL,
    smallest: float = SMALLEST,
) -> Difference:
    """The second history beside the first, stratum by stratum; `comparisons` is how many are made together.

    With few strata the variance is that within them, not assumed to be equal (Welch, with Satterthwaite's degrees of
    freedom), and strata in which one side has a single sample are left out. With many it is that of the strata's
    differences around their mean.
    """
    everything = (_total(first), _total(second))
    common = [key for key, sums in first.items() if sums.count and key in second and second[key].count]
    if not common:
        return Difference(None, left_out=everything, level=level, reason=Unclear.NOTHING_ALIKE)
    is_many = len(common) >= MANY_STRATA
    if not is_many:
        common = [key for key in common if min(first[key].count, second[key].count) > 1]
        if not common:
            return Difference(None, left_out=everything, level=level, reason=Unclear.TOO_FEW_SAMPLES)
    counts = sum(first[key].count for key in common), sum(second[key].count for key in common)
    pairs = [(first[key], second[key]) for key in common]
    weights = [a.count * b.count / (a.count + b.count) for a, b in pairs]
    apart = [b.mean - a.mean for a, b in pairs]
    mean = sum(w * d for w, d in zip(weights, apart, strict=True)) / sum(weights)
    variance, degrees = (_between if is_many else _within)(pairs, weights, apart, mean)
    share = 1 - (1 - level) / 2 / comparisons
    reach = t_quantile(share, degrees) * math.sqrt(variance)
    low, high = mean - reach, mean + reach
    is_clear = (low > 0 or high < 0) and abs(mean) >= math.log1p(smallest)
    return Difference(
        math.exp(mean), math.exp(low), math.exp(high), counts,
        (everything[0] - counts[0], everything[1] - counts[1]), len(common), level, is_clear,
    )  # fmt: skip


_Pair = tuple[LogSums, LogSums]


def _within(
    pairs: Sequence[_Pair], weights: Sequence[float], apart: Sequence[float], mean: float
) -> tuple[float, int]:
    """Variance of the weighted mean from the scatter within each stratum, and its degrees of freedom.

    Satterthwaite (1946), rounded down: with unequal variances the degrees are those that match the estimate's own.
    """
    whole = sum(weights)
    terms = [
        ((weight / whole) ** 2 * sums.variance / sums.count, sums.count - 1)
        for weight, pair in zip(weights, pairs, strict=True)
        for sums in pair
    ]
    variance = sum(term for term, _ in terms)
    if variance == 0:
        return 0.0, 1
    return variance, max(1, int(variance**2 / sum(term**2 / degrees for term, degrees in terms)))


def _between(
    pairs: Sequence[_Pair], weights: Sequence[float], apart: Sequence[float], mean: float
) -> tuple[float, int]:
    """Variance of the weighted mean from the scatter of the strata's differences, and its degrees of freedom."""
    count, whole = len(weights), sum(weights)
    scatter = sum((weight * (one - mean)) ** 2 for weight, one in zip(weights, apart, strict=True))
    return scatter / whole**2 * count / (count - 1), count - 1


def _total(history: Mapping[Hashable, LogSums]) -> int:
    return sum(sums.count for sums in history.values())
