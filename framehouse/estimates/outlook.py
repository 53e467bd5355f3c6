"""What the next jobs of one workflow at one tier will cost: what learning leaves behind for estimates to read.

An outlook is a record of fixed size, written by learning and read by estimates as it is, so that asking costs next to
nothing however long the history is. C is the number of costs, m of jobs that are asked for.
"""

import math
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
    yards,
)

#: Numbers of consecutive jobs over which errors of totals are kept, each the same number of times the one before.
HORIZONS = (8, 32, 128)
#: Fewer samples have no interval; nor has a cost that is often nothing and at times something.
INTERVAL_FROM = 3
MOSTLY_KNOWN = 0.99
_SIXTEENTHS = np.linspace(0, 1, 17)
#: How many times its median a cold start may add to a job, for which its effect is reckoned; between them it is drawn
#: in proportion to the logarithm.
COLD_TIMES = np.geomspace(0.01, 100, 17)
_LN_COLD = np.log(COLD_TIMES)
_MARGIN, _SLACK = 0.5, 1e-9


def layout(costs: int) -> np.dtype[np.void]:
    """The record's fields.

    quantiles      ln of P10, P50, P90 and mean above the yardstick, by cost, worker and basis
    losses         each yardstick's loss so far
    lines          fixed cost and cost per segment, without and with the worker's factor
    segments_seen  ln of the fewest and the most segments of an attempt
    counts         attempts that are remembered and know the cost
    known_ratio    share of attempts whose cost is not zero
    cold_ratio, cold_extra  share of cold starts, and what one takes more, in the cost's unit
    cold_parts     the part of that which is added to P10, P50 and P90 of a job whose median it is so many times
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
            ("cold_parts", "f8", (costs, len(COLD_TIMES), len(SHARES))),
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
    """The predictions of one history for all jobs (one record of `layout(costs)`), or for each job those of its own (m
    records)."""

    def __init__(self, records: npt.NDArray[np.void]) -> None:
        self._records = records

    @property
    def record(self) -> np.void:
        """The record of one history."""
        found: np.void = self._records[0]
        return found

    def yards(self, ln_works: Array) -> Array:
        """ln of each yardstick for jobs of these works: (m, WORKS) -> (m, C, without and with the factor, bases)."""
        found = yards(self._records["lines"], ln_works)
        segments = ln_works[:, SEGMENTS]
        low, high = self._records["segments_seen"].T
        # That segments make no difference is known of about as many as were seen; where all had as many, of these.
        margin = np.minimum(_MARGIN * (high - low), math.log(2)) + _SLACK
        is_beyond = ~np.isnan(segments) & ~((segments >= low - margin) & (segments <= high + margin))
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
        return np.where(np.isnan(self._records["quantiles"][..., MEDIAN]), np.nan, found)

    @property
    def is_at_times_nothing(self) -> npt.NDArray[np.bool_]:
        """Whether more than one sample in a hundred is nothing, and others are not: (m, C)."""
        return is_at_times_nothing(self._records["known_ratio"])

    def yardstick(self, cost: int) -> tuple[str, int]:
        """By which worker's yardstick (of WORKERS) and which basis a cost is foreseen best, all being known."""
        record = self.record
        losses = np.where(np.isnan(record["quantiles"][cost, ..., MEDIAN]), np.inf, record["losses"][cost])
        worker, basis = np.unravel_index(int(losses.argmin()), losses.shape)
        return WORKERS[worker], int(basis)

    def predict(self, levels: Array) -> Predicted:
        """What jobs of these levels cost, each by the yardstick that did best so far among those that it has."""
        records, shape = self._records, levels.shape[:2]
        losses = np.where(np.isnan(levels), np.inf, records["losses"]).reshape(*shape, -1)
        best = losses.argmin(axis=2)
        worker, basis = np.divmod(best, len(BASES))
        level = np.take_along_axis(levels.reshape(losses.shape), best[..., None], axis=2)
        quantiles = np.broadcast_to(records["quantiles"], (*levels.shape, STATISTICS)).reshape(
            *losses.shape, -1
        )
        with np.errstate(over="ignore"):
            said = np.exp(level + np.take_along_axis(quantiles, best[..., None, None], axis=2)[:, :, 0])
        if (records["cold_extra"] > 0).any():
            self._add_cold_starts(said)
        counts, known = records["counts"], records["known_ratio"]
        said[..., MEAN] *= known
        said = np.where(((counts > 0) & (known == 0))[..., None], 0.0, said)
        has_interval = (counts >= INTERVAL_FROM) & ~self.is_at_times_nothing
        low, middle, high, mean = np.moveaxis(said, 2, 0)
        low, high = (np.where(has_interval, end, np.nan) for end in (low, high))
        return Predicted(mean, low, middle, high, basis, worker)

    def _add_cold_starts(self, said: Array) -> None:
        """Add to P10, P50, P90 and mean of warm jobs (m, C, 4) what cold starts do."""
        extra, table = self._records["cold_extra"], self._records["cold_parts"]
        with np.errstate(divide="ignore", invalid="ignore"):
            place = (np.log(extra / said[..., MEDIAN]) - _LN_COLD[0]) / (_LN_COLD[1] - _LN_COLD[0])
        place = np.clip(np.nan_to_num(place, posinf=len(_LN_COLD)), 0, len(_LN_COLD) - 1 - 1e-9)
        below = place.astype(np.intp)
        table = np.broadcast_to(table, (len(said), *table.shape[1:]))
        lower, upper = (
            np.take_along_axis(table, at[..., None, None], axis=2)[:, :, 0] for at in (below, below + 1)
        )
        said[..., : len(SHARES)] += (lower + (place - below)[..., None] * (upper - lower)) * extra[..., None]
        said[..., MEAN] += self._records["cold_ratio"] * extra


