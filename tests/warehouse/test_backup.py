"""A warehouse in a file, and back: every row, cell and mark, on either edition and from one to the other."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest

import migrations
from framehouse import embedded
from framehouse.config import read
from framehouse.errors import BackupError
from framehouse.warehouse import Warehouse, backup, restore
from framehouse.warehouse.build import build, is_built, project_dir
from framehouse.warehouse.maintain import Backlog, backlog, maintain
from ingest.writer import Status, write_events
from tests.builders import event
from tests.conftest import TestServer
from tests.warehouse.cells import QUARTER, ask, contents, exact, fill, is_community, tell
from tests.warehouse.history import drop_by_hand
from tests.warehouse.test_rollups import StopAt, StopError

KATHMANDU = "Asia/Kathmandu"
OLD = datetime(2026, 1, 2, tzinfo=UTC)
FENCE = datetime(2026, 1, 22, 18, 15, tzinfo=UTC)  # a midnight there
NEW = datetime(2026, 3, 2, tzinfo=UTC)


def programs(url: str) -> backup.Programs:
    folder = ask(url, "select setting from pg_config where name = 'BINDIR'")
    return backup.Programs(Path(str(folder)), (f"--dbname={url}",), os.environ)


@contextmanager
def empty(server: TestServer) -> Iterator[Warehouse]:
    url = server.create()
    try:
        migrations.upgrade(url)
        with Warehouse(url) as warehouse:
            yield warehouse
    finally:
        server.drop(url)


#: Rollups that an older program had: one of them over raw rows, one over it, one over a rollup that there still is.
OLDER = ("beats_once", "beats_once_daily", "beats_by_day")


def older_project(folder: Path) -> Path:
    """This program's dbt project, and the models that an older one had."""
    project = Path(shutil.copytree(project_dir(), folder / "older"))
    rollups = project / "models" / "rollup"
    fine = (rollups / "heartbeats_by_worker_fine.sql").read_text()
    daily = (rollups / "heartbeats_by_worker_daily.sql").read_text()
    (rollups / "beats_once.sql").write_text(
        fine.replace("group by", "  and state <> E'\\\\{{ \"{{ 1 }}\" }}\\t€'\ngroup by")
    )
    (rollups / "beats_once_daily.sql").write_text(daily.replace("heartbeats_by_worker_fine", "beats_once"))
    (rollups / "beats_by_day.sql").write_text(daily)
    return project


