"""What must be survived: kills, stale pid files, starters at once, data of another making."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import psutil
import pytest

from framehouse import embedded
from framehouse.config import Settings
from framehouse.embedded.account import Account
from framehouse.embedded.cluster import misfit, remembered
from framehouse.embedded.places import Places, write_json
from framehouse.embedded.programs import Programs
from framehouse.errors import StartError
from tests.warehouse.embedded.conftest import Listener, Psql

Up = Callable[..., embedded.Server]
Starter = Callable[[], "subprocess.Popen[str]"]


def test_a_pid_file_that_names_a_stranger_is_seen_through(
    up: Up, places: Places, chosen: Settings, stranger: int, listener: Listener
) -> None:
    up()
    pid_file = places.data / "postmaster.pid"
    text = pid_file.read_text(encoding="utf-8").splitlines()
    embedded.down(chosen, home=places.home)
    pid_file.write_text("\n".join([str(stranger), *text[1:]]) + "\n", encoding="utf-8")
    shutil.chown(pid_file, places.data.stat().st_uid, places.data.stat().st_gid)
    assert embedded.status(chosen, home=places.home).state == "stopped"
    assert embedded.down(chosen, home=places.home) is False
    up(listener)
    assert any("another program's now" in step for step in listener.steps)
    assert embedded.status(chosen, home=places.home).is_running
    assert psutil.pid_exists(stranger)


def test_a_socket_lock_that_names_a_stranger_is_seen_through(
    up: Up, places: Places, account: Account, chosen: Settings, stranger: int
) -> None:
    up()
    lock = places.socket(account) / ".s.PGSQL.5432.lock"
    text = lock.read_text(encoding="utf-8").splitlines()
    embedded.down(chosen, home=places.home)
    lock.parent.mkdir()
    lock.write_text("\n".join([str(stranger), *text[1:]]) + "\n", encoding="utf-8")
    up()
    assert embedded.status(chosen, home=places.home).is_running


def test_another_major_version_is_refused_with_advice(up: Up, places: Places, chosen: Settings) -> None:
    up()
    embedded.down(chosen, home=places.home)
    version = places.data / "PG_VERSION"
    version.write_text("16\n", encoding="ascii")
    with pytest.raises(StartError, match="the data was made by 16") as failure:
        up()
    assert failure.value.hint is not None
    assert "PostgreSQL 16" in failure.value.hint
    assert "pg_dump" in failure.value.hint
    assert version.read_text(encoding="ascii") == "16\n"


def test_programs_that_lack_what_the_data_uses_do_not_get_it(
    up: Up, places: Places, programs: Programs
) -> None:
    up()
    assert misfit(places, programs) is None
    write_json(places.memory, {**remembered(places), "edition": "community", "timescaledb": "2.99.0"})
    assert "needs Community" in str(misfit(places, replace(programs, edition="apache")))
    assert "older than the data's 2.99.0" in str(misfit(places, replace(programs, edition="community")))
    newer = replace(programs, edition="community", timescaledb="2.100.1")
    assert misfit(places, newer) is None


def test_programs_that_went_away_are_found_elsewhere(
    up: Up, places: Places, chosen: Settings, programs: Programs
) -> None:
    up()
    embedded.down(chosen, home=places.home)
    write_json(places.memory, {**remembered(places), "bin_dir": str(places.home / "gone")})
    assert up().bin_dir == programs.bin_dir
    assert remembered(places)["bin_dir"] == str(programs.bin_dir)


def test_a_folder_of_something_else_is_left_alone(up: Up, places: Places) -> None:
    places.data.mkdir()
    (places.data / "holiday.jpg").touch()
    with pytest.raises(StartError, match="no data folder of PostgreSQL"):
        up()
    assert [path.name for path in places.data.iterdir()] == ["holiday.jpg"]


def test_data_without_its_memory_still_starts(up: Up, places: Places, chosen: Settings, psql: Psql) -> None:
    psql(up().url, "create table kept ()")
    embedded.down(chosen, home=places.home)
    places.memory.write_text("{ torn", encoding="utf-8")
    assert psql(up().url, "select count(*) from kept") == "0"


def test_a_socket_folder_made_by_someone_else_is_refused(up: Up, places: Places, account: Account) -> None:
    folder = places.socket(account)
    folder.symlink_to(places.home)
    try:
        with pytest.raises(StartError, match="belongs to someone else"):
            up()
    finally:
        folder.unlink()


@pytest.fixture
def stranger() -> Iterator[int]:
    """A living process that has nothing to do with the database."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        yield process.pid
    finally:
        process.kill()
        process.communicate()
