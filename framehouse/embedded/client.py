"""Talking to a server through its own programs (psql, createdb)."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from framehouse.embedded.account import CLEAN_ENVIRONMENT
from framehouse.embedded.configuration import SUPERUSER
from framehouse.embedded.postmaster import Running
from framehouse.errors import StartError, UnreachableError
from framehouse.warehouse.statements import statement

_CONNECT_SECONDS = "10"
_NOT_NOW = "FATAL: the database system is "
_CRASHED = ("server closed the connection unexpectedly", "terminating connection because of crash")


@dataclass(frozen=True, slots=True)
class Description:
    """What a database says of itself. `timescaledb` is empty where the extension is not made yet."""

    version: str
    timescaledb: str
    edition: str
    started_at: datetime
    size_mb: float


def socket_url(running: Running, database: str) -> str:
    """The libpq URL of a database over the Unix socket, as the superuser, whatever account asks."""
    host = quote(str(running.socket), safe="")
    return f"postgresql:///{quote(database, safe='')}?host={host}&port={running.port}&user={SUPERUSER}"


def tcp_url(running: Running, database: str, password: str) -> str:
    """The libpq URL of a database over TCP on loopback."""
    return f"postgresql://{SUPERUSER}:{quote(password, safe='')}@127.0.0.1:{running.port}/{quote(database, safe='')}"


def split_password(url: str) -> tuple[str, str | None]:
    """A libpq URL without its password, and the password: a program's arguments are everyone's to read."""
    parts = urlsplit(url)
    userinfo, at, hosts = parts.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    fields = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(key, value) for key, value in fields if key != "password"]
    if len(kept) < len(fields):
        password = password or quote(dict(fields)["password"])
    if not password:
        return url, None
    query = f"?{urlencode(kept, quote_via=quote)}" if kept else ""
    return f"{parts.scheme}://{user}{at}{hosts}{parts.path}{query}", unquote(password)


def run_statement(
    psql: Path,
    url: str,
    name: str,
    *,
    session: Mapping[str, str] | None = None,
    env: Mapping[str, str] = CLEAN_ENVIRONMENT,
) -> list[list[str]]:
    """Run a named statement; its rows as text. `session` are settings that the statement reads.

    A given server is asked in the person's own environment (`env`): its password file and certificates count.

    Raises UnreachableError when there is no connection, StartError when the server refuses the statement.
    """
    options = " ".join(f"-c {key}={value}" for key, value in (session or {}).items())
    address, password = split_password(url)
    done = subprocess.run(
        [psql, "-X", "-q", "-A", "-t", "-F", "\x1f", "-v", "ON_ERROR_STOP=1", "-d", address],
        env={
            **env,
            **({"PGPASSWORD": password} if password else {}),
            "PGCONNECT_TIMEOUT": _CONNECT_SECONDS,
            "PGAPPNAME": "framehouse up",
            "PGCLIENTENCODING": "UTF8",
            "PGOPTIONS": f"-c client_min_messages=warning {options}".strip(),
        },
        cwd="/",
        input=statement(name) + ";\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 2:
        raise UnreachableError(f"no connection to the database: {_words(done.stderr)}", hint="framehouse up")
    if done.returncode != 0:
        raise StartError(f"the server refuses {name}: {_words(done.stderr)}")
    return [line.split("\x1f") for line in done.stdout.splitlines() if line]


def describe(psql: Path, url: str, *, env: Mapping[str, str] = CLEAN_ENVIRONMENT) -> Description:
    """What the database of that URL says of itself. Raises UnreachableError."""
    ((version, timescaledb, license_name, started_at, size_bytes),) = run_statement(
        psql, url, "embedded.describe", env=env
    )
    return Description(
        version=version.split(" ")[0],
        timescaledb=timescaledb,
        edition={"timescale": "community", "apache": "apache"}.get(license_name, ""),
        started_at=datetime.fromtimestamp(float(started_at), UTC),
        size_mb=int(size_bytes) / 2**20,
    )


def is_recovering(error: UnreachableError) -> bool:
    """Whether the server refused only for now: it starts or stops, or one of its processes has just crashed."""
    return any(sign in str(error) for sign in (_NOT_NOW, *_CRASHED))


def is_open(psql: Path, running: Running) -> bool:
    """Whether the server says nothing against connections now; what else fails, the next one who asks will see."""
    try:
        describe(psql, socket_url(running, "postgres"))
    except UnreachableError as error:
        return _NOT_NOW not in str(error)
    return True


def prepare(bin_dir: Path, running: Running, database: str, timescaledb: str) -> Description:
    """Make the database and its extension where they are missing, and bring the extension to the programs' version.

    Idempotent, also for two callers at once.
    """
    psql, url = bin_dir / "psql", socket_url(running, database)
    try:
        found = describe(psql, url)
    except UnreachableError as error:
        if "does not exist" not in str(error):
            raise
        _create_database(bin_dir, running, database)
        found = describe(psql, url)
    if found.timescaledb == timescaledb:
        return found
    # In a session of its own: TimescaleDB insists that an update is the first thing a session does.
    run_statement(psql, url, "embedded.update_extension" if found.timescaledb else "embedded.extension")
    return describe(psql, url)


def _create_database(bin_dir: Path, running: Running, database: str) -> None:
    done = subprocess.run(
        [
            *(bin_dir / "createdb", "--host", running.socket, "--port", str(running.port)),
            *("--username", SUPERUSER, "--maintenance-db", "postgres", "--", database),
        ],
        env=dict(CLEAN_ENVIRONMENT),
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 and "already exists" not in done.stderr:
        raise StartError(f"the database {database} could not be made: {_words(done.stderr)}")


def _words(stderr: str) -> str:
    return " ".join(stderr.split()) or "psql said nothing"
