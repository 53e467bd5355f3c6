"""An analyst's query onto rollups: raw rows are replaced by parts, and each aggregate by the merge of its parts.

    select workflow_id, avg(gpu_seconds) from telemetry.performance_metrics
    where outcome = 'succeeded' and finished_at >= '2026-03-01' group by workflow_id

becomes, with the planner's arms between the parentheses,

    select workflow_id, sum(gpu_seconds_sum) / nullif(sum(gpu_seconds_count), 0)
    from ( ... ) as performance_metrics where succeeded_count > 0 group by workflow_id

Only three things of a SELECT change: the relation, the aggregates, and the conditions that moved into either. All else
stays as it was written, because it sees of a raw row nothing but dimensions and buckets, which the parts have too: the
time column is there as the first instant of its bucket, and whatever the query makes of it is the same for all of the
bucket. A SELECT of which that is not so stays on raw rows, with the reason.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from sqlglot import exp

from framehouse.errors import NoAnswerError
from framehouse.metrics.aggregates import Facts, Merger
from framehouse.metrics.canonical import conjuncts
from framehouse.metrics.compile import parts_union
from framehouse.metrics.definitions import Metric
from framehouse.metrics.dialect import sql_of
from framehouse.metrics.plan import Plan, State, plan
from framehouse.metrics.question import Question
from framehouse.metrics.rollups import Source
from framehouse.metrics.scopes import Scope, StaysRaw, source_tables
from framehouse.metrics.timing import Bound, bounds, combined
from framehouse.windows import FINE, Grain, Window, floor, floor_utc
from framehouse.zones import zone

#: What the table's CHECK allows: from here on, and before there. With room for a studio's midnights.
FIRST, LAST = datetime(1999, 12, 30, tzinfo=UTC), datetime(2201, 1, 3, tzinfo=UTC)
_STEP = timedelta(microseconds=1)
_EXCERPT = 60


class Ground(Protocol):
    """What a rewriting has to know of the database, as of its one snapshot."""

    def instants(self, constants: Sequence[exp.Expr]) -> list[datetime | None]:
        """The instants that constants mean there (None: null)."""

    def state(self, window: Window) -> State:
        """What there is, and what is marked near a window."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How one SELECT reads raw facts: from which arms over which windows, or from raw, and then why.

    excerpt   how the SELECT begins
    window    the window that its conditions give
    plan      the arms; None where all of it is read from raw
    why_raw   why raw rows are read, be it for a part of the window
    """

    excerpt: str
    source: Source
    window: Window
    plan: Plan | None
    why_raw: str | None

    @property
    def sources(self) -> tuple[str, ...]:
        return ("raw",) if self.plan is None else tuple(dict.fromkeys(arm.name for arm in self.plan.arms))


def rewrite(
    tree: exp.Expr, names: Sequence[str], facts: Facts, ground: Ground
) -> tuple[exp.Expr, tuple[Reading, ...]]:
    """The query with every SELECT on rollups that has the identical answer there, and how each one is read.

    `names` are those of the answer's columns. Raises NoAnswerError where raw rows are needed that were dropped.
    """
    changed = tree.copy()
    taken = frozenset(column.name for column in tree.find_all(exp.Column) if not column.table)
    readings = []
    for table, source in source_tables(changed):
        excerpt = _excerpt(table)
        window = Window(FIRST, LAST)
        try:
            scope = Scope(table, source, facts.relations)
            window, moved = _window(scope, facts, ground)
            scope.check()
            found = _replaced(scope, facts, ground, window, moved, taken, names)
            readings.append(Reading(excerpt, source, window, found, found.why_raw))
        except StaysRaw as reason:
            readings.append(_raw(excerpt, source, window, ground, str(reason)))
    return changed, tuple(readings)


def read_raw(tree: exp.Expr, facts: Facts, ground: Ground, why: str) -> tuple[Reading, ...]:
    """How a query is read that stays as it is. Raises NoAnswerError where it needs raw rows that were dropped."""
    readings = []
    for table, source in source_tables(tree):
        window = Window(FIRST, LAST)
        with suppress(StaysRaw):  # then all of it is needed, as far as anybody can tell
            window, _ = _window(Scope(table, source, facts.relations), facts, ground)
        readings.append(_raw(_excerpt(table), source, window, ground, why))
    return tuple(readings)


def _raw(excerpt: str, source: Source, window: Window, ground: Ground, why: str) -> Reading:
    fence = ground.state(window).raw_from
    if fence is not None and window.start < fence and not window.is_empty:
        raise NoAnswerError(
            f"raw rows before {fence:%Y-%m-%d %H:%M} UTC were dropped, and `{excerpt}` needs them: {why}",
            hint=f"add {source.time} >= '{fence.isoformat()}' to it",
        )
    return Reading(excerpt, source, window, None, why)


def _excerpt(table: exp.Table) -> str:
    text = " ".join(sql_of(table.find_ancestor(exp.Select) or table).split())
    return text if len(text) <= _EXCERPT else text[: _EXCERPT - 3] + "..."


def _window(scope: Scope, facts: Facts, ground: Ground) -> tuple[Window, list[exp.Expr]]:
    """The window of a SELECT, and the conditions that said so."""
    found: list[Bound] = []
    moved = []
    for condition in _conditions(scope):
        some = bounds(condition, scope.source.time)
        if some is not None and scope.is_only_ours(condition) and not facts.is_volatile(condition):
            found += some
            moved.append(condition)
    start, end = FIRST, LAST
    instants = ground.instants([bound.constant for bound in found]) if found else []
    for bound, instant in zip(found, instants, strict=True):
        if instant is None:
            return Window(FIRST, FIRST), moved  # nothing compares with null
        edge = min(max(instant, FIRST), LAST)
        if bound.is_start:
            start = max(start, edge + _STEP if bound.is_strict else edge)
        else:
            end = min(end, edge if bound.is_strict else edge + _STEP)
    if start == FIRST or end == LAST:
        # All of history begins and ends at a midnight, so that no piece of a day is left over.
        tz = zone(ground.state(Window(FIRST, FIRST)).studio_zone)
        start = floor(start, Grain.DAY, tz) if start == FIRST else start
        end = floor(end, Grain.DAY, tz) if end == LAST else end
    return Window(min(start, end), end), moved


def _conditions(scope: Scope) -> list[exp.Expr]:
    where = scope.select.args.get("where")
    return list(conjuncts(where.this)) if where else []


def _replaced(
    scope: Scope,
    facts: Facts,
    ground: Ground,
    window: Window,
    moved: Sequence[exp.Expr],
    taken: frozenset[str],
    names: Sequence[str],
) -> Plan:
    """Read a SELECT from rollups; the plan by which it does. Raises StaysRaw, and then nothing has changed."""
    windowed = {id(condition) for condition in moved}
    merger = Merger(scope, facts, [one for one in _conditions(scope) if id(one) not in windowed])
    merger.run(moved)
    needs = merger.needs
    if twice := taken & set(needs.parts):
        raise StaysRaw(f"it has a column {min(twice)}, as the rollups do; say whose it is")
    aliases = _aliases(scope, merger, names)
    buckets = combined(needs.buckets)
    found = plan(
        scope.source,
        frozenset(needs.dimensions),
        frozenset(needs.parts),
        window,
        state=ground.state(window),
        grain=buckets.grain if buckets else None,
        zone_name=buckets.zone_name if buckets else "UTC",
    )
    if all(arm.rollup is None for arm in found.arms):
        raise StaysRaw(found.why_raw or "its window is empty")
    if scope.source.until is not None and any(
        edge != floor_utc(edge, FINE) for edge in (window.start, window.end)
    ):
        # Here such a row counts by when it began; as parts it would count as far as it lies within the window.
        raise StaysRaw(
            "its window begins or ends within a quarter hour, where a row may begin before and end after"
        )
    question = Question(
        scope.source,
        tuple(Metric(name, "", formula=name, source=scope.source) for name in sorted(needs.parts)),
        tuple(sorted(needs.dimensions)),
        window,
        Grain.FINE if buckets else None,
    )
    _put(scope, merger, aliases, _relation(question, found))
    return found


def _relation(question: Question, found: Plan) -> exp.Subquery:
    """The arms as a relation: dimensions and parts, and the time column at the beginning of its bucket."""
    parts, params = parts_union(question, found)
    for placeholder in list(parts.find_all(exp.Placeholder)):
        placeholder.replace(exp.Literal.string(_text(params[placeholder.name])))
    if question.grain is None:
        return parts
    names = [question.source.dimensions[name] for name in question.by] + [m.name for m in question.metrics]
    columns = [exp.alias_(exp.column("bucket", table="parts"), question.source.time)]
    columns += [exp.column(name, table="parts") for name in names]
    return exp.select(*columns, copy=False).from_(parts, copy=False).subquery(copy=False)


def _text(value: datetime | Sequence[datetime]) -> str:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return "{" + ",".join(f'"{_text(one)}"' for one in value) + "}"


def _aliases(scope: Scope, merger: Merger, names: Sequence[str]) -> dict[int, str]:
    """The names of columns that change without having been given one, by their places."""
    selected = scope.select.expressions
    is_answer = scope.select.parent is None and len(names) == len(selected)
    changing = {id(old) for old, _ in merger.replaced}
    found = {}
    for place, column in enumerate(selected):
        if not isinstance(column, exp.Alias) and any(id(node) in changing for node in column.walk()):
            name = names[place] if is_answer else _own_name(column)
            if name is None:
                raise StaysRaw(f"{sql_of(column)} has no name; say `as`")
            found[place] = name
    return found


def _own_name(column: exp.Expr) -> str | None:
    """What PostgreSQL calls a column of the output that was given no name; None where that is not known here."""
    if isinstance(column, (exp.Paren, exp.Filter, exp.Window, exp.WithinGroup)):
        return _own_name(column.this)
    if isinstance(column, exp.Anonymous):
        return column.name.lower()
    return "?column?" if isinstance(column, exp.Binary) else None


def _put(scope: Scope, merger: Merger, aliases: dict[int, str], relation: exp.Subquery) -> None:
    """Change the SELECT, at last."""
    for column in [node for node in scope.nodes() if isinstance(node, exp.Column) and node.args.get("db")]:
        if scope.is_ours(column):
            column.set("db", None)  # the relation has no schema any more
    for old, new in merger.replaced:
        old.replace(new)
    for place, name in aliases.items():
        column = scope.select.expressions[place]
        column.replace(exp.alias_(column.copy(), name, quoted=True))
    present = [merger.is_present] if merger.is_present is not None else []
    conditions = [*merger.kept, *present]
    where = exp.Where(this=exp.and_(*conditions, copy=False)) if conditions else None
    scope.select.set("where", where)
    alias = scope.table.args.get("alias")
    named = alias.this if alias else scope.table.this
    relation.set("alias", exp.TableAlias(this=named.copy()))
    scope.table.replace(relation)
