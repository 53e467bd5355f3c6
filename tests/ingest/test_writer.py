"""Attempts are stored exactly once, whatever is sent, however often, in whatever order, by however many at once."""

import json
import threading
import uuid
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from framehouse.errors import ContractError, WarehouseError
from framehouse.events import Event
from framehouse.warehouse import Warehouse
from ingest import verdict, writer
from ingest.body import elements
from ingest.writer import Keep, Reach, Status
from tests.ingest.samples import (
    BAD_FIELDS,
    NOW,
    ask,
    batch,
    counts,
    event,
    is_anyone_waiting,
    quarantined,
    tell,
    wait_until,
    with_field,
)


def statuses(results: list[writer.Result]) -> list[str]:
    return [result.code or result.status.value for result in results]


def test_the_same_batch_twice_changes_nothing(warehouse: Warehouse, database_url: str) -> None:
    sent = batch([event(f"job-{i}", attempt=i % 3 + 1, parameters={"i": i}) for i in range(50)])
    assert statuses(writer.write(warehouse, sent)) == ["accepted"] * 50
    before = ask(
        database_url,
        "select md5(string_agg(t::text, '|' order by job_id)) from telemetry.performance_metrics t",
    )
    assert statuses(writer.write(warehouse, sent)) == ["duplicate"] * 50
    assert counts(database_url) == (50, 50, 50)
    after = ask(
        database_url,
        "select md5(string_agg(t::text, '|' order by job_id)) from telemetry.performance_metrics t",
    )
    assert (before, quarantined(database_url)) == (after, [])


def test_the_same_content_in_another_spelling_is_a_duplicate(warehouse: Warehouse) -> None:
    first = event("job", finished_at="2026-11-01T12:00:00+00:00", wall_seconds=3, gpu_seconds=0.0)
    second = dict(reversed(first.items())) | {
        "finished_at": "2026-11-01T14:00:00.000+02:00", "wall_seconds": 3.0, "gpu_seconds": -0.0, "attempt": 1,
    }  # fmt: skip
    reach = Reach(back=None)
    assert statuses(writer.write(warehouse, batch([first, second]), reach=reach)) == ["accepted", "duplicate"]


def test_other_content_under_the_same_key_is_a_conflict(warehouse: Warehouse, database_url: str) -> None:
    writer.write(warehouse, batch([event("job")]))
    [result] = writer.write(warehouse, batch([event("job", wall_seconds=13.0)]))
    assert (result.status, result.code, result.job_id, result.attempt) == ("rejected", "conflict", "job", 1)
    assert [problem.path for problem in result.errors] == ["job_id"]
    assert ask(database_url, "select wall_seconds from telemetry.performance_metrics") == 12.5
    assert [(code, json.loads(body)["wall_seconds"]) for _, code, body in quarantined(database_url)] == [
        ("conflict", 13.0)
    ]


def test_a_conflict_registers_no_names(warehouse: Warehouse, database_url: str) -> None:
    writer.write(warehouse, batch([event("job")]))
    refused = [event("job", workflow="never", worker="never"), event("other", workflow="never", tier="never")]
    assert statuses(writer.write(warehouse, batch(refused))) == ["conflict", "unknown_tier"]
    assert ask(database_url, "select count(*) from studio.workflows where name = 'never'") == 0
    assert ask(database_url, "select count(*) from studio.workers") == 0


def test_twins_within_a_batch(warehouse: Warehouse, database_url: str) -> None:
    sent = [event("a"), event("a"), event("a", wall_seconds=1.0), event("a", attempt=2)]
    assert statuses(writer.write(warehouse, batch(sent))) == ["accepted", "duplicate", "conflict", "accepted"]
    assert counts(database_url) == (2, 2, 2)


def test_a_twin_of_a_refused_event_stands_for_itself(warehouse: Warehouse, database_url: str) -> None:
    sent = [event("a", tier="huge"), event("a", tier="huge"), event("a"), event("a", tier="huge"), event("a")]
    found = statuses(writer.write(warehouse, batch(sent)))
    assert found == ["unknown_tier", "unknown_tier", "accepted", "unknown_tier", "duplicate"]
    assert counts(database_url) == (1, 1, 1)


def test_twins_are_measured_by_what_is_stored_not_by_each_other(warehouse: Warehouse) -> None:
    writer.write(warehouse, batch([event("a", wall_seconds=1.0)]))
    sent = [event("a", wall_seconds=2.0), event("a", wall_seconds=2.0), event("a", wall_seconds=1.0)]
    assert statuses(writer.write(warehouse, batch(sent))) == ["conflict", "conflict", "duplicate"]


