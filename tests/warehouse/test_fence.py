"""The fence that retention moves: whoever writes, deletes or dies meanwhile, nothing is lost and no history changes.

And with either half of it broken on purpose, something is.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from unittest.mock import patch

import psycopg
import pytest

from framehouse.errors import LockedError
from framehouse.events import Event
from framehouse.warehouse import Warehouse, pool, retention
from framehouse.warehouse.maintain import Backlog, backlog, maintain
from ingest.body import elements
from ingest.heartbeats import write_heartbeats
from ingest.verdict import Reach, Verdict
from ingest.writer import Status, write_events
from tests.builders import event, store
from tests.conformance.breaks import BREAKS
from tests.conftest import TestServer
from tests.warehouse.cells import QUARTER, ask, exact, fill, tell, until_somebody_waits
from tests.warehouse.history import (
    BEFORE,
    FENCE,
    FINE,
    NEW_YORK,
    NOW,
    SINCE,
    all_told,
    counted,
    drop,
    history,
)
from tests.warehouse.kills import Kill

NOTHING = Backlog(0, 0, 0)


@pytest.fixture
def slow_writer(studio: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[object]]]:
    """A writer that has passed the fence and not inserted yet; the call lets it go on, and gives its results."""
    whole, passed, go_on = pool.Session.copy_in, threading.Event(), threading.Event()
    results: list[object] = []

    def copy_in(self: pool.Session, *arguments: object) -> None:
        passed.set()
        assert go_on.wait(60)
        whole(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pool.Session, "copy_in", copy_in)

    def write() -> None:
        with Warehouse(studio.url) as own:
            results.extend(write_events(own, [event(finished_at=BEFORE.isoformat())]))

    thread = threading.Thread(target=write)
    thread.start()
    assert passed.wait(60)

    def finish() -> list[object]:
        go_on.set()
        thread.join()
        return results

    yield finish
    finish()


def test_a_writer_within_the_old_fence_is_waited_for(
    studio: Warehouse, slow_writer: Callable[[], list[object]]
) -> None:
    known = counted(studio.url)
    dropping = threading.Thread(target=drop, args=[studio])
    dropping.start()
    until_somebody_waits(studio.url)
    [result] = slow_writer()
    dropping.join()
    assert getattr(result, "status", None) is Status.ACCEPTED
    assert counted(studio.url) == tuple(int(str(n)) + 1 for n in known), (
        "acknowledged, and so counted for ever"
    )
    assert retention.preview(studio, now=NOW).dropped == ()


@pytest.mark.parametrize("half", ["retention.hold_fence", "ingest.hold_fence"])
def test_without_either_half_of_the_fence_an_acknowledged_row_is_lost(
    studio: Warehouse, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, half: str
) -> None:
    """The counter-proof: retention does not wait for writers, or writers hold nothing to be waited for."""
    whole = pool.statement
    monkeypatch.setattr(pool, "statement", lambda name: "select 1" if name == half else whole(name))
    slow_writer = request.getfixturevalue("slow_writer")  # which begins at once, and so broken
    known = counted(studio.url)
    drop(studio)
    [result] = slow_writer()
    assert getattr(result, "status", None) is Status.ACCEPTED
    maintain(studio)
    assert counted(studio.url) == known


def attempt(warehouse: Warehouse, at: datetime) -> Verdict:
    [result] = write_events(warehouse, [event(finished_at=at.isoformat())])
    return result


def heartbeat(warehouse: Warehouse, at: datetime) -> Verdict:
    beat = {"worker": "gpu-1", "state": "idle", "covered_from": at.isoformat()}
    beat["covered_to"] = (at + timedelta(minutes=1)).isoformat()
    [result] = write_heartbeats(warehouse, elements(json.dumps(beat).encode()), reach=Reach(back=None))
    return result


#: The writer's lock and what it then asks, in one statement: it sees the fence as it was before it waited.
AT_ONCE = """
    select (select nullif(raw_from, '-infinity') from ops.retention) as raw_from
    from (select pg_advisory_xact_lock_shared(hashtext('framehouse.fence'))) as held"""


@pytest.mark.parametrize("write", [attempt, heartbeat])
@pytest.mark.parametrize("is_careless", [False, True])
def test_a_writer_that_waits_for_the_fence_asks_where_it_is_then(
    studio: Warehouse, write: Callable[[Warehouse, datetime], Verdict], is_careless: bool
) -> None:
    """And with both asked in one statement, the counter-proof, it writes what nobody will ever count."""
    whole, at_the_end, go_on = pool.statement, threading.Event(), threading.Event()

    def held(name: str) -> str:
        if name == "retention.drop_chunks":
            at_the_end.set()
            assert go_on.wait(60)
        if is_careless and name.startswith("ingest."):
            return {"ingest.hold_fence": "select", "ingest.raw_from": AT_ONCE}.get(name) or whole(name)
        return whole(name)

    before = all_told(studio.url)
    with patch.object(pool, "statement", held), ThreadPoolExecutor() as threads, Warehouse(studio.url) as own:
        dropping = threads.submit(drop, studio)
        assert at_the_end.wait(60)
        writing = threads.submit(write, own, BEFORE)
        until_somebody_waits(studio.url)
        go_on.set()
        dropping.result()
        result = writing.result()
    maintain(studio)
    assert all_told(studio.url) == before
    expected = (Status.ACCEPTED, None) if is_careless else (Status.REJECTED, "too_old")
    assert (result.status, result.code) == expected


@pytest.mark.parametrize("end", ["commit", "rollback", "late commit"])
def test_who_deletes_during_a_drop_is_waited_for_or_it_gives_up(studio: Warehouse, end: str) -> None:
    """Whoever deletes knows nothing of the fence: what it took away is taken away in history, too, and nothing else."""
    planned = retention.preview(studio, now=NOW)
    untouched = all_told(studio.url)
    with ThreadPoolExecutor() as threads, psycopg.connect(studio.url) as deleter:
        for table, at in (("performance_metrics", "finished_at"), ("worker_heartbeats", "covered_from")):
            gone = deleter.execute(
                f"delete from telemetry.{table} where {at} < %s and random() < 0.5", [FENCE]
            )
            assert gone.rowcount > 20
        expected = all_told(deleter)
        assert expected != untouched
        dropping = threads.submit(retention.drop, studio, planned)
        until_somebody_waits(studio.url)
        if end == "late commit":
            with pytest.raises(LockedError, match="maintains, writes or reads for long"):
                dropping.result()
            assert retention.preview(studio, now=NOW) == planned
            assert all_told(studio.url) == untouched
        if end == "rollback":
            deleter.rollback()
            expected = untouched
        else:
            deleter.commit()
        if end == "late commit":
            assert all_told(studio.url) == expected
            exact(studio.url, zone_name=NEW_YORK)
            retention.drop(studio, planned)
        else:
            dropping.result()
    assert retention.preview(studio, now=NOW).dropped == ()
    assert backlog(studio) == NOTHING
    assert all_told(studio.url) == expected
    exact(studio.url, zone_name=NEW_YORK, since=SINCE)


FENCED = "bucket >= (select raw_from from ops.retention)"


def without_fence(name: str, whole: Callable[[str], str] = pool.statement) -> str:
    """Maintenance's statements, of which none asks for the fence."""
    if name == "maintain.forget_below_fence":
        return "select"
    if name in {"maintain.touched_buckets", "maintain.touched_days"}:
        assert FENCED in whole(name)
        return whole(name).replace(FENCED, "true")
    return whole(name)


