"""Rollups are built once and kept: what builds, maintenance, accidents and retention may do to them, and may not."""

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import psycopg
import pytest

import migrations
from framehouse import metrics
from framehouse.errors import DefinitionError, NoAnswerError
from framehouse.warehouse import Warehouse
from framehouse.warehouse.build import build, is_built, project_dir
from framehouse.warehouse.maintain import Backlog, backlog, maintain
from framehouse.windows import Window
from ingest.writer import Status, write_events
from tests.builders import event
from tests.conformance.breaks import broken
from tests.warehouse.cells import (
    QUARTER,
    ask,
    contents,
    exact,
    fill,
    is_community,
    maintaining,
    tell,
    until_somebody_waits,
    wrong_cells,
)
from tests.warehouse.history import FINE, drop_by_hand, history

NOTHING = Backlog(0, 0, 0)
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
NOON = MONDAY + timedelta(hours=12)
INSERT = """
    insert into telemetry.performance_metrics (finished_at, job_id, attempt, workflow_id, outcome, wall_seconds)
    values (%s, 'by hand', 1, 1, 'succeeded', 3)"""

BUSY = """
    select count(*) from pg_stat_activity
    where datname = current_database() and state <> 'idle'
      and application_name in ('framehouse maintain', 'maintain in a process of its own')"""


class StopError(Exception):
    """Ends a build or maintenance where a test wants it to."""


class StopAt:
    """A reporter that ends the work at a step that begins with these words."""

    def __init__(self, words: str) -> None:
        self.words = words

    def step(self, text: str) -> None:
        if text.startswith(self.words):
            raise StopError

    def advance(self, done: float, total: float, text: str = "") -> None:
        pass


