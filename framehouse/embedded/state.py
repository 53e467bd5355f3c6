"""What runs, where, and in which version."""

import contextlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from framehouse.config import Settings, environment
from framehouse.embedded import client, cluster, configuration, postmaster
from framehouse.embedded.account import server_account
from framehouse.embedded.places import places_of, server_dir
from framehouse.embedded.programs import find_psql
from framehouse.errors import UnreachableError


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What runs, where, and in which version.

    state    "running", "starting" (or recovering), "stopped", "absent" (never started);
             of a given server "running", "unreachable", or "unknown" where there is no psql to ask it
    size_mb  of the database where it answers, else of the data folder (MiB)
    tcp      "127.0.0.1:port" where the server listens on TCP
    """

    state: str
    origin: str | None = None
    url: str | None = None
    version: str | None = None
    timescaledb: str | None = None
    edition: str | None = None
    size_mb: float | None = None
    started_at: datetime | None = None
    pid: int | None = None
    tcp: str | None = None
    account: str | None = None
    home: Path | None = None
    data_dir: Path | None = None
    log_dir: Path | None = None
    bin_dir: Path | None = None

    @property
    def is_running(self) -> bool:
        return self.state == "running"


def status(settings: Settings, *, home: Path | None = None) -> Status:
    """What runs, where, and in which version. Starts nothing and waits for nobody."""
    if settings.database_url is not None and home is None:
        return _given_status(settings, settings.database_url)
    places = places_of(settings, home)
    known = cluster.remembered(places)
    if not places.home.exists() or not cluster.is_made(places):
        return Status(state="absent", home=places.home)
    account = server_account(create=False)
    cluster.check_owner(places, account)
    bin_dir = Path(known["bin_dir"]) if "bin_dir" in known else None
    running = postmaster.find(places, account)
    said = None
    is_ready = running is not None and running.is_ready
    url = client.socket_url(running, configuration.DATABASE) if running is not None else None
    if is_ready and bin_dir is not None and url is not None:
        try:
            said = client.describe(bin_dir / "psql", url)
        except UnreachableError as error:
            is_ready = not client.is_recovering(error)
    state = "stopped" if running is None else "running" if is_ready else "starting"
    return Status(
        state=state,
        origin=known.get("origin"),
        url=url,
        version=said.version if said else known.get("version"),
        timescaledb=said.timescaledb if said else known.get("timescaledb"),
        edition=known.get("edition"),
        size_mb=said.size_mb if said else _size_mb(places.data),
        started_at=running.started_at if running else None,
        pid=running.pid if running else None,
        tcp=f"127.0.0.1:{running.port}" if running and running.tcp else None,
        account=account.name,
        home=places.home,
        data_dir=places.data,
        log_dir=places.log,
        bin_dir=bin_dir,
    )


def has_died(settings: Settings, *, home: Path | None = None) -> bool:
    """Whether the embedded server ended without being stopped: what a stopped one removes is still there."""
    places = places_of(settings, home)
    if settings.database_url is not None or not (places.data / "postmaster.pid").exists():
        return False
    return postmaster.find(places, server_account(create=False)) is None


def _given_status(settings: Settings, url: str) -> Status:
    psql = find_psql(server_dir(settings))
    if psql is None:
        return Status(state="unknown", origin="given", url=url)
    try:
        said = client.describe(psql, url, env=environment())
    except UnreachableError:
        return Status(state="unreachable", origin="given", url=url, bin_dir=psql.parent)
    return Status(
        state="running",
        origin="given",
        url=url,
        version=said.version,
        timescaledb=said.timescaledb or None,
        edition=said.edition or None,
        size_mb=said.size_mb,
        started_at=said.started_at,
        bin_dir=psql.parent,
    )


def _size_mb(folder: Path) -> float:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a server that starts removes files meanwhile
            total += path.lstat().st_size
    return total / 2**20
