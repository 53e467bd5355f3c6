"""The estimate of one scene."""

import math
from collections.abc import Mapping

from framehouse.estimates.history import Distribution, History, Key, histories
from framehouse.estimates.wire import Estimate, NoEstimate, SceneRequest, no_estimate
from framehouse.warehouse import Session, Warehouse


def estimate_scene(warehouse: Warehouse, scene: SceneRequest) -> Estimate | NoEstimate:
    """What one scene will take: GPU and wall seconds and MiB of output, or why that is not known."""
    with warehouse.session(is_snapshot=True) as session:
        key = (scene.workflow, tier_of(scene, default_tier(session)))
        return estimate_cell(histories(session, [scene.workflow]), key, segments_needed(scene))


def estimate_cell(known: Mapping[Key, History], key: Key, segments: int) -> Estimate | NoEstimate:
    """What so many segments of one workflow at one tier will take."""
    history = known.get(key)
    if history is None:
        return no_estimate("no_history")
    wall = history.wall.predict(segments)
    if wall is None:
        return no_estimate("no_segment_counts")
    gpu, disk = history.gpu.predict(segments), history.disk.predict(segments)
    return Estimate(
        segments_needed=segments,
        gpu_seconds=gpu,
        wall_seconds=wall,
        disk_mb=disk,
        confidence=history.confidence,
        sample_count=history.sample_count,
        interval_reason=_interval_reason(history, [d for d in (wall, gpu, disk) if d is not None]),
    )


def segments_needed(scene: SceneRequest) -> int:
    """ceil(target / segment); a quotient that is whole but for rounding (0.3 / 0.1) is whole."""
    return max(1, math.ceil(round(scene.target_seconds / scene.segment_seconds, 9)))


def default_tier(session: Session) -> str | None:
    """The studio's default tier's name."""
    return next((row["name"] for row in session.rows("estimates.tiers") if row["is_default"]), None)


def tier_of(scene: SceneRequest, default: str | None) -> str | None:
    """The tier that the scene names, none if it says null, the default if it says nothing."""
    return scene.tier if "tier" in scene.model_fields_set else default


def _interval_reason(history: History, predicted: list[Distribution]) -> str | None:
    if all(d.p10 is not None for d in predicted):
        return None
    costs = (history.wall, history.gpu, history.disk)
    return next(reason for cost in costs if (reason := cost.why_no_interval) is not None)
