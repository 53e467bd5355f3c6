"""What a cost will be, judged by what it was: forecasts that the history itself picks, and intervals that hold.

One `Forecaster` follows one cost (wall seconds, say) of one workflow at one tier, one attempt after the other. Several
candidates predict each attempt before it is known:

    yardstick    what the cost is measured against: the job itself, its segments, frames, megapixel-frames or input
                 seconds, or a fixed cost plus so much per segment; with or without the worker's factor, and that with
                 or without how the worker does on this very workflow
    half-life    after how many attempts a sample counts half

The pinball loss of each candidate's quantiles is kept (recent ones weigh more), and the best so far predicts. Spreads
of few samples lean on the spread that all histories of this cost have, never their level: nothing is guessed from
another workflow or tier. The interval is stretched by what recent intervals of as many samples missed on either side
(adaptive conformal inference: Gibbs and Candes 2021, on the logarithm of the stretch), so that one in ten costs lies
below P10 and one in ten above P90.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

#: Amounts of work that a cost may be in proportion to, best known first; the job itself is always 1.
WORKS = ("segments", "frames", "megapixel_frames", "input_seconds", "jobs")
BASES = (*WORKS, "fixed_and_segments")
WORKERS = ("any", "factor", "own")
HALF_LIVES = (4.0, 16.0, 64.0)
SHARES = (0.1, 0.5, 0.9)
#: Attempts of a workflow and tier that are remembered one by one.
WINDOW = 128
#: Fewer samples have no interval.
INTERVAL_FROM = 3

_SEGMENTS = WORKS.index("segments")
_JOBS = WORKS.index("jobs")
_MEDIAN, _MEAN = 1, 3
_STATISTICS = len(SHARES) + 1
#: The 0.9 quantile of the normal distribution.
NORMAL_P90 = 1.2815515655446004
#: As many samples as this weigh as much as what all histories have in common: for the spread, the choice, a worker.
_SPREAD_PRIOR, _CHOICE_PRIOR, _OWN_PRIOR = 8.0, 10.0, 4.0
_FORGET_LOSS, _FORGET_SHARED = 0.99, 0.999
_STRETCH_RATE, _OWN_STRETCH_RATE = 0.01, 0.02
_BUCKETS = 8
_LEAST_REACH = 1e-4
_FIT_FROM = 8
#: One number for each candidate and statistic; one for each yardstick.
_LOSSES = (len(WORKERS), len(BASES), len(HALF_LIVES), _STATISTICS)
_YARDSTICKS = _LOSSES[:2]


@dataclass(frozen=True, slots=True)
class Prediction:
    """A cost in its own unit: its mean and median, and P10 and P90 where there are three samples and more.

    basis and worker say by which yardstick; sample_count of how many attempts.
    """

    mean: float
    p10: float | None
    p50: float
    p90: float | None
    basis: str
    worker: str
    sample_count: int


@dataclass(slots=True)
class Shared:
    """What all histories of one cost have in common: the workers' factors, the usual spread, which candidates do well,
    and how far intervals have to be stretched, by the number of samples.

    effects     by worker: weight, and ln of the factor
    losses      (yardstick workers, bases, half-lives, statistics), and their weights (yardstick workers, bases)
    spread      weight, and sum of squared errors of ln
    stretch     (buckets of sample counts, down and up): ln
    """

    effects: dict[str, tuple[float, float]] = field(default_factory=dict)
    losses: Array = field(default_factory=lambda: np.zeros(_LOSSES))
    weights: Array = field(default_factory=lambda: np.zeros(_YARDSTICKS))
    spread: tuple[float, float] = (1.0, 0.09)
    stretch: Array = field(default_factory=lambda: np.zeros((_BUCKETS, 2)))

    @property
    def sd(self) -> float:
        """Standard deviation of ln(cost) about its prediction."""
        return math.sqrt(self.spread[1] / self.spread[0])


class Forecaster:
    """One cost of one workflow at one tier."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ln_costs = np.empty(0)
        self._ln_works = np.empty((0, len(WORKS)))
        self._effects = np.empty(0)
        self._workers: list[str | None] = []
        self._losses = np.zeros(_LOSSES)
        self._weights = np.zeros(_YARDSTICKS)
        self._stretch = np.zeros(2)
        self.sample_count = 0
        self._zeros = self._nonzeros = 0.0
        self._table: _Table | None = None

    def predict(self, works: Mapping[str, float], worker: str | None = None) -> Prediction | None:
        """What an attempt with these amounts of work will cost, on that worker or on any; None without history.

        `works` maps names of WORKS to amounts above zero; unknown ones are left out.
        """
        if self.sample_count == 0:
            return None
        if len(self._ln_costs) == 0:
            return Prediction(0.0, 0.0, 0.0, 0.0, "jobs", "any", self.sample_count)
        chosen = self._choose(_ln_works(works), worker)
        if chosen is None:
            return None
        known = self._nonzeros / (self._nonzeros + self._zeros)
        has_interval = self.sample_count >= INTERVAL_FROM and known >= 0.99
        low, middle, high = chosen.quantiles
        return Prediction(
            mean=chosen.mean * known,
            p10=math.exp(low) if has_interval else None,
            p50=math.exp(middle),
            p90=math.exp(high) if has_interval else None,
            basis=BASES[chosen.basis],
            worker=WORKERS[chosen.mode],
            sample_count=self.sample_count,
        )

    def learn(self, cost: float, works: Mapping[str, float], worker: str | None = None) -> None:
        """Take note of what an attempt cost, and of how well each candidate had foreseen it."""
        forget = 0.5 ** (1 / HALF_LIVES[-1])
        self._zeros, self._nonzeros = self._zeros * forget + (cost == 0), self._nonzeros * forget + (cost > 0)
        self.sample_count += 1
        if cost == 0:
            return
        ln_works, ln_cost = _ln_works(works), math.log(cost)
        if len(self._ln_costs):
            chosen = self._choose(ln_works, worker)
            if chosen is not None:
                self._score(ln_cost, ln_works, worker, chosen)
        self._remember(ln_cost, ln_works, worker)

    def _choose(self, ln_works: Array, worker: str | None) -> "_Chosen | None":
        """The best yardstick so far of those that these amounts and this worker have, and what it says."""
        table = self._tabled()
        levels = table.levels(ln_works, self._shared, worker)  # (workers, bases): NaN where there is none
        if np.isnan(levels).all():
            return None
        losses = self._mean_losses()
        best = np.where(np.isnan(levels), np.inf, losses[..., _MEDIAN].min(axis=2))
        mode, basis = (int(i) for i in np.unravel_index(int(best.argmin()), best.shape))
        level = float(levels[mode, basis])
        half_lives = losses[mode, basis].argmin(axis=0)
        said = table.statistics[min(mode, 1), basis]
        low, middle, high = (level + float(said[half_lives[i], i]) for i in range(len(SHARES)))
        down, up = np.exp(self._stretch + self._shared.stretch[self._bucket])
        reach = (max(middle - low, _LEAST_REACH), max(high - middle, _LEAST_REACH))
        mean = math.exp(level + float(said[half_lives[_MEAN], _MEAN]))
        return _Chosen(
            mode,
            basis,
            levels,
            (middle - float(down) * reach[0], middle, middle + float(up) * reach[1]),
            mean,
        )

    def _mean_losses(self) -> Array:
        """Each candidate's loss so far, leaning on how it does elsewhere."""
        shared = self._shared
        elsewhere = shared.losses / np.maximum(shared.weights, 1e-9)[..., None, None]
        own: Array = (self._losses + _CHOICE_PRIOR * elsewhere) / (self._weights + _CHOICE_PRIOR)[
            ..., None, None
        ]
        return own

    @property
    def _bucket(self) -> int:
        return min(self.sample_count.bit_length(), _BUCKETS - 1)

    def _score(self, ln_cost: float, ln_works: Array, worker: str | None, chosen: "_Chosen") -> None:
        """How well every candidate, the chosen interval and the worker's factor had foreseen this."""
        shared, table = self._shared, self._tabled()
        said = table.statistics[[0, 1, 1]] + chosen.levels[..., None, None]
        off = np.clip(ln_cost - said[..., : len(SHARES)], -1.0, 1.0)
        shares = np.array(SHARES)
        losses = np.empty(_LOSSES)
        losses[..., : len(SHARES)] = np.maximum(shares * off, (shares - 1) * off)
        middle = chosen.quantiles[1]
        with np.errstate(over="ignore"):
            relative = math.exp(min(ln_cost - middle, 5.0)) - np.exp(said[..., _MEAN] - middle)
        losses[..., _MEAN] = np.minimum(relative * relative, 25.0)
        is_known = ~np.isnan(said).any(axis=(2, 3))
        losses[~is_known] = 0.0
        self._losses = self._losses * _FORGET_LOSS + losses
        self._weights = self._weights * _FORGET_LOSS + is_known
        shared.losses = shared.losses * _FORGET_SHARED + losses
        shared.weights = shared.weights * _FORGET_SHARED + is_known

        if self.sample_count > INTERVAL_FROM:
            low, _, high = chosen.quantiles
            missed = np.array([ln_cost < low, ln_cost > high]) - SHARES[0]
            bucket = min((self.sample_count - 1).bit_length(), _BUCKETS - 1)
            shared.stretch[bucket] += _STRETCH_RATE * missed
            self._stretch += _OWN_STRETCH_RATE * missed
        error = min(abs(ln_cost - middle), 1.0)
        weight, squares = shared.spread
        shared.spread = (weight * _FORGET_SHARED + 1.0, squares * _FORGET_SHARED + error * error)
        if worker is not None:
            self._learn_effect(ln_cost, ln_works, worker)

    def _learn_effect(self, ln_cost: float, ln_works: Array, worker: str) -> None:
        """Move the worker's factor by how far this cost is from what it usually is, without any worker's factor."""
        table, weight = self._tabled(), self._shared.effects.get(worker, (0.0, 0.0))
        level = table.yards(ln_works)[1] + table.statistics[1, :, -1, _MEDIAN]
        known = np.flatnonzero(~np.isnan(level))
        if len(known) == 0:
            return
        losses = self._mean_losses()[1, known, -1, _MEDIAN]
        residual = ln_cost - float(level[known[losses.argmin()]])
        n = len(self._ln_costs)
        share = n / (n + 1)
        total = weight[0] * _FORGET_SHARED + share
        self._shared.effects[worker] = (total, weight[1] + share * (residual - weight[1]) / total)

    def _remember(self, ln_cost: float, ln_works: Array, worker: str | None) -> None:
        effect = np.nan if worker is None else self._shared.effects.get(worker, (0.0, 0.0))[1]
        self._ln_costs = np.append(self._ln_costs, ln_cost)[-WINDOW:]
        self._ln_works = np.vstack([self._ln_works, ln_works])[-WINDOW:]
        self._effects = np.append(self._effects, effect)[-WINDOW:]
        self._workers = [*self._workers, worker][-WINDOW:]
        self._table = None

    def _tabled(self) -> "_Table":
        if self._table is None:
            self._table = _Table(
                self._ln_costs, self._ln_works, self._effects, self._workers, self._shared.sd
            )
        return self._table


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A yardstick, the level of every one for this attempt, and P10, P50, P90 (ln) and the mean by the chosen one."""

    mode: int
    basis: int
    levels: Array
    quantiles: tuple[float, float, float]
    mean: float


class _Table:
    """What every candidate says of ln(cost) above its yardstick: (without and with factor, bases, half-lives, P10, P50,
    P90 and ln of the mean)."""

    def __init__(
        self, ln_costs: Array, ln_works: Array, effects: Array, workers: list[str | None], sd: float
    ) -> None:
        self._workers = workers
        n = len(ln_costs)
        ages = np.arange(n - 1, -1, -1.0)
        weights = 0.5 ** (ages[:, None] / np.array(HALF_LIVES))  # (n, half-lives)
        adjusted = np.stack([ln_costs, ln_costs - effects], axis=1)  # (n, 2)
        self._lines = [_line(adjusted[:, mode], ln_works[:, _SEGMENTS], weights[:, -1]) for mode in (0, 1)]
        yards = np.stack([self.yards(row) for row in ln_works])  # (n, 2, bases)
        self.rest = adjusted[:, :, None] - yards
        known = ~np.isnan(self.rest).all(axis=0)
        self.statistics = np.full((2, len(BASES), len(HALF_LIVES), _STATISTICS), np.nan)
        self.statistics[known] = _statistics(self.rest[:, known], weights, sd)

    def yards(self, ln_works: Array) -> Array:
        """ln of each yardstick for these amounts: (without and with factor, bases)."""
        found = np.empty((2, len(BASES)))
        found[:, : len(WORKS)] = ln_works
        for mode, line in enumerate(self._lines):
            found[mode, -1] = (
                np.nan if line is None else math.log(line[0] + line[1] * math.exp(ln_works[_SEGMENTS]))
            )
        return found

    def levels(self, ln_works: Array, shared: Shared, worker: str | None) -> Array:
        """ln of each yardstick for an attempt: (any worker, its factor, its own way with this work; bases)."""
        plain, factored = self.yards(ln_works)
        usable = ~np.isnan(self.statistics[..., 0, _MEDIAN])
        nothing = np.full(len(BASES), np.nan)
        if worker is None or worker not in shared.effects:
            levels = np.stack([plain, nothing, nothing])
        else:
            factored = factored + shared.effects[worker][1]
            levels = np.stack([plain, factored, factored + self._own(worker)])
        levels[~usable[[0, 1, 1]]] = np.nan
        return levels

    def _own(self, worker: str) -> Array:
        """How far this worker's attempts at this work were from the median, beyond its factor: ln, by basis."""
        mine = [index for index, name in enumerate(self._workers) if name == worker]
        if not mine:
            return np.full(len(BASES), np.nan)
        off = self.rest[mine, 1] - self.statistics[1, :, -1, _MEDIAN]
        found: Array = off.sum(axis=0) / (len(mine) + _OWN_PRIOR)
        return found