def is_at_times_nothing(known_ratio: Array) -> npt.NDArray[np.bool_]:
    """Whether more than one sample in a hundred is nothing, and others are not."""
    found: npt.NDArray[np.bool_] = (known_ratio > 0) & (known_ratio < MOSTLY_KNOWN)
    return found


def cold_parts(said: Array, ratio: float) -> Array:
    """The part of what a cold start adds that P10, P50 and P90 of warm jobs (C, 3) move by, if a share of jobs starts
    cold, by how many times the median that is: (C, COLD_TIMES, 3)."""
    costs, times = len(said), len(COLD_TIMES)
    warm = np.repeat(said / said[:, [MEDIAN]], times, axis=0)
    extra = np.tile(COLD_TIMES, costs)
    found: Array = (_added(warm, ratio, extra) / extra[:, None]).reshape(costs, times, len(SHARES))
    return found


def _added(said: Array, ratio: float, extra: Array) -> Array:
    """What is added to P10, P50 and P90 of warm jobs (m, 3) if a share of them starts cold, which takes `extra` (m,)
    more: (m, 3).

    They are those of the mixture of the warm distribution (ln is two normal halves about its median) and the same moved
    up, looked for between those two by dividing what is left into sixteen parts, twice.
    """
    middle = np.log(said[:, MEDIAN])[:, None, None]
    down = np.maximum(middle - np.log(said[:, 0])[:, None, None], 1e-9) / NORMAL_P90
    up = np.maximum(np.log(said[:, 2])[:, None, None] - middle, 1e-9) / NORMAL_P90

    def below(value: Array) -> Array:
        off = np.log(np.maximum(value, 1e-300)) - middle
        return normal_share(np.where(off < 0, off / down, off / up))

    low, width = said[:, : len(SHARES)].copy(), np.repeat(extra[:, None], len(SHARES), axis=1)
    for _ in range(2):
        value = low[..., None] + width[..., None] * _SIXTEENTHS  # (C, shares, 17)
        share = (1 - ratio) * below(value) + ratio * below(value - extra[:, None, None])
        width = width / (len(_SIXTEENTHS) - 1)
        low += width * np.maximum((share < np.array(SHARES)[:, None]).sum(axis=2) - 1, 0)
    return low + width / 2 - said[:, : len(SHARES)]


def normal_share(deviation: Array) -> Array:
    """The share of a normal distribution below so many deviations (Abramowitz and Stegun 26.2.17, within 1e-7)."""
    t = 1 / (1 + 0.2316419 * np.abs(deviation))
    series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    above = series * np.exp(-deviation * deviation / 2) / np.sqrt(2 * np.pi)
    found: Array = np.where(deviation < 0, above, 1 - above)
    return found