@pytest.fixture(scope="module")
def template(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a database with all that there can be: history below a fence, late rows, marks, quarantine."""
    folder = tmp_path_factory.mktemp("log")
    random = Random("backup")
    with empty(server) as warehouse:
        build(warehouse, log_dir=folder, studio_zone=KATHMANDU, project=older_project(folder))
        build(warehouse, log_dir=folder)
        fill(warehouse, random, [OLD + QUARTER * random.randrange(20 * 96) for _ in range(40)])
        fill(warehouse, random, [NEW + QUARTER * random.randrange(5 * 96) for _ in range(40)])
        maintain(warehouse)
        tell(warehouse.url, "update ops.retention set raw_keep = '180 days'")
        drop_by_hand(warehouse.url, FENCE)
        fill(warehouse, random, [NEW + QUARTER * n for n in range(5)])
        write_events(
            warehouse, [event(job_id="\\N 'quoted' ü", error_message='line\nbreak "and" \\. quotes')]
        )
        write_events(warehouse, [event(tier="unheard of"), event(finished_at=OLD.isoformat())])
        tell(warehouse.url, "update studio.resolution_tiers set speed_factor = 7 where name = 'draft'")
        assert backlog(warehouse).touched_buckets > 0
        warehouse.close()
        yield server.freeze(warehouse.url)


@pytest.fixture
def studio(server: TestServer, template: str) -> Iterator[Warehouse]:
    """A warehouse of the test's own."""
    url = server.create(template=template)
    with Warehouse(url) as warehouse:
        yield warehouse
    server.drop(url)


def everything(url: str) -> dict[str, object]:
    """A hash of every table's rows, and of every rollup's cells."""
    names = ask(
        url,
        """select array_agg(schemaname || '.' || tablename order by 1) from pg_tables
           where schemaname in ('studio', 'telemetry', 'ops')
             and tablename not in ('builds', 'rollups', 'studio_settings')""",
    )
    assert isinstance(names, list)
    text = "select count(*) || ' ' || coalesce(md5(string_agg(r::text, chr(10) order by r::text)), '') from {} as r"
    found = {name: ask(url, text.format(name)) for name in names}
    cells = {name: (count, digest) for name, (_, _, count, digest) in contents(url).items()}
    complete = ask(
        url,
        """select array_agg((name, source, grain, definition, definition_hash, complete_from, parts, parts_from,
                             studio_zone, version, created_at)::text order by name)
           from ops.rollups where renews is null""",
    )
    older = {
        name: ask(url, text.format(name))
        for once in OLDER
        for name in (f"rollup.{once}", f"rollup.{once}_cells")
    }
    return found | cells | older | {"complete": complete}


def restored(target: Warehouse, file: Path, folder: Path) -> None:
    """What `framehouse restore` does."""
    restore.restore(target, file, **steps(target, folder))


def made(target: Warehouse, file: Path, folder: Path) -> None:
    """Schema and rollups as a backup wants them."""
    restore.make_ready(target, file, **steps(target, folder))


def steps(target: Warehouse, folder: Path) -> dict[str, Any]:
    """How `framehouse restore` does them."""
    return {
        "pg_restore": programs(target.url).pg_restore,
        "upgrade": lambda: migrations.upgrade(target.url),
        "build": lambda models: build(target, log_dir=folder, extra_models=models),
    }


def check_alive(warehouse: Warehouse) -> None:
    """It goes on as the one that was backed up would have."""
    exact(warehouse.url, zone_name=KATHMANDU, since=FENCE.isoformat())
    both = [event(job_id="new", finished_at=NEW.isoformat()), event(finished_at=OLD.isoformat())]
    [again, old] = write_events(warehouse, both)
    assert (again.status, old.code) == (Status.ACCEPTED, "too_old")
    write_events(warehouse, [event(tier="unheard of, too")])
    maintain(warehouse)
    assert backlog(warehouse) == Backlog(0, 0, 0)
    exact(warehouse.url, zone_name=KATHMANDU, since=FENCE.isoformat())
    counts = "select sum(heartbeat_count) from rollup.{}"
    known = ask(warehouse.url, counts.format("heartbeats_by_worker_fine"))
    assert [ask(warehouse.url, counts.format(name)) for name in OLDER] == [known] * len(OLDER)


def test_there_and_back(studio: Warehouse, server: TestServer, tmp_path: Path) -> None:
    file = tmp_path / "a studio's.backup"
    written = backup.backup(studio, file, programs=programs(studio.url))
    assert written == backup.Written(file.stat().st_size, ())
    assert written.size_bytes > 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.glob("*.backup*")] == [file.name]
    with empty(server) as target:
        restored(target, file, tmp_path)
        assert everything(target.url) == everything(studio.url)
        for column in ("view_select", "recompute"):
            made = f"select array_agg(name || {column} order by name) from ops.rollups"
            assert ask(target.url, made) == ask(studio.url, made)
        assert is_built(target)
        check_alive(target)
        with pytest.raises(BackupError, match="holds data"):
            backup.prepare(target, {"studio_zone": KATHMANDU, "block_minutes": "15"})
        with pytest.raises(BackupError, match="wrote into this warehouse"):
            backup.restore(target, file, pg_restore=programs(target.url).pg_restore)