def _ln_works(works: Mapping[str, float]) -> Array:
    """ln of the amounts in the order of WORKS, NaN where unknown or none."""
    found = [math.log(amount) if (amount := works.get(name) or 0.0) > 0 else math.nan for name in WORKS]
    found[_JOBS] = 0.0
    return np.array(found)


def _line(ln_costs: Array, ln_segments: Array, weights: Array) -> tuple[float, float] | None:
    """A fixed cost and a cost per segment by weighted least squares of relative errors; None where both are not told
    apart, or one of them is nothing."""
    known = ~np.isnan(ln_costs + ln_segments)
    if known.sum() < _FIT_FROM or np.ptp(ln_segments[known]) < 1e-9:
        return None
    inverse = np.exp(-ln_costs[known])
    x = np.stack([inverse, np.exp(ln_segments[known]) * inverse], axis=1) * np.sqrt(weights[known])[:, None]
    normal = x.T @ x
    determinant = normal[0, 0] * normal[1, 1] - normal[0, 1] ** 2
    if not determinant > 1e-9 * normal[0, 0] * normal[1, 1]:
        return None
    fixed, marginal = np.linalg.solve(normal, x.T @ np.sqrt(weights[known]))
    return (float(fixed), float(marginal)) if fixed > 0 and marginal > 0 else None


