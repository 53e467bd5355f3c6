"""Attempts read back say what was sent, in the contract's own words, page after page without a gap."""

import base64
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from framehouse.errors import ContractError, NotFoundError
from framehouse.events import Event
from framehouse.warehouse import Warehouse
from framehouse.warehouse.attempts import attempts_of_job, page
from ingest.writer import write_events

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
EVERYTHING: dict[str, Any] = {
    "job_id": "job 1",
    "attempt": 2,
    "estimate_id": str(uuid.uuid4()),
    "scene_key": "s1",
    "workflow": "wan_i2v",
    "tier": "draft",
    "project": "film",
    "character": "ada",
    "scene": "12a",
    "scene_type": "dialogue",
    "variant": "b",
    "worker": "gpu-1",
    "queued_at": "2026-03-02T11:00:00Z",
    "eligible_at": "2026-03-02T11:10:00Z",
    "started_at": "2026-03-02T11:59:00Z",
    "finished_at": "2026-03-02T12:00:00.123456Z",
    "outcome": "failed",
    "error_code": "oom",
    "error_message": "CUDA out of memory\n\ttry less",
    "is_cold": True,
    "cached_count": 3,
    "segment_count": 4,
    "frame_count": 80,
    "width": 512,
    "height": 768,
    "gpu_count": 2,
    "gpu_seconds": 100.5,
    "wall_seconds": 60.0,
    "vram_peak_mb": 8000.25,
    "vram_method": "torch",
    "energy_joules": 12000.0,
    "output_mb": 17.5,
    "cpu_seconds": 70.0,
    "cpu_mean_pct": 110.0,
    "cpu_max_pct": 180.0,
    "rss_mean_mb": 900.0,
    "rss_peak_mb": 1000.0,
    "read_mb": 1.0,
    "write_mb": 2.0,
    "commands": ["ffmpeg -i a.mov b.mp4", "ls"],
    "input": {
        "duration_seconds": 90.0, "video_codec": "h264", "audio_codec": "aac", "width": 1920, "height": 1080,
        "bitrate_kbps": 8000.0,
    },
    "host": {
        "hostname": "node-1", "instance_type": "g5.xlarge", "cpu_count": 4, "memory_gb": 16.0, "gpu_model": "A10G",
        "driver": "550.54",
    },
    "quality_scores": {"likeness": 0.92, "motion_quality": -1.5},
    "pipeline_stages": [{"name": "load", "duration_ms": 5.0, "node": "1", "is_cached": False, "started_ms": 0.0}],
    "parameters": {"steps": 20, "sampler": None, "deep": {"a": [1, 2.5, "x"]}},
}  # fmt: skip
COMPUTED = {"rtf", "time_per_frame_ms", "recorded_at"}


def event(**fields: Any) -> Event:
    least = {
        "job_id": "job",
        "workflow": "w",
        "outcome": "succeeded",
        "finished_at": NOON.isoformat(),
        "wall_seconds": 1.0,
    }
    return Event.model_validate(least | fields)


def test_what_is_read_is_what_was_sent(warehouse: Warehouse) -> None:
    assert set(Event.model_fields) - {"schema_version"} == set(EVERYTHING)
    sent = Event.model_validate(EVERYTHING)
    write_events(warehouse, [sent])
    [found] = attempts_of_job(warehouse, "job 1")
    assert set(found) == set(EVERYTHING) | COMPUTED
    assert (found["rtf"], found["time_per_frame_ms"]) == (1.5, 750.0)
    assert found["recorded_at"].tzinfo is not None
    assert (
        Event.model_validate({name: value for name, value in found.items() if name not in COMPUTED}) == sent
    )


def test_what_was_not_said_is_none(warehouse: Warehouse) -> None:
    write_events(warehouse, [event(input={"width": 3})])
    [found] = attempts_of_job(warehouse, "job")
    assert found["host"] is None
    assert {name for name, value in found["input"].items() if value is not None} == {"width"}
    said = {name for name, value in found.items() if value is not None}
    assert said == {
        "job_id",
        "attempt",
        "workflow",
        "outcome",
        "finished_at",
        "recorded_at",
        "wall_seconds",
        "input",
    }


def test_the_manifest_has_every_attempt_in_order(warehouse: Warehouse) -> None:
    times = {1: NOON + timedelta(days=30), 2: NOON, 3: NOON - timedelta(days=30)}  # of different chunks
    write_events(warehouse, [event(attempt=n, finished_at=at.isoformat()) for n, at in times.items()])
    write_events(warehouse, [event(job_id="other")])
    assert [row["attempt"] for row in attempts_of_job(warehouse, "job")] == [1, 2, 3]
    for nobody in ("unknown", "", "a\x00", "\ud800"):
        assert attempts_of_job(warehouse, nobody) == []