def test_from_one_edition_to_the_other(
    studio: Warehouse, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if not is_community(studio.url):
        pytest.skip("there is no Community edition here; FRAMEHOUSE_TEST_DATABASE_URL names one")
    home = tmp_path_factory.mktemp("apache")
    for folder in (home, *home.parents[:3]):
        folder.chmod(0o755)  # as root the server runs as another user, who must be able to enter
    settings = read(os.environ)
    apache = TestServer(embedded.up(settings, home=home, machine_folders=()).url, "")
    try:
        assert not is_community(apache.url)
        there, back = tmp_path / "there.backup", tmp_path / "back.backup"
        before = everything(studio.url)
        backup.backup(studio, there, programs=programs(studio.url))
        with empty(apache) as target:
            restored(target, there, tmp_path)
            assert everything(target.url) == before
            backup.backup(target, back, programs=programs(target.url))
            with empty(TestServer(studio.url, "")) as again:
                restored(again, back, tmp_path)
                assert everything(again.url) == before
                check_alive(again)
            check_alive(target)
    finally:
        embedded.down(settings, home=home)


def test_whoever_takes_both_locks_takes_that_of_maintenance_first(
    studio: Warehouse, server: TestServer, tmp_path: Path
) -> None:
    """As retention does: two who take them in different orders could wait for each other for ever."""
    file = tmp_path / "studio.backup"
    backup.backup(studio, file, programs=programs(studio.url))
    with empty(server) as target:
        made(target, file, tmp_path)
        with ThreadPoolExecutor() as thread, psycopg.connect(target.url, autocommit=True) as maintainer:
            maintainer.execute("select pg_advisory_lock(hashtext('framehouse.maintain'))")
            restoring = thread.submit(
                backup.restore, target, file, pg_restore=programs(target.url).pg_restore
            )
            try:
                while not maintainer.execute(
                    """select from pg_locks where locktype = 'advisory' and not granted
                           and database = (select oid from pg_database where datname = current_database())"""
                ).fetchall():
                    time.sleep(0.01)
                row = maintainer.execute(
                    "select pg_try_advisory_lock(hashtext('framehouse.fence'))"
                ).fetchone()
            finally:
                maintainer.close()
            assert row == (True,)
            assert restoring.result() > 0


def test_a_restore_is_all_or_nothing(studio: Warehouse, server: TestServer, tmp_path: Path) -> None:
    file = tmp_path / "studio.backup"
    backup.backup(studio, file, programs=programs(studio.url))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) * 2 // 3])
    with empty(server) as target:
        with pytest.raises(BackupError, match=r"is damaged|is no archive"):
            restored(target, file, tmp_path)
        file.write_bytes(whole)
        restored(target, file, tmp_path)
        assert everything(target.url) == everything(studio.url)


def test_a_backup_during_a_renewal_restores_what_is_in_place(
    studio: Warehouse, server: TestServer, tmp_path: Path
) -> None:
    before = everything(studio.url)
    project = Path(shutil.copytree(project_dir(), tmp_path / "project"))
    model = project / "models" / "rollup" / "heartbeats_by_worker_daily.sql"
    model.write_text(model.read_text().rstrip() + "\n-- anew\n")
    with pytest.raises(StopError):
        build(studio, log_dir=tmp_path, project=project, is_renewing=True, report=StopAt("computing cells"))
    assert ask(studio.url, "select count(*) from ops.pending_buckets where rollup like '%%_v2'")
    file = tmp_path / "studio.backup"
    written = backup.backup(studio, file, programs=programs(studio.url))
    assert written.left_out == (
        "rollup heartbeats_by_worker_daily_v2, which stands beside heartbeats_by_worker_daily",
    )
    with empty(server) as target:
        restored(target, file, tmp_path)
        assert everything(target.url) == before
        check_alive(target)
    build(studio, log_dir=tmp_path, project=project, is_renewing=True)
    tell(studio.url, "create schema mine")
    written = backup.backup(studio, tmp_path / "later.backup", programs=programs(studio.url))
    assert written.left_out == ("replaced cells rollup.heartbeats_by_worker_daily_cells", "schema mine")


def test_a_bygone_rollup_that_cannot_be_made_is_said_with_the_way_out(
    studio: Warehouse, server: TestServer, tmp_path: Path
) -> None:
    tell(studio.url, "update ops.rollups set definition = replace(definition, 'sum(', 'no_such(')"
                     " where name = 'beats_by_day'")  # fmt: skip
    file = tmp_path / "studio.backup"
    backup.backup(studio, file, programs=programs(studio.url))
    with empty(server) as target, pytest.raises(BackupError, match=r"beats_by_day.*no_such") as caught:
        made(target, file, tmp_path)
    edition = "Community" if is_community(studio.url) else "Apache"
    assert f"on TimescaleDB's {edition} edition" in str(caught.value.hint)


def test_what_is_no_backup_is_said(studio: Warehouse, tmp_path: Path) -> None:
    pg_restore = programs(studio.url).pg_restore
    file = tmp_path / "notes.txt"
    file.write_text("nothing of the kind")
    with pytest.raises(BackupError, match="is no archive of pg_dump") as caught:
        backup.describe(file, pg_restore)
    assert "framehouse backup" in str(caught.value.hint)