def _statistics(values: Array, weights: Array, sd: float) -> Array:
    """Weighted P10, P50, P90 and ln of the mean of exp, of each column and by each weighting.

    values (n, columns) with NaN where unknown, weights (n, half-lives); the answer is (columns, half-lives, 4). The
    distances of P10 and P90 from the median lean on those of a normal distribution with deviation `sd`.
    """
    order = np.argsort(values, axis=0)  # NaN last
    ordered = np.take_along_axis(values, order, axis=0)
    weight = weights[order] * ~np.isnan(ordered)[..., None]  # (n, columns, half-lives)
    total = weight.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        place = (np.cumsum(weight, axis=0) - weight / 2) / total
        effective = total * total / (weight * weight).sum(axis=0)
        found = np.empty((*total.shape, _STATISTICS))
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
        own = effective / (effective + _SPREAD_PRIOR)
        usual = (1 - own) * NORMAL_P90 * sd
        middle = found[..., _MEDIAN].copy()
        found[..., 0] = middle - usual - own * (middle - found[..., 0])
        found[..., 2] = middle + usual + own * (found[..., 2] - middle)
        excess = np.exp(np.minimum(ordered[..., None] - middle, 50.0))
        found[..., _MEAN] = middle + np.log(np.nansum(excess * weight, axis=0) / total)
    return found


def _at(values: Array, index: npt.NDArray[np.intp]) -> Array:
    """values[index[c, h], c, h]."""
    found: Array = np.take_along_axis(values, index[None], axis=0)[0]
    return found
