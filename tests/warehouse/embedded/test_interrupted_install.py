"""An installation that is interrupted: by the network, by kill -9, by bytes that nobody signed."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from framehouse import embedded
from framehouse.config import Settings, environment
from framehouse.embedded.account import Account
from framehouse.embedded.install import install, installed
from framehouse.embedded.programs import find_on_machine
from framehouse.errors import InstallError
from tests.warehouse.embedded.conftest import Listener, Psql
from tests.warehouse.embedded.mirror import Mirror

Installer = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def odd_home(home: Path, chosen: Settings) -> Iterator[Path]:
    """A home as somebody might name it."""
    folder = home / "it's Größe, 50% & #1 (new)"
    yield folder
    embedded.down(chosen, home=folder)


@pytest.fixture
def installer(odd_home: Path, mirror: Mirror, account: Account) -> Iterator[Installer]:
    """Starts another framehouse that runs `up` on a home with nothing in it; it prints the steps, then the url."""
    if find_on_machine(account, [])[0]:
        pytest.skip("the machine's own PostgreSQL would be taken (pg_config on the path)")
    started: list[subprocess.Popen[str]] = []

    def start() -> "subprocess.Popen[str]":
        command = [sys.executable, *mirror.up(odd_home)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()))
        return started[-1]

    yield start
    mirror.let_go()
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_dropped_connection_is_taken_up_again_where_it_broke(
    odd_home: Path, mirror: Mirror, account: Account
) -> None:
    mirror.drop(is_gone_then=False)
    assert install(odd_home / "server", mirror.url, account, Listener()).origin == "installed"
    assert any(request.endswith(f" from {mirror.INTERRUPTED_AFTER}") for request in mirror.requests)


def test_a_mirror_that_goes_away_in_the_middle_costs_only_time(
    odd_home: Path, mirror: Mirror, account: Account
) -> None:
    server_dir = odd_home / "server"
    mirror.drop(is_gone_then=True)
    with pytest.raises(InstallError, match="apt-get download failed") as failure:
        install(server_dir, mirror.url, account, Listener())
    assert "run `framehouse up` again" in str(failure.value.hint)
    assert [path.name for path in server_dir.iterdir()] == [".install.lock"]
    mirror.let_go()
    assert install(server_dir, mirror.url, account, Listener()) == installed(server_dir, account)[0]


def test_a_package_with_other_bytes_than_those_signed_is_refused(
    odd_home: Path, mirror: Mirror, account: Account, listener: Listener
) -> None:
    server_dir = odd_home / "server"
    mirror.is_forging = True
    with pytest.raises(InstallError, match="Hash Sum mismatch") as failure:
        install(server_dir, mirror.url, account, listener)
    assert "not what Debian signed" in str(failure.value.hint)
    assert "unpacking" not in listener.steps
    assert [path.name for path in server_dir.iterdir()] == [".install.lock"]


@pytest.mark.parametrize("step", ["fetching", "unpacking"])
def test_an_installer_killed_at_a_step_is_followed_by_one_that_begins_anew(
    installer: Installer, odd_home: Path, mirror: Mirror, account: Account, psql: Psql, step: str
) -> None:
    if step == "fetching":
        mirror.stall()
    killed = installer()
    assert killed.stdout is not None
    assert any(line.startswith(step) for line in killed.stdout)
    if step == "fetching":
        assert mirror.is_stalling.wait(60)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert installed(odd_home / "server", account) == []
    # Its apt still waits for the mirror, its dpkg-deb still unpacks.
    next_one = installer()
    mirror.let_go()
    url = next_one.communicate(timeout=300)[0].splitlines()[-1]
    assert psql(url, "select count(*) from pg_extension where extname = 'timescaledb'") == "1"
    _assert_nothing_half(odd_home)


def test_an_installer_killed_at_any_moment_is_followed_by_one_that_begins_anew(
    installer: Installer, odd_home: Path, psql: Psql
) -> None:
    for moment in (0.7, 1.1, 1.5, 1.9):
        killed = installer()
        with suppress(subprocess.TimeoutExpired):
            killed.wait(moment)
        killed.kill()
        killed.wait()
    url = installer().communicate(timeout=300)[0].splitlines()[-1]
    assert psql(url, "select 1") == "1"
    _assert_nothing_half(odd_home)


def test_three_installers_at_once_install_once(installer: Installer, odd_home: Path) -> None:
    started = [installer() for _ in range(3)]
    said = [process.communicate(timeout=300)[0].splitlines() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len({lines[-1] for lines in said}) == 1
    for step in ("unpacking", "making the data folder", "starting PostgreSQL"):
        assert sum(lines.count(step) for lines in said) == 1
    _assert_nothing_half(odd_home)


def _assert_nothing_half(home: Path) -> None:
    """One whole installation, one whole cluster, and nothing that a killed one left."""
    kept = [path.name for path in (home / "server").iterdir()]
    assert [name.partition("-")[0] for name in sorted(kept)] == [".install.lock", "postgresql"]
    assert sorted(path.name for path in home.glob(".*")) == [".up.lock"]
