"""Up and down: from settings to a server, by the order of `up`."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from framehouse.config import Settings, environment
from framehouse.embedded import client, cluster, postmaster
from framehouse.embedded.account import Account, server_account
from framehouse.embedded.configuration import DATABASE, SUPERUSER
from framehouse.embedded.disk import disk_errors_named
from framehouse.embedded.lock import locked
from framehouse.embedded.places import (
    Places,
    make_folder,
    nearest_folder,
    places_of,
    server_dir,
)
from framehouse.embedded.programs import MACHINE_FOLDERS, Programs, find_psql
from framehouse.embedded.selection import choose_programs
from framehouse.errors import UnreachableError
from framehouse.progress import SILENT, Reporter

#: How often a server may crash under our hands before that is an error.
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    url      libpq URL of the database, for any account that may connect
    origin   "given" (FRAMEHOUSE_DATABASE_URL), "machine" (a PostgreSQL found here) or "installed" (by framehouse)
    version  PostgreSQL's version; empty where a given server could not be asked
    bin_dir  where its psql and pg_dump are; None for a given server when the machine has no psql
    """

    url: str
    origin: str
    version: str
    bin_dir: Path | None


@dataclass(frozen=True, slots=True)
class Connection:
    """How psql reaches the warehouse: its path, first arguments, and variables of the environment."""

    psql: Path | None
    arguments: tuple[str, ...]
    variables: dict[str, str | None]


def up(
    settings: Settings,
    report: Reporter = SILENT,
    *,
    home: Path | None = None,
    tcp: bool = False,
    database: str = DATABASE,
    machine_folders: Sequence[str] = MACHINE_FOLDERS,
) -> Server:
    """A running server with the database and TimescaleDB in it; what is missing is installed, made and started.

    Programs lie under `settings.home`; `home` is where the data goes when it is to lie elsewhere. `tcp` also opens
    127.0.0.1, with a generated password. A second call returns the same server. Raises NoServerError, InstallError
    or StartError with what is missing and what mends it, UnreachableError for a given server that does not answer.
    """
    if settings.database_url is not None and home is None:
        return _given(settings, settings.database_url)
    account = server_account(create=True)
    places = places_of(settings, home)
    account.check_can_enter(nearest_folder(places.home))
    make_folder(places.home)
    turn = locked(places.lock, report, purpose="starting or stopping the database")
    with disk_errors_named(places.home, cluster.NEEDED_MB), turn:
        cluster.clean(places)
        if cluster.is_made(places):
            cluster.check_owner(places, account)
        running = postmaster.find(places, account)
        if running is not None and not running.is_ready:
            running = postmaster.wait_until_ready(running.pid, places, account, report)
        if running is not None and tcp and not running.tcp:
            report.step("starting the server anew: opening TCP needs that")
            postmaster.stop(running, places, account, report)
            running = None
        programs = choose_programs(settings, places, account, report, machine_folders)
        if not cluster.is_made(places):
            cluster.make(programs, places, account, report)
        if running is None:
            running = cluster.launch(programs, places, account, report, tcp=tcp)
            cluster.remember(places, programs)
        found = _prepare(programs, running, database, places, account, report)
        return Server(
            url=_tcp_url(programs, running, places, database)
            if tcp
            else client.socket_url(running, database),
            origin=programs.origin,
            version=found.version,
            bin_dir=programs.bin_dir,
        )


def down(settings: Settings, report: Reporter = SILENT, *, home: Path | None = None) -> bool:
    """Stop the embedded server and wait until it is gone; False when none ran. Its data stays."""
    places = places_of(settings, home)
    if not places.home.exists() or not cluster.is_made(places):
        return False
    account = server_account(create=False)
    cluster.check_owner(places, account)
    with locked(places.lock, report, purpose="starting or stopping the database"):
        running = postmaster.find(places, account)
        if running is not None:
            postmaster.stop(running, places, account, report)
        # A killed server left it, too.
        shutil.rmtree(places.socket(account), ignore_errors=True)
        return running is not None


def database_url(settings: Settings) -> str:
    """The warehouse's libpq URL: the given one, or that of the embedded server. Raises UnreachableError."""
    if settings.database_url is not None:
        return settings.database_url
    return client.socket_url(_running(settings), DATABASE)


def connection(settings: Settings) -> Connection:
    """How psql reaches the warehouse. Raises UnreachableError when the embedded server does not run."""
    if settings.database_url is not None:
        url, secret = client.split_password(settings.database_url)
        variables: dict[str, str | None] = {"PGPASSWORD": secret} if secret else {}
        return Connection(find_psql(server_dir(settings)), (f"--dbname={url}",), variables)
    running = _running(settings)
    bin_dir = cluster.remembered(places_of(settings)).get("bin_dir")
    psql = Path(bin_dir) / "psql" if bin_dir else find_psql(server_dir(settings))
    # By variables, so that `psql -d other` means another database of the same server.
    return Connection(
        psql,
        (),
        {
            "PGHOST": str(running.socket),
            "PGPORT": str(running.port),
            "PGUSER": SUPERUSER,
            "PGDATABASE": DATABASE,
            **dict.fromkeys(("PGHOSTADDR", "PGSERVICE", "PGPASSWORD", "PGSSLMODE", "PGOPTIONS")),
        },
    )


def _running(settings: Settings) -> postmaster.Running:
    """The embedded server when it takes connections, else UnreachableError."""
    places = places_of(settings)
    running = None
    if places.home.exists() and cluster.is_made(places):
        running = postmaster.find(places, server_account(create=False))
    if running is None:
        raise UnreachableError("no database runs", hint="framehouse up")
    if not running.is_ready:
        raise UnreachableError("the database is still starting", hint="framehouse up (it waits)")
    return running


def _prepare(
    programs: Programs,
    running: postmaster.Running,
    database: str,
    places: Places,
    account: Account,
    report: Reporter,
) -> client.Description:
    """The database with its extension; a server that is recovering is waited for, and one that ends says why."""
    is_open = partial(client.is_open, programs.path("psql"))
    for _ in range(_TRIES - 1):
        try:
            return client.prepare(programs.bin_dir, running, database, programs.timescaledb)
        except UnreachableError as error:
            if not client.is_recovering(error) and not postmaster.is_ending(running, places, account):
                raise
        running = postmaster.wait_until_ready(running.pid, places, account, report, is_open=is_open)
    return client.prepare(programs.bin_dir, running, database, programs.timescaledb)


def _tcp_url(programs: Programs, running: postmaster.Running, places: Places, database: str) -> str:
    secret = cluster.password(places)
    client.run_statement(
        programs.path("psql"),
        client.socket_url(running, database),
        "embedded.set_password",
        session={"framehouse.password": secret},
    )
    return client.tcp_url(running, database, secret)


def _given(settings: Settings, url: str) -> Server:
    psql = find_psql(server_dir(settings))
    if psql is None:
        return Server(url=url, origin="given", version="", bin_dir=None)
    try:
        said = client.describe(psql, url, env=environment())
    except UnreachableError as error:
        raise UnreachableError(
            str(error), hint="mend FRAMEHOUSE_DATABASE_URL, or unset it for a private server"
        ) from error
    return Server(url=url, origin="given", version=said.version, bin_dir=psql.parent)
