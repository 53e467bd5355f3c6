"""Differences that are real: two histories of the same quantity, like for like, in proportion and with an interval.

What takes time is spread in proportion, so logarithms are compared: the difference of their means is the logarithm of a
ratio. Histories are cut into strata (a tier, a worker, an amount of work), and only what is alike is compared: within
each stratum that both have, and then the strata's differences are averaged with weights n_a n_b / (n_a + n_b), by which
each stratum counts as much as it knows. Everything is computed from sums that rollups keep.

A difference is called clear only where it stands up to the number of comparisons that are made together, and where it
is large enough to matter at all.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from framehouse.student import t_quantile, t_tails

#: From so many strata on their own scatter says how sure their mean is, also where attempts within one are alike.
MANY_STRATA = 12
#: As many degrees of freedom speak for days being alike, before any are seen: of few days nobody can tell.
_ALIKE_DAYS = 6
#: An interval of more than a factor of a thousand either way says nothing.
WIDEST = math.log(1000)
#: Of fewer attempts on either side, values that are all the same may be so by rounding, or by chance.
_FEWEST_SAME = 10
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
    OTHER_WORK = "other_work"  # they are of different sizes, and of no size are there some of both
    NOT_POSITIVE = "not_positive"  # too many values are 0 or below, of which there are no proportions
    TOO_FEW_SAMPLES = "too_few_samples"  # nothing says how far the samples scatter


@dataclass(frozen=True, slots=True)
class Effect:
    """How the second history differs from the first, on logarithms: the mean, its variance, and how sure that is.

    counts         samples of the first and the second that were compared
    left_out       samples of each that have no counterpart
    """

    mean: float
    variance: float
    degrees: int
    counts: tuple[int, int]
    left_out: tuple[int, int]
    strata_count: int

    @property
    def chance(self) -> float:
        """How often chance alone makes such a difference (two-sided)."""
        if self.variance <= 0:
            return 0.0 if self.mean else 1.0
        return t_tails(self.mean / math.sqrt(self.variance), self.degrees)


@dataclass(frozen=True, slots=True)
class NoEffect:
    """There is no difference to tell, for a reason."""

    reason: Unclear
    left_out: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Difference:
    """How many times as much the second history took as the first: 1.2 is 20 % more.

    ratio          None where it is not known, for `reason`
    low, high      the interval by which the difference was judged, together with all others
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
    is_clear: bool = False
    reason: Unclear | None = None


#: A day of a history: what each stratum took.
Strata = Mapping[Hashable, LogSums]


def difference(
    first: Sequence[Strata], second: Sequence[Strata], *, level: float = LEVEL, smallest: float = SMALLEST
) -> Difference:
    """One history beside another, each given day by day."""
    return judged([effect(first, second)], level=level, smallest=smallest)[0]


def effect(first: Sequence[Strata], second: Sequence[Strata]) -> Effect | NoEffect:
    """The second history beside the first, each given day by day.

    With few strata the variance is that within them, not assumed to be equal (Welch, with Satterthwaite's degrees of
    freedom), and strata in which one side has a single sample are left out. With many it is that of the strata's
    differences around their mean. Attempts of a day have more in common than their stratum: where days scatter more
    than that (a sandwich estimate clustered by day), the variance grows accordingly, the more so the more days say it.
    """
    whole = added(first), added(second)
    totals = _total(whole[0]), _total(whole[1])
    compared = _alike(*whole)
    if isinstance(compared, Unclear):
        return NoEffect(compared, totals)
    variance, degrees = (_between if len(compared.pairs) >= MANY_STRATA else _within)(compared)
    sides = _of_days(compared, first, 0), _of_days(compared, second, 1)
    if variance > 0 and all(days > 1 for _, days in sides):
        seen = sum(days for _, days in sides) - 2
        scatter = sum(found for found, _ in sides) / variance
        variance *= max(1.0, (_ALIKE_DAYS + seen * scatter) / (_ALIKE_DAYS + seen))
        degrees = min(degrees, _ALIKE_DAYS + seen)
    counts = _of(compared, 0), _of(compared, 1)
    left_out = totals[0] - counts[0], totals[1] - counts[1]
    if variance == 0 and min(counts) < _FEWEST_SAME:
        return NoEffect(Unclear.TOO_FEW_SAMPLES, totals)
    if t_quantile(1 - (1 - LEVEL) / 2, degrees) * math.sqrt(variance) > WIDEST:
        return NoEffect(Unclear.TOO_FEW_SAMPLES, totals)
    return Effect(compared.mean, variance, degrees, counts, left_out, len(compared.keys))


def judged(
    effects: Sequence[Effect | NoEffect], *, level: float = LEVEL, smallest: float = SMALLEST
) -> list[Difference]:
    """Which of some effects are clear, so that the chance of any false one among them all stays below 1 - `level`.

    By Hochberg's (1988) step-up: the k least likely of m are clear if each is less likely than
    (1 - level) / (m - k + 1). The quantities of one comparison go with each other, and then that finds more than
    Bonferroni's m for each. The intervals have that same level, so that those of clear differences leave out "none"
    and those of the others do not.
    """
    chances = sorted(one.chance for one in effects if isinstance(one, Effect))
    error = (1 - level) / max(1, len(chances))
    for place in range(len(chances), 0, -1):
        if chances[place - 1] <= (1 - level) / (len(chances) - place + 1):
            error = (1 - level) / (len(chances) - place + 1)
            break
    return [_told(one, error, smallest) for one in effects]


def added(histories: Sequence[Strata]) -> dict[Hashable, LogSums]:
    """Histories as one."""
    found: dict[Hashable, LogSums] = {}
    for history in histories:
        for key, sums in history.items():
            so_far = found.get(key, LogSums(0, 0.0, 0.0))
            found[key] = LogSums(so_far.count + sums.count, so_far.sum + sums.sum, so_far.sumsq + sums.sumsq)
    return found


def _told(one: Effect | NoEffect, error: float, smallest: float) -> Difference:
    if isinstance(one, NoEffect):
        return Difference(None, left_out=one.left_out, reason=one.reason)
    reach = t_quantile(1 - error / 2, one.degrees) * math.sqrt(one.variance)
    is_clear = abs(one.mean) > max(reach, math.log1p(smallest))
    reach = min(reach, abs(one.mean) + WIDEST)  # of which there are numbers
    return Difference(
        math.exp(one.mean), math.exp(one.mean - reach), math.exp(one.mean + reach),
        one.counts, one.left_out, one.strata_count, is_clear,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Compared:
    """What two histories have in common: the sums of each stratum, its weight, its difference; and their mean."""

    keys: list[Hashable]
    pairs: list[tuple[LogSums, LogSums]]
    weights: list[float]
    apart: list[float]
    mean: float


def _alike(first: Strata, second: Strata) -> _Compared | Unclear:
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


def _of_days(compared: _Compared, days: Sequence[Strata], side: int) -> tuple[float, int]:
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


def _total(history: Strata) -> int:
    return sum(sums.count for sums in history.values())
