"""Wall clock: a simulation of the pool working through what runs, what waits, and then the batch.

Each of a few hundred replicas draws every job's duration and gives each job, in order, to the worker that is free
first. Durations are drawn from the predictive distribution: per replica one mean and one spread for each workflow and
tier (as uncertain as its samples are few, so that errors are shared by all its jobs), then each job's own deviation.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from framehouse.estimates.history import CostHistory

_Array = npt.NDArray[np.float64]
_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Job:
    """Work to be done: whose durations it is drawn from, how many segments, and how long it has run already."""

    history: CostHistory
    segments: int
    elapsed_seconds: float = 0.0


def simulate(
    jobs: Sequence[Job],
    *,
    workers: int,
    waiting: Sequence[Job] = (),
    running: Sequence[Job] = (),
    seed: int = 0,
) -> tuple[float, float]:
    """P50 and P90 of the seconds from now until the last of `jobs` is done.

    `running` occupies one worker each (beyond the number of workers: the earliest to end counts first), `waiting`
    goes before `jobs`. The same question gives the same answer.
    """
    workers = min(workers, len(jobs) + len(waiting) + len(running))  # more than that stay idle
    rng = np.random.default_rng(seed)
    total = len(jobs) + len(waiting)
    replicas = int(min(400, max(100, 1_000_000 // max(1, total))))
    durations = _Durations(rng, replicas)
    busy = [durations.remaining(job) for job in running]
    pool = _Workers(replicas, workers)
    for index, remaining in enumerate(busy[:workers]):
        pool.occupy(index, remaining)
    for extra in busy[workers:]:
        # More running jobs than workers we know of: the pool is larger than it says; count them as waiting.
        pool.work(extra)
    for duration in durations.whole(waiting):
        pool.work(duration)
    done = np.zeros(replicas)
    for duration in durations.whole(jobs):
        np.maximum(done, pool.work(duration), out=done)
    p50, p90 = np.quantile(done, [0.5, 0.9])
    return float(p50), float(p90)


class _Workers:
    """When each worker is free, in every replica."""

    def __init__(self, replicas: int, workers: int) -> None:
        self._free = np.zeros((replicas, workers))
        self._flat = self._free.reshape(-1)
        self._first = np.arange(replicas) * workers

    def occupy(self, index: int, until: _Array) -> None:
        """One worker is busy until then."""
        self._free[:, index] = until

    def work(self, duration: _Array) -> _Array:
        """Give a job to the worker that is free first; when it ends."""
        chosen = self._free.argmin(axis=1) + self._first
        ends: _Array = self._flat[chosen] + duration
        self._flat[chosen] = ends
        return ends


class _Durations:
    """Draws durations in seconds, one per replica."""

    def __init__(self, rng: np.random.Generator, replicas: int) -> None:
        self._rng = rng
        self._replicas = replicas
        self._parameters: dict[CostHistory, tuple[_Array, _Array]] = {}

    def whole(self, jobs: Sequence[Job]) -> Iterator[_Array]:
        """Durations of jobs that have not begun, one job after the other."""
        # Hundreds of jobs at a time, because numpy's calls on a few hundred numbers cost more than the numbers.
        for start in range(0, len(jobs), _BLOCK):
            block = jobs[start : start + _BLOCK]
            place = {
                history: index for index, history in enumerate(dict.fromkeys(job.history for job in block))
            }
            parameters = [self._of(history) for history in place]
            means, spreads = (np.array(part) for part in zip(*parameters, strict=True))
            which = np.array([place[job.history] for job in block])
            drawn = self._rng.standard_normal((len(block), self._replicas))
            drawn *= spreads[which]
            drawn += means[which]
            np.exp(drawn, out=drawn)
            drawn *= np.array([[job.segments] for job in block])
            yield from drawn

    def remaining(self, job: Job) -> _Array:
        """What is left of a job that has run for a while: its duration given that it is longer than that."""
        if job.history.is_zero or job.elapsed_seconds <= 0:
            return next(self.whole([job]))
        mean, spread = self._of(job.history)
        spread = np.maximum(spread, 1e-9)
        begun = (math.log(job.elapsed_seconds / job.segments) - mean) / spread

        deviation = _tail(self._rng, begun)
        total: _Array = np.exp(mean + spread * deviation) * job.segments
        left: _Array = np.maximum(total - job.elapsed_seconds, 0.0)
        return left

    def _of(self, history: CostHistory) -> tuple[_Array, _Array]:
        """Mean and spread of ln(seconds per segment); of what takes no time, the logarithm of zero."""
        if history not in self._parameters:
            if history.is_zero:
                return np.full(self._replicas, -np.inf), np.zeros(self._replicas)
            n = history.ln_count
            spread = np.full(self._replicas, history.ln_sd)
            if n > 1:
                spread = spread * np.sqrt((n - 1) / self._rng.chisquare(n - 1, self._replicas))
            mean = history.ln_mean + spread * self._rng.standard_normal(self._replicas) / math.sqrt(max(1, n))
            self._parameters[history] = (mean, spread)
        return self._parameters[history]


def _tail(rng: np.random.Generator, above: _Array) -> _Array:
    """Standard normal deviates given that each is above a bound, by Robert's (1995) exponential rejection."""
    found = np.empty_like(above)
    todo = np.arange(len(above))
    while len(todo):
        bound = above[todo]
        rate = np.where(bound > 0, (bound + np.sqrt(bound * bound + 4)) / 2, 1.0)
        exponential = bound + rng.exponential(1.0, len(todo)) / rate
        far = np.exp(-((exponential - rate) ** 2) / 2)
        plain = rng.standard_normal(len(todo))
        drawn = np.where(bound > 0, exponential, plain)
        is_kept = np.where(bound > 0, rng.random(len(todo)) <= far, plain > bound)
        found[todo[is_kept]] = drawn[is_kept]
        todo = todo[~is_kept]
    return found
