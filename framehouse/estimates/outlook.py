"""What the next jobs of one workflow at one tier will cost: what learning leaves behind for estimates to read.

An outlook is a record of fixed size, written by learning and read by estimates as it is, so that asking costs next to
nothing however long the history is. C is the number of costs, m of jobs that are asked for.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from framehouse.estimates.candidates import (
    BASES,
    JOBS,
    MEAN,
    MEDIAN,
    NORMAL_P90,
    SEGMENTS,
    SHARES,
    STATISTICS,
    WORKERS,
    Array,
)

#: Numbers of consecutive jobs over which errors of totals are kept.
HORIZONS = (8, 32, 128)
#: Fewer samples have no interval; nor has a cost that is often nothing and at times something.
INTERVAL_FROM = 3
MOSTLY_KNOWN = 0.99
_FEW_COLD = 0.005
_HALVINGS = 16
_SLACK = 1e-9


def layout(costs: int) -> np.dtype[np.void]:
    """The record's fields.

    quantiles      ln of P10, P50, P90 and mean above the yardstick, by cost, worker and basis
    losses         each yardstick's loss so far
    lines          fixed cost and cost per segment, without and with the worker's factor
    segments_seen  ln of the fewest and the most segments of an attempt
    counts         attempts that are remembered and know the cost
    known_ratio    share of attempts whose cost is not zero
    cold_ratio, cold_extra  share of cold starts, and what one adds, in the cost's unit
    sd             standard deviation of a job's relative error about its mean, on any worker
    rho            correlation of the errors of jobs of one batch, by horizon
    samples        how many samples the prediction rests on, recent ones counting more
    retry_ratio, failed_ratio  share of attempts that fail, and how long they run in proportion to others
    """
    return np.dtype(
        [
            ("quantiles", "f8", (costs, len(WORKERS), len(BASES), STATISTICS)),
            ("losses", "f8", (costs, len(WORKERS), len(BASES))),
            ("lines", "f8", (costs, 2, 2)),
            ("segments_seen", "f8", (2,)),
            ("counts", "i8", (costs,)),
            ("known_ratio", "f8", (costs,)),
            ("cold_ratio", "f8", (costs,)),
            ("cold_extra", "f8", (costs,)),
            ("sd", "f8", (costs,)),
            ("rho", "f8", (costs, len(HORIZONS))),
            ("samples", "f8", (costs,)),
            ("retry_ratio", "f8"),
            ("failed_ratio", "f8"),
        ]
    )


@dataclass(frozen=True, slots=True)
class Predicted:
    """What m jobs cost, as arrays (m, C) in the costs' units: NaN where unknown, P10 and P90 also where too few or too
    many zeros were seen. basis and worker are indices of BASES and WORKERS."""

    mean: Array
    p10: Array
    p50: Array
    p90: Array
    basis: npt.NDArray[np.intp]
    worker: npt.NDArray[np.intp]


class Outlook:
    """The predictions of one history; `record` is of `layout(costs)`."""

    def __init__(self, record: np.void) -> None:
        self.record = record

    def yards(self, ln_works: Array) -> Array:
        """ln of each yardstick for jobs of these works: (m, WORKS) -> (m, C, without and with the factor, bases)."""
        lines = self.record["lines"]
        found = np.empty((len(ln_works), *lines.shape[:2], len(BASES)))
        found[..., :-1] = ln_works[:, None, None]
        found[..., -1] = np.log(lines[..., 0] + lines[..., 1] * np.exp(ln_works[:, SEGMENTS])[:, None, None])
        low, high = self.record["segments_seen"]
        segments = ln_works[:, SEGMENTS]
        # That the segments make no difference is known of as many as were seen, and of no others.
        is_beyond = ~np.isnan(segments) & ~((segments >= low - _SLACK) & (segments <= high + _SLACK))
        found[is_beyond, :, :, JOBS] = np.nan
        return found

    def levels(self, ln_works: Array, effect: Array | None = None, own: Array | None = None) -> Array:
        """ln of each yardstick on some worker: (m, C, WORKERS, bases). `effect` (C,) is its ln factor and `own`
        (C, bases) how it does on this very workflow beyond that; NaN or None where unknown."""
        plain, factored = np.moveaxis(self.yards(ln_works), 2, 0)
        found = np.full((*plain.shape[:2], len(WORKERS), len(BASES)), np.nan)
        found[:, :, 0] = plain
        if effect is not None:
            found[:, :, 1] = factored + effect[:, None]
            if own is not None:
                found[:, :, 2] = found[:, :, 1] + own
        found[:, np.isnan(self.record["quantiles"][..., MEDIAN])] = np.nan
        return found

    def yardstick(self, cost: int) -> tuple[str, int]:
        """By which worker's yardstick (of WORKERS) and which basis a cost is foreseen best, all being known."""
        losses = np.where(
            np.isnan(self.record["quantiles"][cost, ..., MEDIAN]), np.inf, self.record["losses"][cost]
        )
        worker, basis = np.unravel_index(int(losses.argmin()), losses.shape)
        return WORKERS[worker], int(basis)

    def predict(self, levels: Array) -> Predicted:
        """What jobs of these levels cost, each by the yardstick that did best so far among those that it has."""
        record = self.record
        losses = np.where(np.isnan(levels), np.inf, record["losses"]).reshape(*levels.shape[:2], -1)
        best = losses.argmin(axis=2)
        worker, basis = np.divmod(best, len(BASES))
        cost = np.arange(levels.shape[1])
        level = np.take_along_axis(levels.reshape(losses.shape), best[..., None], axis=2)
        with np.errstate(over="ignore"):
            said = np.exp(level + record["quantiles"][cost, worker, basis])  # (m, C, P10 P50 P90 mean)
        is_cold = record["cold_ratio"] > _FEW_COLD
        if is_cold.any():
            ratio, extra = record["cold_ratio"][is_cold], record["cold_extra"][is_cold]
            said[:, is_cold] = _with_cold_starts(said[:, is_cold], ratio, extra)
        said[..., MEAN] *= record["known_ratio"]
        said[:, (record["counts"] > 0) & (record["known_ratio"] == 0)] = 0.0
        has_interval = (record["counts"] >= INTERVAL_FROM) & (
            (record["known_ratio"] >= MOSTLY_KNOWN) | (record["known_ratio"] == 0)
        )
        said[:, ~has_interval, 0] = said[:, ~has_interval, 2] = np.nan
        low, middle, high, mean = np.moveaxis(said, 2, 0)
        return Predicted(mean, low, middle, high, basis, worker)


