"""Connections to the warehouse, and the session in which statements run."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import psycopg
import psycopg.errors
import psycopg.types.array
import psycopg.types.json
import psycopg_pool
from psycopg import sql as _sql
from psycopg.rows import class_row, dict_row, tuple_row

from framehouse.errors import (
    FramehouseError,
    LockedError,
    NotMigratedError,
    Problem,
    RefusedError,
    UnreachableError,
    WarehouseError,
)
from framehouse.warehouse.statements import statement

Json = psycopg.types.json.Jsonb
T = TypeVar("T")
Params = Mapping[str, Any] | Sequence[Any] | None


class Array(list[T]):
    """A list that is sent in binary: in half the time where it has hundreds of values. Not for an empty one."""


psycopg.adapters.register_dumper(Array, psycopg.types.array.ListBinaryDumper)

#: A warm session that writes into a chunk while retention drops it gets XX000; once more finds the chunk gone.
_DISK_FULL = "53100"
_NO_LOCK = "55P03"
#: A connection on which nobody speaks for long would not notice otherwise that the other end is gone.
_KEEPALIVES: dict[str, Any] = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
_RETRIED = (
    psycopg.errors.InternalError_,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
)


class Session:
    """One connection within one transaction. Statements are given by name (`attempts.page`) or compiled text."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """For what this package does besides statements."""
        return self._connection

    def rows(self, name: str, params: Params = None, *, is_binary: bool = False) -> list[dict[str, Any]]:
        """All rows of a named statement, as dicts; sent as binary, which halves what large bytea take, if asked to."""
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(statement(name), params, binary=is_binary).fetchall()

    def records(self, kind: type[T], name: str, params: Params = None) -> list[T]:
        """All rows of a named statement, each a `kind` (a dataclass with the columns' names)."""
        with self._connection.cursor(row_factory=class_row(kind)) as cursor:
            return cursor.execute(statement(name), params).fetchall()

    def row(self, name: str, params: Params = None) -> dict[str, Any] | None:
        """The first row of a named statement, or None."""
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(statement(name), params).fetchone()

    def value(self, name: str, params: Params = None) -> Any:
        """The first column of the first row of a named statement, or None."""
        with self._connection.cursor(row_factory=tuple_row) as cursor:
            row = cursor.execute(statement(name), params).fetchone()
            return None if row is None else row[0]

    def run(self, name: str, params: Params = None) -> int:
        """Run a named statement; the number of rows that it changed."""
        return self._connection.execute(statement(name), params).rowcount

    def run_text(self, text: str, params: Params = None) -> int:
        """Run text that was compiled or stored, never typed by a person."""
        return self._connection.execute(text, params).rowcount

    def table(self, text: str, params: Params = None) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names and rows of compiled text."""
        with self._connection.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(text, params)
            return [column.name for column in cursor.description or ()], cursor.fetchall()

    def copy_in(self, table: str, columns: Mapping[str, str], rows: Iterable[Sequence[Any]]) -> None:
        """Binary COPY of rows into `schema.table`; `columns` maps each column to its type's name."""
        text = _sql.SQL("copy {} ({}) from stdin (format binary)").format(
            _sql.Identifier(*table.split(".")), _sql.SQL(", ").join(map(_sql.Identifier, columns))
        )
        with self._connection.cursor() as cursor, cursor.copy(text) as copy:
            copy.set_types(list(columns.values()))
            for row in rows:
                copy.write_row(row)

    def copy_text(self, table: tuple[str, str], columns: Sequence[str], blocks: Iterable[bytes]) -> int:
        """Copy rows in COPY's text format into a table (schema, name); how many there were."""
        text = _sql.SQL("copy {} ({}) from stdin").format(
            _sql.Identifier(*table), _sql.SQL(", ").join(map(_sql.Identifier, columns))
        )
        with self._connection.cursor() as cursor:
            with cursor.copy(text) as copy:
                for block in blocks:
                    copy.write(block)
            return cursor.rowcount

    def count(self, schema: str, name: str) -> int:
        """Rows of a relation."""
        text = _sql.SQL("select count(*) from {}").format(_sql.Identifier(schema, name))
        row = self._connection.execute(text).fetchone()
        return int(row[0]) if row else 0

    def empty(self, schema: str, name: str) -> None:
        """Delete all rows of a table."""
        self._connection.execute(_sql.SQL("delete from {}").format(_sql.Identifier(schema, name)))

    def put_view(self, schema: str, name: str, select: str, columns: Sequence[str] | None = None) -> None:
        """Make a view of a select that was stored, or put it in a view's place; `columns` gives their order."""
        listed = _sql.SQL(", ").join(map(_sql.Identifier, columns)) if columns else _sql.SQL("*")
        head = _sql.SQL("create or replace view {} as select {} from (").format(
            _sql.Identifier(schema, name), listed
        )
        self._connection.execute(f"{head.as_string(self._connection)}{select}) as stored".encode())

    def drop_view(self, schema: str, name: str) -> None:
        """Drop a view that nobody reads; a view holds nothing itself."""
        self._connection.execute(_sql.SQL("drop view if exists {}").format(_sql.Identifier(schema, name)))

    def drop_cells(self, cells: str, *, is_aggregate: bool) -> None:
        """Drop cells (`schema.table`) that never held anything which others do not."""
        kind = _sql.SQL("materialized view" if is_aggregate else "table")
        self._connection.execute(_sql.SQL("drop {} {}").format(kind, _sql.Identifier(*cells.split("."))))

    def delete_buckets(self, cells: str, buckets: Sequence[datetime]) -> None:
        """Delete the cells of some buckets from a rollup's table (`schema.table`)."""
        table = _sql.Identifier(*cells.split("."))
        self._connection.execute(
            _sql.SQL("delete from {} where bucket = any(%s)").format(table), [list(buckets)]
        )

    def refresh(self, cells: str, start: datetime, end: datetime) -> None:
        """Recompute a continuous aggregate (`schema.name`) over [start, end). Outside any transaction.

        Forced, because our marks say what changed: TimescaleDB's own log of invalidations misses rows that came by
        COPY (2.29), and a refresh that trusts it leaves their buckets as they were.
        """
        self._connection.execute(
            "call refresh_continuous_aggregate(%s, %s, %s, force => true)", [cells, start, end]
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what is done meanwhile, within a session that commits each statement by itself."""
        with self._connection.transaction():
            yield

    def commit(self) -> None:
        """Commit what was done so far; the session goes on in a new transaction."""
        self._connection.commit()

    def notifications(self, seconds: float) -> Iterator[str]:
        """What comes within so many seconds on the channels that an autocommitting session listens to."""
        for notification in self._connection.notifies(timeout=seconds):
            yield notification.payload


class Warehouse:
    """A pool of connections to one database. Use it as a context manager or close it.

    Raises UnreachableError when there is no server, NotMigratedError when its schema is missing.
    """

    def __init__(self, url: str, *, max_size: int = 8, name: str = "framehouse") -> None:
        self.url = url
        self._pool = psycopg_pool.ConnectionPool(
            url,
            min_size=0,
            max_size=max_size,
            max_idle=60,
            timeout=5,  # of waiting for a connection; an outage is said soon
            open=False,
            kwargs={"application_name": name, "autocommit": False},
            check=psycopg_pool.ConnectionPool.check_connection,
        )
        try:
            with psycopg.connect(url, connect_timeout=10):
                pass
        except psycopg.OperationalError as error:
            raise UnreachableError(
                f"no connection to the warehouse at {_redacted(url)}: {_brief(error)}",
                hint="framehouse up, or mend FRAMEHOUSE_DATABASE_URL",
            ) from error
        self._pool.open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    @contextmanager
    def session(self, *, is_snapshot: bool = False, lock: str | None = None) -> Iterator[Session]:
        """A session in one transaction, committed at the end, rolled back on an error.

        Raises RefusedError for a value that the database refuses, WarehouseError for all else that it does.
        `is_snapshot` reads everything as of one instant (REPEATABLE READ, read only). Dropped chunks are gone for older
        snapshots too, so it first takes the lock that whoever drops them waits for. `lock` names a statement that locks
        tables before such a snapshot is taken, which may write then.
        """
        try:
            with self._pool.connection() as connection:
                if is_snapshot or lock is not None:
                    mode = "read only" if lock is None else "read write"
                    connection.execute(f"set transaction isolation level repeatable read {mode}")
                    connection.execute(statement("maintain.hold_raw"))
                if lock is not None:
                    connection.execute(statement(lock))
                yield Session(connection)
        except psycopg.OperationalError as error:  # psycopg_pool.PoolTimeout is one
            raise _operational(error) from error
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise NotMigratedError(
                f"the warehouse lacks something: {_brief(error)}",
                hint="framehouse up (or migrate, then build)",
            ) from error
        except psycopg.DatabaseError as error:
            if found := _database(error):
                raise found from error
            raise

    @contextmanager
    def autocommit(self, *, name: str = "framehouse maintain") -> Iterator[Session]:
        """A session whose statements each commit by themselves (what some TimescaleDB procedures insist on).

        It is a connection of its own, which notices within a minute when the server's machine is gone.
        """
        try:
            with psycopg.connect(
                self.url, autocommit=True, application_name=name, connect_timeout=10, **_KEEPALIVES
            ) as connection:
                yield Session(connection)
        except psycopg.OperationalError as error:
            raise _operational(error) from error


def is_retryable(error: BaseException) -> bool:
    """Whether the same transaction, run once more, may succeed."""
    return isinstance(error, _RETRIED)


def database_error(error: BaseException | None) -> WarehouseError | None:
    """A refusal by the database as our error, or None for any other exception."""
    return WarehouseError(_brief(error)) if isinstance(error, psycopg.DatabaseError) else None


def _database(error: psycopg.DatabaseError) -> FramehouseError | None:
    """What the database refuses: a value (22..., 23...), or whatever is sent, which is the server's fault and not the
    value's; None where nobody asked the server, so that the fault is this program's."""
    told = f"the database refused: {_brief(error)}"
    if isinstance(error, (psycopg.DataError, psycopg.IntegrityError)):
        return RefusedError(told, [Problem(error.diag.column_name or "", _brief(error))])
    return None if error.sqlstate is None else WarehouseError(told)


def _operational(error: psycopg.OperationalError) -> WarehouseError:
    """A lost connection, or a server that stops or starts (08..., 57P..), a lock that was not got in time (55P03);
    anything else is what the server said."""
    if error.sqlstate is None or error.sqlstate.startswith(("08", "57P")):
        return UnreachableError(f"the warehouse went away: {_brief(error)}", hint="framehouse status")
    if error.sqlstate == _NO_LOCK:
        return LockedError("somebody else is at work there for long", hint="try again later")
    hint = "make room on the database's disk; it goes on by itself" if error.sqlstate == _DISK_FULL else None
    return WarehouseError(f"the database refused: {_brief(error)}", hint=hint)


def _brief(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]


def _redacted(url: str) -> str:
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":***@") if parts.password else url