def test_an_unknown_tier_is_told_which_there_are(warehouse: Warehouse, database_url: str) -> None:
    [result] = writer.write(warehouse, batch([event("job", tier="4k")]))
    assert result.code == "unknown_tier"
    assert result.errors[0].message == "there is no tier '4k'"
    assert result.errors[0].expected == "null or one of: draft, preview, production"
    tell(database_url, "update studio.resolution_tiers set archived_at = now() where name = 'preview'")
    [result] = writer.write(warehouse, batch([event("job", tier="preview")]))
    assert result.errors[0].expected == "null or one of: draft, production"


@pytest.mark.parametrize("name", BAD_FIELDS)
def test_a_bad_event_is_refused_by_name_and_its_neighbours_are_stored(
    warehouse: Warehouse, database_url: str, name: str
) -> None:
    text, path = BAD_FIELDS[name]
    bad = with_field("bad", text)
    body = (
        b"[" + json.dumps(event("a")).encode() + b", " + bad + b"," + json.dumps(event("b")).encode() + b"]"
    )
    before, refused, after = writer.write(warehouse, elements(body))
    assert (before.status, after.status) == (Status.ACCEPTED, Status.ACCEPTED)
    assert (refused.status, refused.code, refused.job_id) == (Status.REJECTED, "invalid", "bad")
    assert refused.errors[0].path.startswith(path)
    json.dumps([problem.message for problem in refused.errors]).encode("ascii")
    "".join(problem.path + problem.message for problem in refused.errors).encode("utf-8")
    assert quarantined(database_url) == [("http", "invalid", bad)]
    assert counts(database_url) == (2, 2, 2)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b'{"job_id": "x", "job_id": "x"}', "duplicate_key"),
        (rb'{"job_id": "x", "\ud800": 1, "\ud800": 1}', "duplicate_key"),
        (b'{"job_id": "x", "parameters": {"a": [{"b": 1, "b": 2}]}}', "duplicate_key"),
        (b"[" * 100_000 + b"]" * 100_000, "invalid"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "invalid"),
        (b"17", "invalid"),
        (b"null", "invalid"),
        (b'"text"', "invalid"),
        (b"[]", "invalid"),
        (b"{}", "invalid"),
        (b'{"pipeline_stages": [' + b"{}," * 9_000 + b"{}]}", "invalid"),
    ],
)
def test_what_is_no_event_at_all(warehouse: Warehouse, database_url: str, bad: bytes, code: str) -> None:
    body = b"[" + bad + b", " + json.dumps(event("a")).encode() + b"]"
    refused, stored = writer.write(warehouse, elements(body))
    assert (refused.code, stored.status) == (code, Status.ACCEPTED)
    assert 1 <= len(refused.errors) <= verdict.MAX_PROBLEMS + 1
    assert quarantined(database_url) == [("http", code, bad)]


def test_what_looks_odd_but_is_sound_is_stored(warehouse: Warehouse, database_url: str) -> None:
    odd = [
        event("offset", finished_at="2026-11-01T00:00:00-16:37"),
        event("minus zero", gpu_seconds=-0.0),
        event("deep", parameters={"a": [[[[[[[[{"b": {}}]]]]]]]]}),
        event("text", error_message="tab\tand\nline", commands=["ffmpeg -i 'ä' 🎬"]),
        event("far", parameters={"seed": 2**63 + 1, "tiny": 5e-324}),
    ]
    assert statuses(writer.write(warehouse, batch(odd), reach=Reach(back=None))) == ["accepted"] * 5
    assert ask(
        database_url,
        "select finished_at = '2026-11-01T16:37:00Z' from telemetry.performance_metrics where job_id = 'offset'",
    )
    assert (
        str(
            ask(
                database_url,
                "select gpu_seconds from telemetry.performance_metrics where job_id = 'minus zero'",
            )
        )
        == "0.0"
    )
    assert ask(
        database_url,
        "select parameters_json ->> 'seed' from telemetry.performance_metrics where job_id = 'far'",
    ) == str(2**63 + 1)


def test_the_reach(warehouse: Warehouse) -> None:
    old = event("old", finished_at=(NOW - timedelta(days=401)).isoformat())
    early = event("early", finished_at=(NOW + timedelta(days=2)).isoformat())
    slack = event("slack", finished_at=(NOW + timedelta(minutes=30)).isoformat())
    sent = batch([old, early, slack])
    assert statuses(writer.write(warehouse, sent)) == ["too_old", "in_future", "accepted"]
    assert statuses(writer.write(warehouse, sent, reach=Reach(back=None))) == [
        "accepted",
        "in_future",
        "duplicate",
    ]


