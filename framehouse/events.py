"""The event contract: what a finished job attempt says, and what a worker's heartbeat says.

Strict on purpose: a number is a JSON number (no booleans, no text), a time is RFC 3339 with an offset, an unknown
field is an error. What passes here can be stored; nothing is checked a second time further in.
"""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, LiteralString, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from framehouse.errors import Problem

SCHEMA_VERSION = 1
OLDEST = datetime(2000, 1, 1, tzinfo=UTC)  # nothing rendered before this; keeps stray years out of the chunks
MEASURE_MIN = (
    1e-9  # a nanosecond, a thousandth of a byte: what is less is nothing, and its square would underflow
)
MEASURE_MAX = 1e12  # far above any real measure, and its square still sums exactly enough in a double

# No control characters but tab and newlines: NUL cannot be stored and the others break terminals and logs.
_LINE = r"^[^\x00-\x1f\x7f]*$"
_TEXT = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"


_TIME = "an RFC 3339 time with an offset, such as 2026-03-01T12:00:00Z"
#: Python reads more than RFC 3339 writes, such as week dates.
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d([.,]\d{1,9})?([Zz]|[+-]\d\d:[0-5]\d)", flags=re.ASCII
)


def _not_a_time(message: LiteralString) -> PydanticCustomError:
    return PydanticCustomError("not_a_time", message, {"expected": _TIME})


def _instant(value: object) -> object:
    if isinstance(value, str):
        if not _RFC3339.fullmatch(value):
            raise _not_a_time("not an RFC 3339 time")
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise _not_a_time("there is no such time") from None
    if isinstance(value, datetime) and value.tzinfo is None:
        raise _not_a_time("the time has no offset")
    return value


def _utc(value: datetime) -> datetime:
    try:
        value = value.astimezone(UTC)
    except (OverflowError, ValueError):
        raise ValueError("the time is outside the calendar") from None
    if value < OLDEST or value.year > 2200:
        raise ValueError("the time is outside 2000-2200")
    return value


def _uuid(value: object) -> object:
    if isinstance(value, str):
        try:
            return UUID(value)
        except ValueError:
            raise PydanticCustomError("not_a_uuid", "not a UUID", {"expected": "a UUID"}) from None
    return value


def _positive_zero(value: float) -> float:
    return value + 0.0  # -0.0 is equal to 0.0 but prints and hashes otherwise


def _measurable(value: float) -> float:
    return _positive_zero(value) if value >= MEASURE_MIN else 0.0


Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    AfterValidator(_utc),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Measure = Annotated[float, Field(ge=0, le=MEASURE_MAX, allow_inf_nan=False), AfterValidator(_measurable)]
Percentage = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False), AfterValidator(_measurable)]
Score = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False), AfterValidator(_positive_zero)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Size = Annotated[int, Field(ge=1, le=2**20)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_LINE, strip_whitespace=True)]
Line = Annotated[str, StringConstraints(max_length=500, pattern=_LINE)]
Text = Annotated[str, StringConstraints(max_length=10_000, pattern=_TEXT)]
Identifier = Annotated[UUID, BeforeValidator(_uuid), WithJsonSchema({"type": "string", "format": "uuid"})]


def _member(kind: type[StrEnum]) -> Callable[[object], object]:
    """Words of the wire to members."""

    def member(value: object) -> object:
        if isinstance(value, str) and value in set(kind):
            return kind(value)
        raise PydanticCustomError("not_a_member", "no word of the contract", {"expected": ", ".join(kind)})

    return member


class Outcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


def _whole(value: object) -> object:
    if type(value) is not int:
        raise PydanticCustomError("not_whole", "not a whole number", {"expected": "1"})
    return value


