"""How far the total of several jobs may be from the sum of their means: errors that jobs of a batch share.

Of n independent relative errors with deviation sd, the total's would be sd / sqrt(n). The errors of a batch are not
independent: the mean that all its jobs were predicted by rests on few samples, and what changes after the prediction
changes for all of them. With a correlation rho between two jobs' errors and m samples behind the mean, the variance of
the total's relative error is

    sd^2 (rho + (1 - rho) (1/n + 1/m))

which is the design effect of cluster samples (Kish 1965) with the cluster's own mean unknown. rho is measured: at the
begin of each run of 8, 32 and 128 consecutive jobs their means are put down, and at its end compared with what they
cost. Different histories share a part of their errors too (a slow network, a driver): the covariance of their runs,
measured likewise, adds to that of totals over several.

Each run also moves the sides of the interval of its length by whether it lay within (adaptive conformal inference, as
for single jobs). So do runs of consecutive jobs of all histories, apart: the more the jobs of a total are of different
histories, the more its interval is stretched as theirs.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from framehouse.estimates.candidates import (
    BASES,
    MEAN,
    MEDIAN,
    NORMAL_P90,
    SAME,
    SEGMENTS,
    SHARES,
    Array,
    ln_line,
)
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
#: ln of the most that an interval is stretched or drawn together.
FURTHEST_STRETCH = 1.5
_FURTHEST = 5.0
#: Whose jobs a run is of.
KINDS = ("one history", "several")
_SUMS = 5


def _runs_layout(costs: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """What one history contributes to runs that are under way: sums of what its jobs cost and were predicted to, and of
    the latter's squares; by what they were predicted (basis, ln of the mean above the yardstick, line, and what cold
    starts add) and how well that was known (samples, sd, rho by horizon)."""
    each = (costs, _HORIZONS)
    return [
        ("actual", "f8", each),
        ("predicted", "f8", each),
        ("squares", "f8", each),
        ("basis", "i8", each),
        ("ln_mean", "f8", each),
        ("line", "f8", (*each, 2)),
        ("cold", "f8", each),
        ("samples", "f8", each),
        ("sd", "f8", each),
        ("rho", "f8", (*each, _HORIZONS)),
    ]


def blocks_layout(costs: int) -> np.dtype[np.void]:
    """The runs of one history (jobs so far), its part in those of all (the number of each), and rho so far (weight,
    sum)."""
    return np.dtype(
        [
            ("own", [("jobs", "i8", (_HORIZONS,)), *_runs_layout(costs)]),
            ("among", [("number", "i8", (_HORIZONS,)), *_runs_layout(costs)]),
            ("rho", "f8", (costs, _HORIZONS, 2)),
        ]
    )


def shared_blocks_layout(costs: int) -> np.dtype[np.void]:
    """What all histories have in common: rho and the covariance of two of them (weight, sum); the ln of the stretch of
    runs of one and of all histories by horizon (down, up); by cost the last run's error and whose it was; and the runs
    of all that are under way: their numbers, jobs and sums."""
    each = (costs, _HORIZONS)
    return np.dtype(
        [
            ("rho", "f8", (*each, 2)),
            ("common", "f8", (costs, 2)),
            ("stretch", "f8", (costs, len(KINDS), _HORIZONS, 2)),
            ("last_error", "f8", (costs,)),
            ("last_history", "i8", (costs,)),
            ("number", "i8", (_HORIZONS,)),
            ("jobs", "i8", (_HORIZONS,)),
            ("actual", "f8", each),
            ("sums", "f8", (*each, _SUMS)),
        ]
    )


class Blocks:
    """The runs of one history, and its part in those of all."""

    def __init__(self, record: np.void, shared: np.void, history: int) -> None:
        self._record, self._shared, self._history = record, shared, history

    def learn(self, outlook: Outlook, ln_works: Array, costs: Array) -> None:
        """Add an attempt that `outlook` had not seen to the runs; costs (C,) are NaN where unknown."""
        own, among, shared = self._record["own"], self._record["among"], self._shared
        for horizon in range(_HORIZONS):
            if own["jobs"][horizon] == 0:
                _begin(own, horizon, outlook)
            # Of a history that joins later nothing was learnt in between.
            if among["number"][horizon] != shared["number"][horizon] + 1:
                _begin(among, horizon, outlook)
                among["number"][horizon] = shared["number"][horizon] + 1
        own["jobs"] += 1
        _add(own, ln_works, costs)
        before, actual = self._sums(among), among["actual"].copy()
        _add(among, ln_works, costs)
        shared["jobs"] += 1
        shared["actual"] += among["actual"] - actual
        shared["sums"] += self._sums(among) - before
        for horizon, length in enumerate(HORIZONS):
            if own["jobs"][horizon] >= length:
                self._end(horizon)
            if shared["jobs"][horizon] >= length:
                self._end_among(horizon)

    def rho(self) -> Array:
        """The correlation of errors within a batch, by horizon, leaning on that of all histories: (C, horizons)."""
        own, shared = self._record["rho"], self._shared["rho"]
        usual = shared[..., 1] / shared[..., 0]
        found: Array = np.clip((own[..., 1] + _RHO_PRIOR * usual) / (own[..., 0] + _RHO_PRIOR), 0.0, _MOST)
        return found

    def _sums(self, runs: np.void) -> Array:
        """What this history adds to the sums of runs of all: (C, horizons, _SUMS)."""
        return _summed(runs["predicted"], runs["squares"], runs["sd"], runs["rho"], runs["samples"])

    def _end(self, horizon: int) -> None:
        record, shared = self._record, self._shared
        own = record["own"]
        own["jobs"][horizon] = 0
        known = np.all([own[name][:, horizon] > 0 for name in ("actual", "predicted", "sd")], axis=0)
        if not known.any():
            return
        actual, predicted, squares, sd, samples = (
            own[name][known, horizon] for name in ("actual", "predicted", "squares", "sd", "samples")
        )
        ratio = actual / predicted
        error = np.minimum(ratio - 1, _FURTHEST) / sd
        alone = squares / predicted**2 + 1 / samples
        rho = np.clip((error * error - alone) / np.maximum(1 - alone, 0.1), -_MOST, _MOST)
        spread = np.sqrt(self._sums(own)[known, horizon, 1]) / predicted
        _stretch(
            shared["stretch"][:, 0, horizon],
            known,
            _missed(ratio, spread, shared["stretch"][known, 0, horizon]),
        )
        added = np.stack([np.ones_like(rho), rho], axis=1)
        record["rho"][known, horizon] = record["rho"][known, horizon] * _FORGET_RUN + added
        shared["rho"][known, horizon] = shared["rho"][known, horizon] * _FORGET_SHARED_RUN + added
        if horizon == _COMPARED:
            self._compare(known, error)

    def _end_among(self, horizon: int) -> None:
        shared = self._shared
        actual, sums = shared["actual"][:, horizon].copy(), shared["sums"][:, horizon].copy()
        shared["number"][horizon] += 1
        shared["jobs"][horizon] = 0
        shared["actual"][:, horizon] = shared["sums"][:, horizon] = 0.0
        spread, mix = _spread(sums, common(shared))
        known = (actual > 0) & (spread > 0)
        if not known.any():
            return
        mix = mix[known, None]
        ratio = actual[known] / sums[known, 0]
        one, several = (shared["stretch"][:, kind, horizon] for kind in range(len(KINDS)))
        missed = _missed(ratio, spread[known], (1 - mix) * one[known] + mix * several[known])
        _stretch(several, known, mix * missed)

    def _compare(self, known: npt.NDArray[np.bool_], error: Array) -> None:
        """The covariance with the run of another history that ended before this one, in units of both deviations."""
        shared = self._shared
        last = shared["last_history"][known]
        is_other = (last != 0) & (last != self._history)
        product = np.clip(error * shared["last_error"][known], -_MOST, _MOST)
        added = np.stack([np.ones_like(product), product], axis=1)[is_other]
        others = np.flatnonzero(known)[is_other]
        shared["common"][others] = shared["common"][others] * _FORGET_SHARED_RUN + added
        shared["last_error"][known], shared["last_history"][known] = error, self._history


def _begin(runs: np.void, horizon: int, outlook: Outlook) -> None:
    said = outlook.record
    losses = np.where(np.isnan(said["quantiles"][:, 0, :, MEDIAN]), np.inf, said["losses"][:, 0])
    basis = losses.argmin(axis=1)
    runs["basis"][:, horizon] = basis
    runs["ln_mean"][:, horizon] = said["quantiles"][np.arange(len(basis)), 0, basis, MEAN]
    runs["line"][:, horizon] = said["lines"][:, 0]
    runs["cold"][:, horizon] = said["cold_ratio"] * said["cold_extra"]
    for name in ("samples", "sd", "rho"):
        runs[name][:, horizon] = said[name]
    for sums in ("actual", "predicted", "squares"):
        runs[sums][:, horizon] = 0.0


def _add(runs: np.void, ln_works: Array, costs: Array) -> None:
    """Add a job to what was predicted when each run began, and to what it cost."""
    yard = np.append(ln_works, math.nan)[runs["basis"]]
    is_line = runs["basis"] == len(BASES) - 1
    if is_line.any():
        yard[is_line] = ln_line(runs["line"][is_line], ln_works[SEGMENTS])
    predicted = np.exp(runs["ln_mean"] + yard) + runs["cold"]
    actual = np.broadcast_to(costs[:, None], predicted.shape)
    is_known = ~np.isnan(predicted + actual)
    runs["actual"][is_known] += actual[is_known]
    runs["predicted"][is_known] += predicted[is_known]
    runs["squares"][is_known] += predicted[is_known] ** 2


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


#: What intervals of totals need besides outlooks: the covariance of two histories, and the ln of the stretch.
TOGETHER = np.dtype([("common", "f8"), ("stretch", "f8", (len(KINDS), _HORIZONS, 2))])


def together(shared: np.void) -> npt.NDArray[np.void]:
    """That of each cost, (C,)."""
    found = np.zeros(len(shared["common"]), TOGETHER)
    found["common"], found["stretch"] = common(shared), shared["stretch"]
    return found


def total(
    records: npt.NDArray[np.void], cost: int, means: Array, squares: Array, of_all: np.void
) -> Distribution:
    """Mean, P10, P50 and P90 of the sum over k histories: a log-normal of this mean and variance, whose sides are
    stretched by what runs so far missed.

    records  of the histories' outlooks, (k,)
    means    the sum of the means of each one's jobs, (k,), and squares that of their squares
    of_all   one of `together`
    """
    known = means > 0
    if not known.any():
        return Distribution(0.0, 0.0, 0.0, 0.0)
    means, squares, records = means[known], squares[known], records[known]
    sd, rho, samples = (records[name][:, cost] for name in ("sd", "rho", "samples"))
    sums = _summed(means, squares, sd, rho, samples).sum(axis=0)
    spread, mix = _spread(sums, of_all["common"])
    one, several = _at_size(sums[0] * sums[0] / squares.sum(), np.moveaxis(of_all["stretch"], 1, 2))
    low, middle, high = _ends(spread, (1 - mix) * one + mix * several)
    found = float(sums[0])
    return Distribution(found, found * float(low), found * float(middle), found * float(high))


def _summed(predicted: Array, squares: Array, sd: Array, rho: Array, samples: Array) -> Array:
    """What jobs of one history add to a total: mean, variance of the error, and for what is shared with others mean
    times deviation, its square and the square of the mean: (..., _SUMS), rho having one axis more than all others."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shared = _at_size(predicted * predicted / squares, rho)
        alone = squares + predicted * predicted / samples
        variance = sd * sd * (shared * predicted * predicted + np.maximum(1 - shared, 0) * alone)
    deviation = predicted * sd
    found = np.stack([predicted, variance, deviation, deviation * deviation, predicted * predicted], axis=-1)
    return np.where(predicted[..., None] > 0, found, 0.0)