@pytest.fixture
def kept(warehouse: Warehouse) -> Warehouse:
    """A built warehouse with some days of data, all of it in cells."""
    random = Random("kept")
    fill(warehouse, random, [MONDAY + QUARTER * random.randrange(3 * 96) for _ in range(40)])
    maintain(warehouse)
    assert backlog(warehouse) == NOTHING
    return warehouse


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the dbt project, to be changed."""
    return Path(shutil.copytree(project_dir(), tmp_path / "project"))


def finish(warehouse: Warehouse) -> None:
    """Maintain until nothing waits, also when the server is still busy for a maintainer that was killed."""
    deadline = time.monotonic() + 120
    while backlog(warehouse) != NOTHING:
        assert time.monotonic() < deadline, backlog(warehouse)
        if not maintain(warehouse):
            time.sleep(0.05)


def test_a_second_build_changes_nothing(kept: Warehouse, tmp_path: Path) -> None:
    before = contents(kept.url)
    assert all(count > 0 for _, _, count, _ in before.values())
    definitions = ask(
        kept.url,
        "select array_agg(row(name, definition_hash, created_at) order by name)::text from ops.rollups",
    )
    build(kept, log_dir=tmp_path)
    assert contents(kept.url) == before
    assert (
        ask(
            kept.url,
            "select array_agg(row(name, definition_hash, created_at) order by name)::text from ops.rollups",
        )
        == definitions
    )
    assert is_built(kept)
    exact(kept.url)


def test_a_full_refresh_drops_nothing(kept: Warehouse, tmp_path: Path) -> None:
    before = contents(kept.url)
    build(kept, log_dir=tmp_path, command=("run", "--full-refresh"))
    assert contents(kept.url) == before
    exact(kept.url)


def test_a_changed_definition_is_refused_and_loses_nothing(
    kept: Warehouse, project: Path, tmp_path: Path
) -> None:
    before = contents(kept.url)
    model = project / "models" / "rollup" / "heartbeats_by_worker_fine.sql"
    model.write_text(model.read_text().replace("sum(covered_seconds)", "sum(covered_seconds) * 2"))
    with pytest.raises(DefinitionError, match="heartbeats_by_worker_fine was built from another") as caught:
        build(kept, log_dir=tmp_path, project=project)
    assert "framehouse build --renew" in str(caught.value)
    assert "Compilation Error" not in str(caught.value), "what dbt wraps around it says nothing more"
    assert "dbt.log" in str(caught.value.hint)
    assert contents(kept.url) == before
    fill(kept, Random("later"), [NOON])
    exact(kept.url)
    build(kept, log_dir=tmp_path)
    assert backlog(kept) == NOTHING
    exact(kept.url)


def test_a_new_shape_stands_beside_the_old(kept: Warehouse, project: Path, tmp_path: Path) -> None:
    before = contents(kept.url)
    models = project / "models" / "rollup"
    text = (models / "heartbeats_by_worker_fine.sql").read_text()
    (models / "heartbeats_by_worker_fine_v2.sql").write_text(
        text.replace("worker_id,", "worker_id, state,", 1).replace("group by 1, 2", "group by 1, 2, 3")
    )
    build(kept, log_dir=tmp_path, project=project)
    assert contents(kept.url) == before
    assert backlog(kept) == NOTHING
    totals = "select round(sum(covered_seconds_sum)::numeric, 6)::text from rollup.{}"

    def same() -> bool:
        names = ("heartbeats_by_worker_fine_v2", "heartbeats_by_worker_fine")
        one, other = (ask(kept.url, totals.format(name)) for name in names)
        return one == other

    assert same()
    for minute, state in enumerate(
        ["idle", "generating", "idle"]
    ):  # several of a bucket, but for the new dimension
        at = NOON + timedelta(minutes=minute)
        tell(
            kept.url,
            "insert into telemetry.worker_heartbeats (worker_id, state, covered_from, covered_to)"
            " values (1, %s, %s, %s)",
            state,
            at,
            at + timedelta(seconds=30),
        )
    maintain(kept)
    assert backlog(kept) == NOTHING
    assert same()
    assert not is_built(kept), "this program's own project has no such rollup"


def test_another_studio_zone_is_refused(kept: Warehouse, tmp_path: Path) -> None:
    before = contents(kept.url)
    with pytest.raises(DefinitionError, match="zone is UTC, fixed at the first build") as caught:
        build(kept, log_dir=tmp_path, studio_zone="Asia/Kolkata")
    assert "FRAMEHOUSE_STUDIO_ZONE" in str(caught.value.hint)
    assert contents(kept.url) == before


def test_the_first_build_is_exact_before_during_and_after_its_backfill(
    empty_database_url: str, tmp_path: Path
) -> None:
    migrations.upgrade(empty_database_url)
    zone_name = "Asia/Kathmandu"
    random = Random("backfill")
    with Warehouse(empty_database_url) as warehouse:
        fill(warehouse, random, [MONDAY + QUARTER * random.randrange(10 * 96) for _ in range(150)], each=1)
        with pytest.raises(StopError):
            build(warehouse, log_dir=tmp_path, studio_zone=zone_name, report=StopAt("computing cells"))
        waiting = backlog(warehouse).pending_buckets
        assert waiting > 300, "every quarter hour and every day that has data"
        assert all(count == 0 for _, _, count, _ in contents(empty_database_url).values())
        exact(empty_database_url, zone_name=zone_name)

        with maintaining(empty_database_url) as process:
            while backlog(warehouse).pending_buckets == waiting:
                assert process.poll() is None
                time.sleep(0.01)
            process.kill()
        assert process.returncode == -9
        assert backlog(warehouse).pending_buckets > 0, "it was killed midway"
        exact(empty_database_url, zone_name=zone_name)

        fill(warehouse, random, [MONDAY + QUARTER * random.randrange(10 * 96) for _ in range(30)], each=1)
        exact(empty_database_url, zone_name=zone_name)
        finish(warehouse)
        exact(empty_database_url, zone_name=zone_name)
        assert all(count > 0 for _, _, count, _ in contents(empty_database_url).values())


def test_two_maintainers_do_the_work_once(kept: Warehouse) -> None:
    """While one is at it the other does nothing, and together they recompute each touched bucket and day once."""
    random = Random("two")
    fill(kept, random, [MONDAY + QUARTER * random.randrange(8 * 96) for _ in range(60)], each=1)
    buckets, days = (
        int(str(ask(kept.url, f"select count(distinct (source, {text})) from ops.touched_buckets")))
        for text in ("bucket", "time_bucket(interval '1 day', bucket)")
    )
    assert buckets > days > 8
    finest = f"{FINE}_cells"
    with ThreadPoolExecutor() as threads:
        with psycopg.connect(kept.url) as holder:
            holder.execute(f"lock table {cells_table(kept.url, finest)} in share mode")
            one = threads.submit(maintain, kept)
            until_somebody_waits(kept.url)
            with maintaining(kept.url) as other:
                pass
            assert other.returncode == 0
            assert maintain(kept) == 0
            assert backlog(kept).touched_buckets > 0, "the one has it all before it"
            holder.rollback()
        assert one.result() == buckets + days
    assert backlog(kept) == NOTHING
    exact(kept.url)


def test_a_rollback_leaves_no_mark_and_no_change(kept: Warehouse) -> None:
    before = contents(kept.url)
    with psycopg.connect(kept.url) as connection:
        connection.execute(INSERT, [NOON])
        connection.execute("delete from telemetry.worker_heartbeats")
        touched = connection.execute("select count(*) from ops.touched_buckets").fetchone()
        assert touched is not None
        assert touched[0] > 1
        connection.rollback()
    assert backlog(kept) == NOTHING
    assert maintain(kept) == 0
    assert contents(kept.url) == before
    exact(kept.url)


def test_deletes_reach_the_cells(kept: Warehouse) -> None:
    tell(kept.url, "delete from telemetry.performance_metrics where worker_id is null or outcome = 'failed'")
    tell(kept.url, "delete from telemetry.worker_heartbeats where state = 'idle'")
    assert backlog(kept).touched_buckets > 0
    exact(kept.url)
    maintain(kept)
    assert backlog(kept) == NOTHING
    exact(kept.url)
    tell(kept.url, "delete from telemetry.performance_metrics")
    exact(kept.url)
    maintain(kept)
    assert backlog(kept) == NOTHING
    assert ask(kept.url, "select count(*) from rollup.attempts_by_workflow_daily_cells") == 0


def late_commit(warehouse: Warehouse) -> None:
    """A transaction that marked a bucket first commits after maintenance recomputed that bucket for a later mark."""
    fill(warehouse, Random("open"), [NOON])
    maintain(warehouse)
    with psycopg.connect(warehouse.url) as slow:
        slow.execute(INSERT, [NOON])
        tell(warehouse.url, INSERT, NOON)
        maintain(warehouse)
        slow.commit()


def commit_during_recompute(warehouse: Warehouse) -> None:
    """The same, and it commits after maintenance read the marks and recomputed one of the two fine rollups."""
    fill(warehouse, Random("during"), [NOON])
    maintain(warehouse)
    second = ask(
        warehouse.url,
        """select array_agg(name order by created_at desc, name desc) from ops.rollups
           where source = 'attempts' and grain = 'fine'""",
    )
    assert isinstance(second, list)
    with psycopg.connect(warehouse.url) as slow, psycopg.connect(warehouse.url) as holder:
        slow.execute(INSERT, [NOON])
        tell(warehouse.url, INSERT, NOON)
        holder.execute(f"lock table {cells_table(warehouse.url, f'{second[0]}_cells')} in share mode")
        worker = threading.Thread(target=maintain, args=[warehouse])
        worker.start()
        until_somebody_waits(warehouse.url)
        slow.commit()
        holder.rollback()
        worker.join()


def cells_table(url: str, name: str) -> str:
    """The table that holds a rollup's cells."""
    if not is_community(url):
        return f"rollup.{name}"
    found = ask(
        url,
        """select format('%%I.%%I', materialization_hypertable_schema, materialization_hypertable_name)
           from timescaledb_information.continuous_aggregates where view_name = %s""",
        name,
    )
    return str(found)


