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
    NOT_POSITIVE = "not_positive"  # too many values are 0 or below, of which there are no proportions
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
    compared = _alike(first, second)
    if isinstance(compared, Unclear):
        return Difference(None, left_out=(_total(first), _total(second)), level=level, reason=compared)
    variance, degrees = (_between if len(compared.pairs) >= MANY_STRATA else _within)(compared)
    return _told(compared, first, second, variance, degrees, comparisons, level, smallest)


def difference_by_day(
    before: Sequence[Mapping[Hashable, LogSums]],
    after: Sequence[Mapping[Hashable, LogSums]],
    *,
    comparisons: int = 1,
    level: float = LEVEL,
    smallest: float = SMALLEST,
) -> Difference:
    """What came after beside what was before, each given day by day.

    Attempts of a day have more in common than their workflow and tier, so the variance is that of days around their
    side's means (a sandwich estimate clustered by day), or that within strata where it is larger.
    """
    first, second = added(before), added(after)
    compared = _alike(first, second)
    if isinstance(compared, Unclear):
        return Difference(None, left_out=(_total(first), _total(second)), level=level, reason=compared)
    variance, degrees = _within(compared)
    sides = _of_days(compared, before, 0), _of_days(compared, after, 1)
    if all(days > 1 for _, days in sides):
        of_days = sum(found for found, _ in sides)
        if of_days > variance:
            variance, degrees = of_days, min(degrees, sum(days for _, days in sides) - 2)
    return _told(compared, first, second, variance, degrees, comparisons, level, smallest)


def added(histories: Sequence[Mapping[Hashable, LogSums]]) -> dict[Hashable, LogSums]:
    """Histories as one."""
    found: dict[Hashable, LogSums] = {}
    for history in histories:
        for key, sums in history.items():
            so_far = found.get(key, LogSums(0, 0.0, 0.0))
            found[key] = LogSums(so_far.count + sums.count, so_far.sum + sums.sum, so_far.sumsq + sums.sumsq)
    return found


@dataclass(frozen=True, slots=True)
class _Compared:
    """What two histories have in common: the sums of each stratum, its weight, its difference; and their mean."""

    keys: list[Hashable]
    pairs: list[tuple[LogSums, LogSums]]
    weights: list[float]
    apart: list[float]
    mean: float


def _alike(first: Mapping[Hashable, LogSums], second: Mapping[Hashable, LogSums]) -> _Compared | Unclear:
    keys = [key for key, sums in first.items() if sums.count and key in second and second[key].count]
    if not keys:
        return Unclear.NOTHING_ALIKE
    if len(keys) < MANY_STRATA:
        keys = [key for key in keys if min(first[key].count, second[key].count) > 1]
        if not keys:
            return Unclear.TOO_FEW_SAMPLES
    pairs = [(first[key], second[key]) for key in keys]
    weights = [a.count * b.count / (a.count + b.count) for a, b in pairs]
    apart = [b.mean - a.mean for a, b in pairs]
    mean = sum(w * d for w, d in zip(weights, apart, strict=True)) / sum(weights)
    return _Compared(keys, pairs, weights, apart, mean)


def _told(
    compared: _Compared,
    first: Mapping[Hashable, LogSums],
    second: Mapping[Hashable, LogSums],
    variance: float,
    degrees: int,
    comparisons: int,
    level: float,
    smallest: float,
) -> Difference:
    mean, counts = compared.mean, (_of(compared, 0), _of(compared, 1))
    reach = t_quantile(1 - (1 - level) / 2 / comparisons, degrees) * math.sqrt(variance)
    low, high = mean - reach, mean + reach
    is_clear = (low > 0 or high < 0) and abs(mean) >= math.log1p(smallest)
    return Difference(
        math.exp(mean), math.exp(low), math.exp(high), counts,
        (_total(first) - counts[0], _total(second) - counts[1]), len(compared.keys), level, is_clear,
    )  # fmt: skip


def _within(compared: _Compared) -> tuple[float, int]:
    """Variance of the weighted mean from the scatter within each stratum, and its degrees of freedom.

    Satterthwaite (1946), rounded down: with unequal variances the degrees are those that match the estimate's own.
    """
    whole = sum(compared.weights)
    terms = [
        ((weight / whole) ** 2 * sums.variance / sums.count, sums.count - 1)
        for weight, pair in zip(compared.weights, compared.pairs, strict=True)
        for sums in pair
        if sums.count > 1
    ]
    variance = sum(term for term, _ in terms)
    if variance == 0:
        return 0.0, 1
    return variance, max(1, int(variance**2 / sum(term**2 / degrees for term, degrees in terms)))


def _between(compared: _Compared) -> tuple[float, int]:
    """Variance of the weighted mean from the scatter of the strata's differences, and its degrees of freedom."""
    count, whole = len(compared.keys), sum(compared.weights)
    scatter = sum(
        (weight * (one - compared.mean)) ** 2
        for weight, one in zip(compared.weights, compared.apart, strict=True)
    )
    return scatter / whole**2 * count / (count - 1), count - 1


def _of_days(compared: _Compared, days: Sequence[Mapping[Hashable, LogSums]], side: int) -> tuple[float, int]:
    """One side's share of the variance of the weighted mean, from the scatter of its days; and how many they are."""
    whole = sum(compared.weights)
    moved = []
    for day in days:
        terms = [
            weight / whole * (day[key].sum - day[key].count * pair[side].mean) / pair[side].count
            for key, pair, weight in zip(compared.keys, compared.pairs, compared.weights, strict=True)
            if key in day
        ]
        if terms:
            moved.append(math.fsum(terms))
    if len(moved) < 2:
        return 0.0, len(moved)
    return sum(one**2 for one in moved) * len(moved) / (len(moved) - 1), len(moved)


def _of(compared: _Compared, side: int) -> int:
    return sum(pair[side].count for pair in compared.pairs)


def _total(history: Mapping[Hashable, LogSums]) -> int:
    return sum(sums.count for sums in history.values())
