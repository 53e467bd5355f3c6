"""What every candidate says of a cost: the yardsticks it may be measured against, and how fast it forgets.

    yardstick    the job itself, its segments, frames, megapixel-frames or input seconds, or a fixed cost plus so much
                 per segment; with or without the worker's factor
    half-life    after how many attempts a sample counts half

Costs and amounts of work are taken as natural logarithms throughout. C is the number of costs, n of attempts.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

#: Amounts of work that a cost may be in proportion to, best known first; the job itself is always 1.
WORKS = ("segments", "frames", "megapixel_frames", "input_seconds", "jobs")
BASES = (*WORKS, "fixed_and_segments")
#: Whoever does it; by the worker's factor; and by that and how the worker does on this very workflow.
WORKERS = ("any", "factor", "own")
HALF_LIVES = (4.0, 16.0, 64.0)
SHARES = (0.1, 0.5, 0.9)
#: What a candidate says: P10, P50, P90 and the mean.
STATISTICS = len(SHARES) + 1
SEGMENTS, JOBS, MEDIAN, MEAN = WORKS.index("segments"), WORKS.index("jobs"), 1, 3
#: The 0.9 quantile of the normal distribution.
NORMAL_P90 = 1.2815515655446004

#: As many samples as this weigh as much as the spread that all histories have in common.
SPREAD_PRIOR = 4.0
#: How near to what is expected (ln) a cost is the same.
SAME = 1e-6
_OWN_PRIOR = 4.0
_FIT_FROM = 8


class Table:
    """What the candidates say of ln(cost) above their yardstick, from n attempts, oldest first.

    statistics  (C, without and with the worker's factor, bases, half-lives, P10 P50 P90 mean), NaN where unknown
    lines       (C, without and with the factor, fixed cost and cost per segment), NaN where the two are not told apart
    """

    def __init__(self, ln_costs: Array, effects: Array, ln_works: Array, workers: Array, sd: Array) -> None:
        """ln_costs and effects (the workers' ln factors) are (n, C), ln_works (n, WORKS), workers (n,), sd (C, 2)."""
        self._workers = workers
        self._segments = ln_works[:, SEGMENTS]
        n, costs = ln_costs.shape
        weights = np.stack([recency(n, half_life) for half_life in HALF_LIVES], axis=1)  # (n, half-lives)
        adjusted = np.stack([ln_costs, ln_costs - effects], axis=2)  # (n, C, 2)
        self.lines = _lines(adjusted, self._segments, weights[:, -1])
        measures = yards(self.lines, ln_works)
        self.rest = adjusted[..., None] - measures  # (n, C, 2, bases)
        known = ~np.isnan(self.rest).all(axis=0)
        self.statistics = np.full((costs, 2, len(BASES), len(HALF_LIVES), STATISTICS), np.nan)
        if known.any():
            spreads = np.broadcast_to(sd[..., None], known.shape)[known]
            self.statistics[known] = _statistics(self.rest[:, known], measures[:, known], weights, spreads)

    @property
    def segments_seen(self) -> tuple[float, float]:
        """ln of the fewest and the most segments that an attempt had; NaN where none knows."""
        known = self._segments[~np.isnan(self._segments)]
        return (float(known.min()), float(known.max())) if len(known) else (np.nan, np.nan)

    def own(self, worker: int) -> Array:
        """How far a worker's attempts at this workflow were from their median beyond its factor: ln, (C, bases)."""
        off = self.rest[self._workers == worker, :, 1] - self.statistics[:, 1, :, -1, MEDIAN]
        count = (~np.isnan(off)).sum(axis=0)
        found: Array = np.nansum(off, axis=0) / (count + _OWN_PRIOR)
        found[count == 0] = np.nan
        return found


def recency(count: int, half_life: float) -> Array:
    """How much each of so many attempts counts, oldest first: the newest one whole, (count,)."""
    found: Array = 0.5 ** (np.arange(count - 1, -1, -1.0) / half_life)
    return found


def yards(lines: Array, ln_works: Array) -> Array:
    """ln of each yardstick for jobs of these works, (m, WORKS): (m, C, without and with the worker's factor, bases).

    lines are (C, 2, fixed cost and cost per segment), or for each job its own: (m, C, 2, 2).
    """
    found = np.empty((len(ln_works), *lines.shape[-3:-1], len(BASES)))
    found[..., : len(WORKS)] = ln_works[:, None, None]
    found[..., -1] = ln_line(lines, ln_works[:, SEGMENTS, None, None])
    return found


def ln_line(lines: Array, ln_segments: Array) -> Array:
    """ln of a fixed cost plus so much per segment; the line is the last axis."""
    found: Array = np.log(lines[..., 0] + lines[..., 1] * np.exp(ln_segments))
    return found


def _lines(ln_costs: Array, ln_segments: Array, weights: Array) -> Array:
    """A fixed cost and a cost per segment by weighted least squares of relative errors; (n, C, 2) -> (C, 2, 2)."""
    known = ~np.isnan(ln_costs + ln_segments[:, None, None])
    found = np.full((*ln_costs.shape[1:], 2), np.nan)
    some = ~np.isnan(ln_segments)
    if some.sum() < _FIT_FROM or np.ptp(ln_segments[some]) < 1e-9:
        return found
    one = np.where(known, np.exp(-np.where(known, ln_costs, 0.0)), 0.0)
    several = one * np.exp(np.where(some, ln_segments, 0.0))[:, None, None]
    weight = weights[:, None, None]
    a, b, c = ((weight * x * y).sum(axis=0) for x, y in ((one, one), (one, several), (several, several)))
    right, left = ((weight * x).sum(axis=0) for x in (one, several))
    determinant = a * c - b * b
    with np.errstate(divide="ignore", invalid="ignore"):
        fixed, marginal = (c * right - b * left) / determinant, (a * left - b * right) / determinant
        is_told = (
            (known.sum(axis=0) >= _FIT_FROM) & (determinant > 1e-9 * a * c) & (fixed > 0) & (marginal > 0)
        )
    found[is_told] = np.stack([fixed, marginal], axis=-1)[is_told]
    return found


def _statistics(values: Array, yards: Array, weights: Array, sd: Array) -> Array:
    """Weighted P10, P50, P90 and ln of the mean of exp, of each column and by each weighting.

    values and yards (n, columns) with NaN where unknown, weights (n, half-lives), sd (columns,); the answer is
    (columns, half-lives, 4). The distances of P10 and P90 from the median are half those of the values, half those of a
    normal distribution of their deviation, lean on those of one with deviation `sd` (as logarithms: how far costs
    scatter differs by powers of ten), and are as much wider as a prediction interval is whose mean and deviation are
    estimated (Student's t; Hahn and Meeker, Statistical Intervals).
    The mean is a sum over a sum, of costs over yardsticks: large jobs weigh what they weigh.
    """
    order = np.argsort(values, axis=0)  # NaN last
    ordered = np.take_along_axis(values, order, axis=0)
    weight = weights[order] * ~np.isnan(ordered)[..., None]  # (n, columns, half-lives)
    total = weight.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        place = (np.cumsum(weight, axis=0) - weight / 2) / total
        effective = total * total / (weight * weight).sum(axis=0)
        found = np.empty((*total.shape, STATISTICS))
        last = np.maximum((~np.isnan(ordered)).sum(axis=0) - 1, 0)[:, None]
        columns = np.arange(values.shape[1])[:, None]
        for index, share in enumerate(SHARES):
            above = np.minimum((place < share).sum(axis=0), last)
            below = np.maximum(above - 1, 0)
            lower, upper = _at(place, below), _at(place, above)
            step = np.where(upper > lower, (share - lower) / np.where(upper > lower, upper - lower, 1.0), 0.0)
            step = np.clip(step, 0.0, 1.0)
            low, high = ordered[below, columns], ordered[above, columns]
            found[..., index] = low + step * (high - low)
        filled = np.nan_to_num(ordered)[..., None]
        center = (filled * weight).sum(axis=0) / total
        deviation = np.sqrt((np.square(filled - center) * weight).sum(axis=0) / total)
        # Few samples say more of a normal distribution's ends than of any; half of each is near the better one.
        low = (found[..., 0] + center - NORMAL_P90 * deviation) / 2
        high = (found[..., 2] + center + NORMAL_P90 * deviation) / 2
        middle = found[..., MEDIAN].copy()
        own = effective / (effective + SPREAD_PRIOR)
        usual = np.maximum(NORMAL_P90 * sd[:, None], SAME) ** (1 - own)
        unsure = _t_p90(SPREAD_PRIOR + effective - 1) / NORMAL_P90 * np.sqrt(1 + 1 / effective)
        found[..., 0] = middle - unsure * usual * np.maximum(middle - low, SAME) ** own
        found[..., 2] = middle + unsure * usual * np.maximum(high - middle, SAME) ** own
        excess = np.exp(np.minimum(ordered[..., None] - middle, 50.0))
        sizes = (
            np.take_along_axis(np.exp(yards - np.nanmax(yards, axis=0)), order, axis=0)[..., None] * weight
        )
        found[..., MEAN] = middle + np.log(np.nansum(excess * sizes, axis=0) / np.nansum(sizes, axis=0))
    return found


def _t_p90(degrees: Array) -> Array:
    """The 0.9 quantile of Student's t, by its expansion about the normal one (Abramowitz and Stegun 26.7.5); within 1 %
    from three degrees of freedom on."""
    z = NORMAL_P90
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees * degrees)


def _at(values: Array, index: npt.NDArray[np.intp]) -> Array:
    """values[index[c, h], c, h]."""
    found: Array = np.take_along_axis(values, index[None], axis=0)[0]
    return found
