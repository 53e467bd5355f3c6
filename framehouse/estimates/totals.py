"""How far the total of several jobs may be from the sum of their means: errors that jobs of a batch share.

Of n independent relative errors with deviation sd, the total's would be sd / sqrt(n). The errors of a batch are not
independent: the mean that all its jobs were predicted by rests on few samples, and what changes after the prediction
changes for all of them. With a correlation rho between two jobs' errors and m samples behind the mean, the variance of
the total's relative error is

    sd^2 (rho + (1 - rho) (1/n + 1/m))

which is the design effect of cluster samples (Kish 1965) with the cluster's own mean unknown. rho is measured: at the
begin of each run of 8, 32 and 128 consecutive jobs their means are put down, and at its end compared with what they
cost. Different histories share a part of their errors too (a slow network, a driver): the covariance of their runs,
measured likewise, adds to that of totals over several. Each run also moves the sides of the interval by whether it lay
within (adaptive conformal inference, as for single jobs).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from framehouse.estimates.candidates import BASES, MEAN, MEDIAN, NORMAL_P90, SEGMENTS, SHARES, Array, ln_line
from framehouse.estimates.outlook import HORIZONS, Outlook

_HORIZONS = len(HORIZONS)
#: The run whose errors are compared between histories.
_COMPARED = HORIZONS.index(32)
_FORGET_RUN, _FORGET_SHARED_RUN = 0.9, 0.99
_RHO_PRIOR = 4.0
_COMMON_PRIOR = 10.0
#: One run tells at most this much of rho, that no outlier decides.
_MOST = 4.0
_STRETCH_RATE = 0.05
_FURTHEST = 5.0


def blocks_layout(costs: int) -> np.dtype[np.void]:
    """The runs that are under way: how many jobs, sums of what they cost and were predicted to, and of the latter's
    squares; by what they were predicted (basis, ln of the mean above the yardstick, line) and how well that was known
    (samples, sd); and rho so far (weight, sum)."""
    return np.dtype(
        [
            ("jobs", "i8", (_HORIZONS,)),
            ("actual", "f8", (costs, _HORIZONS)),
            ("predicted", "f8", (costs, _HORIZONS)),
            ("squares", "f8", (costs, _HORIZONS)),
            ("basis", "i8", (costs, _HORIZONS)),
            ("ln_mean", "f8", (costs, _HORIZONS)),
            ("line", "f8", (costs, _HORIZONS, 2)),
            ("samples", "f8", (costs, _HORIZONS)),
            ("sd", "f8", (costs, _HORIZONS)),
            ("rho", "f8", (costs, _HORIZONS, 2)),
        ]
    )


class Blocks:
    """The runs of one history."""

    def __init__(self, record: np.void, shared: np.void, history: int) -> None:
        self._record, self._shared, self._history = record, shared, history

    def learn(self, outlook: Outlook, ln_works: Array, costs: Array) -> None:
        """Add an attempt that `outlook` had not seen to the runs; costs (C,) are NaN where unknown."""
        record = self._record
        for horizon in range(_HORIZONS):
            if record["jobs"][horizon] == 0:
                self._begin(horizon, outlook)
        self._add(ln_works, costs)
        for horizon, length in enumerate(HORIZONS):
            if record["jobs"][horizon] >= length:
                self._end(horizon)

    def rho(self) -> Array:
        """The correlation of errors within a batch, by horizon, leaning on that of all histories: (C, horizons)."""
        own, shared = self._record["rho"], self._shared["rho"]
        usual = shared[..., 1] / shared[..., 0]
        found: Array = np.clip((own[..., 1] + _RHO_PRIOR * usual) / (own[..., 0] + _RHO_PRIOR), 0.0, _MOST)
        return found

    def _begin(self, horizon: int, outlook: Outlook) -> None:
        record, said = self._record, outlook.record
        losses = np.where(np.isnan(said["quantiles"][:, 0, :, MEDIAN]), np.inf, said["losses"][:, 0])
        basis = losses.argmin(axis=1)
        record["basis"][:, horizon] = basis
        record["ln_mean"][:, horizon] = said["quantiles"][np.arange(len(basis)), 0, basis, MEAN]
        record["line"][:, horizon] = said["lines"][:, 0]
        record["samples"][:, horizon] = said["samples"]
        record["sd"][:, horizon] = said["sd"]
        for sums in ("actual", "predicted", "squares"):
            record[sums][:, horizon] = 0.0

    def _add(self, ln_works: Array, costs: Array) -> None:
        record = self._record
        works = np.append(ln_works, math.nan)
        yard = works[record["basis"]]
        is_line = record["basis"] == len(BASES) - 1
        if is_line.any():
            yard[is_line] = ln_line(record["line"][is_line], ln_works[SEGMENTS])
        predicted = np.exp(record["ln_mean"] + yard)
        actual = np.broadcast_to(costs[:, None], predicted.shape)
        is_known = ~np.isnan(predicted + actual)
        record["actual"][is_known] += actual[is_known]
        record["predicted"][is_known] += predicted[is_known]
        record["squares"][is_known] += predicted[is_known] ** 2
        record["jobs"] += 1

    def _end(self, horizon: int) -> None:
        record, shared = self._record, self._shared
        record["jobs"][horizon] = 0
        usual = self.rho()[:, horizon]
        actual, predicted, squares = (record[sums][:, horizon] for sums in ("actual", "predicted", "squares"))
        known = (actual > 0) & (predicted > 0) & (record["sd"][:, horizon] > 0)
        if not known.any():
            return
        error = np.minimum(actual[known] / predicted[known] - 1, _FURTHEST) / record["sd"][known, horizon]
        alone = squares[known] / predicted[known] ** 2 + 1 / record["samples"][known, horizon]
        rho = np.clip((error * error - alone) / np.maximum(1 - alone, 0.1), -_MOST, _MOST)
        spread = record["sd"][known, horizon] * np.sqrt(
            usual[known] + np.maximum(1 - usual[known], 0) * alone
        )
        low, _, high = _ends(spread, np.exp(shared["stretch_of_totals"][known]).T)
        ratio = actual[known] / predicted[known]
        missed = np.stack([ratio < low, ratio > high], axis=1) - SHARES[0]
        shared["stretch_of_totals"][known] += _STRETCH_RATE * missed
        added = np.stack([np.ones_like(rho), rho], axis=1)
        record["rho"][known, horizon] = record["rho"][known, horizon] * _FORGET_RUN + added
        shared["rho"][known, horizon] = shared["rho"][known, horizon] * _FORGET_SHARED_RUN + added
        if horizon == _COMPARED:
            self._compare(known, error)

    def _compare(self, known: npt.NDArray[np.bool_], error: Array) -> None:
        """The covariance with the run of another history that ended before this one, in units of both deviations."""
        shared = self._shared
        if shared["last_history"] not in (0, self._history):
            product = np.clip(error * shared["last_error"][known], -_MOST, _MOST)
            added = np.stack([np.ones_like(product), product], axis=1)
            shared["common"][known] = shared["common"][known] * _FORGET_SHARED_RUN + added
        shared["last_error"][known] = error
        shared["last_history"] = self._history


def common(shared: np.void) -> Array:
    """The covariance of two histories' errors in units of their deviations, (C,)."""
    found: Array = np.maximum(shared["common"][:, 1] / (shared["common"][:, 0] + _COMMON_PRIOR), 0.0)
    return found


