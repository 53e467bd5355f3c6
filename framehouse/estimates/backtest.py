"""How good forecasts would have been: attempts replayed in order, each predicted from those before it alone.

Beside the forecaster stand the plain mean, the exponentially weighted mean and the median of the same history on the
same rows: per segment where all of a history's attempts know theirs, else per job, and means are sums over sums.
"""

import math
from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Protocol

import numpy as np

from framehouse.estimates.candidates import NORMAL_P90, SHARES
from framehouse.estimates.forecast import Forecaster
from framehouse.estimates.memory import Sample, Shared, ln_works
from framehouse.estimates.outlook import INTERVAL_FROM
from framehouse.estimates.totals import Distribution, total
from framehouse.progress import SILENT, Reporter

#: Consecutive attempts whose total is compared with the total that was predicted.
TOTAL_OF = 200
_WEIGHT_OF_NEWEST = 0.1


@dataclass(frozen=True, slots=True)
class Attempt:
    """One that succeeded: whose history it belongs to, what it cost, how much work it was, who did it, and whether a
    model had to be loaded."""

    key: str
    cost: float
    works: Mapping[str, float]
    worker: str | None = None
    is_cold: bool | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """How well one way of predicting did, over the attempts that had any history (an interval: three and more).

    mdape_ratio     median of |predicted median - actual| / actual
    p90_loss        mean pinball loss of P90, in the cost's unit
    coverage_ratio  share of actuals within P10-P90
    total_error_ratio  median over runs of 200 consecutive attempts of |predicted total / actual total - 1|
    bias_ratio      predicted total of all over actual total, minus 1
    """

    name: str
    mdape_ratio: float | None
    p90_loss: float | None
    coverage_ratio: float | None
    total_error_ratio: float | None
    bias_ratio: float | None


@dataclass(frozen=True, slots=True)
class Backtest:
    """What was replayed, and how everyone did; the forecaster comes first.

    batch_count           runs of 200 consecutive attempts, each foreseen as a batch before its first one
    batch_error_ratio     median over them of |predicted total / actual total - 1|
    batch_coverage_ratio  share of them whose actual total lay within the P10-P90 of the total
    """

    attempt_count: int
    answered_count: int
    interval_count: int
    scores: tuple[Score, ...]
    batch_count: int
    batch_error_ratio: float | None
    batch_coverage_ratio: float | None

    @property
    def answered_ratio(self) -> float | None:
        return self.answered_count / self.attempt_count if self.attempt_count else None


@dataclass(frozen=True, slots=True)
class _Said:
    """A prediction; without an interval where there is none."""

    mean: float
    middle: float
    low: float | None = None
    high: float | None = None


def backtest(attempts: Sequence[Attempt], report: Reporter = SILENT) -> Backtest:
    """Replay attempts in the order given: each is predicted first, and then learned."""
    shared = Shared()
    forecasters: dict[str, Forecaster] = {}
    others: dict[str, tuple[_Predictor, ...]] = {}
    per_job = {attempt.key for attempt in attempts if not attempt.works.get("segments", 0.0) > 0}
    workers: dict[str, int] = {}
    tallies = {name: _Tally() for name in ("framehouse", *_BASELINES)}
    batches: list[tuple[float, Distribution]] = []
    for index, attempt in enumerate(attempts):
        if index % 500 == 0:
            report.advance(index, len(attempts), f"{index:,} attempts")
        if index % TOTAL_OF == 0 and index + TOTAL_OF <= len(attempts):
            batches += _foreseen(attempts[index : index + TOTAL_OF], forecasters, shared)
        if attempt.key not in forecasters:
            forecasters[attempt.key] = Forecaster(shared, history=len(forecasters) + 1)
            others[attempt.key] = tuple(make() for make in _BASELINES.values())
        forecaster, baselines = forecasters[attempt.key], others[attempt.key]
        worker = None if attempt.worker is None else workers.setdefault(attempt.worker, len(workers))
        units = 1.0 if attempt.key in per_job else attempt.works["segments"]
        predicted = forecaster.predict(attempt.works, worker)
        if predicted is not None:
            ours = _Said(predicted.mean, predicted.p50, predicted.p10, predicted.p90)
            told = (ours, *(baseline.predict(units) for baseline in baselines))
            for tally, said in zip(tallies.values(), told, strict=True):
                tally.add(attempt.cost, said, has_interval=ours.high is not None)
        forecaster.learn(Sample([attempt.cost], attempt.works, worker, attempt.is_cold))
        for baseline in baselines:
            baseline.learn(attempt.cost, units)
    report.advance(len(attempts), len(attempts), f"{len(attempts):,} attempts")
    ours_tally = tallies["framehouse"]
    return Backtest(
        attempt_count=len(attempts),
        answered_count=len(ours_tally.actual),
        interval_count=len(ours_tally.losses),
        scores=tuple(tally.score(name) for name, tally in tallies.items()),
        batch_count=len(batches),
        batch_error_ratio=median(abs(said.mean / actual - 1) for actual, said in batches)
        if batches
        else None,
        batch_coverage_ratio=fmean(
            said.p10 <= actual <= said.p90
            for actual, said in batches
            if said.p10 is not None and said.p90 is not None
        )
        if batches
        else None,
    )


