"""A pool worked through one event after the other, in plain Python: what the simulation is held against."""

import heapq
import math
from collections.abc import Callable, Sequence
from random import Random

from framehouse.estimates.durations import Job, Kind


def finished(
    free_at: Sequence[float],
    speeds: Sequence[float],
    queue: Sequence[int],
    seconds: Callable[[int, int], float],
    batch: set[int],
) -> float:
    """When the last job of `batch` is done. Jobs of `queue` go, in this order, to the worker that is free first, of
    equals to the one of the lowest `speeds`; seconds(job, worker) is how long it holds it."""
    idle = [(at, speeds[worker], worker) for worker, at in enumerate(free_at)]
    heapq.heapify(idle)
    last = 0.0
    for job in queue:
        at, speed, worker = heapq.heappop(idle)
        end = at + seconds(job, worker)
        if job in batch:
            last = max(last, end)
        heapq.heappush(idle, (end, speed, worker))
    return last


def true_day(
    random: Random,
    kinds: Sequence[Kind],
    jobs: Sequence[Job],
    workers: Sequence[str],
    waiting: Sequence[Job],
    running: Sequence[Job],
    common: float,
) -> float:
    """When the batch is done on a day that keeps to the model: days are made until one has the running jobs last."""

    def normal() -> float:
        return random.gauss(0.0, 1.0)

    def whole(job: Job, errors: Sequence[float]) -> float:
        kind = kinds[job.kind]
        spread = math.sqrt((kind.down**2 + kind.up**2) / 2)
        part = kind.shared / spread
        z = part * errors[job.kind] + math.sqrt(1 - part**2) * normal()
        return job.median_seconds * math.exp(z * (kind.down if z < 0 else kind.up))

    def again(job: Job, seconds: float) -> float:
        """All attempts from the next one on."""
        total = seconds
        while random.random() < kinds[job.kind].retry_ratio:
            total += kinds[job.kind].failed_ratio * seconds
        return total

    def factor(job: Job, worker: str) -> float:
        return math.exp(kinds[job.kind].factors.get(worker, 0.0))

    while True:
        of_all = normal()
        errors = [math.sqrt(common) * of_all + math.sqrt(1 - common) * normal() for _ in kinds]
        free_at = [0.0] * len(workers)
        for job in running:
            assert job.worker is not None
            seconds = whole(job, errors) * factor(job, job.worker)
            fails = random.random() < kinds[job.kind].retry_ratio
            attempt = seconds * (kinds[job.kind].failed_ratio if fails else 1.0)
            if attempt <= job.elapsed_seconds:
                break
            free_at[workers.index(job.worker)] = (
                attempt - job.elapsed_seconds + (again(job, seconds) if fails else 0.0)
            )
        else:
            break
    everything = [*waiting, *jobs]
    order = sorted(range(len(everything)), key=lambda index: (-everything[index].priority, index))
    held = [again(job, whole(job, errors)) for job in everything]
    return finished(
        free_at,
        [sum(kinds[job.kind].factors.get(worker, 0.0) for job in everything) for worker in workers],
        order,
        lambda job, worker: held[job] * factor(everything[job], workers[worker]),
        set(range(len(waiting), len(everything))),
    )
