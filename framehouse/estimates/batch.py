"""The estimate of a batch: totals, breakdowns, what is unknown, and when the pool will be done with it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from uuid import uuid4

from framehouse.errors import ContractError, Problem
from framehouse.estimates.history import Confidence, History, Key, histories
from framehouse.estimates.scene import default_tier, estimate_cell, segments_needed, tier_of
from framehouse.estimates.schedule import Job, simulate
from framehouse.estimates.store import store
from framehouse.estimates.wire import (
    BatchAnswer,
    BatchRequest,
    Estimate,
    NoEstimate,
    SceneAnswer,
    SceneRequest,
    Share,
    Unknown,
    WallClock,
)
from framehouse.events import Queue
from framehouse.units import gib_from_mib, hours_from_seconds
from framehouse.warehouse import Session, Warehouse

_Work = tuple[Key, int, float]
_ORDER: tuple[Confidence, ...] = ("low", "medium", "high")


def estimate_batch(warehouse: Warehouse, request: BatchRequest) -> BatchAnswer:
    """What a batch will take. Stored, to be scored later, unless the request says otherwise.

    Raises ContractError for a tier that does not exist and for scene keys that stand twice.
    """
    keys = _scene_keys(request.scenes)
    with warehouse.session(is_snapshot=True) as session:
        tiers = _tiers(session, request)
        queue, is_outdated = (request.queue, False) if request.queue is not None else _queue(session)
        pool_size = (
            request.pool.size if request.pool is not None else len(session.rows("estimates.pool")) or None
        )
        mentioned = {scene.workflow for scene in request.scenes}
        if queue is not None:
            mentioned |= {job.workflow for job in queue.waiting} | {job.workflow for job in queue.running}
        known = histories(session, mentioned)
    scenes = _scenes(request.scenes, keys, tiers, known)
    clock, clock_reason = (
        (None, "queue_outdated") if is_outdated else _wall_clock(scenes, known, pool_size, queue)
    )
    estimated = [scene.estimate for scene in scenes if scene.estimate is not None]
    total = _share(None, scenes)
    answer = BatchAnswer(
        estimate_id=uuid4() if request.store else None,
        created_at=datetime.now(UTC),
        total_scenes=len(scenes),
        estimated_scenes=len(estimated),
        total_gpu_hours=total.gpu_hours,
        total_wall_hours=total.wall_hours,
        total_disk_gb=total.disk_gb,
        wall_clock_hours=clock,
        wall_clock_reason=clock_reason,
        worker_count=pool_size,
        queue_depth=None if queue is None else len(queue.waiting),
        confidence=min((e.confidence for e in estimated), key=_ORDER.index, default=None),
        unknown=_unknown(scenes),
        by_scene_type=_shares(request.scenes, scenes, lambda request, _: request.scene_type),
        by_character=_shares(request.scenes, scenes, lambda request, _: request.character),
        by_tier=_shares(request.scenes, scenes, lambda _, scene: scene.tier),
        by_workflow=_shares(request.scenes, scenes, lambda _, scene: scene.workflow),
        scenes=tuple(scenes),
    )
    if request.store:
        store(warehouse, request, answer)
    return answer


def _scene_keys(scenes: Sequence[SceneRequest]) -> list[str]:
    keys = [scene.scene_key or f"scene-{number}" for number, scene in enumerate(scenes, start=1)]
    twice = {key for key, count in Counter(keys).items() if count > 1}
    if twice:
        found = [
            Problem(f"scenes[{index}].scene_key", f"{key!r} stands twice", "a key of its own")
            for index, key in enumerate(keys)
            if key in twice
        ]
        raise ContractError("two scenes have the same key", found[:20])
    return keys


def _tiers(session: Session, request: BatchRequest) -> list[str | None]:
    """Each scene's tier. Raises ContractError for one that does not exist, also in the request's queue."""
    default = default_tier(session)
    exists = {row["name"] for row in session.rows("estimates.tiers")}
    tiers = [tier_of(scene, default) for scene in request.scenes]
    named = [(f"scenes[{index}]", tier) for index, tier in enumerate(tiers)]
    if request.queue is not None:
        named += [(f"queue.waiting[{index}]", job.tier) for index, job in enumerate(request.queue.waiting)]
        named += [(f"queue.running[{index}]", job.tier) for index, job in enumerate(request.queue.running)]
    found = [
        Problem(f"{path}.tier", f"there is no tier {tier!r}", f"null or one of: {', '.join(sorted(exists))}")
        for path, tier in named
        if tier is not None and tier not in exists
    ]
    if found:
        raise ContractError("the batch names a tier that does not exist", found[:20])
    return tiers


def _scenes(
    requests: Sequence[SceneRequest],
    keys: Sequence[str],
    tiers: Sequence[str | None],
    known: Mapping[Key, History],
) -> list[SceneAnswer]:
    cells: dict[tuple[str, str | None, int], Estimate | NoEstimate] = {}
    found = []
    for request, scene_key, tier in zip(requests, keys, tiers, strict=True):
        segments = segments_needed(request)
        cell = (request.workflow, tier, segments)
        if cell not in cells:
            cells[cell] = estimate_cell(known, cell[:2], segments)
        value = cells[cell]
        is_known = isinstance(value, Estimate)
        found.append(
            SceneAnswer(
                scene_key=scene_key,
                workflow=request.workflow,
                tier=tier,
                segments_needed=segments,
                estimate=value if isinstance(value, Estimate) else None,
                reason=None if is_known else value.reason if isinstance(value, NoEstimate) else None,
            )
        )
    return found


def _share(name: str | None, scenes: Iterable[SceneAnswer]) -> Share:
    """Sums of means. A sum that lacks a part (a scene whose GPU time was never measured) is unknown, not smaller."""
    everything = list(scenes)
    estimates = [scene.estimate for scene in everything if scene.estimate is not None]
    gpu = [e.gpu_seconds.mean if e.gpu_seconds is not None else None for e in estimates]
    disk = [e.disk_mb.mean if e.disk_mb is not None else None for e in estimates]
    return Share(
        name=name,
        scene_count=len(everything),
        estimated_scenes=len(estimates),
        gpu_hours=_total(gpu, hours_from_seconds),
        wall_hours=_total([e.wall_seconds.mean for e in estimates], hours_from_seconds),
        disk_gb=_total(disk, gib_from_mib),
    )


def _total(values: Sequence[float | None], convert: Callable[[float], float]) -> float | None:
    known = [value for value in values if value is not None]
    return convert(sum(known)) if known and len(known) == len(values) else None


def _shares(
    requests: Sequence[SceneRequest],
    scenes: Sequence[SceneAnswer],
    name: Callable[[SceneRequest, SceneAnswer], str | None],
) -> tuple[Share, ...]:
    groups: dict[str | None, list[SceneAnswer]] = {}
    for request, scene in zip(requests, scenes, strict=True):
        groups.setdefault(name(request, scene), []).append(scene)
    return tuple(_share(key, groups[key]) for key in sorted(groups, key=lambda key: (key is None, key or "")))


def _unknown(scenes: Iterable[SceneAnswer]) -> tuple[Unknown, ...]:
    groups: dict[tuple[str, str | None, str], list[SceneAnswer]] = {}
    for scene in scenes:
        if scene.reason is not None:
            groups.setdefault((scene.workflow, scene.tier, scene.reason), []).append(scene)
    return tuple(
        Unknown(workflow, tier, len(group), sum(scene.segments_needed for scene in group), reason)
        for (workflow, tier, reason), group in sorted(
            groups.items(), key=lambda item: (item[0][0], item[0][1] or "")
        )
    )


def _queue(session: Session) -> tuple[Queue | None, bool]:
    """The queue that the scheduler told last, and whether that is too long ago to stand for the present."""
    row = session.row("estimates.queue")
    if row is None:
        return None, False
    return Queue.model_validate({"waiting": row["waiting"], "running": row["running"]}), row["is_outdated"]


def _wall_clock(
    scenes: Sequence[SceneAnswer], known: Mapping[Key, History], workers: int | None, queue: Queue | None
) -> tuple[WallClock | None, str | None]:
    if workers is None:
        return None, "pool_unknown"
    jobs = [
        Job(known[scene.workflow, scene.tier].wall, scene.segments_needed)
        for scene in scenes
        if scene.estimate is not None
    ]
    if not jobs:
        return None, "nothing_estimated"
    waiting, running = _others(queue)
    if any(key not in known for key, *_ in (*waiting, *running)):
        return None, "queue_unknown_history"
    others = [
        [Job(known[key].wall, segments, elapsed) for key, segments, elapsed in part]
        for part in (waiting, running)
    ]
    everything = [*jobs, *others[0], *others[1]]
    if why := next((why for job in everything if (why := job.history.why_no_interval)), None):
        return None, why
    p50, p90 = simulate(jobs, workers=workers, waiting=others[0], running=others[1])
    return WallClock(hours_from_seconds(p50), hours_from_seconds(p90)), None


def _others(queue: Queue | None) -> tuple[list[_Work], list[_Work]]:
    """What waits, in the order it will run, and what runs, with the seconds it has run for."""
    if queue is None:
        return [], []
    now = datetime.now(UTC)
    waiting: list[_Work] = [
        ((job.workflow, job.tier), job.segment_count, 0.0)
        for job in sorted(queue.waiting, key=lambda job: -job.priority)
    ]
    running: list[_Work] = [
        ((job.workflow, job.tier), job.segment_count, max(0.0, (now - job.started_at).total_seconds()))
        for job in queue.running
    ]
    return waiting, running
