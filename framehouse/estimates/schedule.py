"""Wall clock: a simulation of the pool working through what runs, what waits, and the batch.

Each of some hundred replicas draws how long every job takes, and gives each job in its order to the worker that is free
first. Workers are unequal: what a job takes depends on who gets it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from framehouse.estimates.durations import Array, Durations, Indices, Job, Kind

__all__ = ["Finish", "Job", "Kind", "Schedule", "simulate"]

#: Replicas, by the number of jobs up to which they are taken. Many jobs average out; what they share is stratified.
_REPLICAS = ((60, 400), (150, 200))
_LEAST_REPLICAS = 128
#: Later than any job ends: a worker that is not there.
_NEVER = 1e300
_WAITING, _BATCH = 2, 3


@dataclass(frozen=True, slots=True)
class Finish:
    """Seconds from now until the last job of a batch is done."""

    p50: float
    p90: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a batch is done, and when with one more worker of the pool's usual speed (for each kind, its median factor).

    one_more is None where every job begins at once as it is.
    """

    finish: Finish
    one_more: Finish | None


def simulate(
    kinds: Sequence[Kind],
    jobs: Sequence[Job],
    *,
    workers: Sequence[str | None],
    waiting: Sequence[Job] = (),
    running: Sequence[Job] = (),
    common: float = 0.0,
    seed: int = 0,
) -> Schedule:
    """When the last of `jobs` is done. Equal questions get equal answers.

    workers  names; None is one of factor 1 whose name is not known. A name that stands twice takes two jobs at a time
    waiting  goes before `jobs` of the same priority, each in the order given; higher priorities go first
    running  each holds its worker; see `_seats` for one whose worker is not in the pool
    common   correlation (0 to 1) of what different kinds' jobs share

    Raises ValueError where there are jobs and nobody to do them.
    """
    if not jobs:
        return Schedule(Finish(0.0, 0.0), None)
    everything = [*waiting, *jobs]
    order = sorted(range(len(everything)), key=lambda index: -everything[index].priority)  # stable
    queue = [everything[index] for index in order]
    names = dict.fromkeys([*workers, *(job.worker for job in running)])
    columns = {name: column for column, name in enumerate(names)}
    factors = np.array([[kind.factor(name) for name in names] for kind in kinds])
    jobs_by_kind = np.bincount([job.kind for job in queue], minlength=len(kinds))
    speeds = dict(zip(names, (jobs_by_kind @ factors).tolist(), strict=True))
    seats = _seats(speeds, workers, running)
    if not seats:
        raise ValueError("a pool without workers never finishes")
    replicas = next((count for most, count in _REPLICAS if len(queue) <= most), _LEAST_REPLICAS)
    durations = Durations(kinds, running, replicas=replicas, common=common, seed=seed)
    of_seats = factors[:, [columns[one.worker] for one in seats]]
    pool = _Pool(of_seats, jobs_by_kind, seats, durations.remaining())
    drawn = np.concatenate([durations.whole(waiting, _WAITING), durations.whole(jobs, _BATCH)])
    done = np.zeros_like(pool.free[0])
    for index, job in zip(order, queue, strict=True):
        ends = pool.work(drawn[index], job.kind)
        if index >= len(waiting):
            np.maximum(done, ends, out=done)
    # Weibull's quantiles: of n draws, the k-th is exceeded with probability 1 - k / (n + 1), whatever the distribution.
    finish, *more = (Finish(*np.quantile(lane, [0.5, 0.9], method="weibull").tolist()) for lane in done)
    if not more:
        return Schedule(finish, None)
    # Whoever is free first may be slower than whoever is free next, so one more can do harm: then it is left idle.
    return Schedule(finish, Finish(min(finish.p50, more[0].p50), min(finish.p90, more[0].p90)))


@dataclass(slots=True)
class _Seat:
    """A worker, the sum of ln of its factors over this queue, and which job of `running` it is busy with."""

    worker: str | None
    speed: float
    busy_with: int | None = None


