"""What must be survived besides kills: stale pid files, data of another making, programs that went away."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from framehouse import embedded
from framehouse.config import Settings
from framehouse.embedded import postmaster
from framehouse.embedded.account import Account
from framehouse.embedded.cluster import misfit, remembered
from framehouse.embedded.places import Places, write_json
from framehouse.embedded.programs import Programs
from framehouse.errors import StartError, UnreachableError
from tests.warehouse.embedded.conftest import Listener, Psql, Up


@dataclass(frozen=True, slots=True)
class Stranger:
    """A living process that has nothing to do with the database."""

    pid: int
    assert_untouched: Callable[[], None]


@pytest.fixture
def stranger(request: pytest.FixtureRequest, chosen: Settings, home: Path) -> Iterator[Stranger]:
    """One that notes every signal it gets, or the server of another home."""
    if getattr(request, "param", "a program") == "another server":
        other = home / "other"
        embedded.up(chosen, home=other)
        pid = embedded.status(chosen, home=other).pid
        assert pid is not None

        def runs_on() -> None:
            assert embedded.status(chosen, home=other).pid == pid

        yield Stranger(pid, runs_on)
        embedded.down(chosen, home=other)
        return
    with subprocess.Popen(
        [sys.executable, "-c", _NOTES_SIGNALS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def heard_nothing() -> None:
            assert process.communicate()[0] == ""
            assert process.returncode == 0

        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Stranger(process.pid, heard_nothing)
        process.kill()


_NOTES_SIGNALS = """
import signal, sys
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, lambda number, frame: print(number, flush=True))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("stranger", ["a program", "another server"], indirect=True)
def test_a_pid_file_that_names_a_stranger_is_seen_through(
    up: Up, chosen: Settings, places: Places, account: Account, stranger: Stranger, listener: Listener
) -> None:
    up()
    _kill_and_pretend(places, account, stranger.pid)
    assert embedded.status(chosen, home=places.home).state == "stopped"
    with pytest.raises(UnreachableError, match="no database runs"):
        embedded.database_url(replace(chosen, home=places.home))
    assert embedded.down(chosen, home=places.home) is False
    assert not places.socket(account).exists()
    up(listener)
    assert any("another program's now" in step for step in listener.steps)
    assert embedded.status(chosen, home=places.home).pid != stranger.pid
    assert embedded.down(chosen, home=places.home) is True
    stranger.assert_untouched()


@pytest.mark.parametrize("torn", ["", "47", "not a number\n"])
def test_a_torn_pid_file_is_seen_through(
    up: Up, places: Places, account: Account, listener: Listener, torn: str
) -> None:
    up()
    _kill_and_pretend(places, account, 1)
    (places.data / "postmaster.pid").write_text(torn, encoding="utf-8")
    up(listener)
    assert "starting PostgreSQL" in listener.steps


def test_a_socket_lock_that_names_a_stranger_is_seen_through(
    up: Up, places: Places, account: Account, chosen: Settings, stranger: Stranger
) -> None:
    up()
    lock = places.socket(account) / ".s.PGSQL.5432.lock"
    text = lock.read_text(encoding="utf-8").splitlines()
    embedded.down(chosen, home=places.home)
    lock.parent.mkdir()
    lock.write_text("\n".join([str(stranger.pid), *text[1:]]) + "\n", encoding="utf-8")
    up()
    assert embedded.status(chosen, home=places.home).is_running
    stranger.assert_untouched()


@pytest.mark.parametrize("major", ["16", "18"])
def test_another_major_version_is_refused_with_advice(
    up: Up, places: Places, chosen: Settings, account: Account, major: str
) -> None:
    up()
    embedded.down(chosen, home=places.home)
    (places.data / "PG_VERSION").write_text(f"{major}\n", encoding="ascii")
    before = _fingerprint(places)
    with pytest.raises(StartError, match=f"the data was made by {major}") as failure:
        up()
    assert failure.value.hint is not None
    assert f"PostgreSQL {major}" in failure.value.hint
    assert "pg_dump" in failure.value.hint
    assert embedded.status(chosen, home=places.home).state == "stopped"
    assert _fingerprint(places) == before
    assert not places.socket(account).exists()


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


def _kill_and_pretend(places: Places, account: Account, pid: int) -> None:
    """Kill the server, as a power cut does, and let its number be somebody else's afterwards."""
    running = postmaster.find(places, account)
    assert running is not None
    children = psutil.Process(running.pid).children()
    os.kill(running.pid, signal.SIGKILL)
    psutil.wait_procs(children, timeout=60)
    pid_file = places.data / "postmaster.pid"
    _, rest = pid_file.read_text(encoding="utf-8").split("\n", 1)
    pid_file.write_text(f"{pid}\n{rest}", encoding="utf-8")


def _fingerprint(places: Places) -> list[tuple[str, int, int]]:
    """Every file of the data, its size and when it was changed."""
    found = [(str(path), path.lstat()) for path in places.data.rglob("*")]
    return sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in found)