class Record(BaseModel):
    """What everything on the wire is: strict, closed, frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class MediaInput(Record):
    """The longest input of a media job, as probed once."""

    duration_seconds: Measure | None = None
    video_codec: Name | None = None
    audio_codec: Name | None = None
    width: Size | None = None
    height: Size | None = None
    bitrate_kbps: Measure | None = None


class Host(Record):
    """The machine that did the work."""

    hostname: Name | None = None
    instance_type: Name | None = None
    cpu_count: Count | None = None
    memory_gb: Measure | None = None
    gpu_model: Name | None = None
    driver: Name | None = None


class Stage(Record):
    """One stage of a pipeline. Stages may overlap, so their durations may sum to more than the wall time."""

    name: Name
    duration_ms: Measure
    node: Name | None = None
    is_cached: bool | None = None
    started_ms: Measure | None = None


def storable_json(value: object, path: str = "parameters", depth: int = 0) -> None:
    """Refuse what JSONB cannot hold or nobody could have meant: NaN, infinities, NUL, surrogates, deep nesting."""
    if depth > 32:
        raise ValueError(f"{path} is nested deeper than 32 levels")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path} is not a finite number")
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError(f"{path} holds a NUL character")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{path} holds half of a character (a lone surrogate)") from None
    elif isinstance(value, dict):
        for key, item in value.items():
            storable_json(key, f"{path}: a key", depth)
            storable_json(item, f"{path}.{key}", depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            storable_json(item, f"{path}[{index}]", depth + 1)


def _parameters(value: dict[str, Any]) -> dict[str, Any]:
    storable_json(value)
    return value


Parameters = Annotated[dict[str, Any], AfterValidator(_parameters)]


class Event(Record):
    """One finished attempt of a job. Only job_id, workflow, outcome, finished_at and wall_seconds are required."""

    schema_version: Annotated[Literal[1], BeforeValidator(_whole)] = 1
    job_id: Name
    attempt: Annotated[int, Field(ge=1, le=32767)] = 1
    estimate_id: Identifier | None = None
    """The stored estimate that this job was part of."""
    scene_key: Name | None = None
    """Which scene of that estimate."""

    workflow: Name
    """The workflow's name; a job type such as create_video_export_v1 is a workflow."""
    tier: Name | None = None
    """A known resolution tier's name, or null where tiers do not apply (audio, thumbnails)."""
    project: Name | None = None
    character: Name | None = None
    scene: Name | None = None
    scene_type: Name | None = None
    variant: Name | None = None
    worker: Name | None = None

    queued_at: Instant | None = None
    eligible_at: Instant | None = None
    """When its dependencies were met."""
    started_at: Instant | None = None
    finished_at: Instant

    outcome: Annotated[Outcome, BeforeValidator(_member(Outcome))]
    error_code: Name | None = None
    error_message: Text | None = None
    is_cold: bool | None = None
    """Whether loading the model was part of it."""
    cached_count: Count | None = None

    segment_count: Count | None = None
    frame_count: Count | None = None
    width: Size | None = None
    height: Size | None = None

    gpu_count: Annotated[int, Field(ge=0, le=4096)] | None = None
    gpu_seconds: Measure | None = None
    """Occupancy: GPUs times the time they were held."""
    wall_seconds: Measure
    vram_peak_mb: Measure | None = None
    vram_method: Name | None = None
    energy_joules: Measure | None = None
    output_mb: Measure | None = None

    cpu_seconds: Measure | None = None
    cpu_mean_pct: Percentage | None = None
    """100 is one core busy."""
    cpu_max_pct: Percentage | None = None
    rss_mean_mb: Measure | None = None
    rss_peak_mb: Measure | None = None
    read_mb: Measure | None = None
    write_mb: Measure | None = None
    commands: Annotated[list[Text], Field(max_length=100)] | None = None
    """The commands that ran, secrets masked."""

    input: MediaInput | None = None
    host: Host | None = None
    quality_scores: Annotated[dict[Name, Score], Field(max_length=100)] | None = None
    pipeline_stages: Annotated[list[Stage], Field(max_length=10_000)] | None = None
    parameters: Parameters | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.started_at is not None and self.started_at > self.finished_at:
            raise ValueError("started_at is after finished_at")
        if self.gpu_count == 0 and self.gpu_seconds:
            raise ValueError("gpu_seconds is above 0 although gpu_count is 0")
        return self


class WorkerState(StrEnum):
    """What a worker did in a covered span."""

    GENERATING = "generating"
    IDLE = "idle"
    OFFLINE = "offline"


class Heartbeat(Record):
    """A worker was in one state from `covered_from` until `covered_to` (at most a day)."""

    worker: Name
    state: Annotated[WorkerState, BeforeValidator(_member(WorkerState))]
    covered_from: Instant
    covered_to: Instant

    @model_validator(mode="after")
    def _is_a_span(self) -> Self:
        if self.covered_to <= self.covered_from:
            raise ValueError("covered_to is not after covered_from")
        if self.covered_to - self.covered_from > timedelta(days=1):
            raise ValueError("the span is longer than a day")
        return self


class QueuedJob(Record):
    """A job that waits."""

    workflow: Name
    tier: Name | None = None
    segment_count: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] = 0
    """Higher goes first; equal ones keep the order of the list."""


class RunningJob(Record):
    """A job that a worker is busy with."""

    worker: Name
    workflow: Name
    tier: Name | None = None
    started_at: Instant
    segment_count: Annotated[int, Field(ge=1, le=1_000_000)] = 1


class Queue(Record):
    """The scheduler's present queue."""

    waiting: Annotated[list[QueuedJob], Field(max_length=100_000)] = []
    running: Annotated[list[RunningJob], Field(max_length=10_000)] = []


def problems(error: ValidationError, prefix: str = "") -> list[Problem]:
    """A validation error as a list of bad fields, without the input (which may not even be encodable)."""
    found = []
    for item in error.errors(include_url=False, include_context=True):
        path = prefix + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"])
        if item["type"] == "string_unicode" and not item["loc"]:
            # A field's name that is no Unicode: pydantic says nothing of where, but gives the name as the input.
            path += f".{item['input']}"
        path = printable(path.removeprefix("."))
        message = printable(item["msg"].removeprefix("Value error, "))
        found.append(
            Problem(path=path, message=message, expected=_expected(item["type"], item.get("ctx", {})))
        )
    return found


def printable(text: str) -> str:
    """Text that can be stored and sent whatever the sender wrote: no NUL, no lone surrogates."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\\0")[:500]


_EXPECTED = {
    "missing": "this field is required",
    "extra_forbidden": "no such field; see docs/naming.md for the names",
    "float_type": "a number",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "string_type": "text",
    "string_pattern_mismatch": "text without control characters",
    "dict_type": "an object",
    "list_type": "a list",
    "model_type": "an object",
    "uuid_parsing": "a UUID",
    "finite_number": "a finite number",
    "datetime_type": _TIME,
}


def _expected(kind: str, context: dict[str, Any]) -> str | None:
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    things = "characters" if kind.startswith("string") else "entries"
    for key, text in (
        ("ge", "at least {}"),
        ("le", "at most {}"),
        ("gt", "more than {}"),
        ("min_length", f"at least {{}} {things}"),
        ("max_length", f"at most {{}} {things}"),
        ("expected", "{}"),
    ):
        if key in context:
            return text.format(context[key])
    return None
