"""Heartbeats: every instant of a worker is counted once, for whoever said it first."""

import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from framehouse.errors import NotJsonError
from framehouse.warehouse import Warehouse
from ingest import verdict
from ingest.body import elements
from ingest.heartbeats import keep_refused, write_heartbeats
from tests.ingest.samples import NOW, ask, batch, beat, quarantined, tell

ANY_FIXTURE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def test_a_heartbeat_is_stored_in_pieces_of_one_bucket(warehouse: Warehouse, database_url: str) -> None:
    [result] = write_heartbeats(warehouse, batch([beat("gpu-1", 10, 50, "generating")]))
    assert (result.status, result.worker, result.covered_seconds) == ("accepted", "gpu-1", 2400.0)
    with psycopg.connect(database_url) as connection:
        pieces = connection.execute(
            "select covered_seconds, state from telemetry.worker_heartbeats order by covered_from"
        ).fetchall()
    assert pieces == [
        (300.0, "generating"),
        (900.0, "generating"),
        (900.0, "generating"),
        (300.0, "generating"),
    ]


def test_the_same_heartbeat_twice_changes_nothing(warehouse: Warehouse, database_url: str) -> None:
    sent = batch([beat("gpu-1", 0, 30), beat("gpu-2", 0, 30), beat("gpu-1", 0, 30)])
    assert [r.status for r in write_heartbeats(warehouse, sent)] == ["accepted", "accepted", "duplicate"]
    again = write_heartbeats(warehouse, sent)
    assert [(r.status, r.covered_seconds) for r in again] == [("duplicate", 0.0)] * 3
    assert ask(database_url, "select sum(covered_seconds) from telemetry.worker_heartbeats") == 3600.0


def test_of_an_overlap_only_what_is_new_is_stored(warehouse: Warehouse, database_url: str) -> None:
    sent = [
        beat("gpu-1", 20, 30, "idle"),
        beat("gpu-1", 10, 40, "generating"),
        beat("gpu-1", 15, 35, "offline"),
    ]
    results = write_heartbeats(warehouse, batch(sent))
    assert [(r.status, r.covered_seconds) for r in results] == [
        ("accepted", 600.0), ("accepted", 1200.0), ("duplicate", 0.0),
    ]  # fmt: skip
    assert (
        ask(database_url, "select sum(covered_seconds) from telemetry.worker_heartbeats where state = 'idle'")
        == 600.0
    )


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"state": "busy"}, "state"),
        ({"state": ["idle"]}, ""),
        ({"state": None}, "state"),
        ({"worker": ""}, "worker"),
        ({"worker": "a\x00"}, "worker"),
        ({"worker": "\ud800"}, "worker"),
        ({"covered_to": 1772366400}, "covered_to"),
        ({"covered_to": "2026-03-01T12:00:00"}, "covered_to"),
        ({"covered_seconds": 3}, "covered_seconds"),
        (dict.fromkeys(["covered_from", "covered_to"], "2026-11-01T12:00:00Z"), ""),
        ({"covered_from": "2026-11-01T12:00:00Z", "covered_to": "2026-11-03T12:00:00Z"}, ""),
    ],
)
def test_bad_ones_are_refused_and_their_neighbours_stored(
    warehouse: Warehouse, database_url: str, changes: dict[str, object], path: str
) -> None:
    bad = json.dumps(beat("gpu-1", 0, 5) | changes).encode()
    good = json.dumps(beat("gpu-2", 0, 5)).encode()
    refused, stored = write_heartbeats(warehouse, elements(b"[" + bad + b"," + good + b"]"))
    assert (refused.status, refused.code, stored.status) == ("rejected", "invalid", "accepted")
    assert refused.errors[0].path.startswith(path)
    assert quarantined(database_url) == [("heartbeats:http", "invalid", bad)]
    assert ask(database_url, "select count(*) from studio.workers") == 1


