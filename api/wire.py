"""What goes over the wire besides the event contract: answers, and the small requests of this service."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
)
from pydantic.config import JsonDict

from api.problems import ProblemDetails, ProblemItem
from framehouse.events import Outcome
from ingest.verdict import Status

UtcTime = Annotated[datetime, AfterValidator(lambda value: value.astimezone(UTC))]
"""Always written with Z, whatever zone the database's session has."""

Limit = Annotated[int, Field(ge=1, le=1000)]
Cursor = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[A-Za-z0-9_-]+$")]


def _without_default(schema: JsonDict) -> None:
    schema.pop("default", None)


#: A member that is left out where it says nothing: not required, and never null.
_ABSENT: Any = Field(default=None, json_schema_extra=_without_default)


class Wire(BaseModel):
    """An answer, from whatever has attributes of these names."""

    model_config = ConfigDict(use_attribute_docstrings=True, from_attributes=True)


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class EventResult(Wire):
    """What became of one event; `code` and `errors` are there when it was rejected."""

    index: int
    """Its place in the request."""
    job_id: str | None
    attempt: int | None
    status: Status
    code: str = _ABSENT
    errors: list[ProblemItem] = _ABSENT


class EventAnswer(Wire):
    """Every event of the request in order."""

    results: list[EventResult]


class HeartbeatResult(Wire):
    """What became of one heartbeat; `code` and `errors` are there when it was rejected."""

    index: int
    worker: str | None
    covered_seconds: float | None
    """How much of its span was new; 0 for a duplicate."""
    status: Status
    code: str = _ABSENT
    errors: list[ProblemItem] = _ABSENT


class HeartbeatAnswer(Wire):
    """Every heartbeat of the request in order."""

    results: list[HeartbeatResult]


class EventRefusal(ProblemDetails):
    """No event of the request was stored or known."""

    results: list[EventResult] = _ABSENT


class HeartbeatRefusal(ProblemDetails):
    """No heartbeat of the request was stored or known."""

    results: list[HeartbeatResult] = _ABSENT


class ReplayAnswer(Wire):
    """A refused body that was stored now, or was known already."""

    id: int
    status: Literal["accepted", "duplicate"]
    results: list[EventResult | HeartbeatResult]


class ReplayRefusal(ProblemDetails):
    """A refused body that was refused again; its row stays open."""

    results: list[EventResult | HeartbeatResult] = _ABSENT


class QueueAnswer(Wire):
    """The queue that is stored now."""

    waiting_count: int
    running_count: int


class QuarantineRow(Wire):
    """A refused body, without the body."""

    id: int
    received_at: UtcTime
    origin: str
    code: str
    size_bytes: int
    errors: list[ProblemItem] = Field(validation_alias="problems")
    replayed_at: UtcTime | None
    replay_status: str | None


class QuarantinePage(Wire):
    """Refused bodies, in the order of their arrival."""

    items: list[QuarantineRow]
    next_cursor: str | None


class QuarantineBody(QuarantineRow):
    """A refused body."""

    body_text: str | None
    """The body, where it is UTF-8."""
    body_base64: str
    """The body, byte for byte."""


class InputAnswer(Wire):
    """The longest input of a media job."""

    duration_seconds: float | None
    video_codec: str | None
    audio_codec: str | None
    width: int | None
    height: int | None
    bitrate_kbps: float | None


class HostAnswer(Wire):
    """The machine that did the work."""

    hostname: str | None
    instance_type: str | None
    cpu_count: int | None
    memory_gb: float | None
    gpu_model: str | None
    driver: str | None


class Attempt(Wire):
    """One stored attempt. Null is unknown."""

    job_id: str
    attempt: int
    estimate_id: UUID | None
    scene_key: str | None
    workflow: str
    tier: str | None
    project: str | None
    character: str | None
    scene: str | None
    scene_type: str | None
    variant: str | None
    worker: str | None
    queued_at: UtcTime | None
    eligible_at: UtcTime | None
    started_at: UtcTime | None
    finished_at: UtcTime
    recorded_at: UtcTime
    outcome: Outcome
    error_code: str | None
    error_message: str | None
    is_cold: bool | None
    cached_count: int | None
    segment_count: int | None
    frame_count: int | None
    width: int | None
    height: int | None
    gpu_count: int | None
    gpu_seconds: float | None
    wall_seconds: float
    time_per_frame_ms: float | None
    vram_peak_mb: float | None
    vram_method: str | None
    energy_joules: float | None
    output_mb: float | None
    cpu_seconds: float | None
    cpu_mean_pct: float | None
    cpu_max_pct: float | None
    rss_mean_mb: float | None
    rss_peak_mb: float | None
    read_mb: float | None
    write_mb: float | None
    commands: list[str] | None
    input: InputAnswer | None
    rtf: float | None
    """Input media seconds per wall second; 1.3 is faster than real time."""
    host: HostAnswer | None
    quality_scores: dict[str, float] | None
    pipeline_stages: list[dict[str, Any]] | None
    parameters: dict[str, Any] | None


class AttemptPage(Wire):
    """Attempts, the latest first."""

    items: list[Attempt]
    next_cursor: str | None


class Manifest(Wire):
    """Every attempt of a job, in order."""

    job_id: str
    attempts: list[Attempt]


class Alive(Wire):
    """The process lives."""

    status: Literal["alive"]


class Ready(Wire):
    """The service can do its work."""

    status: Literal["ready"]
    schema_version: str
    """The newest migration."""
