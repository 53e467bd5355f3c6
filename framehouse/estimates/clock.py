"""When a batch will be done: the pool, the queue and the batch put into the simulation's terms."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from framehouse.estimates.candidates import BASES, NORMAL_P90, Array
from framehouse.estimates.known import Key, Knowledge, Known
from framehouse.estimates.learning import COSTS, WALL
from framehouse.estimates.scene import Cell, Works, works_array
from framehouse.estimates.schedule import Job, Kind, simulate
from framehouse.estimates.wire import Pool, WallClock
from framehouse.events import Queue, QueuedJob, RunningJob
from framehouse.units import hours_from_seconds
from framehouse.warehouse import Session

#: From so many failures on a wall clock says nothing.
_MOST_RETRIES = 0.8


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The pool and the queue that a batch meets.

    workers      names, None for those without one; None where the pool is not known
    worker_ids   of the names that the warehouse knows
    is_outdated  whether the queue was told too long ago to stand for the present
    """

    workers: Sequence[str | None] | None
    worker_ids: Mapping[str, int]
    queue: Queue | None
    is_outdated: bool = False

    @property
    def ids_there(self) -> dict[str, int]:
        """Of the workers that are in the pool or busy with a job. Not of the latter where unnamed ones are left: what
        is known of some would be taken for what is known of all."""
        workers = self.workers or ()
        names = {name for name in workers if name is not None}
        busy = {job.worker for job in self.queue.running} - names if self.queue is not None else set()
        if len(busy) >= sum(worker is None for worker in workers):
            names |= busy
        return {name: number for name, number in self.worker_ids.items() if name in names}

    @property
    def workflows(self) -> set[str]:
        """What runs or waits."""
        if self.queue is None:
            return set()
        return {job.workflow for job in self.queue.waiting} | {job.workflow for job in self.queue.running}

    def with_pool(self, pool: Pool | None) -> "Surroundings":
        """The same with another pool, if one is given."""
        if pool is None:
            return self
        return Surroundings(workers_of(pool), self.worker_ids, self.queue, self.is_outdated)


def surroundings(
    session: Session, pool: Pool | None, queue: Queue | None, others: Iterable[Pool | None]
) -> Surroundings:
    """The pool and queue of a request, or else the warehouse's own; `others` name workers too."""
    if pool is None:
        known = {row["name"]: row["id"] for row in session.rows("estimates.pool")}
        workers: Sequence[str | None] | None = list(known) or None
    else:
        known, workers = {}, workers_of(pool)
    is_outdated = False
    if queue is None and (row := session.row("estimates.queue")) is not None:
        queue = Queue.model_validate({"waiting": row["waiting"], "running": row["running"]})
        is_outdated = row["is_outdated"]
    names = {name for name in workers or () if name is not None}
    names |= {job.worker for job in queue.running} if queue is not None else set()
    names |= {name for other in others if other is not None for name in other.workers or ()}
    if missing := names - known.keys():
        known |= {row["name"]: row["id"] for row in session.rows("estimates.workers", [sorted(missing)])}
    return Surroundings(workers, known, queue, is_outdated)


def workers_of(pool: Pool) -> list[str | None]:
    """The workers of a pool: names, or so many without one."""
    if pool.workers is not None:
        return list(dict.fromkeys(pool.workers))
    return [None] * (pool.worker_count or 0)


def wall_clock(
    cells: Sequence[Cell], knowledge: Knowledge, around: Surroundings
) -> tuple[WallClock | None, str | None]:
    """Hours until jobs of these works are done, or the reason why that is not known."""
    if around.is_outdated:
        return None, "queue_outdated"
    if around.workers is None:
        return None, "pool_unknown"
    if not cells:
        return None, "nothing_estimated"
    waiting = around.queue.waiting if around.queue is not None else []
    running = around.queue.running if around.queue is not None else []
    others = [_cell(job) for job in waiting] + [_cell(job) for job in running]
    kinds = _Kinds(knowledge, around.ids_there, len(around.workers))
    medians = kinds.medians([*cells, *others])
    if any(cell not in medians for cell in others):
        return None, "queue_unknown_history"
    if (why := kinds.why_none()) is not None:
        return None, why
    now = datetime.now(UTC)
    found = simulate(
        kinds.kinds,
        [Job(*medians[cell]) for cell in cells],
        workers=around.workers,
        waiting=[
            Job(*medians[cell], priority=job.priority) for cell, job in zip(others, waiting, strict=False)
        ],
        running=[
            Job(
                *medians[cell],
                elapsed_seconds=max(0.0, (now - job.started_at).total_seconds()),
                worker=job.worker,
            )
            for cell, job in zip(others[len(waiting) :], running, strict=True)
        ],
        common=kinds.common,
    )
    more = found.one_more
    return WallClock(
        p50=hours_from_seconds(found.finish.p50),
        p90=hours_from_seconds(found.finish.p90),
        p50_with_one_more=None if more is None else hours_from_seconds(more.p50),
        p90_with_one_more=None if more is None else hours_from_seconds(more.p90),
    ), None