def test_nothing_is_taken_in_of_a_time_whose_quarter_hours_lie_in_two_days(warehouse: Warehouse) -> None:
    """St. John's clocks went back from 00:01 to 23:01 until 2010."""
    sent = batch(
        [event("old", finished_at="2010-11-07T02:32:00Z"), event("first", finished_at="2011-01-01T00:00:00Z")]
    )
    results = writer.write(warehouse, sent, reach=Reach(back=None))
    assert statuses(results) == ["too_old", "accepted"]
    assert results[0].errors[0].expected == "2011-01-01 or later"


def test_nothing_is_stored_below_the_fence(warehouse: Warehouse, database_url: str) -> None:
    fence = NOW - timedelta(days=100)
    tell(database_url, f"update ops.retention set raw_from = '{fence.isoformat()}'")
    below = event("job", finished_at=(fence - timedelta(microseconds=1)).isoformat())
    at = event("job", finished_at=fence.isoformat())
    results = writer.write(warehouse, batch([below, below, at]), reach=Reach(back=None))
    assert statuses(results) == ["too_old", "too_old", "accepted"]
    assert results[0].errors[0].expected == f"at or after {fence.isoformat()}"
    assert ask(database_url, "select count(*) from ops.attempt_ledger") == 1


def test_refusals_are_kept_always_once_or_never(warehouse: Warehouse, database_url: str) -> None:
    sent = batch([{"a": 1}, {"a": 2}])
    for keep, expected in ((Keep.NEVER, 0), (Keep.ONCE, 2), (Keep.ONCE, 2), (Keep.ALWAYS, 4)):
        writer.write(warehouse, sent, origin="load:x", keep=keep)
        assert ask(database_url, "select count(*) from ops.quarantine") == expected
    writer.write(warehouse, sent, origin="load:y", keep=Keep.ONCE)
    assert ask(database_url, "select count(*) from ops.quarantine") == 6


def test_a_body_that_cannot_be_split_is_kept(warehouse: Warehouse, database_url: str) -> None:
    with pytest.raises(ContractError) as refusal:
        elements(b"\xff{")
    result = writer.keep_refused(warehouse, b"\xff{", refusal.value, origin="http")
    assert (result.status, result.code) == (Status.REJECTED, "not_json")
    assert quarantined(database_url) == [("http", "not_json", b"\xff{")]


def test_typed_events_are_stored_down_to_the_fence(warehouse: Warehouse, database_url: str) -> None:
    typed = Event.model_validate(event("old", finished_at="2024-01-01T00:00:00Z", parameters={"a": None}))
    assert statuses(writer.write_events(warehouse, [typed])) == ["accepted"]
    assert statuses(
        writer.write(warehouse, [elements(typed.model_dump_json().encode())[0]], reach=Reach(back=None))
    ) == ["duplicate"]


OUTCOME = "select array[attempt_count, wall_seconds, gpu_seconds, segment_count] from ops.estimate_outcomes"


def test_outcomes_count_each_succeeded_attempt_once(warehouse: Warehouse, database_url: str) -> None:
    estimate = str(uuid.uuid4())
    part = {"estimate_id": estimate, "scene_key": "s1", "segment_count": 2}
    first = [
        event("a", **part, gpu_seconds=1.5),
        event("b", **part, outcome="failed"),
        event("c", **part, gpu_count=0),
    ]
    writer.write(warehouse, batch([*first, first[0]]))
    writer.write(warehouse, batch([*first, event("d", **part, gpu_seconds=4.0)]))
    assert ask(database_url, OUTCOME) == [3.0, 37.5, 5.5, 6.0]


def test_an_outcome_that_lacks_a_part_is_unknown(warehouse: Warehouse, database_url: str) -> None:
    part = {"estimate_id": str(uuid.uuid4()), "scene_key": "s1"}
    whole = {"gpu_seconds": 4.0, "segment_count": 2}
    writer.write(warehouse, batch([event("a", **part, **whole), event("b", **part)]))
    writer.write(warehouse, batch([event("c", **part, **whole)]))
    assert ask(database_url, OUTCOME) == [3.0, 37.5, None, None]


def test_a_transaction_that_may_succeed_the_second_time_is_tried_again(
    warehouse: Warehouse, database_url: str
) -> None:
    # What a session gets that writes into a chunk which retention drops: a sequence is not rolled back.
    tell(
        database_url,
        "create sequence public.tries",
        """create function public.fail_once() returns trigger language plpgsql as $$
           begin
               if nextval('public.tries') = 1 then
                   raise exception 'could not open relation with OID 4711' using errcode = 'XX000';
               end if;
               return null;
           end $$""",
        "create trigger fail_once after insert on ops.attempt_ledger execute function public.fail_once()",
    )
    sent = [event("a"), event("a"), {"a": 1}, event("b", tier="huge"), event("a", wall_seconds=1.0)]
    results = writer.write(warehouse, batch(sent))
    assert statuses(results) == ["accepted", "duplicate", "invalid", "unknown_tier", "conflict"]
    assert ask(database_url, "select last_value from public.tries") == 2
    assert counts(database_url) == (1, 1, 1)
    assert [code for _, code, _ in quarantined(database_url)] == ["invalid", "unknown_tier", "conflict"]


