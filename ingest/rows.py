"""From a valid event to a row: the one place that knows which column a field of the contract goes to."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from framehouse.events import Event
from framehouse.warehouse.pool import Json

#: Names that the warehouse knows by id: the event's field and the row's column.
NAMED = {
    kind: f"{kind}_id"
    for kind in ("workflow", "tier", "project", "character", "scene", "scene_type", "worker")
}

#: Every written column of telemetry.performance_metrics and its type, in the order of `row`.
COLUMNS: dict[str, str] = {
    "finished_at": "timestamptz",
    "queued_at": "timestamptz",
    "eligible_at": "timestamptz",
    "started_at": "timestamptz",
    "job_id": "text",
    "attempt": "int2",
    "estimate_id": "uuid",
    "scene_key": "text",
    **dict.fromkeys(NAMED.values(), "int4"),
    "variant": "text",
    "outcome": "text",
    "error_code": "text",
    "error_message": "text",
    "is_cold": "bool",
    **dict.fromkeys(
        ("cached_count", "segment_count", "frame_count", "width", "height", "gpu_count"), "int4"
    ),
    "vram_method": "text",
    **dict.fromkeys(
        (
            "gpu_seconds", "wall_seconds", "vram_peak_mb", "energy_joules", "output_mb", "cpu_seconds", "cpu_mean_pct",
            "cpu_max_pct", "rss_mean_mb", "rss_peak_mb", "read_mb", "write_mb",
        ),
        "float8",
    ),
    "commands": "text[]",
    "input_duration_seconds": "float8",
    "input_video_codec": "text",
    "input_audio_codec": "text",
    "input_width": "int4",
    "input_height": "int4",
    "input_bitrate_kbps": "float8",
    "host_hostname": "text",
    "host_instance_type": "text",
    "host_cpu_count": "int4",
    "host_memory_gb": "float8",
    "host_gpu_model": "text",
    "host_driver": "text",
    "quality_scores_json": "jsonb",
    "pipeline_stages_json": "jsonb",
    "parameters_json": "jsonb",
}  # fmt: skip

_PLAIN = [name for name in COLUMNS if name in Event.model_fields and name != "outcome"]
_INPUT = [name for name in COLUMNS if name.startswith("input_")]
_HOST = [name for name in COLUMNS if name.startswith("host_")]
_ORDER = list(COLUMNS)


def row(event: Event, ids: Mapping[tuple[str, str], int]) -> list[Any]:
    """The event's values in the order of COLUMNS. `ids` maps (kind, name) to the studio's id."""
    values: dict[str, Any] = {name: getattr(event, name) for name in _PLAIN}
    values["outcome"] = event.outcome.value
    for kind, column in NAMED.items():
        name = getattr(event, kind)
        values[column] = None if name is None else ids[kind, name]
    if event.gpu_count == 0:
        values["gpu_seconds"] = 0.0
    if event.input is not None:
        values |= {name: getattr(event.input, name.removeprefix("input_")) for name in _INPUT}
    if event.host is not None:
        values |= {name: getattr(event.host, name.removeprefix("host_")) for name in _HOST}
    if event.quality_scores is not None:
        values["quality_scores_json"] = Json(event.quality_scores)
    if event.pipeline_stages is not None:
        stages = [stage.model_dump(exclude_none=True) for stage in event.pipeline_stages]
        values["pipeline_stages_json"] = Json(stages)
    if event.parameters is not None:
        values["parameters_json"] = Json(event.parameters)
    return [values.get(name) for name in _ORDER]


def body_hash(event: Event) -> bytes:
    """SHA-256 of what the event says, in one spelling: neither key order nor the way a time is written counts."""
    said = event.model_dump(mode="json", exclude_defaults=True)
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).digest()


def names(events: list[Event]) -> Iterator[tuple[str, list[str]]]:
    """For each kind of name, the distinct names that the events mention, in order."""
    for kind in NAMED:
        yield kind, sorted({name for event in events if (name := getattr(event, kind)) is not None})
