"""Analysts' own SQL: what they wrote, onto rollups where that gives the identical answer, and only for reading."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlglot import exp

from framehouse.errors import QueryError
from framehouse.metrics.aggregates import Facts
from framehouse.metrics.answers import state_of
from framehouse.metrics.dialect import called, called_in_plan, check_reads, one_query, sql_of
from framehouse.metrics.plan import State
from framehouse.metrics.rewrite import FIRST, LAST, Reading, read_raw, rewrite
from framehouse.metrics.scopes import ColumnFact, relation_names, source_tables
from framehouse.metrics.table import Column, Table
from framehouse.warehouse import Warehouse
from framehouse.warehouse.analysts import AnalystSession, ResultColumn, analyst_session, named_columns
from framehouse.warehouse.pool import Params
from framehouse.windows import Window

TIMEOUT_SECONDS = 60.0
_LONGEST_SECONDS = 86_400.0

#: Volatile because they give another value each time, and not because they do anything.
_HARMLESS = frozenset({
    "random", "random_normal", "gen_random_uuid", "uuidv4", "uuidv7", "clock_timestamp", "timeofday", "array_shuffle",
    "array_sample", "time_bucket_gapfill", "locf", "interpolate", "bernoulli", "system",
})  # fmt: skip
#: Aggregates that PostgreSQL's grammar knows and its catalogue does not.
_GRAMMAR_AGGREGATES = frozenset({"json_arrayagg", "json_objectagg"})


@dataclass(frozen=True)
class SqlTable(Table):
    """An answer to somebody's SQL.

    rewritten   the SQL that was run
    readings    how each SELECT that reads raw facts was read
    """

    rewritten: str
    readings: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a query would be answered, without its answer."""

    rewritten: str
    readings: tuple[Reading, ...]
    columns: tuple[ResultColumn, ...]


def sql(
    warehouse: Warehouse,
    text: str,
    params: Params = None,
    *,
    is_raw: bool = False,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> SqlTable:
    """The answer to a query, from the coarsest rollups that give the identical one; `is_raw` leaves it as it is.

    `params` are for %(name)s or %s in it. The session's zone is UTC, and it may do nothing but read. Raises QueryError
    for what cannot be asked, NoAnswerError where raw rows that it needs were dropped.
    """
    with analyst_session(warehouse, timeout_seconds=_allowed(timeout_seconds)) as session:
        found = _explained(session, text, params, is_raw=is_raw)
        rows = session.rows(found.rewritten)
    return SqlTable(
        columns=tuple(Column(column.name, None, type=column.type) for column in named_columns(found.columns)),
        rows=tuple(rows),
        sources=tuple(dict.fromkeys(name for reading in found.readings for name in reading.sources)),
        why_raw=next((reading.why_raw for reading in found.readings if reading.why_raw), None),
        rewritten=found.rewritten,
        readings=found.readings,
    )


def explain(
    warehouse: Warehouse,
    text: str,
    params: Params = None,
    *,
    is_raw: bool = False,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Explanation:
    """How `sql` would answer: from which rollups over which windows, or why not, and the SQL that would run."""
    with analyst_session(warehouse, timeout_seconds=_allowed(timeout_seconds)) as session:
        return _explained(session, text, params, is_raw=is_raw)


def _allowed(seconds: float) -> float:
    if not 0.001 <= seconds <= _LONGEST_SECONDS:
        raise QueryError(f"a timeout of {seconds:g} s cannot be kept", hint="give 0.001 s to a day")
    return seconds


def _explained(session: AnalystSession, text: str, params: Params, *, is_raw: bool) -> Explanation:
    text = session.bound(text, params)
    check_reads(text)
    columns = session.columns(text)
    tree = one_query(text)
    as_read = sql_of(tree)
    facts = _facts(session, tree, {*called(text), *called(as_read)})
    planned = session.explained(text)
    _check_functions(session, called_in_plan(planned))
    if not source_tables(tree):
        return Explanation(text, (), columns)
    ground = _Ground(session)
    if is_raw:
        return Explanation(text, read_raw(tree, facts, ground, "asked for"), columns)
    # The server itself says whether the text was understood: of one meaning it makes one plan.
    if session.tried(lambda: session.explained(as_read)) != planned:
        return Explanation(text, read_raw(tree, facts, ground, "it is not understood for certain"), columns)
    changed, readings = rewrite(tree, [column.name for column in columns], facts, ground)
    if all(reading.plan is None for reading in readings):
        return Explanation(text, readings, columns)
    rewritten = sql_of(changed, is_pretty=True)
    if session.tried(lambda: session.columns(rewritten)) != columns:
        why = "its columns would have other types or names"
        return Explanation(text, read_raw(tree, facts, ground, why), columns)
    return Explanation(rewritten, readings, columns)


def _facts(session: AnalystSession, tree: exp.Expr, names: Iterable[str]) -> Facts:
    """What the database says of a query's names. Raises QueryError for functions that may do more than read."""
    aggregates, volatile = _check_functions(session, names)
    relations: dict[str, dict[str, ColumnFact]] = {}
    for row in session.session.rows("analysts.columns", {"names": relation_names(tree)}):
        relations.setdefault(row["relation"], {})[row["name"]] = ColumnFact(row["type"], row["is_not_null"])
    return Facts(aggregates | _GRAMMAR_AGGREGATES, volatile, relations)


def _check_functions(session: AnalystSession, names: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Which of some names are aggregates, and which volatile functions. Raises QueryError for what may do more."""
    functions = session.session.rows("analysts.functions", {"names": sorted(names)})
    volatile = frozenset(row["name"] for row in functions if row["is_volatile"])
    if refused := sorted(volatile - _HARMLESS):
        raise QueryError(
            f"{refused[0]}() may do more than read, so it cannot be called here",
            hint="framehouse psql, with a login that may",
        )
    return frozenset(row["name"] for row in functions if row["is_aggregate"]), volatile


class _Ground:
    """The database as of the session's one instant."""

    def __init__(self, session: AnalystSession) -> None:
        self._session = session
        self._states: dict[Window, State] = {}

    def instants(self, constants: Sequence[exp.Expr]) -> list[datetime | None]:
        first, last = (
            exp.cast(exp.Literal.string(edge.isoformat()), "timestamptz") for edge in (FIRST, LAST)
        )
        asked: list[exp.Expr] = []
        for constant in constants:
            instant = exp.cast(exp.Paren(this=constant.copy()), "timestamptz")
            # Python's calendar ends before PostgreSQL's, and greatest() leaves nulls out.
            near = [exp.Anonymous(this="least", expressions=[instant, last.copy()]), first.copy()]
            asked += [instant.copy().is_(exp.null()), exp.Anonymous(this="greatest", expressions=near)]
        [row] = self._session.rows(sql_of(exp.select(*asked, copy=False)))
        return [None if is_null else at for is_null, at in zip(row[::2], row[1::2], strict=True)]

    def state(self, window: Window) -> State:
        if window not in self._states:
            self._states[window] = state_of(self._session.session, window)
        return self._states[window]
