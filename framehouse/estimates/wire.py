"""What an estimate request and its answer look like, on the wire and in Python."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field, model_validator

from framehouse.estimates.history import Confidence, Distribution
from framehouse.events import Count, Name, Parameters, Queue, Record

MAX_SCENES = 100_000
MAX_SEGMENTS = 1_000_000

Seconds = Annotated[float, Field(ge=0.001, le=1e7, allow_inf_nan=False)]


class Pool(Record):
    """The workers that will do the work: their number, or their names."""

    worker_count: Annotated[int, Field(ge=1, le=10_000)] | None = None
    workers: Annotated[list[Name], Field(min_length=1, max_length=10_000)] | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.worker_count is None) == (self.workers is None):
            raise ValueError("give worker_count or workers, one of them")
        return self

    @property
    def size(self) -> int:
        return self.worker_count or len(set(self.workers or ()))


class SceneRequest(Record):
    """One scene to estimate.

    `tier` left out means the default tier (draft); null means no tier, as for audio and thumbnails.
    """

    workflow: Name
    tier: Name | None = None
    target_seconds: Seconds
    """How long the scene shall be."""
    segment_seconds: Seconds
    """How long one segment of it is."""
    scene_key: Name | None = None
    """The scene's name within the batch; scene-1, scene-2 ... unless given."""
    scene_type: Name | None = None
    character: Name | None = None
    variant: Name | None = None
    frame_count: Count | None = None
    parameters: Parameters | None = None

    @model_validator(mode="after")
    def _is_countable(self) -> Self:
        if self.target_seconds / self.segment_seconds > MAX_SEGMENTS:
            raise ValueError(f"target_seconds is more than {MAX_SEGMENTS} segments")
        return self


class BatchRequest(Record):
    """A batch of scenes, and the pool and queue that it will meet (the warehouse's own, unless given)."""

    scenes: Annotated[list[SceneRequest], Field(min_length=1, max_length=MAX_SCENES)]
    pool: Pool | None = None
    queue: Queue | None = None
    store: bool = True
    """Keep the estimate, to be scored against what happens."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a scene will take.

    `gpu_seconds` or `disk_mb` is None where the history never measured it. Below three samples there is no interval,
    and `interval_reason` says so.
    """

    segments_needed: int
    gpu_seconds: Distribution | None
    wall_seconds: Distribution
    disk_mb: Distribution | None
    confidence: Confidence
    sample_count: int
    interval_reason: str | None = None


@dataclass(frozen=True, slots=True)
class NoEstimate:
    """Why there is no estimate: a stable reason, and a sentence for people."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class SceneAnswer:
    """One scene of the request, and its estimate or the reason there is none."""

    scene_key: str
    workflow: str
    tier: str | None
    segments_needed: int
    estimate: Estimate | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Scenes that could not be estimated, by workflow and tier."""

    workflow: str
    tier: str | None
    scene_count: int
    segments_needed: int
    reason: str


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a batch. Totals are sums of means over its estimated scenes; None where none was estimated."""

    name: str | None
    scene_count: int
    estimated_scenes: int
    gpu_hours: float | None
    wall_hours: float | None
    disk_gb: float | None


@dataclass(frozen=True, slots=True)
class WallClock:
    """Hours from now until the batch is done on the pool, behind what is running and waiting."""

    p50: float
    p90: float


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """What a batch will take. Totals cover the estimated scenes only; `unknown` lists the others."""

    estimate_id: UUID | None
    created_at: datetime
    total_scenes: int
    estimated_scenes: int
    total_gpu_hours: float | None
    total_wall_hours: float | None
    total_disk_gb: float | None
    wall_clock_hours: WallClock | None
    wall_clock_reason: str | None
    worker_count: int | None
    queue_depth: int | None
    confidence: Confidence | None
    unknown: tuple[Unknown, ...]
    by_scene_type: tuple[Share, ...]
    by_character: tuple[Share, ...]
    by_tier: tuple[Share, ...]
    by_workflow: tuple[Share, ...]
    scenes: tuple[SceneAnswer, ...]


#: What each reason means, for people.
REASONS: Mapping[str, str] = {
    "no_history": "No estimate available: this workflow has not succeeded at this tier yet.",
    "no_segment_counts": "No estimate available: its attempts never said how many segments they made.",
    "too_few_samples": "No interval: fewer than three samples.",
    "zeros_among_samples": "No interval: some samples are zero.",
    "too_wide": "No interval: the samples differ by factors of millions.",
    "pool_unknown": "No wall clock: no worker has sent a heartbeat, and the request names no pool.",
    "queue_outdated": "No wall clock: the scheduler last told its queue more than a quarter of an hour ago.",
    "queue_unknown_history": "No wall clock: a job that is running or waiting has no history.",
    "nothing_estimated": "No wall clock: no scene could be estimated.",
}


def no_estimate(reason: str) -> NoEstimate:
    """The reason as a value."""
    return NoEstimate(reason, REASONS[reason])


def as_json(answer: Any) -> Any:
    """An answer as plain JSON values."""
    from pydantic import TypeAdapter  # noqa: PLC0415 - keeps this module's import light

    return TypeAdapter(type(answer)).dump_python(answer, mode="json")