def test_another_versions_backup_is_refused(studio: Warehouse, server: TestServer, tmp_path: Path) -> None:
    file = tmp_path / "studio.backup"
    tell(
        studio.url, "update ops.rollups set definition_hash = 'other' where name = 'attempts_by_worker_fine'"
    )
    backup.backup(studio, file, programs=programs(studio.url))
    with empty(server) as target, pytest.raises(BackupError, match="attempts_by_worker_fine differs"):
        restored(target, file, tmp_path)


def test_a_backup_that_fails_leaves_the_old_one(studio: Warehouse, tmp_path: Path) -> None:
    file = tmp_path / "studio.backup"
    file.write_text("the old one")
    found = programs(studio.url)
    broken = backup.Programs(found.folder, ("--dbname=postgresql:///nowhere?host=/nowhere",), found.variables)
    with pytest.raises(BackupError, match="pg_dump failed"):
        backup.backup(studio, file, programs=broken)
    assert file.read_text() == "the old one"
    assert list(tmp_path.glob(".*")) == []


@pytest.fixture
def lossy(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A pg_dump that leaves a table out, without a word."""

    def arrange() -> None:
        whole = backup._dump

        def without_ledger(programs: backup.Programs, *rest: object) -> None:
            less = backup.Programs(
                programs.folder,
                (*programs.arguments, "--exclude-table-data=ops.attempt_ledger"),
                programs.variables,
            )
            whole(less, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(backup, "_dump", without_ledger)

    return arrange


def test_what_is_missing_in_the_file_is_noticed(
    studio: Warehouse, tmp_path: Path, lossy: Callable[[], None]
) -> None:
    lossy()
    file = tmp_path / "studio.backup"
    with pytest.raises(BackupError, match=r"holds 0 rows of ops\.attempt_ledger"):
        backup.backup(studio, file, programs=programs(studio.url))
    assert not file.exists()


def test_rows_that_come_meanwhile_are_in_it_whole_or_not_at_all(
    studio: Warehouse, server: TestServer, tmp_path: Path
) -> None:
    class Writing:
        """Writes at every step of the backup."""

        def step(self, text: str) -> None:
            write_events(studio, [event(finished_at=(NEW + timedelta(hours=1)).isoformat())])

        def advance(self, done: float, total: float, text: str = "") -> None:
            pass

    file = tmp_path / "studio.backup"
    backup.backup(studio, file, programs=programs(studio.url), report=Writing())
    with empty(server) as target:
        restored(target, file, tmp_path)
        rows = ask(target.url, "select count(*) from telemetry.performance_metrics")
        with psycopg.connect(target.url) as connection:
            ledger = connection.execute(
                "select count(*) from ops.attempt_ledger where finished_at >= %s", [FENCE]
            ).fetchone()
        assert ledger == (rows,)
        check_alive(target)


@pytest.mark.parametrize(
    "sql",
    [
        *(
            f"insert into studio.{name} (name) values ('of somebody')"
            for name in ("projects", "characters", "scene_types", "scenes", "workflows", "workers")
        ),
        "insert into studio.queue (waiting, running) values ('[]', '[]')",
        "insert into studio.resolution_tiers (name, width, height, speed_factor) values ('huge', 7680, 4320, 0.1)",
        "update studio.resolution_tiers set speed_factor = 7 where name = 'draft'",
    ],
)
def test_a_warehouse_that_knows_anything_is_not_restored_into(
    database_url: str, server: TestServer, sql: str
) -> None:
    calendar = {"studio_zone": "UTC", "block_minutes": "60"}
    with Warehouse(database_url) as target:
        backup.prepare(target, calendar)
        tell(database_url, sql)
        with pytest.raises(BackupError, match="holds data"):
            backup.prepare(target, calendar)


def test_a_warehouse_of_another_zone_is_not_restored_into(database_url: str) -> None:
    with Warehouse(database_url) as target:
        with pytest.raises(BackupError, match=f"UTC.*{KATHMANDU}") as caught:
            backup.prepare(target, {"studio_zone": KATHMANDU, "block_minutes": "15"})
        assert "FRAMEHOUSE_HOME" in str(caught.value.hint)
        assert "version" not in str(caught.value)
    assert ask(database_url, "select studio_zone from ops.studio_settings") == "UTC"