@pytest.mark.parametrize("scene", [late_commit, commit_during_recompute])
def test_a_mark_that_arrives_meanwhile_stays(
    warehouse: Warehouse, scene: Callable[[Warehouse], None]
) -> None:
    scene(warehouse)
    exact(warehouse.url)
    maintain(warehouse)
    assert backlog(warehouse) == NOTHING
    exact(warehouse.url)


@pytest.mark.parametrize("way", ["marks_up_to_newest", "marks_by_bucket"])
def test_a_careless_delete_of_marks_is_caught(warehouse: Warehouse, way: str) -> None:
    """The counter-proof: with the protocol broken, the tests above find wrong cells.

    A mark of the same bucket, and of a lower id, that commits while maintenance holds its list goes with the others.
    """
    with broken(way):
        commit_during_recompute(warehouse)
        maintain(warehouse)
    assert backlog(warehouse) == NOTHING
    with psycopg.connect(warehouse.url) as connection:
        assert wrong_cells(connection) != []


@pytest.fixture
def fenced(kept: Warehouse) -> tuple[Warehouse, datetime]:
    """A warehouse whose oldest raw chunks were dropped behind the fence."""
    random = Random("old")
    old = MONDAY - timedelta(days=60)
    fill(kept, random, [old + QUARTER * random.randrange(20 * 96) for _ in range(60)])
    maintain(kept)
    # Weeks of the hypertable begin on Thursdays, as the epoch did: a studio midnight is one of their edges.
    fence = datetime(2026, 1, 22, tzinfo=UTC)
    assert old < fence < MONDAY
    drop_by_hand(kept.url, fence)
    assert ask(kept.url, "select min(finished_at) >= %s from telemetry.performance_metrics", fence) is True
    assert ask(kept.url, "select min(bucket) < %s from rollup.attempts_by_workflow_daily", fence) is True
    return kept, fence