def test_what_fails_twice_stores_nothing(warehouse: Warehouse, database_url: str) -> None:
    tell(
        database_url,
        """create function public.fail() returns trigger language plpgsql as $$
           begin raise exception 'no' using errcode = 'XX000'; end $$""",
        "create trigger fail after insert on ops.attempt_ledger execute function public.fail()",
    )
    with pytest.raises(WarehouseError, match="no"):
        writer.write(warehouse, batch([event("a"), {"a": 1}]))
    assert (counts(database_url), quarantined(database_url)) == ((0, 0, 0), [])


def test_a_deadlock_is_tried_again(warehouse: Warehouse, database_url: str) -> None:
    claim = "insert into ops.attempt_ledger values (%s, 1, sha256(''), now())"
    with psycopg.connect(database_url) as other, ThreadPoolExecutor(1) as pool:
        other.execute("set deadlock_timeout = '1min'")  # the writer is the one who notices
        other.execute(claim, ["b"])
        pending = pool.submit(writer.write, warehouse, batch([event("a"), event("b"), {"a": 1}]))
        wait_until(lambda: pending.done() or is_anyone_waiting(database_url))
        other.execute(claim, ["a"])
        other.rollback()
        assert statuses(pending.result()) == ["accepted", "accepted", "invalid"]
    assert counts(database_url) == (2, 2, 2)
    assert len(quarantined(database_url)) == 1


KEYS = st.tuples(st.integers(0, 11), st.integers(1, 2))
CONTENTS = st.sampled_from([1.0, 1.0, 1.0, 2.0])
SENT = st.lists(st.tuples(KEYS, CONTENTS), min_size=1, max_size=30)


@settings(
    max_examples=30,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_random_batches_from_many_threads(
    warehouse: Warehouse, database_url: str, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    monkeypatch.setattr(verdict, "is_retryable", lambda error: False)  # a deadlock is a failure here
    tag = uuid.uuid4().hex  # every example has keys of its own
    batches = data.draw(st.lists(SENT, min_size=2, max_size=8), label="batches")
    batches += data.draw(st.permutations(batches), label="sent again")
    threads = 4
    start = threading.Barrier(threads)

    def send(own: list[list[tuple[tuple[int, int], float]]]) -> list[tuple[tuple[int, int], float, str]]:
        start.wait()
        found = []
        for one in own:
            events = [
                event(f"{tag}-{job}", attempt=attempt, wall_seconds=wall, worker=f"{tag}-{job % 3}")
                for (job, attempt), wall in one
            ]
            results = writer.write(warehouse, batch(events))
            found += [(key, wall, status) for (key, wall), status in zip(one, statuses(results), strict=True)]
        return found

    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(send, [batches[i::threads] for i in range(threads)])
        answers = [answer for part in parts for answer in part]

    with psycopg.connect(database_url) as connection:
        stored = connection.execute(
            "select job_id, attempt, wall_seconds from telemetry.performance_metrics where job_id like %s",
            [f"{tag}-%"],
        ).fetchall()
        ledger = connection.execute(
            "select job_id, attempt from ops.attempt_ledger where job_id like %s", [f"{tag}-%"]
        ).fetchall()
    keys = {key for key, _, _ in answers}
    rows = {(int(job_id.rpartition("-")[2]), attempt): wall for job_id, attempt, wall in stored}
    assert len(stored) == len(ledger) == len(keys)
    assert set(rows) == keys
    by_key: dict[tuple[int, int], list[tuple[float, str]]] = defaultdict(list)
    for key, wall, status in answers:
        by_key[key].append((wall, status))
    for key, found in by_key.items():
        assert sorted(status for _, status in found).count("accepted") == 1
        for wall, status in found:
            assert status in ({"accepted", "duplicate"} if wall == rows[key] else {"conflict"})


def test_a_check_says_what_the_contract_says(database_url: str) -> None:
    def code(value: Any) -> str | None:
        return writer.check(batch([value])[0]).code

    assert code(event("a")) is None
    assert code(event("a", tier="nobody asked the database")) is None
    assert code(event("a", wall_seconds=-1)) == "invalid"