def _cell(job: QueuedJob | RunningJob) -> Cell:
    return (job.workflow, job.tier), Works(job.segment_count)


class _Kinds:
    """The workflows and tiers of a simulation, in the order in which they come."""

    def __init__(self, knowledge: Knowledge, worker_ids: Mapping[str, int], worker_count: int) -> None:
        self._knowledge = knowledge
        self._worker_ids = worker_ids
        self._worker_count = worker_count
        self._crews: dict[int, tuple[dict[str, float], float]] = {}
        self._known: list[Known] = []
        self.kinds: list[Kind] = []

    def medians(self, cells: Collection[Cell]) -> dict[Cell, tuple[int, float]]:
        """Of each cell that has a history its kind, and the median of its wall time on a worker of factor 1."""
        known = [cell for cell in dict.fromkeys(cells) if cell[0] in self._knowledge.by_key]
        if not known:
            return {}
        ends, yardsticks = self._wall(known)
        found: dict[Cell, tuple[int, float]] = {}
        kinds: dict[tuple[Key, int], int] = {}
        # By yardstick, because what is known by frames is known better than what is known by segments.
        for cell, yardstick, (low, middle, high) in zip(known, yardsticks, ends.tolist(), strict=True):
            if math.isnan(middle):
                continue
            kind, one = (cell[0], yardstick), self._knowledge.by_key[cell[0]]
            if kind not in kinds:
                kinds[kind] = len(self.kinds)
                self._known.append(one)
                self.kinds.append(self._kind(one, low, middle, high))
            found[cell] = (kinds[kind], middle * math.exp(self._crew(one)[1]))
        return found

    def why_none(self) -> str | None:
        """The reason why these durations give no wall clock."""
        if any(known.record["retry_ratio"] > _MOST_RETRIES for known in self._known):
            return "fails_too_often"
        return next((why for known in self._known if (why := known.why_no_interval(WALL)) is not None), None)

    @property
    def common(self) -> float:
        """The correlation of what jobs of one kind share with what those of another do."""
        rho = [known.record["rho"][WALL].mean() for known in self._known]
        return min(1.0, float(self._knowledge.totals["common"][WALL]) / max(float(np.mean(rho)), 1e-3))

    def _kind(self, known: Known, low: float, middle: float, high: float) -> Kind:
        record = known.record
        down = up = 0.0
        if low > 0:  # not where it is unknown, nor where everything takes no time
            down, up = math.log(middle / low) / NORMAL_P90, math.log(high / middle) / NORMAL_P90
        rho, samples = min(1.0, float(record["rho"][WALL, 1])), max(1.0, float(record["samples"][WALL]))
        variance = (down * down + up * up) / 2 * (rho + (1 - rho) / samples)
        factors, usual = self._crew(known)
        if known.own_factors and not factors:
            # Whoever does it is as fast as somebody so far, and stays so: the fewer they are, the less it averages out.
            spread = np.std(known.own_factors) ** 2 / max(1, self._worker_count)
            variance = min(variance + float(spread), (down * down + up * up) / 2)
        return Kind(
            down=down,
            up=up,
            shared=math.sqrt(variance),
            retry_ratio=float(record["retry_ratio"]),
            failed_ratio=float(record["failed_ratio"]) or 1.0,
            factors={name: factor - usual for name, factor in factors.items()},
        )

    def _crew(self, known: Known) -> tuple[dict[str, float], float]:
        """ln of the factors of the workers that are there, by name, and of the usual worker's among those that did it,
        which one without a name has (0 where factors are not reckoned with)."""
        if known.place not in self._crews:
            factors = {
                name: known.factors[number]
                for name, number in self._worker_ids.items()
                if number in known.factors
            }
            usual = float(np.mean(known.own_factors)) if factors and known.own_factors else 0.0
            self._crews[known.place] = factors, usual
        return self._crews[known.place]

    def _wall(self, cells: Sequence[Cell]) -> tuple[Array, list[int]]:
        """P10, P50 and P90 of wall times, (m, 3), and by which yardstick: on a worker of factor 1 where the factors of
        some of those that are there are known, else on any."""
        keys = [key for key, _ in cells]
        outlook = self._knowledge.outlook(keys)
        nothing = np.zeros((len(COSTS), len(BASES)))
        levels = outlook.levels(works_array(cells), nothing[:, 0], nothing)
        is_told = ~np.isnan(levels[:, WALL, 1:]).all(axis=(1, 2))
        is_unequal = is_told & np.array([bool(self._crew(self._knowledge.by_key[key])[0]) for key in keys])
        levels[is_unequal, :, 0] = math.nan
        levels[~is_unequal, :, 1:] = math.nan
        said = outlook.predict(levels)
        yardsticks = said.worker[:, WALL] * len(BASES) + said.basis[:, WALL]
        return np.stack(
            [said.p10[:, WALL], said.p50[:, WALL], said.p90[:, WALL]], axis=1
        ), yardsticks.tolist()