def all_pages(warehouse: Warehouse, limit: int, **filters: Any) -> list[tuple[datetime, str, int]]:
    found: list[tuple[datetime, str, int]] = []
    cursor = None
    while True:
        rows, cursor = page(warehouse, cursor=cursor, limit=limit, **filters)
        found += [(row["finished_at"], row["job_id"], row["attempt"]) for row in rows]
        if cursor is None:
            return found
        assert len(rows) == limit


@pytest.fixture
def stored(warehouse: Warehouse) -> list[Event]:
    """Many attempts with equal times, and names that sort otherwise in other languages."""
    jobs = ["a", "B", "ä", "Z", "_", "z z"]
    events = [
        event(
            job_id=job,
            attempt=attempt,
            finished_at=(NOON - timedelta(days=11 * (attempt % 3))).isoformat(),
            workflow=f"w{attempt % 2}",
            worker=f"gpu-{jobs.index(job) % 3}",
            tier=["draft", "preview", None][attempt % 3],
            outcome="failed" if attempt == 4 else "succeeded",
        )
        for job in jobs
        for attempt in range(1, 6)
    ]
    write_events(warehouse, events)
    return events


@pytest.mark.parametrize("limit", [1, 4, 30, 1000])
def test_pages_show_every_attempt_once_the_latest_first(
    warehouse: Warehouse, stored: list[Event], limit: int
) -> None:
    keys = sorted(((e.finished_at, e.job_id, e.attempt) for e in stored), reverse=True)
    assert all_pages(warehouse, limit) == keys


@pytest.mark.parametrize(
    "filters",
    [
        {"workflow": "w1"},
        {"worker": "gpu-2"},
        {"tier": "preview"},
        {"outcome": "failed"},
        {"workflow": "w0", "worker": "gpu-1", "tier": "draft", "outcome": "succeeded"},
        {"start": NOON - timedelta(days=11)},
        {"end": NOON - timedelta(days=11)},
        {"start": NOON - timedelta(days=11), "end": NOON},
        {"start": NOON + timedelta(days=1)},
    ],
)
def test_filters(warehouse: Warehouse, stored: list[Event], filters: dict[str, Any]) -> None:
    names = {name: value for name, value in filters.items() if name not in {"start", "end"}}
    expected = [
        (e.finished_at, e.job_id, e.attempt)
        for e in stored
        if all(getattr(e, name) == value for name, value in names.items())
        and e.finished_at >= filters.get("start", e.finished_at)
        and ("end" not in filters or e.finished_at < filters["end"])
    ]
    assert all_pages(warehouse, 3, **filters) == sorted(expected, reverse=True)


def test_what_arrives_meanwhile_neither_repeats_nor_hides_a_row(
    warehouse: Warehouse, stored: list[Event]
) -> None:
    first, cursor = page(warehouse, limit=10)
    late = [
        event(job_id=job, finished_at=(NOON + timedelta(minutes=i)).isoformat()) for i, job in enumerate("xy")
    ]
    write_events(warehouse, [*late, event(job_id="much older", finished_at="2026-01-01T00:00:00Z")])
    rest, end = page(warehouse, cursor=cursor, limit=1000)
    keys = [(row["job_id"], row["attempt"]) for row in first + rest]
    assert end is None
    assert len(keys) == len(set(keys)) == len(stored) + 1
    assert keys[-1] == ("much older", 1)


@pytest.mark.parametrize("name", ["workflow", "worker", "tier"])
@pytest.mark.parametrize("value", ["nobody", "", "a\x00b", "\ud800"])
def test_a_name_that_nothing_has_is_not_found(warehouse: Warehouse, name: str, value: str) -> None:
    with pytest.raises(NotFoundError, match=name):
        page(warehouse, **{name: value})  # type: ignore[arg-type]


def forged(*place: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "", "x", "ä", "====", "a b", "\x00", "e30", forged(), forged(1, 2, 3), forged("2026-03-02", "a", 1),
        forged("2026-03-02T12:00:00Z", "a"), forged("2026-03-02T12:00:00Z", "a", True),
        forged("2026-03-02T12:00:00Z", "a", 2**40), forged("2026-03-02T12:00:00Z", "a\x00", 1),
        forged("2026-03-02T12:00:00Z", "\ud800", 1), forged("0001-01-01T00:00:00+14:00", "a", 1),
        forged(*"[" * 3), base64.urlsafe_b64encode(b"[" * 100_000).decode(),
    ],
)  # fmt: skip
def test_a_bad_cursor_is_a_contract_error(warehouse: Warehouse, cursor: str) -> None:
    with pytest.raises(ContractError) as refusal:
        page(warehouse, cursor=cursor)
    assert [problem.path for problem in refusal.value.problems] == ["cursor"]


def test_bad_questions_name_every_bad_part(warehouse: Warehouse) -> None:
    with pytest.raises(ContractError) as refusal:
        page(warehouse, outcome="done", limit=0, start=NOON.replace(tzinfo=None))
    assert [problem.path for problem in refusal.value.problems] == ["outcome", "limit", "from"]
