"""A week of three workflows, whose numbers can be computed by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any

from framehouse.warehouse import Warehouse
from framehouse.warehouse.maintain import maintain
from tests.builders import event, store

FIRST = datetime(2026, 3, 2, tzinfo=UTC)
WEEK = {"from": FIRST.isoformat(), "to": (FIRST + timedelta(days=7)).isoformat()}
PATH = "/api/performance"


def at(day: float, minutes: float = 0) -> str:
    return (FIRST + timedelta(days=day, hours=9, minutes=minutes)).isoformat()


def made(workflow: str, day: float, minutes: float, **fields: Any) -> Any:
    """An attempt of ten seconds on one GPU: two segments, 100 frames, a score, and two stages that ran."""
    said = {
        "tier": "draft", "worker": "gpu-1", "project": "film", "finished_at": at(day, minutes),
        "wall_seconds": 10.0, "gpu_count": 1, "gpu_seconds": 10.0, "segment_count": 2, "frame_count": 100,
        "vram_peak_mb": 8000.0, "host": {"gpu_model": "L40S"}, "quality_scores": {"likeness": 0.8},
        "pipeline_stages": [
            {"name": "load", "duration_ms": 1000.0, "is_cached": False},
            {"name": "sample", "duration_ms": 3000.0},
            {"name": "decode", "duration_ms": 0.0, "is_cached": True},
        ],
    }  # fmt: skip
    return event(workflow=workflow, **(said | fields))


def fill(database_url: str) -> None:
    """Seven days of three workflows: `slow` takes twice as long as `even`, `rare` worked once and failed once."""
    with Warehouse(database_url) as warehouse:
        store(
            warehouse,
            [
                *(made("even", day, n) for day in range(7) for n in range(4)),
                *(
                    made(
                        "slow", day, n, wall_seconds=20.0, gpu_seconds=20.0, vram_peak_mb=12000.0, tier=None,
                        worker="gpu-2", quality_scores={"likeness": 0.9, "lpips": 0.1 + day / 100},
                    )
                    for day in range(7) for n in range(2)
                ),
                made("rare", 2, 0, gpu_seconds=36.0, quality_scores=None, pipeline_stages=None),
                made("rare", 2, 1, gpu_seconds=72.0, outcome="failed", attempt=2),
                made("even", -3, 0, wall_seconds=30.0),
            ],
        )  # fmt: skip
        maintain(warehouse)
