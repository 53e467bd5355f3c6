"""Where the benchmarks run: a server (a cluster of their own, unless one is given) and a database for each size."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
from psycopg import sql

from framehouse import embedded
from framehouse.config import read
from framehouse.progress import Reporter

SERVER_VARIABLE = "FRAMEHOUSE_TEST_DATABASE_URL"


@dataclass(frozen=True, slots=True)
class Server:
    """A server on which databases can be made, and a folder for logs."""

    url: str
    folder: Path

    def database(self, name: str) -> str:
        """The URL of one of its databases."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}/{name}?{parts.query}".removesuffix("?")

    def note(self, name: str) -> str | None:
        """What the database's comment says; None where there is no such database."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute(
                "select coalesce(shobj_description(oid, 'pg_database'), '') from pg_database where datname = %s",
                [name],
            ).fetchone()
        return None if row is None else str(row[0])

    def annotate(self, name: str, note: str) -> None:
        """Set the database's comment."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("comment on database {} is {}").format(sql.Identifier(name), sql.Literal(note))
            )

    def create(self, name: str) -> None:
        """Make a database anew."""
        self.drop(name)
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )


@dataclass(frozen=True, slots=True)
class Place:
    """A filled database: its URL, how many attempts were asked for over how many days, from which seed, and when the
    last finished."""

    server: Server
    url: str
    row_count: int
    day_count: int
    seed: int
    until: datetime

    @property
    def size(self) -> str:
        return f"{self.row_count:,} / {self.day_count}"

    @property
    def rows_a_day(self) -> int:
        return self.row_count // self.day_count


@contextmanager
def server(url: str | None, report: Reporter) -> Iterator[Server]:
    """The given server (`url`, else FRAMEHOUSE_TEST_DATABASE_URL), or a cluster that is gone at the end."""
    given = url or os.environ.get(SERVER_VARIABLE)
    folder = Path(tempfile.mkdtemp(prefix="framehouse-bench-"))
    folder.chmod(0o755)  # as root the server runs as another user, who must be able to enter
    settings = read(os.environ)
    try:
        yield Server(given or embedded.up(settings, report, home=folder).url, folder)
    finally:
        if given is None:
            embedded.down(settings, home=folder)
        shutil.rmtree(folder, ignore_errors=True)


def described(server: Server) -> dict[str, str | int | float]:
    """The server's versions and edition, and the machine as it is now."""
    with psycopg.connect(server.url) as connection:
        row = connection.execute(
            "select current_setting('server_version'), current_setting('timescaledb.license', true),"
            " current_setting('shared_buffers'),"
            " (select default_version from pg_available_extensions where name = 'timescaledb')"
        ).fetchone()
    assert row is not None
    return {
        "postgresql": row[0],
        "timescaledb": row[3],
        "edition": "Community" if row[1] == "timescale" else "Apache",
        "shared_buffers": row[2],
        "cpu_count": os.cpu_count() or 0,
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average": round(os.getloadavg()[0], 2),
    }


def size_gb(url: str) -> float:
    """The database's size on disk, in GiB."""
    with psycopg.connect(url) as connection:
        row = connection.execute("select pg_database_size(current_database())").fetchone()
    assert row is not None
    return float(row[0]) / 2**30
