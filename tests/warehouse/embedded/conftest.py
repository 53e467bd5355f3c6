"""Clusters of their own for the tests of the embedded database; the programs are installed once for all of them."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from framehouse import embedded
from framehouse.config import Settings, settings
from framehouse.embedded import postmaster
from framehouse.embedded.account import Account, server_account
from framehouse.embedded.install import install
from framehouse.embedded.places import Places, places_of, server_dir
from framehouse.embedded.programs import Programs, find_on_machine
from framehouse.progress import SILENT

Psql = Callable[..., str]


class Listener:
    """Keeps the steps it is told."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def advance(self, done: float, total: float, text: str = "") -> None:
        assert 0 <= done <= total


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture(scope="session")
def chosen() -> Settings:
    """The settings of this run, without a given server: these tests are about the embedded one."""
    return replace(settings(), database_url=None)


@pytest.fixture(scope="session")
def account() -> Account:
    return server_account(create=True)


@pytest.fixture(scope="session")
def unpacked(chosen: Settings, account: Account) -> Programs:
    """Debian's, installed once into the default home, which takes the network the first time."""
    return install(server_dir(chosen), chosen.debian_mirror, account, SILENT)


@pytest.fixture(scope="session")
def programs(request: pytest.FixtureRequest, account: Account) -> Programs:
    """Those that `up` takes for a new cluster: the machine's where it has some."""
    fit, _ = find_on_machine(account)
    found: Programs = fit[0] if fit else request.getfixturevalue("unpacked")
    return found


@pytest.fixture
def home(chosen: Settings, programs: Programs) -> Iterator[Path]:
    """An empty home with a space in its path. The server's user can reach it, which pytest's own folders forbid."""
    assert programs.bin_dir.exists()
    folder = Path(tempfile.mkdtemp(prefix="framehouse test "))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        places, account = places_of(chosen, folder), server_account(create=False)
        if (running := postmaster.find(places, account)) is not None:
            postmaster.stop(running, places, account, SILENT)
        shutil.rmtree(places.socket(account), ignore_errors=True)
        shutil.rmtree(folder)


@pytest.fixture
def places(chosen: Settings, home: Path) -> Places:
    return places_of(chosen, home)


@pytest.fixture
def psql(programs: Programs) -> Psql:
    """Runs a statement on a server and returns what it prints; raises CalledProcessError with psql's words."""

    def run(url: str, text: str) -> str:
        command: list[str | Path] = [
            programs.path("psql"),
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            url,
            "-c",
            text,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    return run


@pytest.fixture
def starter(chosen: Settings, home: Path) -> Callable[[], "subprocess.Popen[str]"]:
    """Starts another framehouse that runs `up` on this home; it prints each step, then its url."""
    text = f"""
import dataclasses, sys
from pathlib import Path
from framehouse import embedded
from framehouse.config import settings
class Printer:
    def step(self, text): print(text, flush=True)
    def advance(self, done, total, text=""): pass
chosen = dataclasses.replace(settings(), database_url=None, home=Path({str(chosen.home)!r}))
print(embedded.up(chosen, Printer(), home=Path({str(home)!r})).url, flush=True)
"""

    def start() -> "subprocess.Popen[str]":
        return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)

    return start


@pytest.fixture
def up(chosen: Settings, home: Path) -> Callable[..., embedded.Server]:
    def start(*arguments: object, **options: object) -> embedded.Server:
        return embedded.up(chosen, *arguments, home=home, **options)  # type: ignore[arg-type]

    return start