def _foreseen(
    batch: Sequence[Attempt], forecasters: Mapping[str, Forecaster], shared: Shared
) -> list[tuple[float, Distribution]]:
    """What a batch's attempts cost together and were foreseen to, of those whose history has an interval: nobody knows
    yet who will do them, nor what the first of them will show. Nothing where they cost nothing."""
    groups: dict[str, list[Attempt]] = {}
    for attempt in batch:
        groups.setdefault(attempt.key, []).append(attempt)
    records, means, actual = [], [], 0.0
    for key, group in groups.items():
        if key not in forecasters:
            continue
        outlook = forecasters[key].outlook()
        said = outlook.predict(outlook.levels(np.array([ln_works(attempt.works) for attempt in group])))
        is_known = ~np.isnan(said.p90[:, 0])
        if is_known.any():
            records.append(outlook.record)
            means.append(said.mean[is_known, 0])
            actual += math.fsum(a.cost for a, is_one in zip(group, is_known, strict=True) if is_one)
    if not actual:
        return []
    sums, squares = np.array([(mean.sum(), mean @ mean) for mean in means]).T
    return [(actual, total(np.array(records), 0, sums, squares, shared.totals()[0]))]


def pinball(share: float, actual: float, predicted: float) -> float:
    """The loss of which the `share` quantile has the least (Koenker and Bassett 1978)."""
    off = actual - predicted
    return max(share * off, (share - 1) * off)


@dataclass(slots=True)
class _Tally:
    actual: list[float] = field(default_factory=list)
    means: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    covered: list[bool] = field(default_factory=list)

    def add(self, actual: float, said: _Said, *, has_interval: bool) -> None:
        self.actual.append(actual)
        self.means.append(said.mean)
        if actual > 0:
            self.errors.append(abs(said.middle - actual) / actual)
        if has_interval and said.low is not None and said.high is not None:
            self.losses.append(pinball(SHARES[-1], actual, said.high))
            self.covered.append(said.low <= actual <= said.high)

    def score(self, name: str) -> Score:
        totals = [
            abs(sum(self.means[start : start + TOTAL_OF]) / total - 1)
            for start in range(0, len(self.actual) - TOTAL_OF + 1, TOTAL_OF)
            if (total := sum(self.actual[start : start + TOTAL_OF]))
        ]
        everything = sum(self.actual)
        return Score(
            name=name,
            mdape_ratio=median(self.errors) if self.errors else None,
            p90_loss=fmean(self.losses) if self.losses else None,
            coverage_ratio=fmean(self.covered) if self.covered else None,
            total_error_ratio=median(totals) if totals else None,
            bias_ratio=sum(self.means) / everything - 1 if everything else None,
        )


class _Predictor(Protocol):
    """Predicts what units of work cost from the costs and units before them."""

    def predict(self, units: float) -> _Said: ...

    def learn(self, cost: float, units: float) -> None: ...


class _Mean:
    """The cost of all over the units of all, and the P10 and P90 of a normal distribution about it with the deviation
    of the costs per unit."""

    def __init__(self) -> None:
        self._units, self._level = 0.0, 0.0
        self._count, self._mean, self._squares = 0, 0.0, 0.0  # of the costs per unit

    def predict(self, units: float) -> _Said:
        variance = self._squares / (self._count - 1) if self._count > 1 else 0.0
        return _normal(self._level, variance, units, self._count)

    def learn(self, cost: float, units: float) -> None:
        self._units += units
        self._level += (cost - self._level * units) / self._units
        self._count += 1
        off = cost / units - self._mean
        self._mean += off / self._count
        self._squares += off * (cost / units - self._mean)


class _WeightedMean:
    """The same of exponentially weighted costs and units, the newest with a tenth of the weight."""

    def __init__(self) -> None:
        self._cost, self._units = 0.0, 0.0
        self._count, self._mean, self._variance = 0, 0.0, 0.0  # of the costs per unit

    def predict(self, units: float) -> _Said:
        return _normal(self._cost / self._units, self._variance, units, self._count)

    def learn(self, cost: float, units: float) -> None:
        self._count += 1
        share = _WEIGHT_OF_NEWEST if self._count > 1 else 1.0
        self._cost += share * (cost - self._cost)
        self._units += share * (units - self._units)
        off = cost / units - self._mean
        self._mean += share * off
        self._variance = (1 - share) * (self._variance + share * off * off)


class _Median:
    """The median, P10 and P90 of the costs per unit."""

    def __init__(self) -> None:
        self._ordered: list[float] = []

    def predict(self, units: float) -> _Said:
        low, middle, high = (self._at(share) * units for share in SHARES)
        if len(self._ordered) < INTERVAL_FROM:
            return _Said(middle, middle)
        return _Said(middle, middle, low, high)

    def learn(self, cost: float, units: float) -> None:
        insort(self._ordered, cost / units)

    def _at(self, share: float) -> float:
        place = share * (len(self._ordered) - 1)
        below = math.floor(place)
        above = min(below + 1, len(self._ordered) - 1)
        return self._ordered[below] + (place - below) * (self._ordered[above] - self._ordered[below])


_BASELINES: Mapping[str, type[_Mean] | type[_WeightedMean] | type[_Median]] = {
    "mean": _Mean,
    "weighted mean": _WeightedMean,
    "median": _Median,
}


def _normal(mean: float, variance: float, units: float, count: int) -> _Said:
    if count < INTERVAL_FROM:
        return _Said(mean * units, mean * units)
    reach = NORMAL_P90 * math.sqrt(variance)
    return _Said(mean * units, mean * units, (mean - reach) * units, (mean + reach) * units)