@pytest.mark.parametrize("layer", ["trigger", "maintenance", "none"])
def test_history_is_erased_only_when_no_layer_knows_the_fence(studio: Warehouse, layer: str) -> None:
    """The counter-proof for the triggers and the maintainer, each of which is enough."""
    fill(studio, Random("layers"), [BEFORE])
    drop(studio)
    before = history(studio.url)
    in_cells = f"select sum(attempt_count)::int from rollup.{{}}_cells where bucket = '{BEFORE.isoformat()}'"
    assert ask(studio.url, in_cells.format(FINE)) == 2
    if layer != "trigger":
        tell(studio.url, BREAKS["marks_once"].ddl[2].replace("on conflict do nothing", ""))
    tell(
        studio.url,
        """insert into telemetry.performance_metrics (finished_at, job_id, attempt, workflow_id, outcome, wall_seconds)
           values (%s, 'by hand', 1, 1, 'succeeded', 3)""",
        BEFORE,
    )
    assert backlog(studio).touched_buckets == (layer != "trigger")
    with patch.object(pool, "statement", without_fence if layer == "none" else pool.statement):
        done = maintain(studio)
    assert done == (2 if layer == "none" else 0), "a bucket and its day"
    assert backlog(studio) == NOTHING
    # So that the views show what was recomputed, too.
    tell(studio.url, "update ops.retention set raw_from = '-infinity'")
    after = history(studio.url)
    changed = {name for name in after if after[name] != before[name]}
    of_attempts = {name for name in before if "heartbeats" not in name}
    assert changed == (of_attempts if layer == "none" else set())
    assert ask(studio.url, in_cells.format(FINE)) == (1 if layer == "none" else 2)