def _spread(sums: Array, covariance: Array) -> tuple[Array, Array]:
    """The standard deviation of a total's relative error, and how much of it is of different histories: none (0) to
    evenly of very many (1)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shared = covariance * np.maximum(sums[..., 2] ** 2 - sums[..., 3], 0.0)
        return np.sqrt(sums[..., 1] + shared) / sums[..., 0], 1 - sums[..., 4] / sums[..., 0] ** 2


def _at_size(jobs: Array, by_horizon: Array) -> Array:
    """What holds for so many jobs, between the horizons (the last axis) in proportion to the logarithm and beyond them
    as at the nearest."""
    size = np.maximum(np.nan_to_num(jobs, nan=1.0), 1.0)
    place: Array = np.log(size / HORIZONS[0]) / math.log(HORIZONS[1] / HORIZONS[0])
    place = np.clip(place, 0, _HORIZONS - 1)
    near = np.maximum(1 - np.abs(place[..., None] - np.arange(_HORIZONS)), 0.0)
    found: Array = (near * by_horizon).sum(axis=-1)
    return found


def _missed(ratio: Array, spread: Array, stretch: Array) -> Array:
    """Whether each of these relative totals lay below and above its interval, minus how often each should: (n, 2).

    Costs that are the same each time lie within however narrow an interval, and say nothing of it.
    """
    low, _, high = _ends(spread, stretch)
    found: Array = np.stack([ratio < low, ratio > high], axis=-1).astype(np.float64) - SHARES[0]
    found[np.abs(ratio - 1) <= SAME] = 0.0
    return found


def _stretch(stretch: Array, known: npt.NDArray[np.bool_], missed: Array) -> None:
    """Move the sides (C, 2) of the costs that are known by what was missed of them."""
    moved = stretch[known] + _STRETCH_RATE * missed
    stretch[known] = np.clip(moved, -FURTHEST_STRETCH, FURTHEST_STRETCH)


def _ends(spread: Array, stretch: Array) -> tuple[Array, Array, Array]:
    """P10, P50 and P90 of a log-normal with mean 1 and this deviation, its sides stretched (ln; down, up)."""
    variance = np.log1p(spread * spread)
    reach, middle = NORMAL_P90 * np.sqrt(variance), -variance / 2
    down, up = np.moveaxis(np.exp(stretch), -1, 0)
    return np.exp(middle - reach * down), np.exp(middle), np.exp(middle + reach * up)