@dataclass(frozen=True, slots=True)
class Distribution:
    """A prediction: the mean, and the 10th, 50th and 90th percentile (None below three samples)."""

    mean: float
    p10: float | None
    p50: float | None
    p90: float | None

    def times(self, factor: float) -> "Distribution":
        """The same in another unit."""
        low, middle, high = (None if end is None else end * factor for end in (self.p10, self.p50, self.p90))
        return Distribution(self.mean * factor, low, middle, high)


@dataclass(frozen=True, slots=True)
class Part:
    """The jobs of one history in a batch: the sum of their means and of the squares of these, how far one job scatters
    (sd of its relative error), how jobs of a batch correlate by horizon, and how many samples the means rest on."""

    mean: float
    squares: float
    sd: float
    rho: Sequence[float]
    samples: float

    @property
    def jobs(self) -> float:
        """How many equal jobs would average out as these do."""
        return self.mean * self.mean / self.squares

    @property
    def shared_rho(self) -> float:
        """rho of a batch of this size, between the horizons in proportion to the logarithm; the last one beyond."""
        place = math.log(max(self.jobs, HORIZONS[0]) / HORIZONS[0]) / math.log(HORIZONS[1] / HORIZONS[0])
        below = min(int(place), _HORIZONS - 1)
        above = min(below + 1, _HORIZONS - 1)
        return self.rho[below] + (place - below) * (self.rho[above] - self.rho[below])

    @property
    def variance(self) -> float:
        """Of the relative error of the sum."""
        rho = self.shared_rho
        return self.sd * self.sd * (rho + max(1 - rho, 0.0) * (1 / self.jobs + 1 / self.samples))


def part_of(record: np.void, cost: int, means: Sequence[float]) -> Part:
    """Jobs of these means by the record of their history's outlook."""
    return Part(
        mean=math.fsum(means),
        squares=math.fsum(mean * mean for mean in means),
        sd=float(record["sd"][cost]),
        rho=record["rho"][cost].tolist(),
        samples=float(record["samples"][cost]),
    )


def total(parts: Sequence[Part], common: float, stretch: Sequence[float]) -> Distribution:
    """Mean, P10, P50 and P90 of the sum over several histories: a log-normal of this mean and variance, whose sides are
    stretched by what runs so far missed (down, up).

    `common` is the covariance of two histories' errors in units of their deviations; never more than what the jobs of
    one history share.
    """
    known = [part for part in parts if part.mean > 0]
    mean = math.fsum(part.mean for part in known)
    if mean == 0:
        return Distribution(0.0, 0.0, 0.0, 0.0)
    variance = math.fsum((part.mean / mean) ** 2 * part.variance for part in known)
    together = [part.mean / mean * part.sd * math.sqrt(min(common, part.shared_rho)) for part in known]
    variance += math.fsum(together) ** 2 - math.fsum(x * x for x in together)
    low, middle, high = _ends(np.sqrt(variance), stretch)
    return Distribution(mean, mean * float(low), mean * float(middle), mean * float(high))


def _ends(spread: Array, stretch: Array | Sequence[float]) -> tuple[Array, Array, Array]:
    """P10, P50 and P90 of a log-normal with mean 1 and this deviation, its sides stretched (down, up)."""
    variance = np.log1p(spread * spread)
    reach, middle = NORMAL_P90 * np.sqrt(variance), -variance / 2
    return np.exp(middle - reach * stretch[0]), np.exp(middle), np.exp(middle + reach * stretch[1])
