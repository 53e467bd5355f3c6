"""`framehouse backup` and `framehouse restore`, by the command line: there and back, and what is refused."""

import os
from pathlib import Path

import pytest

import migrations
from framehouse.warehouse import Warehouse
from framehouse.warehouse.build import fix_calendar, is_built
from framehouse.warehouse.maintain import maintain
from tests.builders import event, store
from tests.cli.conftest import Command
from tests.conftest import TestServer
from tests.warehouse.cells import ask, exact, tell

ATTEMPTS = "select count(*)::int from telemetry.performance_metrics"
CELLS = "select sum(attempt_count)::int from rollup.attempts_by_workflow_daily"


@pytest.fixture
def studio(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """A warehouse with something in it, and its server's programs on the PATH."""
    folder = ask(warehouse.url, "select setting from pg_config where name = 'BINDIR'")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    store(warehouse, [event() for _ in range(3)])
    maintain(warehouse)
    return warehouse


def test_there_and_back(studio: Warehouse, empty_database_url: str, command: Command, tmp_path: Path) -> None:
    file = tmp_path / "studio.backup"
    written = command(studio.url, "backup", file)
    assert (written.exit_code, f"{file} is complete" in written.output) == (0, True), written.output
    assert "reading it back" in written.output
    done = command(empty_database_url, "restore", file)
    assert (done.exit_code, "rows are restored; next: framehouse serve" in done.output) == (0, True)
    assert (ask(empty_database_url, ATTEMPTS), ask(empty_database_url, CELLS)) == (3, 3)
    exact(empty_database_url)
    with Warehouse(empty_database_url) as restored:
        assert is_built(restored)

    again = command(empty_database_url, "restore", file)
    assert (again.exit_code, "this warehouse holds data" in again.output) == (1, True)
    assert "FRAMEHOUSE_HOME" in again.output
    assert (ask(empty_database_url, ATTEMPTS), ask(empty_database_url, CELLS)) == (3, 3)


def test_what_else_is_not_restored_into(
    studio: Warehouse, server: TestServer, command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "studio.backup"
    assert command(studio.url, "backup", file).exit_code == 0
    url = server.create(template=server.template)
    try:
        tell(url, "insert into studio.workers (name) values ('gpu-1')")
        done = command(url, "restore", file)
        assert (done.exit_code, "this warehouse holds data" in done.output) == (1, True)
        assert ask(url, "select array_agg(name) from studio.workers") == ["gpu-1"]
    finally:
        server.drop(url)
    url = server.create()
    try:
        migrations.upgrade(url)
        with Warehouse(url) as other:
            fix_calendar(other, "Asia/Tokyo")
        done = command(url, "restore", file)
        assert (done.exit_code, "Asia/Tokyo, and the backup's is UTC" in done.output) == (1, True)
        assert ask(url, "select count(*)::int from ops.rollups") == 0
    finally:
        server.drop(url)


def test_a_zone_that_the_backup_does_not_have_is_refused(
    studio: Warehouse, empty_database_url: str, command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "studio.backup"
    assert command(studio.url, "backup", file).exit_code == 0
    done = command(empty_database_url, "restore", file, zone="Asia/Tokyo")
    assert (done.exit_code, "cannot become Asia/Tokyo" in done.output) == (1, True)
    assert "unset FRAMEHOUSE_STUDIO_ZONE" in done.output
    assert ask(empty_database_url, ATTEMPTS) == 0


def test_a_file_that_is_there_is_replaced_only_by_force(
    studio: Warehouse, command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "studio.backup"
    file.write_text("the old one")
    done = command(studio.url, "backup", file)
    assert (done.exit_code, "is there already" in done.output, "--force" in done.output) == (1, True, True)
    assert file.read_text() == "the old one"
    done = command(studio.url, "backup", file, "--force")
    assert (done.exit_code, file.read_bytes()[:5]) == (0, b"PGDMP")


def test_a_folder_that_is_not_there_is_said(studio: Warehouse, command: Command, tmp_path: Path) -> None:
    done = command(studio.url, "backup", tmp_path / "nowhere" / "studio.backup")
    assert (done.exit_code, f"there is no folder {tmp_path / 'nowhere'}" in done.output) == (1, True)
    assert list(tmp_path.glob("nowhere*")) == []


def test_what_is_no_backup_makes_nothing(
    studio: Warehouse, empty_database_url: str, command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("nothing of the kind")
    done = command(empty_database_url, "restore", file)
    assert (done.exit_code, "is no archive of pg_dump" in done.output) == (1, True)
    assert ask(empty_database_url, "select to_regnamespace('studio')::text") is None
    done = command(empty_database_url, "restore", tmp_path / "missing")
    assert (done.exit_code, "does not exist" in done.output) == (2, True)
