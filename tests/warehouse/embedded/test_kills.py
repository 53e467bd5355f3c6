"""kill -9 of everything that can be killed: the server, who starts it, who writes to it."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from framehouse import embedded
from framehouse.config import Settings
from framehouse.embedded import postmaster
from framehouse.embedded.account import Account
from framehouse.embedded.places import Places
from framehouse.embedded.programs import Programs
from tests.warehouse.embedded.conftest import (
    Command,
    Framehouse,
    Hears,
    Listener,
    Psql,
    Starter,
    Up,
    commands_on,
    wait_for,
)


def test_a_postmaster_killed_under_its_writers_loses_nothing_they_were_told(
    up: Up, places: Places, account: Account, psql: Psql
) -> None:
    url = up().url
    psql(url, "create table kept (n bigint)")
    first = _running(places, account)
    shared = _shared_memory_of(first.pid)
    assert shared
    with _writers(url) as acknowledged:
        wait_for(lambda: all(acknowledged))
        os.kill(first.pid, signal.SIGKILL)
    told = {number for numbers in acknowledged for number in numbers}
    found = {int(line) for line in psql(up().url, "select n from kept").splitlines()}
    assert told <= found
    # At most one commit of each writer was under way when its answer was lost.
    assert len(found - told) <= len(acknowledged)
    assert _running(places, account).pid != first.pid
    assert not shared & _all_shared_memory()
    assert [line for line in commands_on(places.home) if "bin/postgres" in line] == [
        " ".join(psutil.Process(_running(places, account).pid).cmdline())
    ]


def test_a_killed_postmasters_busy_backend_does_not_hold_the_data(
    up: Up, places: Places, account: Account, programs: Programs, listener: Listener
) -> None:
    url = up().url
    # A backend in a busy loop does not notice that its postmaster is gone.
    loop = "do $$ begin loop perform 1; end loop; end $$"
    busy = subprocess.Popen([programs.path("psql"), "-X", "-d", url, "-c", loop], stderr=subprocess.DEVNULL)
    try:
        running = _running(places, account)
        wait_for(lambda: "DO" in _titles(running.pid))
        os.kill(running.pid, signal.SIGKILL)
        wait_for(lambda: not psutil.pid_exists(running.pid) or _is_zombie(running.pid))
        up(listener)
        assert any("of a killed server" in step for step in listener.steps)
    finally:
        busy.kill()
        busy.wait()


def test_a_killed_backend_is_recovered_from_and_waited_for(
    up: Up, chosen: Settings, places: Places, account: Account, psql: Psql
) -> None:
    server = up()
    first = _running(places, account)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("create table kept as select generate_series(1, 1000) as n")
        os.kill(connection.info.backend_pid, signal.SIGKILL)
        # The server's own file goes on saying that it is ready; its recovery is held.
        with _held_startup(places, account) as startup:
            wait_for(lambda: embedded.status(chosen, home=places.home).state == "starting")
            listener = Hears("waiting for PostgreSQL", startup.resume)
            assert up(listener) == server
    assert any("waiting for PostgreSQL" in step for step in listener.steps)
    assert _running(places, account).pid == first.pid
    assert psql(server.url, "select count(*) from kept") == "1000"


@pytest.mark.parametrize("last_words", ["select 1", "select pg_sleep(600)"], ids=["idle", "at work"])
def test_a_client_killed_in_its_transaction_gives_its_locks_back(
    up: Up, programs: Programs, psql: Psql, last_words: str
) -> None:
    url = up().url
    psql(url, "create table kept as select 1 as n")
    client = subprocess.Popen(
        [programs.path("psql"), "-X", "-q", "-A", "-t", "-d", url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write("begin; lock table kept; update kept set n = 2; select 'locked';\n")
    client.stdin.flush()
    assert client.stdout.readline() == "locked\n"
    client.stdin.write(f"{last_words};\n")
    client.stdin.flush()
    wait_for(lambda: psql(url, _SESSIONS.format(last_words)) == "1")
    client.kill()
    with suppress(BrokenPipeError):
        client.communicate()
    assert psql(url, "set lock_timeout = '60s'; update kept set n = n + 10; select n from kept") == "11"
    assert psql(url, _SESSIONS.format(last_words)) == "0"


def test_three_starters_at_once_share_one_server(starter: Starter, places: Places, account: Account) -> None:
    started = [starter() for _ in range(3)]
    said = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len({re.search(r"^  url +(\S+)$", text, re.MULTILINE)[1] for text in said}) == 1  # type: ignore[index]
    for step in ("making the data folder", "starting PostgreSQL", "migration 0001"):
        assert sum(text.count(step) for text in said) == 1
    _running(places, account)


def test_a_starter_killed_at_one_step_after_the_other_leaves_nothing_half(
    framehouse: Framehouse, starter: Starter, places: Places
) -> None:
    # Each gets further than the one before, whatever that one left.
    for step in ("making the data folder", "starting PostgreSQL", "migration 0001", "migration 0004"):
        killed = starter()
        assert killed.stdout is not None
        assert any(line.strip().startswith(step) for line in killed.stdout)
        killed.kill()
        assert killed.wait() == -signal.SIGKILL
    _assert_comes_up_whole(framehouse, places)


def test_a_starter_killed_at_any_moment_leaves_nothing_half(
    framehouse: Framehouse, starter: Starter, places: Places
) -> None:
    dice = random.Random(time.time_ns())
    for _ in range(4):
        killed = starter()
        with suppress(subprocess.TimeoutExpired):
            killed.wait(dice.uniform(0.4, 2.4))
        killed.kill()
        killed.wait()
    _assert_comes_up_whole(framehouse, places)


def test_what_a_killed_starters_programs_still_write_goes_too(up: Up, places: Places) -> None:
    draft = places.home / ".making-killed"
    draft.mkdir()
    # As initdb does, it writes by relative paths until its folder is gone.
    writes = (
        "import itertools, time\nfor n in itertools.count(): open(str(n), 'w').close(); time.sleep(0.001)"
    )
    orphan = subprocess.Popen([sys.executable, "-c", writes], cwd=draft, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(list(draft.iterdir())) > 100)
        up()
        assert not draft.exists()
        assert orphan.wait(60) == 1  # its next file has nowhere to be
    finally:
        orphan.kill()
        orphan.wait()


def test_what_a_killed_writer_of_files_left_goes_with_the_next_start(up: Up, places: Places) -> None:
    places.settings.mkdir()
    left = [places.home / ".cluster.json.4711.new", places.settings / ".pg_hba.conf.4711.new"]
    for draft in left:
        draft.write_text("{ torn", encoding="utf-8")
    up()
    assert not any(draft.exists() for draft in left)


def test_a_server_that_a_killed_starter_left_young_is_waited_for(
    up: Up, places: Places, account: Account, psql: Psql, url_of_young: str
) -> None:
    # Its pid is not written yet when the next starter looks; the file is there while that one still hesitates.
    young, pid_file = _running(places, account), places.data / "postmaster.pid"
    hidden = pid_file.rename(pid_file.with_suffix(".hidden"))

    listener = Hears("of a killed server", lambda: hidden.rename(pid_file))
    assert up(listener).url == url_of_young
    assert not any("starting PostgreSQL" in step for step in listener.steps)
    assert _running(places, account).pid == young.pid
    assert psql(url_of_young, "select 1") == "1"


def test_a_long_recovery_is_waited_for_and_told(
    up: Up, chosen: Settings, places: Places, account: Account, starter: Starter, psql: Psql
) -> None:
    url = up().url
    settings = places.settings / "local.conf"
    settings.write_text("log_startup_progress_interval = '10ms'\n", encoding="utf-8")
    psql(url, "create table kept as select n, repeat('x', 500) as filler from generate_series(1, 100000) n")
    killed = _running(places, account)
    os.kill(killed.pid, signal.SIGKILL)
    first = starter()
    assert first.stdout is not None
    with _held_startup(places, account, other_than=killed.pid) as startup:
        assert any("waiting for PostgreSQL" in line for line in first.stdout)
        while "redo in progress" not in postmaster.last_words(places, lines=1):
            startup.resume()
            time.sleep(0.02)
            startup.suspend()
        assert any("redo in progress" in line for line in first.stdout)
        recovering = _running(places, account)
        assert not recovering.is_ready
        assert embedded.status(chosen, home=places.home).state == "starting"
        second = starter()
    for process in (first, second):
        assert process.stdout is not None
        assert any("the warehouse is up" in line for line in process.stdout)
        assert process.wait() == 0
    assert _running(places, account).pid == recovering.pid
    assert psql(url, "select count(*) from kept") == "100000"


@pytest.fixture
def url_of_young(up: Up) -> str:
    return up().url


_SESSIONS = "select count(*) from pg_stat_activity where query = '{};'"


@contextmanager
def _writers(url: str) -> Iterator[list[list[int]]]:
    """Clients that insert numbers, each in a transaction of its own, until the server goes; what was acknowledged."""
    acknowledged: list[list[int]] = [[] for _ in range(3)]

    def write(own: list[int], first: int) -> None:
        with suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as connection:
            for number in range(first, first + 10**6):
                connection.execute("insert into kept values (%s)", [number])
                own.append(number)

    threads = [threading.Thread(target=write, args=(own, i * 10**6)) for i, own in enumerate(acknowledged)]
    for thread in threads:
        thread.start()
    yield acknowledged
    for thread in threads:
        thread.join()


def _assert_comes_up_whole(framehouse: Framehouse, places: Places) -> None:
    started = framehouse("up")
    assert started.returncode == 0, started.stderr
    asked = framehouse("psql", "-At", "-c", "select count(*) from telemetry.performance_metrics")
    assert asked.stdout.strip() == "0"
    assert [path.name for path in places.home.glob(".*")] == [".up.lock"]


def _running(places: Places, account: Account) -> postmaster.Running:
    found = postmaster.find(places, account)
    assert found is not None
    return found


def _shared_memory_of(pid: int) -> set[str]:
    """System V segments that a postmaster made, and the POSIX ones that it maps."""
    lines = [line.split() for line in Path("/proc/sysvipc/shm").read_text(encoding="ascii").splitlines()[1:]]
    maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
    return {line[1] for line in lines if int(line[4]) == pid} | set(
        re.findall(r"/dev/shm/PostgreSQL\.\d+", maps)
    )


def _all_shared_memory() -> set[str]:
    lines = Path("/proc/sysvipc/shm").read_text(encoding="ascii").splitlines()[1:]
    return {line.split()[1] for line in lines} | {str(path) for path in Path("/dev/shm").glob("PostgreSQL.*")}


@contextmanager
def _held_startup(places: Places, account: Account, *, other_than: int = 0) -> Iterator[psutil.Process]:
    """Hold the startup process of the server that comes after the killed one, before it has recovered."""
    startup = _suspended_startup(places, account, other_than)
    try:
        yield startup
    finally:
        with suppress(psutil.NoSuchProcess):
            startup.resume()


def _suspended_startup(places: Places, account: Account, other_than: int) -> psutil.Process:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        running = postmaster.find(places, account)
        if running is None or running.pid == other_than:
            continue
        with suppress(psutil.Error):
            for child in psutil.Process(running.pid).children():
                if "startup" in " ".join(child.cmdline()):
                    child.suspend()
                    return child
    raise AssertionError("no startup process was seen")


def _titles(pid: int) -> str:
    """What the living children of a process call themselves."""
    found = []
    for child in psutil.Process(pid).children():
        with suppress(psutil.Error):  # it may end, or be waited for, while it is looked at
            found += child.cmdline()
    return " ".join(found)


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_serve_starts_a_server_again_that_died_and_not_one_that_was_stopped(
    command: Command, framehouse: Framehouse, places: Places, account: Account
) -> None:
    arguments = ("serve", "--only", "maintenance", "--maintain-every", "0.2")
    with command(*arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as serve:
        assert serve.stdout is not None
        assert any("maintaining the warehouse" in line for line in serve.stdout)
        first = _running(places, account).pid
        os.kill(first, signal.SIGKILL)

        def is_back() -> bool:
            running = postmaster.find(places, account)
            return running is not None and running.is_ready and running.pid != first

        wait_for(is_back)
        assert framehouse("down").returncode == 0
        assert any("maintenance waits" in line for line in serve.stdout)
        assert postmaster.find(places, account) is None
        serve.terminate()
        serve.stdout.read()
    assert serve.returncode == 0
