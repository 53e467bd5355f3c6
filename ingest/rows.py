"""From a valid event to a row: the one place that knows which column a field of the contract goes to."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import partial
from operator import attrgetter
from typing import Any

from pydantic_core import to_json

from framehouse.events import Event
from framehouse.warehouse.pool import Json

#: Names that the warehouse knows by id: the event's field and the row's column.
NAMED = {
    kind: f"{kind}_id"
    for kind in ("workflow", "tier", "project", "character", "scene", "scene_type", "worker")
}

_WHEN_AND_WHICH = {
    "finished_at": "timestamptz",
    "queued_at": "timestamptz",
    "eligible_at": "timestamptz",
    "started_at": "timestamptz",
    "job_id": "text",
    "attempt": "int2",
    "estimate_id": "uuid",
    "scene_key": "text",
}
_WHAT_AND_COST = {
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
}  # fmt: skip
_INPUT = {
    "input_duration_seconds": "float8",
    "input_video_codec": "text",
    "input_audio_codec": "text",
    "input_width": "int4",
    "input_height": "int4",
    "input_bitrate_kbps": "float8",
}
_HOST = {
    "host_hostname": "text",
    "host_instance_type": "text",
    "host_cpu_count": "int4",
    "host_memory_gb": "float8",
    "host_gpu_model": "text",
    "host_driver": "text",
}

#: Every written column of telemetry.performance_metrics and its type, in the order of `row`.
COLUMNS: dict[str, str] = {
    **_WHEN_AND_WHICH,
    **dict.fromkeys(NAMED.values(), "int4"),
    **_WHAT_AND_COST,
    **_INPUT,
    **_HOST,
    "quality_scores_json": "jsonb",
    "pipeline_stages_json": "jsonb",
    "parameters_json": "jsonb",
}

# Thousands of rows a second pass through here: each getter reads all of its fields in one call.
_when_and_which = attrgetter(*_WHEN_AND_WHICH)
_names = attrgetter(*NAMED)
_what_and_cost = attrgetter(*_WHAT_AND_COST)
_input = attrgetter(*(name.removeprefix("input_") for name in _INPUT))
_host = attrgetter(*(name.removeprefix("host_") for name in _HOST))
_NO_INPUT = (None,) * len(_INPUT)
_NO_HOST = (None,) * len(_HOST)
_GPU_SECONDS = list(COLUMNS).index("gpu_seconds")
_stages_to_json = partial(to_json, exclude_none=True)
_FREE = {"quality_scores", "parameters"}


def row(event: Event, ids: Mapping[tuple[str, str], int]) -> list[Any]:
    """The event's values in the order of COLUMNS. `ids` maps (kind, name) to the studio's id."""
    found = [
        *_when_and_which(event),
        *(None if name is None else ids[kind, name] for kind, name in zip(NAMED, _names(event), strict=True)),
        *_what_and_cost(event),
        *(_NO_INPUT if event.input is None else _input(event.input)),
        *(_NO_HOST if event.host is None else _host(event.host)),
        None if event.quality_scores is None else Json(event.quality_scores, to_json),
        None if event.pipeline_stages is None else Json(event.pipeline_stages, _stages_to_json),
        None if event.parameters is None else Json(event.parameters, to_json),
    ]
    if event.gpu_count == 0:
        found[_GPU_SECONDS] = 0.0
    return found


def body_hash(event: Event) -> bytes:
    """SHA-256 of what the event says, in one spelling: neither key order nor the way a time is written counts."""
    # Fields stand in the contract's order; only the objects with keys of the sender's own need sorting.
    digest = hashlib.sha256(event.model_dump_json(exclude_defaults=True, exclude=_FREE).encode())
    for free in (event.quality_scores, event.parameters):
        if free is not None:
            digest.update(json.dumps(free, sort_keys=True, separators=(",", ":")).encode())
        digest.update(b"\0")
    return digest.digest()


def names(events: list[Event]) -> Iterator[tuple[str, list[str]]]:
    """For each kind of name, the distinct names that the events mention, in order."""
    mentioned = [_names(event) for event in events]
    for index, kind in enumerate(NAMED):
        yield kind, sorted({given[index] for given in mentioned} - {None})