#: What a drop runs from the moment when it is the maintainer, in this order.
STEPS = (
    "hold_maintenance",
    "wait_briefly",
    "hold_fence",
    "stop_changes",
    "has_marks_below",
    "move_fence",
    "drop_chunks",
)


def test_killed_anywhere_nothing_is_lost(studio: Warehouse, tmp_path: Path, kill: Kill) -> None:
    """Before each of its statements, and then in the midst of one or another."""
    fill(studio, Random("kills"), [BEFORE + QUARTER * n for n in range(40)])
    planned = retention.preview(studio, now=NOW)
    before = all_told(studio.url)
    for step in STEPS:
        assert kill("drop", studio.url, tmp_path, at=f"retention.{step}", now=NOW)
        assert all_told(studio.url) == before
        assert retention.preview(studio, now=NOW) == planned
    # What the server was told last it does, though nobody is there any more.
    kills = 0
    while kills < 10 and kill("drop", studio.url, tmp_path, after=0.02 * kills, now=NOW):
        kills += 1
        assert all_told(studio.url) == before
    assert kills >= 2
    drop(studio)
    assert retention.preview(studio, now=NOW).dropped == ()
    assert all_told(studio.url) == before
    maintain(studio)
    assert all_told(studio.url) == before
    exact(studio.url, zone_name=NEW_YORK, since=SINCE)


def test_writers_race_the_fence(studio: Warehouse, server: TestServer, new_york: str) -> None:
    """What was acknowledged is known for ever, what was refused is not; and nobody fails.

    All of it: as in a studio that was sent the same rows and never dropped anything.
    """
    over = threading.Event()
    accepted: list[Event] = []
    known = counted(studio.url)[0]

    def write(seed: int) -> None:
        random = Random(seed)
        with Warehouse(studio.url) as own:
            while not over.is_set():
                some = [
                    event(
                        finished_at=(FENCE + QUARTER * random.randrange(-300, 300)).isoformat(),
                        workflow=random.choice("ab"),
                        worker=random.choice(["gpu-1", "gpu-2"]),
                        wall_seconds=random.lognormvariate(3, 1),
                        gpu_seconds=random.lognormvariate(2, 1),
                    )
                    for _ in range(5)
                ]
                results = write_events(own, some)
                accepted.extend(
                    one for one, r in zip(some, results, strict=True) if r.status is Status.ACCEPTED
                )
                assert {r.code for r in results} <= {None, "too_old"}
                # A drop takes its time, and what is written meanwhile has to be compared.
                time.sleep(random.random() / 10)

    with ThreadPoolExecutor(3) as threads:
        writers = [threads.submit(write, seed) for seed in range(3)]
        time.sleep(0.5)
        drop(studio)
        time.sleep(0.5)
        over.set()
        for writer in writers:
            writer.result()
    maintain(studio)
    assert backlog(studio) == NOTHING
    assert counted(studio.url) == (int(str(known)) + len(accepted),) * 2
    exact(studio.url, zone_name=NEW_YORK, since=SINCE)

    assert any(one.finished_at < FENCE for one in accepted)
    when = ("newest_recorded_at",)
    url = server.create(template=new_york)
    try:
        with Warehouse(url) as twin:
            store(twin, accepted)
            maintain(twin)
        assert all_told(studio.url, without=when) == all_told(url, without=when)
    finally:
        server.drop(url)