def test_cells_outlive_dropped_raw_chunks(fenced: tuple[Warehouse, datetime], tmp_path: Path) -> None:
    warehouse, fence = fenced
    cells, seen = contents(warehouse.url), history(warehouse.url, until=fence)
    exact(warehouse.url, since=fence.isoformat())

    build(warehouse, log_dir=tmp_path)
    build(warehouse, log_dir=tmp_path, command=("run", "--full-refresh"))
    maintain(warehouse)
    assert contents(warehouse.url) == cells
    assert history(warehouse.url, until=fence) == seen

    fill(warehouse, Random("new"), [fence, fence + QUARTER, NOON])
    exact(warehouse.url, since=fence.isoformat())
    maintain(warehouse)
    assert backlog(warehouse) == NOTHING
    assert history(warehouse.url, until=fence) == seen
    exact(warehouse.url, since=fence.isoformat())


def test_what_comes_too_late_erases_no_history(fenced: tuple[Warehouse, datetime], tmp_path: Path) -> None:
    warehouse, fence = fenced
    seen = history(warehouse.url, until=fence)
    [result] = write_events(warehouse, [event(finished_at=(fence - timedelta(seconds=1)).isoformat())])
    assert (result.status, result.code) == (Status.REJECTED, "too_old")
    # Past the writer, by hand: the chunk comes back, but nothing is recomputed from the one row it has.
    tell(warehouse.url, INSERT, fence - timedelta(days=3))
    assert backlog(warehouse) == NOTHING
    # Marks from before the fence moved are forgotten, not worked off.
    tell(
        warehouse.url,
        "insert into ops.touched_buckets (source, bucket) values ('attempts', %s)",
        fence - timedelta(days=3),
    )
    tell(
        warehouse.url,
        "insert into ops.touched_days (source, bucket) values ('attempts', %s)",
        fence - timedelta(days=3),
    )
    assert history(warehouse.url, until=fence) == seen
    maintain(warehouse)
    build(warehouse, log_dir=tmp_path, command=("run", "--full-refresh"))
    assert backlog(warehouse) == NOTHING
    assert history(warehouse.url, until=fence) == seen


def test_below_the_fence_days_answer_and_raw_does_not(fenced: tuple[Warehouse, datetime]) -> None:
    warehouse, fence = fenced
    whole = Window(fence - timedelta(days=30), fence)
    [days] = metrics.read(warehouse, ["attempt_count", "p90_wall_seconds"], window=whole)
    assert days["attempt_count"]
    assert days["p90_wall_seconds"]
    for names, by in ((["attempt_count"], "variant"), (["p90_wall_seconds"], "worker")):
        with pytest.raises(NoAnswerError, match="was dropped"):
            metrics.read(warehouse, names, window=whole, by=by)
    with pytest.raises(NoAnswerError, match="was dropped"):
        metrics.read(warehouse, "attempt_count", window=whole, is_raw=True)


def test_killed_again_and_again_nothing_is_lost(kept: Warehouse) -> None:
    """What a killed maintainer left is finished by the next."""
    random = Random("kills")
    for _ in range(3):
        fill(kept, random, [MONDAY + QUARTER * random.randrange(8 * 96) for _ in range(60)], each=1)
        with maintaining(kept.url) as process:
            while process.poll() is None and not ask(
                kept.url,
                BUSY,
            ):
                time.sleep(0.005)
            time.sleep(random.random() / 5)
            process.kill()
        exact(kept.url)
    finish(kept)
    exact(kept.url)
