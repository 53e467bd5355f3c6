"""What an estimate request and its answer look like, on the wire and in Python."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field, ValidationError, model_validator

from framehouse.errors import ContractError
from framehouse.estimates.alarms import Alarm
from framehouse.estimates.known import Confidence
from framehouse.estimates.spending import BudgetState
from framehouse.estimates.totals import Distribution
from framehouse.events import Count, Name, Parameters, Queue, Record, problems

MAX_SCENES = 100_000
MAX_SEGMENTS = 1_000_000

Seconds = Annotated[float, Field(ge=0.001, le=1e7, allow_inf_nan=False)]


class Pool(Record):
    """The workers that will do the work: their number, or their names. Each takes every job."""

    worker_count: Annotated[int, Field(ge=1, le=10_000)] | None = None
    workers: Annotated[list[Name], Field(min_length=1, max_length=10_000)] | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.worker_count is None) == (self.workers is None):
            raise ValueError("give worker_count or workers, one of them")
        return self


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
    """`width`, `height` (pixels) and `input_duration_seconds` in it say more of the work."""

    @model_validator(mode="after")
    def _is_countable(self) -> Self:
        if self.target_seconds / self.segment_seconds > MAX_SEGMENTS:
            raise ValueError(f"target_seconds is more than {MAX_SEGMENTS} segments")
        return self


class Dimension(StrEnum):
    """What a batch can be broken down by."""

    SCENE_TYPE = "scene_type"
    CHARACTER = "character"
    VARIANT = "variant"
    TIER = "tier"
    WORKFLOW = "workflow"


class Variation(Record):
    """The same batch, otherwise: every scene at another tier or by another workflow, or on another pool."""

    name: Name | None = None
    tier: Name | None = None
    """Every scene that has a tier at this one."""
    workflow: Name | None = None
    """Every scene by this workflow."""
    pool: Pool | None = None

    @model_validator(mode="after")
    def _varies_something(self) -> Self:
        if self.tier is None and self.workflow is None and self.pool is None:
            raise ValueError("give tier, workflow or pool, one of them at least")
        return self


class BatchRequest(Record):
    """A batch of scenes, and the pool and queue that it will meet (the warehouse's own, unless given)."""

    scenes: Annotated[list[SceneRequest], Field(min_length=1, max_length=MAX_SCENES)]
    pool: Pool | None = None
    queue: Queue | None = None
    drill_down: Annotated[
        tuple[Annotated[Dimension, Field(strict=False)], ...], Field(max_length=len(Dimension), strict=False)
    ] = ()
    """Break the batch down by these, each within the one before."""
    what_if: Annotated[tuple[Variation, ...], Field(max_length=20, strict=False)] = ()
    """Estimate it otherwise too. Nothing of that is stored."""
    store: bool = True
    """Keep the estimate, to be scored against what happens."""
    project: Name | None = None
    """Whose work it is: the answer says how its budgets would stand, and so does its submission."""

    @model_validator(mode="after")
    def _is_broken_down_once(self) -> Self:
        if len(set(self.drill_down)) < len(self.drill_down):
            raise ValueError("drill_down names a dimension twice")
        return self


def batch_request(body: object) -> BatchRequest:
    """A request as it is or as plain values: the body of POST /api/estimates, or its scenes. Raises ContractError."""
    try:
        return BatchRequest.model_validate({"scenes": list(body)} if isinstance(body, list | tuple) else body)
    except ValidationError as error:
        raise ContractError("the batch is invalid", problems(error)) from None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a scene will take.

    A quantity is None where the history never measured it; `cost` (of GPU time, at today's rates) also where a GPU
    model that did the work is unknown or has no rate. Below three samples there is no interval, and `interval_reason`
    says so. `basis` is what the wall time was measured against: segments, frames, megapixel_frames, input_seconds, jobs
    or fixed_and_segments.
    """

    segments_needed: int
    gpu_seconds: Distribution | None
    wall_seconds: Distribution
    disk_mb: Distribution | None
    energy_joules: Distribution | None
    vram_peak_mb: Distribution | None
    rss_peak_mb: Distribution | None
    cost: Distribution | None
    confidence: Confidence
    sample_count: int
    basis: str
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
    energy_kwh: float | None
    cost: float | None


@dataclass(frozen=True, slots=True)
class Breakdown(Share):
    """A part of a batch, and what it consists of by the next dimension."""

    dimension: Dimension
    parts: "tuple[Breakdown, ...]"


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals over the estimated scenes, each with an interval that knows that the errors of a batch go together. None
    where a part is unknown; `interval_reason` says why there is no interval, `cost_reason` why no cost."""

    gpu_hours: Distribution | None
    wall_hours: Distribution | None
    disk_gb: Distribution | None
    energy_kwh: Distribution | None
    cost: Distribution | None
    currency: str | None
    interval_reason: str | None
    cost_reason: str | None


@dataclass(frozen=True, slots=True)
class WallClock:
    """Hours from now until the batch is done on the pool, behind what is running and waiting; and the same with one
    more worker of the pool's usual speed."""

    p50: float
    p90: float
    p50_with_one_more: float | None
    p90_with_one_more: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch will take as a whole. Totals cover the estimated scenes only; `unknown` lists the others."""

    estimated_scenes: int
    totals: Totals
    wall_clock_hours: WallClock | None
    wall_clock_reason: str | None
    worker_count: int | None
    confidence: Confidence | None
    unknown: tuple[Unknown, ...]


@dataclass(frozen=True, slots=True)
class Varied(Outcome):
    """A variation of the batch, and how much more (less: below 0) its means are than the batch's own; None where one of
    both is unknown, or where they do not cover the same scenes."""

    name: str
    gpu_hours_change_ratio: float | None
    cost_change_ratio: float | None
    wall_clock_change_ratio: float | None


@dataclass(frozen=True, slots=True)
class BatchAnswer(Outcome):
    """What a batch will take, as a whole, by part and by scene."""

    estimate_id: UUID | None
    created_at: datetime
    total_scenes: int
    total_gpu_hours: float | None
    total_wall_hours: float | None
    total_disk_gb: float | None
    total_energy_kwh: float | None
    total_cost: float | None
    queue_depth: int | None
    by_scene_type: tuple[Share, ...]
    by_character: tuple[Share, ...]
    by_variant: tuple[Share, ...]
    by_tier: tuple[Share, ...]
    by_workflow: tuple[Share, ...]
    breakdown: tuple[Breakdown, ...]
    what_if: tuple[Varied, ...]
    scenes: tuple[SceneAnswer, ...]
    budgets: tuple[BudgetState, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    """Which of the predictions were off lately."""


#: What each reason means, for people.
REASONS: Mapping[str, str] = {
    "no_history": "No estimate available: this workflow has not succeeded at this tier yet.",
    "no_segment_counts": "No estimate available: its attempts never said how many segments they made.",
    "raw_dropped": "No estimate available: its attempts were dropped before forecasts were learnt from them.",
    "too_few_samples": "No interval: fewer than three samples.",
    "zeros_among_samples": "No interval: some samples are zero.",
    "too_wide": "No interval: the samples differ by factors of millions.",
    "gpu_model_unknown": "No cost: some attempts did not say which GPU model they used.",
    "gpu_model_without_rate": "No cost: a GPU model that did the work has no rate (framehouse rates set).",
    "gpu_time_unknown": "No cost: the GPU time of some scenes was never measured.",
    "pool_unknown": "No wall clock: no worker has sent a heartbeat, and the request names no pool.",
    "queue_outdated": "No wall clock: the scheduler last told its queue more than a quarter of an hour ago.",
    "queue_unknown_history": "No wall clock: a job that is running or waiting has no history.",
    "nothing_estimated": "No wall clock and no cost: no scene could be estimated.",
    "fails_too_often": "No wall clock: of some workflow more than four in five attempts fail.",
}


def no_estimate(reason: str) -> NoEstimate:
    """The reason as a value."""
    return NoEstimate(reason, REASONS[reason])


def as_json(answer: Any) -> Any:
    """An answer as plain JSON values."""
    from pydantic import TypeAdapter  # noqa: PLC0415 - keeps this module's import light

    return TypeAdapter(type(answer)).dump_python(answer, mode="json")
