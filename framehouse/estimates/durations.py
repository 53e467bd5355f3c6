"""How long jobs will take: draws from the intervals of forecasts, with the errors that jobs of one kind share.

ln(duration) is ln of the median, plus the worker's factor, plus a deviate z of the standard normal distribution times
`down` where z < 0 and times `up` where z > 0: a two-piece normal distribution, joined at its median. The z of jobs of
one kind have a part in common, z = a Z + sqrt(1 - a^2) e with a = shared / spread (a Gaussian copula of one factor:
Vasicek 1987), so that each job keeps its own interval however much it shares.

A running job has lasted `elapsed_seconds` already. Its z is drawn above that bound, and Z from its distribution given
all those bounds: where everything that runs is late, what waits will be late too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

#: A job that fails this often in a row ends all the same; someone will have looked.
MOST_FAILURES = 20
#: A job further above its median than so many deviations says that the deviation is larger. Without this, what is long
#: overdue would be about to end at every moment: far out, a normal distribution leaves next to nothing.
FURTHEST = 4.0
#: ... but not beyond this, or what hangs would hang for years: its median is taken to be larger.
_WIDEST = 1.0
#: So that jobs of a kind are never the very same draw, of which a bound would leave nothing.
_MOST_SHARED = 0.995
_LARGEST_LN = 100.0
_BLOCK = 256
_GRID = np.linspace(-6.0, 9.0, 76)
_STEP = 0.2
_LN_NORMAL = -_GRID * _GRID / 2


@dataclass(frozen=True, slots=True)
class Kind:
    """What jobs of one workflow at one tier have in common.

    down, up      deviation of one job's ln(duration) below and above its median, with all that is uncertain about it:
                  P10 is median * exp(-1.2816 down), P90 is median * exp(1.2816 up)
    shared        deviation of the part of it that all jobs of this kind share, because their history is short or
                  drifts; where it is larger than the root mean square of down and up, these are stretched to it
    retry_ratio   share of attempts that fail and are run again
    failed_ratio  how long a failed attempt takes, relative to a succeeded one of the same job
    factors       by worker: ln of the factor that its durations have (0 where it is not named)
    """

    down: float
    up: float
    shared: float = 0.0
    retry_ratio: float = 0.0
    failed_ratio: float = 1.0
    factors: Mapping[str, float] = field(default_factory=dict)

    def factor(self, worker: str | None) -> float:
        """ln of the worker's factor."""
        return 0.0 if worker is None else self.factors.get(worker, 0.0)


@dataclass(frozen=True, slots=True)
class Job:
    """Work to be done: its kind (an index), its median in seconds on a worker of factor 1, and, where it runs, for how
    many seconds this attempt has run and on which worker. Higher priorities go first."""

    kind: int
    median_seconds: float
    elapsed_seconds: float = 0.0
    worker: str | None = None
    priority: int = 0


class Durations:
    """Draws of durations in seconds, one per replica, for jobs of these kinds while those others run.

    `common` is the correlation of what different kinds share. Equal questions get equal draws, and a job's draws do
    not depend on the jobs after it.
    """

    def __init__(
        self, kinds: Sequence[Kind], running: Sequence[Job], *, replicas: int, common: float, seed: int
    ) -> None:
        self._replicas = replicas
        self._seed = seed
        self._shape = _Shape(kinds)
        self._running = _Running(self._shape, kinds, running)
        rng = self._rng(0)
        # Each replica has one of as many equal shares of probability: few replicas then are enough.
        shares = rng.permuted(
            (np.arange(replicas) + rng.random((len(kinds) + 1, replicas))) / replicas, axis=1
        )
        deviates = self._running.errors_given(shares, common)
        self._errors = deviates * self._shape.loading[:, None]  # (kinds, replicas)

    def whole(self, jobs: Sequence[Job], stream: int) -> Array:
        """Of jobs that have not begun, on a worker of factor 1, with all their failed attempts: (jobs, replicas).

        `stream` tells lists of jobs apart: the same one gets the same draws.
        """
        shape = self._shape
        kinds = np.array([job.kind for job in jobs], np.intp)
        medians = np.array([job.median_seconds for job in jobs])[:, None]
        found = self._rng(2 * stream).standard_normal((len(jobs), self._replicas))
        chance = self._rng(2 * stream + 1)
        has_retries = bool(shape.retry.any())
        for start in range(0, len(jobs), _BLOCK):  # as much as fits a processor's cache
            part, which = found[start : start + _BLOCK], kinds[start : start + _BLOCK]
            part *= shape.own[which, None]
            part += self._errors[which]
            _stretch(part, shape.down[which, None], shape.up[which, None])
            part *= medians[start : start + _BLOCK]
            if has_retries:
                part *= 1 + shape.failed[which, None] * self._failures(which, chance)
        return found

    def remaining(self) -> Array:
        """What is left of the running jobs, on the workers they run on: (jobs, replicas)."""
        running, shape = self._running, self._shape
        if not running.count:
            return np.empty((0, self._replicas))
        which, rng = running.kinds, self._rng(2)
        own, errors = shape.own[which, None], self._errors[which]
        bounds = (running.bounds[..., None] - errors) / own  # (2, jobs, replicas)
        # Of two ways in which an attempt may have lasted as long: it will succeed, or it will fail.
        ln_odds = running.ln_chances[..., None] + _ln_above(bounds)
        with np.errstate(over="ignore", invalid="ignore"):
            fails = rng.random(bounds.shape[1:]) * (1 + np.exp(ln_odds[0] - ln_odds[1])) < 1
        bound = np.where(fails, bounds[1], bounds[0])
        drawn = _normal_above(bound, np.log1p(-rng.random(bound.shape)))
        drawn = drawn * own + errors
        _stretch(drawn, shape.down[which, None], running.ups[:, None])
        drawn *= running.medians[:, None]
        failed = shape.failed[which, None]
        left: Array = np.where(fails, failed, 1.0) * drawn - running.elapsed[:, None]
        np.maximum(left, 0.0, out=left)
        again = 1 + failed * self._failures(which, self._rng(3))
        left += np.where(fails, drawn * again, 0.0)
        return left

    def _failures(self, which: Indices, rng: np.random.Generator) -> Array:
        """How many attempts fail before one succeeds: geometric."""
        ln_chances = np.log1p(-rng.random((len(which), self._replicas)))
        found: Array = np.floor(ln_chances / self._shape.ln_retry[which, None])
        return np.minimum(found, MOST_FAILURES, out=found)

    def _rng(self, stream: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, stream))


