"""Events and heartbeats to send, and what the database holds afterwards."""

import json
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from ingest.body import Element, elements

NOW = datetime.now(UTC).replace(microsecond=0)

#: Bodies that servers built from the same parts answered with an error 500, and ones they took without a word.
BAD_FIELDS: dict[str, tuple[str, str]] = {
    # name: (the field as it stands in the JSON, the path that the answer must name)
    "NaN": ('"gpu_seconds": NaN', "gpu_seconds"),
    "Infinity": ('"gpu_seconds": -Infinity', "gpu_seconds"),
    "1e400": ('"gpu_seconds": 1e400', "gpu_seconds"),
    "NaN within JSON": ('"parameters": {"cfg": NaN}', "parameters"),
    "1e400 within JSON": ('"parameters": {"cfg": [1, {"deep": 1e400}]}', "parameters"),
    "NaN as a score": ('"quality_scores": {"likeness": NaN}', "quality_scores.likeness"),
    "lone surrogate": ('"worker": "\\ud800"', "worker"),
    "lone surrogate within JSON": ('"parameters": {"prompt": "\\udfff"}', "parameters"),
    "lone surrogate as a key": ('"parameters": {"\\ud800": 1}', "parameters"),
    "lone surrogate as a field": ('"\\ud800": 1', ""),
    "NUL": ('"worker": "a\\u0000b"', "worker"),
    "NUL within JSON": ('"parameters": {"prompt": "a\\u0000b"}', "parameters"),
    "NUL as a key": ('"parameters": {"a\\u0000b": 1}', "parameters"),
    "NUL in a message": ('"error_message": "\\u0000"', "error_message"),
    "year 1": ('"queued_at": "0001-01-01T00:00:00Z"', "queued_at"),
    "year 1 east of Greenwich": ('"queued_at": "0001-01-01T00:00:00+14:00"', "queued_at"),
    "year 9999": ('"queued_at": "9999-12-31T23:59:59-01:00"', "queued_at"),
    "no offset": ('"queued_at": "2026-03-01T12:00:00"', "queued_at"),
    "an offset of 99 minutes": ('"queued_at": "2026-03-01T12:00:00+00:99"', "queued_at"),
    "epoch": ('"queued_at": 1772366400', "queued_at"),
    "frames true": ('"frame_count": true', "frame_count"),
    "frames as text": ('"frame_count": "81"', "frame_count"),
    "frames as a float": ('"frame_count": 81.0', "frame_count"),
    "frames beyond the column": ('"frame_count": 2147483648', "frame_count"),
    "seconds as text": ('"gpu_seconds": "81"', "gpu_seconds"),
    "negative seconds": ('"gpu_seconds": -0.5', "gpu_seconds"),
    "4,000 digits": ('"frame_count": ' + "9" * 4000, "frame_count"),
    "4,000 digits within JSON": ('"parameters": {"seed": ' + "9" * 4000 + "}", "parameters"),
    "a 100 kB name": ('"worker": "' + "w" * 100_000 + '"', "worker"),
    "a 2 MB message": ('"error_message": "' + "m" * 2_000_000 + '"', "error_message"),
    "unknown field": ('"total_gpu_time_ms": 3', "total_gpu_time_ms"),
    "computed field": ('"rtf": 1.3', "rtf"),
    "score true": ('"quality_scores": {"likeness": true}', "quality_scores.likeness"),
    "nested 40 deep": ('"parameters": ' + '{"a": ' * 40 + "1" + "}" * 40, "parameters"),
    "outcome a list": ('"outcome": ["succeeded"]', ""),
    "begun after its end": (
        '"started_at": "2026-11-21T00:00:00Z", "finished_at": "2026-11-20T00:00:00Z"',
        "",
    ),
}


def event(job_id: str, **changes: Any) -> dict[str, Any]:
    """A sound event of an hour ago."""
    sound = {
        "job_id": job_id,
        "workflow": "wan_i2v",
        "outcome": "succeeded",
        "finished_at": (NOW - timedelta(hours=1)).isoformat(),
        "wall_seconds": 12.5,
    }
    return sound | changes


def beat(worker: str, start: float, end: float, state: str = "idle") -> dict[str, Any]:
    """A heartbeat over [start, end) minutes after noon, two days ago."""
    noon = (NOW - timedelta(days=2)).replace(hour=12, minute=0, second=0)
    span = {
        name: (noon + timedelta(minutes=m)).isoformat()
        for name, m in (("covered_from", start), ("covered_to", end))
    }
    return {"worker": worker, "state": state} | span


def batch(values: Iterable[Any]) -> list[Element]:
    """Values as the elements of one body."""
    return elements(json.dumps(list(values)).encode(), limit=None)


def with_field(job_id: str, text: str) -> bytes:
    """A sound event with one more field, as it stands in the JSON. A field given twice counts once."""
    name = text.partition('":')[0].strip('"')
    rest = {key: value for key, value in event(job_id).items() if f'"{key}":' not in text and key != name}
    return f"{json.dumps(rest)[:-1]}, {text}}}".encode()


def ask(url: str, question: str, *values: Any) -> Any:
    """The one value that a question to the database has."""
    with psycopg.connect(url) as connection:
        row = connection.execute(question, values).fetchone()
        assert row is not None
        return row[0]


def tell(url: str, *texts: str) -> None:
    """Run statements, each committed."""
    with psycopg.connect(url, autocommit=True) as connection:
        for text in texts:
            connection.execute(text)


def counts(url: str) -> tuple[int, int, int]:
    """Rows of the hypertable, their distinct keys, rows of the ledger."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            """select count(*), count(distinct (job_id, attempt)), (select count(*) from ops.attempt_ledger)
               from telemetry.performance_metrics"""
        ).fetchone()
        assert row is not None
        return row


def quarantined(url: str) -> list[tuple[str, str, bytes]]:
    """Origin, code and body of every refused body, in order."""
    with psycopg.connect(url) as connection:
        return connection.execute("select origin, code, body from ops.quarantine order by id").fetchall()


def is_anyone_waiting(url: str) -> bool:
    """Whether a session of this database waits for another one's transaction."""
    return bool(
        ask(
            url,
            """select count(*) from pg_locks l join pg_stat_activity a using (pid)
               where not l.granted and a.datname = current_database()""",
        )
    )


def wait_until(is_so: Callable[[], bool], patience_seconds: float = 60) -> None:
    """Return as soon as something is so; give up on what never will be."""
    ends = time.monotonic() + patience_seconds
    while not is_so():
        assert time.monotonic() < ends, "what the test waits for does not happen"
        time.sleep(0.02)
