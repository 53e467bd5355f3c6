"""Raw data is dropped behind the fence, and what rollups say of it stays."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from unittest.mock import patch

import psycopg
import pytest
from psycopg.types.json import Jsonb

from framehouse import metrics
from framehouse.errors import ContractError, NoAnswerError, WarehouseError
from framehouse.estimates.known import knowledge
from framehouse.estimates.learning import learn
from framehouse.metrics.read import read_in
from framehouse.warehouse import Warehouse, pool, retention
from framehouse.warehouse.build import build
from framehouse.warehouse.maintain import Backlog, backlog, maintain
from framehouse.windows import Grain, Window, ceil
from framehouse.zones import zone
from ingest.writer import Status, write_events
from tests.builders import event
from tests.warehouse.cells import QUARTER, ask, exact, fill, tell
from tests.warehouse.history import (
    BEFORE,
    FENCE,
    KEEP,
    NEW_YORK,
    NOW,
    START,
    all_told,
    counted,
    drop,
    history,
)

NOTHING = Backlog(0, 0, 0)
LAST_DROPPED = datetime(2025, 11, 6, tzinfo=UTC)


def test_a_preview_says_what_a_run_then_does(studio: Warehouse) -> None:
    planned = retention.preview(studio, now=NOW)
    assert planned.policy == retention.Policy(KEEP, None)
    assert {chunk.relation for chunk in planned.dropped} == {"attempts", "heartbeats"}
    assert max(chunk.range_end for chunk in planned.dropped) == LAST_DROPPED
    assert min(chunk.range_end for chunk in planned.kept) > LAST_DROPPED
    assert all(chunk.total_bytes > 0 for chunk in planned.dropped)
    assert planned.raw_from == FENCE == ceil(LAST_DROPPED, Grain.DAY, zone(NEW_YORK))
    exact(studio.url, zone_name=NEW_YORK)
    before = history(studio.url)

    retention.drop(studio, planned)
    after = retention.preview(studio, now=NOW)
    assert after.policy == retention.Policy(KEEP, FENCE)
    assert after.dropped == ()
    assert after.kept == planned.kept
    assert ask(studio.url, "select min(finished_at) >= %s from telemetry.performance_metrics", LAST_DROPPED)
    assert history(studio.url) == before
    exact(studio.url, zone_name=NEW_YORK, since=FENCE.isoformat())
    retention.drop(studio, after)
    assert history(studio.url) == before


def test_keeping_for_ever_drops_nothing_and_less_than_a_quarter_is_refused(studio: Warehouse) -> None:
    retention.set_keep(studio, None)
    assert retention.preview(studio, now=NOW).dropped == ()
    with pytest.raises(ContractError, match="at least 90 days, not 89"):
        retention.set_keep(studio, timedelta(days=89))
    assert retention.preview(studio, now=NOW).policy.raw_keep is None


def test_nothing_changes_history_afterwards(studio: Warehouse, tmp_path: Path) -> None:
    drop(studio)
    before = history(studio.url)
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
    assert history(studio.url) == before
    exact(studio.url, zone_name=NEW_YORK, since=FENCE.isoformat())


def test_what_was_written_last_is_in_the_cells_before_its_rows_go(studio: Warehouse) -> None:
    fill(studio, Random("last"), [BEFORE + QUARTER * n for n in range(20)])
    assert backlog(studio).touched_buckets > 0
    exact(studio.url, zone_name=NEW_YORK)
    before, known = all_told(studio.url), counted(studio.url)
    drop(studio)
    assert counted(studio.url) == known
    assert all_told(studio.url) == before
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
        with pytest.raises(WarehouseError, match="maintains, writes or reads for long"):
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


def test_calibration_uses_only_what_is_known_of_all_its_parts(studio: Warehouse) -> None:
    def samples() -> int:
        with studio.session() as session:
            return sum(known.sample_count for known in knowledge(session, ["a", "b"]).by_key.values())

    learn(studio)
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
    assert since < whole
    assert ask(studio.url, "select sum(sample_count)::int from mart.generation_metrics") == since
