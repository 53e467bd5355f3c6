"""Raw data is dropped behind the fence; what rollups say of it stays, whoever writes, deletes or dies meanwhile."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from unittest.mock import patch

import psycopg
import pytest
from psycopg.types.json import Jsonb

import migrations
from framehouse import metrics
from framehouse.errors import ContractError, NoAnswerError, WarehouseError
from framehouse.estimates.history import histories
from framehouse.metrics.read import read_in
from framehouse.warehouse import Warehouse, pool, retention
from framehouse.warehouse.build import build
from framehouse.warehouse.maintain import Backlog, backlog, maintain
from framehouse.windows import Grain, Window, ceil, zone
from ingest.writer import Status, write_events
from tests.builders import event
from tests.conformance.breaks import BREAKS
from tests.conftest import TestServer
from tests.warehouse.cells import QUARTER, ask, exact, fill, tell

NEW_YORK = "America/New_York"
NOTHING = Backlog(0, 0, 0)
#: Clocks in New York went back on 2025-11-02; a chunk ends on each Thursday, at 19:00 or 20:00 there.
START = datetime(2025, 10, 20, tzinfo=UTC)
NOW = datetime(2026, 2, 10, tzinfo=UTC)
KEEP = timedelta(days=91)
LAST_DROPPED = datetime(2025, 11, 6, tzinfo=UTC)
FENCE = datetime(2025, 11, 6, 5, tzinfo=UTC)  # midnight in New York
BEFORE = FENCE - timedelta(days=3)


@pytest.fixture(scope="module")
def new_york(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a database of a studio in New York, with data around a change of clocks and the coming fence."""
    url = server.create()
    migrations.upgrade(url)
    random = Random("retention")
    with Warehouse(url) as warehouse:
        build(warehouse, log_dir=tmp_path_factory.mktemp("log"), studio_zone=NEW_YORK)
        fill(warehouse, random, [START + QUARTER * random.randrange(30 * 96) for _ in range(150)])
        maintain(warehouse)
        retention.set_keep(warehouse, KEEP)
    yield server.freeze(url)
    server.drop(url)


@pytest.fixture
def studio(server: TestServer, new_york: str) -> Iterator[Warehouse]:
    """A studio of the test's own."""
    url = server.create(template=new_york)
    with Warehouse(url) as warehouse:
        yield warehouse
    server.drop(url)


def said(url: str, until: datetime = FENCE) -> dict[str, object]:
    """What every rollup says of the time before an instant, through its view."""
    names = ask(url, "select array_agg(name order by name) from ops.rollups")
    assert isinstance(names, list)
    text = """select coalesce(md5(string_agg(r::text, chr(10) order by r::text)), '')
              from rollup.{} as r where bucket < %s"""
    return {name: ask(url, text.format(name), until) for name in names}


def drop(warehouse: Warehouse) -> retention.Preview:
    planned = retention.preview(warehouse, now=NOW)
    retention.drop(warehouse, planned)
    return planned


def counted(url: str) -> tuple[object, object]:
    """Attempts that the fine and the daily rollup know of."""
    text = "select coalesce(sum(attempt_count), 0)::bigint from rollup.{}"
    return (
        ask(url, text.format("attempts_by_workflow_fine")),
        ask(url, text.format("attempts_by_workflow_daily")),
    )


def test_a_preview_says_what_a_run_then_does(studio: Warehouse) -> None:
    planned = retention.preview(studio, now=NOW)
    assert planned.policy == retention.Policy(KEEP, None)
    assert {chunk.relation for chunk in planned.dropped} == {"attempts", "heartbeats"}
    assert max(chunk.range_end for chunk in planned.dropped) == LAST_DROPPED
    assert min(chunk.range_end for chunk in planned.kept) > LAST_DROPPED
    assert all(chunk.total_bytes > 0 for chunk in planned.dropped)
    assert planned.raw_from == FENCE == ceil(LAST_DROPPED, Grain.DAY, zone(NEW_YORK))
    exact(studio.url, zone_name=NEW_YORK)
    before = said(studio.url)

    retention.drop(studio, planned)
    after = retention.preview(studio, now=NOW)
    assert after.policy == retention.Policy(KEEP, FENCE)
    assert after.dropped == ()
    assert after.kept == planned.kept
    assert ask(studio.url, "select min(finished_at) >= %s from telemetry.performance_metrics", LAST_DROPPED)
    assert said(studio.url) == before
    exact(studio.url, zone_name=NEW_YORK, since=FENCE.isoformat())
    retention.drop(studio, after)
    assert said(studio.url) == before


def test_keeping_for_ever_drops_nothing_and_less_than_a_quarter_is_refused(studio: Warehouse) -> None:
    retention.set_keep(studio, None)
    assert retention.preview(studio, now=NOW).dropped == ()
    with pytest.raises(ContractError, match="at least 90 days, not 89"):
        retention.set_keep(studio, timedelta(days=89))
    assert retention.preview(studio, now=NOW).policy.raw_keep is None