def _seats(
    speeds: Mapping[str | None, float], workers: Sequence[str | None], running: Sequence[Job]
) -> list[_Seat]:
    """Everyone in the pool, the fastest first, with the jobs that run.

    A running job holds the worker it names. A worker that the pool does not name is one of its unnamed ones, or else
    is taken for the fastest that is idle: names differ between programs, and dispatchers fill fast workers first.
    Where nobody is idle, or where its worker is busy with another job, the pool is larger than it says.
    """

    def seat(worker: str | None) -> _Seat:
        return _Seat(worker, speeds[worker])

    def by_speed(one: _Seat) -> float:
        return one.speed

    seats = sorted(map(seat, workers), key=by_speed)
    named = {worker for worker in workers if worker is not None}
    strangers = []
    for index, job in enumerate(running):
        if job.worker not in named:
            strangers.append(index)
            continue
        idle = next((one for one in seats if one.worker == job.worker and one.busy_with is None), None)
        if idle is None:
            seats.append(idle := seat(job.worker))
        idle.busy_with = index
    for index in strangers:
        worker = running[index].worker
        idle = min(
            (one for one in seats if one.busy_with is None),
            key=lambda one: (one.worker is not None, one.speed),
            default=None,
        )
        if idle is None or idle.worker is None:
            if idle is not None:
                seats.remove(idle)
            seats.append(idle := seat(worker))
        idle.busy_with = index
    return sorted(seats, key=by_speed)


class _Pool:
    """When each worker is free: free[worker, lane, replica] in seconds from now, the fastest worker first.

    The first lane is the pool as it is; the second, where some job has to wait, has one worker more. The last bits of
    each time are the worker's index: the least time then says whose it is without a search, and of equals the faster
    worker is first. Times lose 2^-44 of themselves (2^-40 with thousands of workers).
    """

    def __init__(
        self, factors: Array, jobs_by_kind: Indices, seats: Sequence[_Seat], remaining: Array
    ) -> None:
        """factors are ln of each seat's, (kinds, seats); jobs_by_kind counts the queue's, (kinds,)."""
        job_count = int(jobs_by_kind.sum())
        idle = [index for index, one in enumerate(seats) if one.busy_with is None]
        # Every job can begin at once: as many as there are jobs, the fastest, are ever given one.
        surplus = set(idle[job_count:])
        kept = [index for index in range(len(seats)) if index not in surplus]
        is_short = len(idle) < job_count
        free = np.zeros((len(kept) + is_short, 1 + is_short, remaining.shape[1]))
        for row, index in enumerate(kept):
            busy_with = seats[index].busy_with
            if busy_with is not None:
                free[row] = remaining[busy_with]
        chosen = factors[:, kept]
        if is_short:
            usual = np.median(factors, axis=1)
            speed = float(jobs_by_kind @ usual)
            place = sum(seats[index].speed <= speed for index in kept)
            free[place + 1 :] = free[place:-1].copy()
            free[place] = np.array([[_NEVER], [0.0]])
            chosen = np.insert(chosen, place, usual, axis=1)
        self.free = free
        self._factors = [np.exp(row) if row.any() else None for row in chosen]

        self._index_bits = np.int64((1 << len(free).bit_length()) - 1)
        self._time_bits = ~self._index_bits
        bits = free.view(np.int64)
        bits &= self._time_bits
        bits |= np.arange(len(free))[:, None, None]
        self._flat = free.reshape(-1)
        self._ends = np.empty(free.shape[1:])
        self._ends_bits = self._ends.view(np.int64)
        self._factor = np.empty_like(self._ends)
        self._first = np.arange(self._ends.size).reshape(self._ends.shape)
        self._worker = np.empty_like(self._first)

    def work(self, seconds: Array, kind: int) -> Array:
        """Give a job to the worker that is free first; when it ends, in a buffer that the next job overwrites."""
        ends, bits, worker = self._ends, self._ends_bits, self._worker
        np.minimum.reduce(self.free, axis=0, out=ends)
        np.bitwise_and(bits, self._index_bits, out=worker)
        np.bitwise_xor(bits, worker, out=bits)
        factors = self._factors[kind]
        if factors is None:
            ends += seconds
        else:
            factors.take(worker, out=self._factor, mode="clip")  # not to check what cannot be
            self._factor *= seconds
            ends += self._factor
        bits &= self._time_bits
        bits |= worker
        worker *= ends.size
        worker += self._first
        self._flat[worker] = ends
        return ends
