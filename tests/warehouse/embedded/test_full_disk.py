"""A full disk, a real one: what is said, what is kept, and that everything goes on once there is room."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from framehouse import embedded
from framehouse.config import Settings
from framehouse.embedded import postmaster
from framehouse.embedded.account import Account
from framehouse.embedded.install import install
from framehouse.embedded.places import places_of
from framehouse.embedded.programs import Programs
from framehouse.errors import EmbeddedError, InstallError, StartError, WarehouseError
from framehouse.warehouse import Warehouse
from tests.warehouse.embedded.conftest import Hears, Listener, Psql
from tests.warehouse.embedded.mirror import Mirror


class Disk:
    """A small disk of its own, mounted in memory."""

    def __init__(self, size_mb: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="framehouse disk "))
        self._filler = self.folder / "filler"
        self._mount(f"size={size_mb}m,mode=755", "-t", "tmpfs", "framehouse-test")

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def fill(self) -> None:
        """Take all room that is left."""
        with self._filler.open("wb", buffering=0) as file, suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(self.folder).free)
            while True:
                file.write(bytes(4096))

    def make_room(self) -> None:
        self._filler.unlink()

    def grow(self, size_mb: int) -> None:
        self._mount(f"remount,size={size_mb}m")

    def remove(self) -> None:
        subprocess.run(["umount", self.folder], check=True)
        self.folder.rmdir()

    def _mount(self, options: str, *arguments: str) -> None:
        command = ["mount", "-o", options, *arguments, self.folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            self.folder.rmdir()
            pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk_of(chosen: Settings, programs: Programs) -> Iterator[Callable[[int], Disk]]:
    """Mounts a disk of so many MiB; the server that a test starts on it is stopped."""
    assert programs.bin_dir.exists()
    made: list[Disk] = []

    def make(size_mb: int) -> Disk:
        if os.geteuid() != 0:
            pytest.skip("mounting a small disk takes root")
        made.append(Disk(size_mb))
        return made[-1]

    yield make
    for disk in made:
        with suppress(EmbeddedError):
            embedded.down(chosen, home=disk.home)
        disk.remove()


def test_installing_without_room_says_how_much_is_missing_where(
    disk_of: Callable[[int], Disk], mirror: Mirror, account: Account, listener: Listener
) -> None:
    disk = disk_of(100)
    with pytest.raises(InstallError, match=r"has 100 MiB free, and .* takes 500 MiB") as failure:
        install(disk.home / "server", mirror.url, account, listener)
    assert f"the disk at {disk.folder} " in str(failure.value)
    assert "FRAMEHOUSE_HOME" in str(failure.value.hint)
    assert (listener.steps, mirror.requests) == ([], [])


def test_a_disk_that_fills_up_while_the_server_is_installed(
    disk_of: Callable[[int], Disk], mirror: Mirror, account: Account, listener: Listener
) -> None:
    disk = disk_of(600)
    server_dir = disk.home / "server"
    with pytest.raises(InstallError) as failure:
        install(server_dir, mirror.url, account, Hears("unpacking", disk.fill))
    _assert_names(disk, failure.value, needed_mb=500)
    assert [path.name for path in server_dir.iterdir()] == [".install.lock"]
    disk.make_room()
    assert install(server_dir, mirror.url, account, listener).origin == "installed"


def test_a_new_database_without_room_says_how_much_is_missing_where(
    disk_of: Callable[[int], Disk], chosen: Settings, psql: Psql
) -> None:
    disk = disk_of(100)
    with pytest.raises(StartError, match=r"has 100 MiB free, and a new database takes 128 MiB") as failure:
        embedded.up(chosen, home=disk.home)
    assert f"the disk at {disk.folder} " in str(failure.value)
    assert not (disk.home / "data").exists()
    disk.grow(250)
    assert psql(embedded.up(chosen, home=disk.home).url, "select 1") == "1"


@pytest.mark.parametrize("step", ["making the data folder", "starting PostgreSQL"])
def test_a_disk_that_fills_up_while_the_database_is_made(
    disk_of: Callable[[int], Disk], chosen: Settings, psql: Psql, step: str
) -> None:
    disk = disk_of(250)
    with pytest.raises(EmbeddedError) as failure:
        embedded.up(chosen, Hears(step, disk.fill), home=disk.home)
    _assert_names(disk, failure.value, needed_mb=128)
    assert list(disk.home.glob(".making-*")) == []
    assert embedded.status(chosen, home=disk.home).state in {"absent", "stopped", "running"}
    disk.make_room()
    assert psql(embedded.up(chosen, home=disk.home).url, "select 1") == "1"


def test_a_disk_that_fills_up_under_a_running_server_costs_nothing_acknowledged(
    disk_of: Callable[[int], Disk], chosen: Settings
) -> None:
    disk = disk_of(250)
    server = embedded.up(chosen, home=disk.home)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("create table kept as select 1 as n, ''::text as filler")
        disk.fill()
        more = "insert into kept select n, repeat('x', 1000) from generate_series(1, 5000) n"
        with (
            Warehouse(server.url) as warehouse,
            pytest.raises(WarehouseError) as failure,
            warehouse.session() as session,
        ):
            session.run_text(more)
        assert "No space left on device" in str(failure.value)
        assert "make room" in str(failure.value.hint)
        assert embedded.up(chosen, home=disk.home) == server
        assert embedded.status(chosen, home=disk.home).is_running
        disk.make_room()
        connection.execute(more)
        assert connection.execute("select count(*) from kept").fetchone() == (5001,)


def test_a_server_that_a_full_disk_ended_comes_back_with_everything_acknowledged(
    disk_of: Callable[[int], Disk], chosen: Settings, account: Account, psql: Psql
) -> None:
    disk = disk_of(250)
    url = embedded.up(chosen, home=disk.home).url
    psql(url, "create table kept as select 0 as n")
    disk.fill()
    # The table has room in its page, but the log needs another file in the end, and PostgreSQL ends rather than to
    # say yes to what is not on disk.
    told: list[int] = []
    with pytest.raises(StartError) as failure:  # noqa: PT012
        while True:
            _insert_until_it_ends(url, told)
            # It may have come back by itself, where recovery needed no room.
            url = embedded.up(chosen, home=disk.home).url
    _assert_names(disk, failure.value, needed_mb=128)
    assert postmaster.find(places_of(chosen, disk.home), account) is None
    disk.make_room()
    again = embedded.up(chosen, home=disk.home).url
    assert int(psql(again, "select count(*) from kept")) > len(told) > 0
    psql(again, "insert into kept select generate_series(1, 1000)")


def test_starting_on_a_full_disk_is_refused_in_words_and_then_goes_on(
    disk_of: Callable[[int], Disk], chosen: Settings, psql: Psql
) -> None:
    disk = disk_of(250)
    psql(embedded.up(chosen, home=disk.home).url, "create table kept as select 42 as answer")
    embedded.down(chosen, home=disk.home)
    disk.fill()
    with pytest.raises(StartError) as failure:
        embedded.up(chosen, home=disk.home)
    _assert_names(disk, failure.value, needed_mb=128)
    assert embedded.status(chosen, home=disk.home).state == "stopped"
    disk.make_room()
    assert psql(embedded.up(chosen, home=disk.home).url, "select answer from kept") == "42"


def _insert_until_it_ends(url: str, told: list[int]) -> None:
    """Insert a number at a time, each into a new file of the log."""
    with suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as connection:
        while True:
            connection.execute("insert into kept values (%s)", [len(told) + 1])
            told.append(len(told) + 1)
            connection.execute("select pg_switch_wal()")


def _assert_names(disk: Disk, error: EmbeddedError, *, needed_mb: int) -> None:
    """The message says which disk it is and what is free there, the hint how much it takes; once each."""
    assert "No space left" in str(error)
    assert len(re.findall(re.escape(f"the disk at {disk.folder} has ") + r"\d+ MiB free", str(error))) == 1
    assert f"make at least {needed_mb} MiB of room on that disk" in str(error.hint)