def test_nothing_changes_history_afterwards(studio: Warehouse, tmp_path: Path) -> None:
    drop(studio)
    before = said(studio.url)
    late = [
        event(finished_at=at.isoformat())
        for at in (BEFORE, FENCE - timedelta(microseconds=1), LAST_DROPPED + timedelta(hours=1), FENCE)
    ]
    results = write_events(studio, late)
    assert [(r.status, r.code) for r in results] == [(Status.REJECTED, "too_old")] * 3 + [
        (Status.ACCEPTED, None)
    ]
    for command in (("run",), ("run", "--full-refresh"), ("build",)):
        build(studio, log_dir=tmp_path, studio_zone=NEW_YORK, command=command)
        maintain(studio)
    tell(studio.url, "delete from telemetry.performance_metrics where finished_at < %s", FENCE)
    maintain(studio)
    assert backlog(studio) == NOTHING
    assert said(studio.url) == before
    exact(studio.url, zone_name=NEW_YORK, since=FENCE.isoformat())


def test_what_was_written_last_is_in_the_cells_before_its_rows_go(studio: Warehouse) -> None:
    fill(studio, Random("last"), [BEFORE + QUARTER * n for n in range(20)])
    assert backlog(studio).touched_buckets > 0
    exact(studio.url, zone_name=NEW_YORK)
    before, known = said(studio.url), counted(studio.url)
    drop(studio)
    assert counted(studio.url) == known
    assert said(studio.url).keys() == before.keys()
    assert backlog(studio) == NOTHING


def test_a_warm_writer_outlives_the_drop_of_its_chunk(studio: Warehouse) -> None:
    """The same pooled connection wrote into the chunk before, and writes beside it after."""
    [first] = write_events(studio, [event(finished_at=BEFORE.isoformat())])
    assert first.status is Status.ACCEPTED
    known = counted(studio.url)
    drop(studio)
    results = write_events(
        studio, [event(finished_at=(at).isoformat()) for at in (BEFORE, FENCE, FENCE + timedelta(days=1))]
    )
    assert [result.status for result in results] == [Status.REJECTED, Status.ACCEPTED, Status.ACCEPTED]
    assert counted(studio.url) == tuple(int(str(n)) + 2 for n in known)


def test_writing_into_a_chunk_that_goes_away_is_tried_again(studio: Warehouse) -> None:
    """XX000, as a warm session meets it: the fence was passed, and the chunk is dropped under the insert."""
    whole, gone = pool.Session.copy_in, threading.Event()

    def pulled(self: pool.Session, *arguments: object) -> None:
        if not gone.is_set():
            gone.set()
            raise psycopg.errors.InternalError_("could not open relation with OID 12345")
        whole(self, *arguments)  # type: ignore[arg-type]

    with patch.object(pool.Session, "copy_in", pulled):
        [result] = write_events(studio, [event(finished_at=FENCE.isoformat())])
    assert gone.is_set()
    assert result.status is Status.ACCEPTED


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
    deadline = time.monotonic() + 60
    while not ask(
        studio.url, "select exists (select from pg_locks where locktype = 'advisory' and not granted)"
    ):
        assert time.monotonic() < deadline, "the drop never came to the fence"
        time.sleep(0.01)
    [result] = slow_writer()
    dropping.join()
    assert getattr(result, "status", None) is Status.ACCEPTED
    assert counted(studio.url) == tuple(int(str(n)) + 1 for n in known), (
        "acknowledged, and so counted for ever"
    )
    assert retention.preview(studio, now=NOW).dropped == ()


