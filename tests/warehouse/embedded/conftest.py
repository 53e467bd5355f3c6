"""Clusters of their own for the tests of the embedded database; the programs are installed once for all of them."""

import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock

from framehouse import embedded
from framehouse.config import Settings, environment, settings
from framehouse.embedded import apt, postmaster
from framehouse.embedded.account import Account, server_account
from framehouse.embedded.install import install
from framehouse.embedded.places import Places, places_of, server_dir
from framehouse.embedded.programs import Programs, find_on_machine
from framehouse.progress import SILENT
from tests.warehouse.embedded.mirror import Mirror, make_repository, served

Psql = Callable[..., str]
Up = Callable[..., embedded.Server]
Command = Callable[..., "subprocess.Popen[str]"]
Framehouse = Callable[..., "subprocess.CompletedProcess[str]"]
Starter = Callable[[], "subprocess.Popen[str]"]


class Listener:
    """Keeps the steps it is told."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def advance(self, done: float, total: float, text: str = "") -> None:
        assert 0 <= done <= total


class Hears(Listener):
    """Does something, once, as soon as it hears of a step."""

    def __init__(self, text: str, does: Callable[[], object]) -> None:
        super().__init__()
        self._text, self._does = text, does

    def step(self, text: str) -> None:
        is_first = not any(self._text in step for step in self.steps)
        super().step(text)
        if is_first and self._text in text:
            self._does()


def wait_for(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def commands_on(folder: Path) -> list[str]:
    """The commands of all processes that work on this folder."""
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(folder) in line]


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
        # What a test killed may have left programs that are still at work, apt and initdb among them.
        wait_for(lambda: not commands_on(folder))
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
def command(chosen: Settings, home: Path) -> Command:
    """Starts the command, as a person would, on an empty home that shares the installed programs."""
    (home / "server").symlink_to(server_dir(chosen))
    script = Path(sysconfig.get_path("scripts")) / "framehouse"

    def start(*arguments: str, **options: Any) -> "subprocess.Popen[str]":
        variables = options.pop("variables", {})
        env = environment(FRAMEHOUSE_HOME=str(home), FRAMEHOUSE_DATABASE_URL=None)
        return subprocess.Popen([script, *arguments], env={**env, **variables}, text=True, **options)

    return start


@pytest.fixture
def framehouse(command: Command) -> Framehouse:
    """Runs the command to its end and keeps what it says."""

    def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with command(*arguments, variables=variables, **pipes) as process:
            said, complained = process.communicate()
        return subprocess.CompletedProcess(arguments, process.returncode, said, complained)

    return run


@pytest.fixture
def starter(command: Command) -> Iterator[Starter]:
    """Starts `framehouse up` in the background: its lines are the steps, then what it says at the end."""
    started: list[subprocess.Popen[str]] = []

    def start() -> "subprocess.Popen[str]":
        started.append(command("up", stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def up(chosen: Settings, home: Path) -> Up:
    def start(*arguments: object, **options: object) -> embedded.Server:
        return embedded.up(chosen, *arguments, home=home, **options)  # type: ignore[arg-type]

    return start


@pytest.fixture(scope="session")
def repository(unpacked: Programs, shared_folder: Path) -> Path:
    """A folder with the packages of what is installed here, as a Debian mirror holds them; made once a run."""
    if missing := [name for name in ("dpkg-deb", "gpg") if shutil.which(name) is None]:
        pytest.skip(f"a mirror of our own takes {' and '.join(missing)}")
    folder = shared_folder / "mirror"
    with FileLock(shared_folder / "mirror.lock"):
        if not folder.exists():
            draft = shared_folder / "mirror.new"
            draft.mkdir()
            make_repository(draft, unpacked)
            draft.rename(folder)
    return folder


@pytest.fixture
def mirror(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """That mirror on loopback; its key is trusted in the place of Debian's, and no proxy stands between."""
    monkeypatch.setattr(apt, "_KEYRINGS", (str(repository / "keyring.gpg"),))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with served(repository) as running:
        yield running