def _with_cold_starts(said: Array, ratio: Array, extra: Array) -> Array:
    """P10, P50, P90 and mean of jobs of which a share starts cold, which adds so much: (m, C, 4).

    The quantiles are those of the mixture of the warm distribution (ln is two normal halves about its median) and the
    same moved up, found by halving the interval between both.
    """
    middle = np.log(said[..., MEDIAN])
    down = np.maximum(middle - np.log(said[..., 0]), 1e-9) / NORMAL_P90
    up = np.maximum(np.log(said[..., 2]) - middle, 1e-9) / NORMAL_P90

    def below(value: Array) -> Array:
        off = np.log(np.maximum(value, 1e-300)) - middle
        return normal_share(np.where(off < 0, off / down, off / up))

    found = said.copy()
    for index, share in enumerate(SHARES):
        low = said[..., index].copy()
        high = low + extra
        for _ in range(_HALVINGS):
            half = (low + high) / 2
            is_low = (1 - ratio) * below(half) + ratio * below(half - extra) < share
            low, high = np.where(is_low, half, low), np.where(is_low, high, half)
        found[..., index] = (low + high) / 2
    found[..., MEAN] = said[..., MEAN] + ratio * extra
    return found


def normal_share(deviation: Array) -> Array:
    """The share of a normal distribution below so many deviations (Abramowitz and Stegun 26.2.17, within 1e-7)."""
    t = 1 / (1 + 0.2316419 * np.abs(deviation))
    series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    above = series * np.exp(-deviation * deviation / 2) / np.sqrt(2 * np.pi)
    found: Array = np.where(deviation < 0, above, 1 - above)
    return found