def test_without_the_fence_an_acknowledged_row_would_be_lost(
    studio: Warehouse, slow_writer: Callable[[], list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counter-proof."""
    whole = pool.statement
    monkeypatch.setattr(
        pool, "statement", lambda name: "select 1" if name == "retention.hold_fence" else whole(name)
    )
    known = counted(studio.url)
    drop(studio)
    [result] = slow_writer()
    assert getattr(result, "status", None) is Status.ACCEPTED
    maintain(studio)
    assert counted(studio.url) == known


def test_without_up_to_date_cells_history_would_be_wrong(
    studio: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counter-proof: the fence moves while marks wait behind it."""
    fill(studio, Random("last"), [BEFORE])
    known = counted(studio.url)
    whole = pool.statement
    monkeypatch.setattr(retention, "maintain", lambda *_: 0)
    monkeypatch.setattr(retention, "work_off", lambda *_: 0)
    planned = retention.preview(studio, now=NOW)
    with pytest.raises(WarehouseError, match="keep changing"):
        retention.drop(studio, planned)
    assert retention.preview(studio, now=NOW) == planned, "and so it is refused"
    monkeypatch.setattr(
        pool, "statement", lambda name: "select false" if name == "retention.has_marks_below" else whole(name)
    )
    retention.drop(studio, planned)
    assert counted(studio.url) != known


def test_a_reader_of_an_older_instant_is_waited_for(studio: Warehouse) -> None:
    """Dropped chunks would be gone from its snapshot, too, and its answer would be too small."""
    whole = Window(START, NOW)
    planned = retention.preview(studio, now=NOW)
    with studio.session(is_snapshot=True) as session:
        [before] = read_in(session, ["attempt_count"], window=whole, is_raw=True)
        with pytest.raises(WarehouseError, match="writes or reads raw data for long"):
            retention.drop(studio, planned)
        [after] = read_in(session, ["attempt_count"], window=whole, is_raw=True)
    assert after == before
    retention.drop(studio, planned)
    with pytest.raises(NoAnswerError):
        metrics.read(studio, ["attempt_count"], window=whole, is_raw=True)


def test_nothing_is_dropped_that_no_rollup_knows(studio: Warehouse) -> None:
    tell(studio.url, "insert into ops.builds (fingerprint) values ('another version')")
    with pytest.raises(WarehouseError, match="not those of this version") as caught:
        drop(studio)
    assert caught.value.hint == "framehouse build"
    assert retention.preview(studio, now=NOW).dropped


def test_an_estimate_uses_only_what_is_known_of_all_its_parts(studio: Warehouse) -> None:
    def samples() -> int:
        with studio.session() as session:
            return sum(history.sample_count for history in histories(session, ["a", "b"]).values())

    drop(studio)
    whole = samples()
    later = {"gpu_seconds_by_segments_sum": (FENCE + timedelta(days=3)).isoformat()}
    tell(
        studio.url,
        "update ops.rollups set parts_from = %s where name in ('attempt_totals_by_workflow_daily',"
        " 'attempts_by_workflow_daily')",
        Jsonb(later),
    )
    since = ask(
        studio.url,
        "select sum(succeeded_count)::int from rollup.attempt_totals_by_workflow_daily where bucket >= %s",
        FENCE + timedelta(days=3),
    )
    assert samples() == since < whole
    assert ask(studio.url, "select sum(sample_count)::int from mart.generation_metrics") == since


@pytest.mark.parametrize("layer", ["trigger", "maintenance", "none"])
def test_history_is_erased_only_when_no_layer_knows_the_fence(studio: Warehouse, layer: str) -> None:
    """The counter-proof for the triggers and the maintainer, each of which is enough."""
    drop(studio)
    before = said(studio.url)
    if layer != "trigger":
        tell(studio.url, BREAKS["marks_once"].ddl[2].replace("on conflict do nothing", ""))
    whole = pool.statement
    tell(
        studio.url,
        """insert into telemetry.performance_metrics (finished_at, job_id, attempt, workflow_id, outcome, wall_seconds)
           values (%s, 'by hand', 1, 1, 'succeeded', 3)""",
        BEFORE,
    )
    careless = "maintain.forget_below_fence" if layer == "none" else ""
    with patch.object(pool, "statement", lambda name: "select" if name == careless else whole(name)):
        maintain(studio)
    # So that the views show what was recomputed.
    tell(studio.url, "update ops.retention set raw_from = '-infinity'")
    assert (said(studio.url) == before) == (layer != "none")


_DROP = """
import sys
from datetime import datetime
from framehouse.warehouse import Warehouse, retention
with Warehouse(sys.argv[1]) as warehouse:
    retention.drop(warehouse, retention.preview(warehouse, now=datetime.fromisoformat(sys.argv[2])))
"""


def test_killed_anywhere_nothing_is_lost(studio: Warehouse) -> None:
    random = Random("kills")
    fill(studio, random, [BEFORE + QUARTER * n for n in range(40)])
    known, before = counted(studio.url), None
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", _DROP, studio.url, NOW.isoformat()])
        time.sleep(0.3 + random.random() * 0.9)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert counted(studio.url) == known
    deadline = time.monotonic() + 60
    while retention.preview(studio, now=NOW).dropped:
        assert time.monotonic() < deadline
        drop(studio)
    assert counted(studio.url) == known
    before = said(studio.url)
    maintain(studio)
    assert said(studio.url) == before
    exact(studio.url, zone_name=NEW_YORK, since=FENCE.isoformat())


def test_writers_race_the_fence(studio: Warehouse) -> None:
    """What was acknowledged is counted, what was refused is not; and nobody fails."""
    over = threading.Event()
    accepted: list[object] = []
    known = counted(studio.url)[0]

    def write(seed: int) -> None:
        random = Random(seed)
        with Warehouse(studio.url) as own:
            while not over.is_set():
                some = [
                    event(finished_at=(FENCE + QUARTER * random.randrange(-300, 300)).isoformat())
                    for _ in range(5)
                ]
                results = write_events(own, some)
                accepted.extend(r for r in results if r.status is Status.ACCEPTED)
                assert {r.code for r in results} <= {None, "too_old"}

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
    exact(studio.url, zone_name=NEW_YORK, since=FENCE.isoformat())
