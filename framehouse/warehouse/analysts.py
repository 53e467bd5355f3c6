"""A session for SQL that people wrote: read only, as of one instant, with no more rights than an analyst has."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
import psycopg.errors
from psycopg import pq
from psycopg.rows import tuple_row
from psycopg.types.string import TextLoader

from framehouse.errors import QueryError
from framehouse.warehouse.pool import Params, Session, Warehouse

T = TypeVar("T")

#: Types whose values are given as Python's own; all others (json, uuid, ranges) as PostgreSQL writes them.
_NATURAL = (
    "bool", "int2", "int4", "int8", "oid", "float4", "float8", "numeric", "text", "varchar", "bpchar", "name",
    "date", "time", "timestamp", "timestamptz", "interval", "bytea",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A column of an answer: its name and PostgreSQL's name of its type (`float8`, `int4[]`)."""

    name: str
    type: str


class AnalystSession:
    """What an analyst's statement runs in. Raises QueryError for whatever is wrong with the statement."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        #: For named statements, and what is compiled.
        self.session = Session(connection)

    def bound(self, text: str, params: Params) -> str:
        """The text with its parameters as constants; as it is, where there are none."""
        self._sent(text)
        if params is None:
            return text
        try:
            return psycopg.ClientCursor(self._connection).mogrify(text, params)
        except (psycopg.Error, TypeError, ValueError) as error:
            raise QueryError(
                f"the parameters do not fit: {_first_line(error)}",
                hint="write %(name)s or %s for each, and %% for a percent sign",
            ) from None

    def columns(self, text: str) -> tuple[ResultColumn, ...]:
        """What a statement will answer with, as the server reads it; nothing runs. Refuses more than one statement."""
        connection = self._connection.pgconn
        encoding = self._connection.info.encoding
        for result in (
            connection.prepare(b"", self._sent(text)),
            connection.describe_prepared(b""),
        ):
            if result.status != pq.ExecStatus.COMMAND_OK:
                raise _said(psycopg.errors.error_from_result(result, encoding=encoding), text)
        return tuple(
            ResultColumn((result.fname(n) or b"").decode(encoding), self._type(result.ftype(n)))
            for n in range(result.nfields)
        )

    def explained(self, text: str) -> list[str]:
        """What the server makes of a statement: every expression of its plan, written out."""
        return [str(line) for (line,) in self.rows(f"explain (verbose, costs off) {text}")]

    def rows(self, text: str) -> list[tuple[Any, ...]]:
        """All rows of a statement."""
        try:
            with self._connection.cursor(row_factory=tuple_row) as cursor:
                for info in self._connection.adapters.types:
                    if info.name not in _NATURAL:
                        cursor.adapters.register_loader(info.oid, TextLoader)
                return cursor.execute(self._sent(text)).fetchall()
        except psycopg.Error as error:
            if _is_outage(error):
                raise
            raise _said(error, text) from None

    def tried(self, work: Callable[[], T]) -> T | None:
        """What some work comes to, or None where the server refuses it; the session goes on either way."""
        try:
            with self._connection.transaction():
                return work()
        except QueryError:
            return None

    def _sent(self, text: str) -> bytes:
        """A statement as it is sent. Raises QueryError for NUL, which would end it, and for bytes that were no text."""
        place = text.find("\0")
        try:
            sent = text.encode(self._connection.info.encoding)
        except UnicodeEncodeError as error:
            place = error.start
        if place >= 0:
            raise QueryError(
                f"character {place + 1} cannot be sent: {text[place]!a}", hint="give UTF-8, without NUL"
            )
        return sent

    def _type(self, oid: int) -> str:
        found = self._connection.adapters.types.get(oid)
        if found is None:
            return "text"
        name = found.name if found.name in _NATURAL else "text"
        return f"{name}[]" if oid == found.array_oid else name


@contextmanager
def analyst_session(warehouse: Warehouse, *, timeout_seconds: float) -> Iterator[AnalystSession]:
    """A session in which nothing can be written, and no statement takes longer than the timeout."""
    with warehouse.session(is_snapshot=True) as session:
        session.rows("analysts.enter", {"timeout_ms": round(timeout_seconds * 1000)})
        yield AnalystSession(session.connection)


def _is_outage(error: psycopg.Error) -> bool:
    """Whether the server has gone, which is not the statement's fault."""
    is_ours = isinstance(error, psycopg.OperationalError)
    return is_ours and (error.sqlstate is None or error.sqlstate.startswith(("08", "57P")))


def _said(error: psycopg.Error, text: str) -> QueryError:
    """What the server says of a statement, in one line with its place."""
    told = error.diag.message_primary or _first_line(error)
    if isinstance(error, psycopg.errors.QueryCanceled):
        return QueryError("it took longer than it may", hint="ask of a shorter window, or allow it more time")
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return QueryError(told, hint="analysts read studio, telemetry, rollup and mart")
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return QueryError(told, hint="only what reads can be asked")
    hint = error.diag.message_hint or error.diag.message_detail
    if isinstance(error, (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn)):
        hint = hint or "docs/naming.md lists relations and their columns"
    return QueryError(f"{_place(error, text)}{told}", hint=hint)


def _place(error: psycopg.Error, text: str) -> str:
    position = error.diag.statement_position
    if position is None or text.startswith("explain "):
        return ""
    before = text[: int(position) - 1]
    return f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}: "


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]


def named_columns(columns: Sequence[ResultColumn]) -> tuple[ResultColumn, ...]:
    """Columns whose names are all different: `count` and `count` are `count` and `count_2`."""
    found: dict[str, ResultColumn] = {}
    for column in columns:
        name, number = column.name, 1
        while name in found:
            number += 1
            name = f"{column.name}_{number}"
        found[name] = ResultColumn(name, column.type)
    return tuple(found.values())
