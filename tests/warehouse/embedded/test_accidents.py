"""What must be survived: kills, stale pid files, starters at once, data of another making."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import psutil
import pytest

from framehouse import embedded
from framehouse.config import Settings
from framehouse.embedded import postmaster
from framehouse.embedded.account import Account
from framehouse.embedded.cluster import misfit, remembered
from framehouse.embedded.places import Places, write_json
from framehouse.embedded.programs import Programs
from framehouse.errors import StartError
from tests.warehouse.embedded.conftest import Listener, Psql

Up = Callable[..., embedded.Server]
Starter = Callable[[], "subprocess.Popen[str]"]


def test_a_killed_postmaster_loses_nothing(
    up: Up, places: Places, account: Account, psql: Psql, chosen: Settings
) -> None:
    url = up().url
    psql(url, "create table kept as select generate_series(1, 1000) as n")
    first = postmaster.find(places, account)
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    assert psql(up().url, "select count(*) from kept") == "1000"
    second = postmaster.find(places, account)
    assert second is not None
    assert second.pid != first.pid


def test_a_killed_postmasters_busy_backend_does_not_hold_the_data(
    up: Up, places: Places, account: Account, programs: Programs, listener: Listener
) -> None:
    url = up().url
    # A backend in a busy loop does not notice that its postmaster is gone.
    loop = "do $$ begin loop perform 1; end loop; end $$"
    busy = subprocess.Popen([programs.path("psql"), "-X", "-d", url, "-c", loop], stderr=subprocess.DEVNULL)
    try:
        running = postmaster.find(places, account)
        assert running is not None
        _wait(lambda: "DO" in _titles(running.pid))
        os.kill(running.pid, signal.SIGKILL)
        _wait(lambda: not psutil.pid_exists(running.pid) or _is_zombie(running.pid))
        up(listener)
        assert any("of a killed server" in step for step in listener.steps)
    finally:
        busy.kill()
        busy.wait()


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


def test_three_starters_at_once_share_one_server(starter: Starter, places: Places, account: Account) -> None:
    started = [starter() for _ in range(3)]
    said = [process.communicate(timeout=300)[0].splitlines() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len({lines[-1] for lines in said}) == 1
    assert sum("making the data folder" in lines for lines in said) == 1
    assert sum("starting PostgreSQL" in lines for lines in said) == 1
    assert postmaster.find(places, account) is not None


@pytest.mark.parametrize("step", ["making the data folder", "starting PostgreSQL"])
def test_a_killed_starter_leaves_nothing_half(
    up: Up, starter: Starter, places: Places, psql: Psql, step: str
) -> None:
    killed = starter()
    assert killed.stdout is not None
    for line in killed.stdout:
        if line.strip() == step:
            killed.kill()
            break
    killed.wait()
    killed.stdout.close()
    assert killed.returncode == -signal.SIGKILL
    # Its initdb lives a little longer; what it writes goes with the next start.
    _wait(lambda: not any("initdb" in name for name in _commands_on(places)))
    assert psql(up().url, "select 1") == "1"
    assert list(places.home.glob(".making-*")) == []


def test_a_server_that_still_recovers_is_waited_for(
    up: Up, places: Places, account: Account, starter: Starter, psql: Psql
) -> None:
    psql(up().url, "create table kept as select generate_series(1, 1000) as n")
    running = postmaster.find(places, account)
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    # Recovery that takes long: the startup process is held.
    waiting = starter()
    try:
        startup = _held_startup(places, account, other_than=running.pid)
        assert waiting.stdout is not None
        lines = iter(waiting.stdout.readline, "")
        assert any("waiting for PostgreSQL" in line for line in lines)
        recovering = postmaster.find(places, account)
        assert recovering is not None
        assert not recovering.is_ready
        startup.resume()
        assert list(lines)[-1].startswith("postgresql:///")
        assert waiting.wait() == 0
    finally:
        waiting.kill()
        waiting.communicate()
    assert psql(up().url, "select count(*) from kept") == "1000"


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


def _held_startup(places: Places, account: Account, *, other_than: int) -> psutil.Process:
    """Stop the startup process of the server that comes after the killed one, before it has recovered."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        running = postmaster.find(places, account)
        if running is None or running.pid == other_than:
            continue
        try:
            for child in psutil.Process(running.pid).children():
                if "startup" in " ".join(child.cmdline()):
                    child.suspend()
                    return child
        except psutil.Error:
            continue
    raise AssertionError("no startup process was seen")


def _titles(pid: int) -> str:
    """What the living children of a process call themselves."""
    found = []
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):  # it may end, or be waited for, while it is looked at
            found += child.cmdline()
    return " ".join(found)


def _wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _commands_on(places: Places) -> list[str]:
    """The commands of all processes that work on this home."""
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(places.home) in line]


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
