"""The aggregates of one SELECT as merges of rollups' parts, and what else it sees of its rows: keys and buckets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from framehouse.metrics.canonical import (
    Measure,
    Rows,
    argument_of,
    classes_kept,
    conjuncts,
    is_about_classes,
    parts_for,
    rows_where,
)
from framehouse.metrics.dialect import sql_of
from framehouse.metrics.quantities import Part
from framehouse.metrics.scopes import Relations, Scope, StaysRaw
from framehouse.metrics.timing import Bucketing, bucketing

_WHOLE = {"smallint", "integer", "bigint"}
#: Of a key it is all one whether they see it once for each row or once for each cell.
_OF_KEYS = {"min", "max", "bool_and", "bool_or", "every"}
_SPREADS = {"stddev", "stddev_samp", "stddev_pop", "variance", "var_samp", "var_pop"}
_KNOWN = {"count", "sum", "avg"} | _OF_KEYS | _SPREADS


@dataclass(frozen=True, slots=True)
class Facts:
    """What a database says of the names in a query: which functions aggregate, which are volatile, which columns
    relations have."""

    aggregates: frozenset[str]
    volatile: frozenset[str]
    relations: Relations

    def is_volatile(self, root: exp.Expr) -> bool:
        """Whether something in an expression has another value each time."""
        return any(call.name.lower() in self.volatile for call in root.find_all(exp.Anonymous))


@dataclass(slots=True)
class Needs:
    """What a SELECT needs of the relations that it is read from."""

    dimensions: set[str] = field(default_factory=set)
    buckets: list[Bucketing] = field(default_factory=list)
    parts: dict[str, Part] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Argument:
    """What is aggregated: a column or an expression (None: rows).

    chosen       the conditions of `case when ... then`
    is_counted   the sum (or mean) of ones and zeros
    """

    expression: exp.Expr | None
    chosen: tuple[exp.Expr, ...] = ()
    is_counted: bool = False


class Merger:
    """Finds what a SELECT needs, and what takes the place of its aggregates. Raises StaysRaw."""

    def __init__(self, scope: Scope, facts: Facts, conditions: Sequence[exp.Expr]) -> None:
        self.scope, self.facts, self.needs = scope, facts, Needs()
        self._not_null = frozenset(name for name, fact in scope.columns.items() if fact.is_not_null)
        self._dimensions = {column: name for name, column in scope.source.dimensions.items()}
        #: Conditions that stay, and those that are left to the parts.
        self.kept, self.measured = self._split(conditions)
        self._rows = rows_where(scope.source, self.measured)
        self.replaced: list[tuple[exp.Expr, exp.Expr]] = []
        #: Which of the parts' rows stand for any row at all (None: all of them).
        self.is_present: exp.Expr | None = None

    def run(self, moved: Sequence[exp.Expr]) -> None:
        """Find everything; `moved` are the conditions that became the window."""
        select = self.scope.select
        done = {id(condition) for condition in [*moved, *self.measured]}
        calls = [node for node in self.scope.nodes() if self._is_aggregate(node)]
        is_grouped = bool(select.args.get("group") or select.args.get("distinct"))
        is_aggregated = bool(calls or select.args.get("group") or select.args.get("having"))
        # Window functions are over groups, or else over the very rows.
        has_windows = any(isinstance(node, exp.Window) for node in self.scope.nodes())
        if not is_aggregated and (not is_grouped or has_windows):
            raise StaysRaw("it asks for rows, not for an aggregate of them")
        if self.facts.is_volatile(select):
            raise StaysRaw("a function in it has another value for each row")
        if is_grouped or any(self._sees_rows(call) for call in calls):
            self.is_present = self._present(self._rows)
        for call in calls:
            target = call.parent if isinstance(call.parent, exp.Filter) else call
            self.replaced.append((target, self._merged(call)))
            done.add(id(target))
        if not self.needs.parts:
            self._value("count", None, Rows(rows_where(self.scope.source, []).classes))
        self._note(self.scope.ours_outside(done))

    def _is_aggregate(self, node: exp.Expr) -> bool:
        if not isinstance(node, exp.Anonymous) or node.name.lower() not in self.facts.aggregates:
            return False
        outer: exp.Expr = node
        while isinstance(outer.parent, (exp.Filter, exp.WithinGroup, exp.IgnoreNulls, exp.RespectNulls)):
            outer = outer.parent
        return not (isinstance(outer.parent, exp.Window) and outer.parent.this is outer)

    def _sees_rows(self, call: exp.Expr) -> bool:
        """Whether an aggregate tells no rows from rows that do not count."""
        is_count = call.name.lower() == "count" and not call.find(exp.Distinct)
        return not is_count and not any(map(self._is_measured, self.scope.ours(call)))

    def _is_measured(self, column: exp.Column) -> bool:
        return column.name not in self._dimensions and column.name != self.scope.source.time

    def _is_key(self, root: exp.Expr) -> bool:
        return all(self._reason(column) is None for column in self.scope.ours(root))

    def _reason(self, column: exp.Column) -> str | None:
        """Why an expression around a column differs between the rows of a cell; None if it does not."""
        if column.name in self._dimensions:
            return None
        if column.name != self.scope.source.time:
            return f"no rollup keeps {column.name}, by which it tells rows apart"
        if bucketing(column) is None:
            return f"it uses {column.name} finer than by 15 minutes, or in a way that is not understood"
        return None

    def _note(self, columns: Iterable[exp.Column]) -> None:
        for column in columns:
            reason = self._reason(column)
            if reason is not None:
                raise StaysRaw(reason)
            found = bucketing(column) if column.name == self.scope.source.time else None
            if found is not None:
                self.needs.buckets.append(found)
            else:
                self.needs.dimensions.add(self._dimensions[column.name])

    def _split(self, conditions: Iterable[exp.Expr]) -> tuple[list[exp.Expr], list[exp.Expr]]:
        """Conditions on keys (and on other relations), and those on what is only in the raw rows."""
        kept, measured = [], []
        for condition in conditions:
            is_ours = bool(self.scope.ours(condition)) and self.scope.is_only_ours(condition)
            if is_ours and is_about_classes(self.scope.source, condition):
                measured.append(condition)
            elif self._is_key(condition):
                kept.append(condition)
            elif is_ours and not any(c.name == self.scope.source.time for c in self.scope.ours(condition)):
                measured.append(condition)
            else:
                reasons = map(self._reason, self.scope.ours(condition))
                raise StaysRaw(next(reason for reason in reasons if reason))
        return kept, measured

    def _merged(self, call: exp.Expr) -> exp.Expr:
        """What takes the place of an aggregate."""
        name = call.name.lower()
        filter_ = call.parent if isinstance(call.parent, exp.Filter) else None
        if isinstance(call.parent, exp.WithinGroup) or name not in _KNOWN:
            raise StaysRaw(f"{name}() needs every row")
        if isinstance(call.parent, exp.Dot) or (filter_ or call).find(exp.Query, exp.Order, exp.Variadic):
            raise StaysRaw(f"{name}() is written in a way that is not understood")
        if name in _SPREADS:
            raise StaysRaw(f"{name}() from sums of squares would lose digits where values hardly differ")
        keys, measured = self._split(conjuncts(filter_.expression.this) if filter_ else ())
        rows = self._rows & rows_where(self.scope.source, measured)
        [given] = call.expressions if len(call.expressions) == 1 else [None]
        if given is None:
            raise StaysRaw(f"{name}() needs every row")
        if self._is_of_keys(name, given):
            return self._of_keys(call, keys, rows)
        return self._of_measure(name, given, keys, rows)

    def _is_of_keys(self, name: str, given: exp.Expr) -> bool:
        if isinstance(given, exp.Distinct):
            if not self._is_key(given):
                raise StaysRaw(f"{name}(distinct {sql_of(given.expressions[0])}) needs every row")
            return True
        return name in _OF_KEYS and self._is_key(given)

    def _of_keys(self, call: exp.Expr, keys: list[exp.Expr], rows: Rows) -> exp.Expr:
        """An aggregate that stays as it is, over the cells in which some of the rows are."""
        self._note(column for one in [call, *keys] for column in self.scope.ours(one))
        present = self._present(rows) if rows != self._rows else None
        return _filtered(call.copy(), [*keys, *([present] if present is not None else [])])

    def _of_measure(self, name: str, given: exp.Expr, keys: list[exp.Expr], rows: Rows) -> exp.Expr:
        argument = self._argument(name, given)
        chosen_keys, chosen = self._split(argument.chosen)
        some = rows & rows_where(self.scope.source, chosen)
        if argument.is_counted:
            if rows != self._rows or chosen_keys:
                raise StaysRaw(
                    f"{name}({sql_of(given)}) with a filter, or by keys, is not understood; use filter"
                )
            self._note(column for one in keys for column in self.scope.ours(one))
            # Of no rows there are no zeros to add up: that is null.
            self.is_present = self._present(self._rows)
            total: exp.Expr = exp.cast(_sum(self._value("count", None, some), keys), "bigint")
            if name == "sum":
                return total
            return self._mean(total, self._value("count", None, rows), keys, is_whole=True)
        keys = [*keys, *chosen_keys]
        x = argument.expression
        if name == "count" and x is not None and self._is_key(x):
            if not (isinstance(x, exp.Column) and x.name in self._not_null):
                keys = [*keys, exp.Not(this=exp.Is(this=x.copy(), expression=exp.null()))]
            x = None
        self._note(column for one in keys for column in self.scope.ours(one))
        if name == "count":
            total = exp.cast(_sum(self._value("count", x, some), keys), "bigint")
            return exp.func("coalesce", total, exp.Literal.number(0))
        if x is None or not self.scope.ours(x) or not self.scope.is_only_ours(x):
            raise StaysRaw(f"{name}({sql_of(given)}) counts what other relations say once for each row")
        of = argument_of(x)
        kind = self._whole_type(x)
        if name in {"min", "max"}:
            found = _filtered(exp.Anonymous(this=name, expressions=[self._value(name, of, some)]), keys)
            return exp.cast(found, kind) if kind else found
        total = _sum(self._value("sum", of, some), keys)
        total = exp.cast(total, "bigint") if kind else total
        if name == "sum":
            return total
        return self._mean(total, self._value("count", of, some), keys, is_whole=bool(kind))

    def _mean(self, total: exp.Expr, count: exp.Expr, keys: list[exp.Expr], *, is_whole: bool) -> exp.Expr:
        """A sum over a count, as PostgreSQL divides them: whole numbers as numeric."""
        total = exp.cast(total, "numeric") if is_whole else total
        number = exp.func("nullif", exp.cast(_sum(count, keys), "bigint"), exp.Literal.number(0))
        return exp.Paren(this=exp.Div(this=total, expression=number, typed=True, safe=False))

    def _argument(self, name: str, given: exp.Expr) -> _Argument:
        """What is aggregated, with `case when ... then x end` and its like taken apart."""
        inner = given.unnest()
        if isinstance(inner, exp.Star) or (name == "count" and isinstance(inner, exp.Literal)):
            return _Argument(None)
        if isinstance(inner, exp.Cast) and inner.to.is_type(exp.DataType.Type.INT) and name in {"sum", "avg"}:
            condition = inner.this
            if self.scope.is_only_ours(condition) and is_about_classes(self.scope.source, condition):
                return _Argument(None, tuple(conjuncts(condition)), is_counted=True)
        if not isinstance(inner, exp.Case) or inner.this or len(inner.args["ifs"]) != 1:
            return _Argument(inner)
        [chosen] = inner.args["ifs"]
        value, other = chosen.args["true"].unnest(), inner.args.get("default")
        conditions = tuple(conjuncts(chosen.this))
        if other is None or other == exp.null():
            is_constant = isinstance(value, exp.Literal)
            if name == "count" or not is_constant:
                return _Argument(None if is_constant else value, conditions)
        is_ones = value == exp.Literal.number(1) and other == exp.Literal.number(0)
        if is_ones and name in {"sum", "avg"}:
            return _Argument(None, conditions, is_counted=True)
        raise StaysRaw(f"{name}({sql_of(given)}) is not understood; use filter (where ...)")

    def _whole_type(self, x: exp.Expr) -> str | None:
        """The type of a column of whole numbers."""
        column = x.unnest()
        if isinstance(column, exp.Column) and self.scope.columns[column.name].type in _WHOLE:
            return self.scope.columns[column.name].type
        return None

    def _present(self, rows: Rows) -> exp.Expr | None:
        """Whether a cell has any of some rows; None where every cell has."""
        if rows == rows_where(self.scope.source, []):
            return None
        return self._value("count", None, rows) > exp.Literal.number(0)

    def _value(self, kind: str, argument: exp.Expr | None, rows: Rows) -> exp.Expr:
        """A measure of the rows of one cell, from the parts that make it up."""
        measure = Measure(kind, argument, rows)
        parts = parts_for(self.scope.source, measure, self._not_null)
        if parts is None:
            raise StaysRaw(self._missing(measure))
        self.needs.parts |= {part.name: part for part in parts}
        columns: list[exp.Expr] = [exp.column(part.name, table=self.scope.alias) for part in parts]
        if len(columns) == 1:
            return columns[0]
        if kind in {"min", "max"}:
            return exp.Anonymous(this={"min": "least", "max": "greatest"}[kind], expressions=columns)
        if kind == "count":
            return exp.Paren(this=_added(columns))
        zero = exp.Literal.number(0)
        added = _added([exp.func("coalesce", column.copy(), zero.copy()) for column in columns])
        is_known = exp.or_(*(exp.Not(this=column.is_(exp.null())) for column in columns))
        return exp.Case(ifs=[exp.If(this=is_known, true=added)])

    def _missing(self, measure: Measure) -> str:
        said = "count of rows" if measure.argument is None else f"{measure.kind}({sql_of(measure.argument)})"
        if measure.rows.others:
            found = " and ".join(sorted(map(sql_of, measure.rows.others)))
            return f"no rollup keeps the {said} where {found}"
        kept = classes_kept(self.scope.source, measure, self._not_null)
        only = " or ".join(sorted({", ".join(sorted(classes)) for classes in kept}))
        return f"no rollup keeps the {said} of these rows" + (f", only of {only} ones" if only else "")


def _added(columns: Sequence[exp.Expr]) -> exp.Expr:
    found = columns[0]
    for column in columns[1:]:
        found = exp.Add(this=found, expression=column)
    return found


def _sum(value: exp.Expr, keys: Sequence[exp.Expr]) -> exp.Expr:
    return _filtered(exp.Anonymous(this="sum", expressions=[value]), keys)


def _filtered(call: exp.Expr, conditions: Sequence[exp.Expr]) -> exp.Expr:
    if not conditions:
        return call
    where = exp.Where(this=exp.and_(*(condition.copy() for condition in conditions), copy=False))
    return exp.Filter(this=call, expression=where)
