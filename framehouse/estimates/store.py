"""Keeping an estimate, so that it can be scored when its jobs finish."""

from operator import attrgetter
from typing import Any

from pydantic import TypeAdapter

from framehouse.estimates.wire import BatchAnswer, BatchRequest, SceneAnswer
from framehouse.warehouse import Warehouse
from framehouse.warehouse.pool import Json

_QUANTITIES = (
    "gpu_seconds", "wall_seconds", "disk_mb", "energy_joules", "vram_peak_mb", "rss_peak_mb", "cost",
)  # fmt: skip
_PARTS = ("mean", "p10", "p50", "p90")
_COLUMNS = {
    "estimate_id": "uuid",
    "scene_key": "text",
    "ordinal": "int4",
    "workflow": "text",
    "tier": "text",
    "segments_needed": "int4",
    "sample_count": "int4",
    "reason": "text",
    **{f"{quantity}_{part}": "float8" for quantity in _QUANTITIES for part in _PARTS},
}
_answer = TypeAdapter(BatchAnswer)
_distributions, _parts = attrgetter(*_QUANTITIES), attrgetter(*_PARTS)
_UNKNOWN, _NOTHING = (None,) * len(_QUANTITIES), (None,) * len(_PARTS)


def store(warehouse: Warehouse, request: BatchRequest, answer: BatchAnswer) -> None:
    """Write a batch's request, its answer and each scene's prediction, in one transaction."""
    said = _answer.dump_python(answer, mode="json", exclude={"scenes", "what_if"})
    asked = request.model_dump(mode="json", exclude_unset=True, exclude={"scenes", "what_if"})
    with warehouse.session() as session:
        session.run(
            "estimates.store",
            {
                "id": answer.estimate_id,
                "request": Json(asked),
                "answer": Json(said),
                "total_scenes": answer.total_scenes,
                "estimated_scenes": answer.estimated_scenes,
                "project": request.project,
            },
        )
        rows = (_row(answer, ordinal, scene) for ordinal, scene in enumerate(answer.scenes, start=1))
        session.copy_in("ops.estimate_scenes", _COLUMNS, rows)


def _row(answer: BatchAnswer, ordinal: int, scene: SceneAnswer) -> list[Any]:
    estimate = scene.estimate
    row: list[Any] = [
        answer.estimate_id,
        scene.scene_key,
        ordinal,
        scene.workflow,
        scene.tier,
        scene.segments_needed,
    ]
    row += [0 if estimate is None else estimate.sample_count, scene.reason]
    for one in _UNKNOWN if estimate is None else _distributions(estimate):
        row += _NOTHING if one is None else _parts(one)
    return row
