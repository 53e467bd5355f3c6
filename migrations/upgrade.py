"""Bringing a database's schema up to date."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from framehouse.errors import BuildError, UnreachableError
from framehouse.progress import SILENT, Reporter
from framehouse.warehouse.pool import database_error

VERSION_TABLE = "framehouse_version"
_LOCK = "framehouse.migrate"


@dataclass(frozen=True, slots=True)
class Revision:
    """One step of the schema: its number and what it brings."""

    number: str
    title: str


def newest() -> Revision:
    """The revision that this program needs."""
    return _revisions()[-1]


def pending(url: str) -> list[Revision]:
    """The revisions that a database lacks, oldest first. Raises UnreachableError."""
    with _connected(url) as connection:
        return _pending(connection)


def upgrade(url: str, report: Reporter = SILENT, *, to: str | None = None) -> list[Revision]:
    """Apply what is missing (up to revision `to`) and return it, oldest first.

    Each revision is one transaction: killed half-way, the next call goes on where this one stopped. A second
    upgrader waits for the first. Raises UnreachableError and BuildError.
    """
    with _connected(url) as connection:
        _wait_for_turn(connection, report)
        try:
            steps = _pending(connection)
            if to is not None:
                steps = [step for step in steps if step.number <= to]
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent))
            config.set_main_option("path_separator", "newline")
            config.attributes["connection"] = connection
            for done, step in enumerate(steps):
                report.step(f"migration {step.number}: {step.title}")
                report.advance(done, len(steps))
                try:
                    command.upgrade(config, step.number)
                except Exception as error:
                    # The SQL beside a revision goes to the driver directly, whose errors SQLAlchemy does not wrap.
                    refusal = database_error(error.orig if isinstance(error, DBAPIError) else error)
                    if refusal is None:
                        raise
                    raise BuildError(
                        f"migration {step.number} ({step.title}) failed: {refusal}",
                        hint="nothing of it was kept; mend the cause and run `framehouse migrate` again",
                    ) from error
            return steps
        finally:
            if not connection.closed and not connection.invalidated:
                connection.rollback()
                connection.execute(text("select pg_advisory_unlock(hashtext(:name))"), {"name": _LOCK})
                connection.commit()


def sqlalchemy_url(url: str) -> str:
    """A libpq URL as SQLAlchemy spells it for psycopg."""
    scheme, _, rest = url.partition("://")
    if scheme not in {"postgresql", "postgres"}:
        raise UnreachableError(
            f"{scheme}:// is no PostgreSQL URL", hint="give postgresql://user@host:port/database"
        )
    return f"postgresql+psycopg://{rest}"


def _revisions() -> list[Revision]:
    scripts = ScriptDirectory(str(Path(__file__).parent)).walk_revisions()
    found = [Revision(s.revision, Path(s.path).stem.partition("_")[2].replace("_", " ")) for s in scripts]
    return sorted(found, key=lambda r: r.number)


def _pending(connection: Connection) -> list[Revision]:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    heads = context.get_current_heads()
    connection.rollback()
    current = max(heads, default="")
    if current and current > newest().number:
        raise BuildError(
            f"the database's schema ({current}) is newer than this program's ({newest().number})",
            hint="upgrade framehouse on this machine",
        )
    return [revision for revision in _revisions() if revision.number > current]


def _wait_for_turn(connection: Connection, report: Reporter) -> None:
    query = text("select pg_try_advisory_lock(hashtext(:name))")
    is_waiting = False
    while connection.execute(query, {"name": _LOCK}).scalar() is False:
        connection.commit()
        if not is_waiting:
            report.step("waiting: another framehouse is migrating this database")
            is_waiting = True
        time.sleep(0.2)
    connection.commit()


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    engine = create_engine(
        sqlalchemy_url(url),
        poolclass=NullPool,
        connect_args={"application_name": quote("framehouse migrate")},
    )
    try:
        connection = engine.connect()
    except OperationalError as error:
        raise UnreachableError(
            f"no connection to the database: {str(error.orig).strip()}", hint="framehouse up"
        ) from error
    try:
        yield connection
    finally:
        connection.close()
        engine.dispose()