def test_the_reach_and_the_fence(warehouse: Warehouse, database_url: str) -> None:
    def span(start: timedelta, minutes: int = 10) -> dict[str, object]:
        ends = {"covered_from": NOW + start, "covered_to": NOW + start + timedelta(minutes=minutes)}
        return {"worker": "gpu-1", "state": "idle"} | {name: at.isoformat() for name, at in ends.items()}

    fence = NOW - timedelta(days=100)
    tell(database_url, f"update ops.retention set raw_from = '{fence.isoformat()}'")
    sent = [span(-timedelta(days=401)), span(timedelta(days=2)), span(-timedelta(days=100, minutes=5)),
            span(-timedelta(days=100)), span(-timedelta(minutes=5))]  # fmt: skip
    results = write_heartbeats(warehouse, batch(sent))
    assert [r.code or r.status for r in results] == [
        "too_old",
        "in_future",
        "too_old",
        "accepted",
        "accepted",
    ]
    assert [r.errors[0].path for r in results[:3]] == ["covered_from", "covered_to", "covered_from"]


def test_a_body_that_cannot_be_split_is_kept_for_its_own_door(
    warehouse: Warehouse, database_url: str
) -> None:
    result = keep_refused(warehouse, b"{", NotJsonError("no JSON"), origin="http")
    assert (result.status, result.code) == ("rejected", "not_json")
    assert quarantined(database_url) == [("heartbeats:http", "not_json", b"{")]


SPANS = st.tuples(st.integers(0, 150), st.integers(1, 60)).map(lambda s: (s[0], s[0] + s[1]))
BEATS = st.tuples(st.integers(0, 2), SPANS, st.sampled_from(["generating", "idle", "offline"]))


@settings(max_examples=40, deadline=None, database=None, suppress_health_check=ANY_FIXTURE)
@given(batches=st.lists(st.lists(BEATS, min_size=1, max_size=8), min_size=1, max_size=4))
def test_the_first_writer_of_an_instant_wins(
    warehouse: Warehouse, database_url: str, batches: list[list[tuple[int, tuple[int, int], str]]]
) -> None:
    tag = uuid.uuid4().hex
    said: dict[tuple[int, int], str] = {}
    for one in batches:
        results = write_heartbeats(
            warehouse, batch(beat(f"{tag}-{w}", *span, state) for w, span, state in one)
        )
        for (worker, span, state), result in zip(one, results, strict=True):
            fresh = [minute for minute in range(*span) if (worker, minute) not in said]
            said |= {(worker, minute): state for minute in fresh}
            assert result.covered_seconds == 60.0 * len(fresh)
            assert result.status == ("accepted" if fresh else "duplicate")
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            """select right(w.name, 1)::int, h.state,
                      (extract(epoch from h.covered_from - %(noon)s::timestamptz) / 60)::int,
                      (extract(epoch from h.covered_to - %(noon)s::timestamptz) / 60)::int
               from telemetry.worker_heartbeats h join studio.workers w on w.id = h.worker_id
               where w.name like %(like)s""",
            {"noon": beat("", 0, 1)["covered_from"], "like": f"{tag}-%"},
        ).fetchall()
    stored = [((worker, minute), state) for worker, state, start, end in rows for minute in range(start, end)]
    assert len(stored) == len(said)
    assert dict(stored) == said


@settings(max_examples=15, deadline=None, database=None, suppress_health_check=ANY_FIXTURE)
@given(batches=st.lists(st.lists(BEATS, min_size=1, max_size=8), min_size=4, max_size=12))
def test_no_instant_counts_twice_with_many_writers(
    warehouse: Warehouse,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    batches: list[list[tuple[int, tuple[int, int], str]]],
) -> None:
    monkeypatch.setattr(verdict, "is_retryable", lambda error: False)  # a deadlock is a failure here
    tag = uuid.uuid4().hex
    threads = 4
    start = threading.Barrier(threads)

    def send(own: list[list[tuple[int, tuple[int, int], str]]]) -> float:
        start.wait()
        results = [
            result
            for one in own
            for result in write_heartbeats(
                warehouse, batch(beat(f"{tag}-{w}", *span, state) for w, span, state in one)
            )
        ]
        return sum(result.covered_seconds or 0.0 for result in results)

    with ThreadPoolExecutor(threads) as pool:
        answered = sum(pool.map(send, [batches[i::threads] for i in range(threads)]))
    union = {(worker, minute) for one in batches for worker, span, _ in one for minute in range(*span)}
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            """select worker_id, covered_from, covered_to, covered_seconds
               from telemetry.worker_heartbeats h join studio.workers w on w.id = h.worker_id
               where w.name like %s order by worker_id, covered_from""",
            [f"{tag}-%"],
        ).fetchall()
    assert sum(row[3] for row in rows) == answered == 60.0 * len(union)
    for before, after in pairwise(rows):
        assert before[0] != after[0] or before[2] <= after[1]
