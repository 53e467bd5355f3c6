"""A real TimescaleDB for every test: one private cluster a run, one migrated and built template, a clone a test.

FRAMEHOUSE_TEST_DATABASE_URL names another server to test on (Timescale's Community edition, say); its databases are
made and dropped there. Without it the run starts a cluster of its own and removes it at the end.
"""

import json
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from filelock import FileLock
from hypothesis.configuration import set_hypothesis_home_dir

import migrations
from framehouse import embedded
from framehouse.config import Settings, read
from framehouse.warehouse import Warehouse
from framehouse.warehouse.build import build

# A run that was started in the background inherits ignored signals and would hand that on to every program it starts,
# whose Ctrl-C would then do nothing.
for _ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
    if signal.getsignal(_ignored) is signal.SIG_IGN:
        signal.signal(_ignored, signal.default_int_handler if _ignored == signal.SIGINT else signal.SIG_DFL)

SHARED = pytest.StashKey[Path]()
SERVER_VARIABLE = "FRAMEHOUSE_TEST_DATABASE_URL"


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long is raced, and how much is fuzzed."""
    parser.addoption(
        "--race-seconds", type=float, default=15.0, help="how long the conformance race lasts (15)"
    )
    parser.addoption(
        "--fuzz-examples",
        type=int,
        metavar="N",
        help="random requests to each endpoint; without it 50, the same ones in every run",
    )


def pytest_configure(config: pytest.Config) -> None:
    """The process that starts the run makes the folder its workers share."""
    if not hasattr(config, "workerinput"):
        shared = Path(tempfile.mkdtemp(prefix="framehouse-test-"))
        shared.chmod(0o755)  # as root the server runs as another user, who must be able to enter
        config.stash[SHARED] = shared
    # Hypothesis keeps notes on the sources, by default in the checkout.
    set_hypothesis_home_dir(_shared(config) / "hypothesis")


def _shared(config: pytest.Config) -> Path:
    given = getattr(config, "workerinput", {}).get("shared")
    return Path(given) if given else config.stash[SHARED]


def pytest_configure_node(node: object) -> None:
    """xdist: hand the folder to a worker."""
    node.workerinput["shared"] = str(node.config.stash[SHARED])  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what the run started and leave nothing behind."""
    shared = config.stash.get(SHARED, None)
    if shared is None:
        return
    note = shared / "server.json"
    if note.exists():
        server = json.loads(note.read_text())
        if server["template"]:
            with psycopg.connect(server["url"], autocommit=True) as connection:
                connection.execute(f"alter database {server['template']} is_template false")
                connection.execute(f"drop database if exists {server['template']} with (force)")
        if server["is_ours"]:
            embedded.down(read(os.environ), home=shared)
    shutil.rmtree(shared, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class TestServer:
    """The server of this run: a URL on which databases can be made, and the template to clone."""

    __test__ = False
    url: str
    template: str

    def database(self, name: str) -> str:
        """The URL of another database on it."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}/{name}?{parts.query}"

    def create(self, *, template: str | None = None) -> str:
        """A new database's URL, empty or cloned."""
        name = f"framehouse_test_{uuid.uuid4().hex[:16]}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            source = f" template {template} strategy wal_log" if template else ""
            connection.execute(f"create database {name}{source}")
        return self.database(name)

    def freeze(self, url: str) -> str:
        """Make a database one that can be cloned, which is while nobody is connected; its name."""
        name = urlsplit(url).path[1:]
        with psycopg.connect(url, autocommit=True) as connection:
            # TimescaleDB's scheduler would be somebody.
            connection.execute("select _timescaledb_functions.stop_background_workers()")
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"alter database {name} allow_connections false")
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name]
            )
        return name

    def drop(self, url: str) -> None:
        """Drop a database, whoever is connected."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"drop database if exists {urlsplit(url).path[1:]} with (force)")


@pytest.fixture(scope="session")
def shared_folder(request: pytest.FixtureRequest) -> Path:
    """A folder that all workers of this run share."""
    return _shared(request.config)


@pytest.fixture(scope="session")
def server(shared_folder: Path) -> TestServer:
    """The run's server, started by whoever needs it first."""
    note = shared_folder / "server.json"
    with FileLock(shared_folder / "server.lock"):
        if not note.exists():
            note.write_text(json.dumps(_start(shared_folder)))
    found = json.loads(note.read_text())
    return TestServer(found["url"], found["template"])


def _start(folder: Path) -> dict[str, object]:
    given = os.environ.get(SERVER_VARIABLE)
    url = given or embedded.up(read(os.environ), home=folder).url
    template = f"framehouse_template_{uuid.uuid4().hex[:16]}"
    server = TestServer(url, template)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"create database {template}")
    built = server.database(template)
    migrations.upgrade(built)
    with Warehouse(built) as warehouse:
        build(warehouse, log_dir=folder / "log")
    server.freeze(built)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"alter database {template} is_template true")
    return {"url": url, "template": template, "is_ours": given is None}


@pytest.fixture
def database_url(server: TestServer) -> Iterator[str]:
    """A migrated and built database of the test's own."""
    url = server.create(template=server.template)
    yield url
    server.drop(url)


@pytest.fixture
def empty_database_url(server: TestServer) -> Iterator[str]:
    """A database of the test's own with nothing in it."""
    url = server.create()
    yield url
    server.drop(url)


@pytest.fixture
def warehouse(database_url: str) -> Iterator[Warehouse]:
    """An open warehouse on a database of the test's own."""
    with Warehouse(database_url) as opened:
        yield opened


@pytest.fixture
def race_seconds(request: pytest.FixtureRequest) -> float:
    """How long writers, a deleter and maintainers race."""
    return float(request.config.getoption("--race-seconds"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a home of the test's own."""
    return read({"FRAMEHOUSE_HOME": str(tmp_path / "home"), "FRAMEHOUSE_CLOUD_METADATA": "0"})