class _Shape:
    """The kinds' distributions, an entry per kind."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        down, up, shared, retry, failed = np.array(
            [(kind.down, kind.up, kind.shared, kind.retry_ratio, kind.failed_ratio) for kind in kinds], float
        ).T
        spread = np.sqrt((down * down + up * up) / 2)
        whole = np.maximum(spread, shared)
        stretch = np.divide(whole, spread, out=np.ones_like(spread), where=spread > 0)
        self.down = np.where(spread > 0, down * stretch, whole)
        self.up = np.where(spread > 0, up * stretch, whole)
        loading = np.divide(shared, whole, out=np.zeros_like(whole), where=whole > 0)
        self.loading: Array = np.minimum(loading, _MOST_SHARED)
        self.own: Array = np.sqrt(1 - self.loading * self.loading)
        self.retry: Array = np.clip(retry, 0.0, 1.0)
        self.failed: Array = failed
        with np.errstate(divide="ignore"):
            # All attempts failing is the cap's business; none, that of minus infinity.
            self.ln_retry: Array = np.log(np.minimum(self.retry, 1 - 1e-9))


class _Running:
    """Jobs that run, and what it says about their kinds that they have lasted as long.

    bounds      (an attempt that will succeed, one that will fail; jobs): the z above which it must be
    ln_chances  likewise: ln of the probability that it is such an attempt, before it is known how long it lasts
    medians     seconds, on the worker it runs on; larger than was said for what is hopelessly late
    ups         deviations above the median; likewise
    """

    def __init__(self, shape: _Shape, kinds: Sequence[Kind], jobs: Sequence[Job]) -> None:
        self._shape = shape
        self.count = len(jobs)
        self.kinds = np.array([job.kind for job in jobs], np.intp)
        self.elapsed = np.array([max(0.0, job.elapsed_seconds) for job in jobs])
        medians = np.array(
            [job.median_seconds * math.exp(kinds[job.kind].factor(job.worker)) for job in jobs]
        )
        failed, up = shape.failed[self.kinds], shape.up[self.kinds]
        # What takes no time fails in no time.
        chance = np.where(failed * medians > 0, shape.retry[self.kinds], 0.0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            self.ln_chances: Array = np.log(np.stack([1 - chance, chance]))
            over = np.where(medians > 0, np.log(self.elapsed) - np.log(medians), -np.inf)
            overs = np.stack([over, np.where(chance > 0, over - np.log(failed), np.inf)])
            # As far above the median as it is if it is what explains it best.
            least = overs.min(axis=0)
            believed = np.minimum(least, FURTHEST * np.maximum(up, _WIDEST))
            late = np.where(least > believed, least - believed, 0.0)
            self.medians: Array = np.where(late > 0, np.exp(np.log(medians) + late), medians)
            self.ups: Array = np.maximum(up, believed / FURTHEST)
            overs -= late
            bounds = overs / np.where(overs < 0, shape.down[self.kinds], self.ups)
        self.bounds: Array = np.where(np.isnan(bounds), 0.0, bounds)

    def errors_given(self, shares: Array, common: float) -> Array:
        """The deviates that kinds share, by their quantiles: (1 + kinds, replicas) gives (kinds, replicas).

        Z of a kind is sqrt(common) Z0 + sqrt(1 - common) V, one Z0 for all. Z0 is drawn first, from its posterior
        distribution over a grid, then each V from its own given Z0.
        """
        a, b = math.sqrt(common), math.sqrt(1 - common)
        said = {
            kind: self._ln_likelihood(kind)
            for kind in np.unique(self.kinds[np.isfinite(self.bounds).any(axis=0)]).tolist()
            if self._shape.loading[kind] > 0
        }
        deviates = _normal_above(np.array(-np.inf), np.log1p(-shares))
        first: Array = deviates[0]
        rest: Array = deviates[1:]
        # (Z0, V) on the grid; without anything in common, Z0 says nothing and one row is enough.
        place = a * (_GRID[:, None] if a > 0 else np.zeros((1, 1))) + b * _GRID
        ln_joints = {kind: np.interp(place, _GRID, ln) + _LN_NORMAL for kind, ln in said.items()}
        rows, step = np.zeros((1, len(first)), np.intp), np.zeros(len(first))
        if a > 0 and said:
            ln_first = _LN_NORMAL + sum(_ln_sums(ln_joint) for ln_joint in ln_joints.values())
            first = _quantiles(ln_first[None], rows, shares[0])[0]
            at = np.clip((first - _GRID[0]) / _STEP, 0, len(_GRID) - 1 - 1e-9)
            rows = np.stack([at, at + 1]).astype(np.intp)
            step = at - rows[0]
        for kind, ln_joint in ln_joints.items():
            found = _quantiles(ln_joint, rows, shares[1 + kind])
            rest[kind] = found[0] + step * (found[-1] - found[0])
        return a * first + b * rest

    def _ln_likelihood(self, kind: int) -> Array:
        """ln of the probability that the running jobs of a kind last as long as they have, for each Z of the grid."""
        mine = self.kinds == kind
        off = self.bounds[:, mine, None] - self._shape.loading[kind] * _GRID
        ln_each = self.ln_chances[:, mine, None] + _ln_above(off / self._shape.own[kind])
        found: Array = np.logaddexp(ln_each[0], ln_each[1]).sum(axis=0)
        return found


def _stretch(deviates: Array, down: Array, up: Array) -> None:
    """Standard normal deviates to factors of the median, in place."""
    deviates *= np.where(deviates < 0, down, up)
    np.minimum(deviates, _LARGEST_LN, out=deviates)
    np.exp(deviates, out=deviates)


def _ln_sums(ln_values: Array) -> Array:
    """ln of the sum of each row."""
    highest = ln_values.max(axis=1, keepdims=True)
    found: Array = np.log(np.exp(ln_values - highest).sum(axis=1)) + highest[:, 0]
    return found


def _quantiles(ln_densities: Array, rows: Indices, shares: Array) -> Array:
    """Quantiles of distributions over the grid (one a row of ln of densities), each of the row that is named."""
    density = np.exp(ln_densities - ln_densities.max(axis=1, keepdims=True))
    below = np.zeros_like(density)
    np.cumsum(density[:, 1:] + density[:, :-1], axis=1, out=below[:, 1:])
    below /= below[:, -1:]
    below += np.arange(len(below))[:, None]  # so that one search finds them all
    sought, start = rows + shares, rows * len(_GRID)
    cell = np.clip(np.searchsorted(below.reshape(-1), sought), start + 1, start + len(_GRID) - 1)
    low, high = below.reshape(-1)[cell - 1], below.reshape(-1)[cell]
    step = np.divide(sought - low, high - low, out=np.zeros_like(low), where=high > low)
    found: Array = _GRID[0] + (cell - 1 - start + step) * _STEP
    return found


# The normal distribution's upper tail, as numpy lacks it: ln P(above x), interpolated (to within 3e-5 up to 9
# deviations, 2e-3 further out). Tails are drawn by inverting it, as exactly at the 30th deviation as at the first.
def _exact_ln_above(x: float) -> float:
    if x < 0:
        return math.log1p(-math.erfc(-x / math.sqrt(2)) / 2)
    if x < 25:
        return math.log(math.erfc(x / math.sqrt(2)) / 2)
    # Mills' ratio by Sampford's (1953) bound, good to 1e-8 here.
    return -x * x / 2 - math.log(math.sqrt(2 * math.pi)) + math.log(4 / (3 * x + math.sqrt(x * x + 8)))


_X = np.concatenate([np.arange(-9, 9, 1 / 64), np.arange(9, 200, 1 / 8)])
_LN_ABOVE = np.array([_exact_ln_above(x) for x in _X.tolist()])


def _ln_above(x: Array) -> Array:
    found: Array = np.interp(x, _X, _LN_ABOVE)
    return found


def _normal_above(bound: Array, ln_share: Array) -> Array:
    """The normal deviate above a bound that leaves this share (its ln) of what is above the bound above itself."""
    found: Array = np.interp(-(ln_share + _ln_above(bound)), -_LN_ABOVE, _X)
    return found
