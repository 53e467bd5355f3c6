"""From a question and its plan to SQL, built with sqlglot.

Every arm selects keys and parts; the outer select merges the parts (adds, or takes the extreme) and computes each
metric's formula over them. Raw arms compute the parts from rows with the very expressions that the rollups use.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from sqlglot import exp, parse_one

from framehouse.errors import QueryError
from framehouse.metrics.definitions import Metric, quantile_parts
from framehouse.metrics.plan import Arm, Plan
from framehouse.metrics.quantities import Merge, Part, Quantity
from framehouse.metrics.rollups import NAMES, Source
from framehouse.windows import Grain, Window

DIALECT = "postgres"
_ORIGIN = "'2000-01-01 00:00:00+00'"


@dataclass(frozen=True)
class Question:
    """What is asked of one source: metrics by dimensions over a window, per bucket of a grain (None: one total).

    `where` maps a dimension to the ids (or values) it may have; None among them stands for "none given".
    """

    source: Source
    metrics: tuple[Metric, ...]
    by: tuple[str, ...]
    window: Window
    grain: Grain | None = None
    zone_name: str = "UTC"
    where: Mapping[str, tuple[int | str | None, ...]] = field(default_factory=dict)

    @property
    def dimensions(self) -> frozenset[str]:
        return frozenset(self.by) | frozenset(self.where)

    @property
    def quantiles(self) -> tuple[Quantity, ...]:
        """Quantities whose histograms are needed."""
        return tuple(
            {
                m.quantity.name: m.quantity for m in self.metrics if m.quantile is not None and m.quantity
            }.values()
        )

    def parts(self) -> dict[str, Part]:
        """The parts that the formulas and the quantiles' frames need."""
        names = {name for metric in self.metrics if metric.formula for name in _names_in(metric.formula)}
        for quantity in self.quantiles:
            names |= set(quantile_parts(quantity))
        return {name: self.source.part[name] for name in sorted(names)}

    def histograms(self) -> dict[str, Part]:
        return {quantity.name: quantity.histogram_part() for quantity in self.quantiles}


def metrics_sql(question: Question, plan: Plan) -> str:
    """SQL that answers with the keys, then each metric with a formula, then the parts that quantiles need."""
    parts = question.parts()
    keys = _keys(question)
    needed = sorted({name for quantity in question.quantiles for name in quantile_parts(quantity)})
    # sqlglot copies the whole query at every step of a chain, so each clause is given at once.
    outer = exp.select(
        *(exp.column(key, table="parts") for key in keys),
        *(_as(_formula(metric, parts), metric.name) for metric in question.metrics if metric.formula),
        *(_as(_merged(parts[name]), f"_{name}") for name in needed),
        copy=False,
    ).from_(_union(question, plan, parts, "parts"), copy=False)
    if keys:
        outer = outer.group_by(*(exp.column(key, table="parts") for key in keys), copy=False)
    return _named(question, outer, keys)


def histograms_sql(question: Question, plan: Plan) -> str:
    """SQL that answers with the keys and, for each quantity with a quantile, its histogram added up bin by bin.

    Most bins are empty, so each histogram comes as two lists: which bins are not (NAME_bins, from 1) and their counts.
    """
    parts = question.histograms()
    keys = [exp.column(key) for key in _keys(question)]
    # Functions that return rows stand in the select list, where they need no storage of their own, and in step.
    spread = exp.select(
        *(key.copy() for key in keys),
        *(_as(_read(f"unnest(parts.{part.name})"), name) for name, part in parts.items()),
        _as(_read(f"generate_series(1, {max(map(_bin_count, question.quantiles))})"), "bin"),
        copy=False,
    ).from_(_union(question, plan, {part.name: part for part in parts.values()}, "parts"), copy=False)
    added = exp.select(
        *(key.copy() for key in keys),
        "bin",
        *(_as(_read(f"cast(sum(bins.{name}) as bigint)"), name) for name in parts),
        copy=False,
    ).from_(spread.subquery("bins", copy=False), copy=False)
    added = added.where(exp.or_(*(_read(f"bins.{name} > 0") for name in parts)), copy=False)
    added = added.group_by(*(key.copy() for key in keys), "bin", copy=False)
    listed = "coalesce(array_agg(added.{0} order by added.bin) filter (where added.{1} > 0), '{{}}')"
    outer = exp.select(
        *(key.copy() for key in keys),
        *(
            _as(_read(listed.format(shown, name)), alias)
            for name in parts
            for shown, alias in (("bin", f"{name}_bins"), (name, name))
        ),
        copy=False,
    ).from_(added.subquery("added", copy=False), copy=False)
    if keys:
        outer = outer.group_by(*(key.copy() for key in keys), copy=False)
    return _named(question, outer, _keys(question))


def _bin_count(quantity: Quantity) -> int:
    assert quantity.histogram is not None
    return quantity.histogram.bins + 2


def formula_sql(metric: Metric) -> str:
    """A metric's formula as SQL that aggregates rows of a rollup named `parts`."""
    names = _names_in(metric.formula)
    return _formula(metric, {name: metric.source.part[name] for name in names}).sql(DIALECT)


def _keys(question: Question) -> list[str]:
    keys = ["bucket"] if question.grain is not None else []
    return keys + [question.source.dimensions[dimension] for dimension in question.by]


def _union(question: Question, plan: Plan, parts: Mapping[str, Part], alias: str) -> exp.Subquery:
    arms = [_arm(question, arm, parts) for arm in plan.arms]
    if not arms:
        # An empty window: the shape of an answer without rows.
        nothing = Arm(Window(question.window.start, question.window.start))
        arms = [_arm(question, nothing, parts)]
    whole: exp.Query = arms[0]
    for arm in arms[1:]:
        whole = exp.union(whole, arm, distinct=False, copy=False)
    return whole.subquery(alias, copy=False)


def _arm(question: Question, arm: Arm, parts: Mapping[str, Part]) -> exp.Select:
    time = question.source.time if arm.rollup is None else "bucket"
    relation = question.source.table if arm.rollup is None else f"rollup.{arm.rollup.name}"
    keys: list[exp.Expr] = []
    columns: list[exp.Expr] = []
    if question.grain is not None:
        keys.append(_bucket(question.grain, question.zone_name, time))
        columns.append(_as(keys[-1].copy(), "bucket"))
    for dimension in question.by:
        keys.append(exp.column(question.source.dimensions[dimension]))
        columns.append(keys[-1].copy())
    for name, part in parts.items():
        columns.append(_as(_raw(part.raw), name) if arm.rollup is None else exp.column(name))
    conditions: list[exp.Expr] = [
        exp.column(time) >= _instant(arm.window.start.isoformat()),
        exp.column(time) < _instant(arm.window.end.isoformat()),
    ]
    for dimension, allowed in question.where.items():
        conditions.append(_among(question.source.dimensions[dimension], allowed))
    select = exp.select(*columns, copy=False).from_(exp.to_table(relation), copy=False)
    select = select.where(*conditions, copy=False)
    if arm.rollup is None:
        # Without rows a plain aggregate still gives one row; `having` keeps an empty arm empty.
        select = select.group_by(*keys, copy=False) if keys else select
        select = select.having(_read("count(*) > 0"), copy=False)
    return select


def _bucket(grain: Grain, zone_name: str, time: str) -> exp.Expr:
    fine = f"date_bin(interval '15 minutes', {time}, cast({_ORIGIN} as timestamptz))"
    tz = exp.Literal.string(zone_name).sql(DIALECT)
    if grain is Grain.FINE:
        text = fine
    elif grain is Grain.HOUR:
        # From the local minute, so that a repeated hour stays two and zones at :30 and :45 have whole hours.
        text = f"{fine} - make_interval(mins => cast(extract(minute from {fine} at time zone {tz}) as int))"
    else:
        text = f"date_trunc('{grain.value}', {time}, {tz})"
    return _read(text)


def _among(column: str, allowed: Sequence[int | str | None]) -> exp.Expr:
    known = [exp.convert(value) for value in allowed if value is not None]
    found: list[exp.Expr] = []
    if known:
        found.append(exp.column(column).isin(*known))
    if None in allowed:
        found.append(exp.column(column).is_(exp.null()))
    return exp.or_(*found) if found else exp.false()


def _merged(part: Part) -> exp.Expr:
    column = f"parts.{part.name}"
    text = {
        Merge.COUNT: f"coalesce(cast(sum({column}) as bigint), 0)",
        Merge.SUM: f"sum({column})",
        Merge.MIN: f"min({column})",
        Merge.MAX: f"max({column})",
    }[part.merge]
    return _raw(text)


def _formula(metric: Metric, parts: Mapping[str, Part]) -> exp.Expr:
    """The formula with every part replaced by its merged aggregate, and divisions that know zero."""

    formula = _parsed(metric.formula).copy()
    for division in reversed(list(formula.find_all(exp.Div))):  # the innermost first
        division.set("this", exp.cast(division.this, "double precision", dialect=DIALECT))
        division.set("expression", exp.func("nullif", division.expression, exp.Literal.number(0)))
    return formula.transform(
        lambda node: _merged(parts[node.name]) if isinstance(node, exp.Column) else node, copy=False
    )


def _named(question: Question, inner: exp.Select, keys: Sequence[str]) -> str:
    """The answer with names instead of ids, in the order of the keys."""
    columns: list[exp.Expr] = []
    joins: list[tuple[exp.Expr, exp.Expr]] = []
    if question.grain is not None:
        columns.append(exp.column("bucket", table="answer"))
    for dimension in question.by:
        column = question.source.dimensions[dimension]
        if dimension in NAMES:
            names = exp.to_table(NAMES[dimension]).as_(f"{dimension}_names")
            on = exp.column("id", table=f"{dimension}_names").eq(exp.column(column, table="answer"))
            joins.append((names, on))
            columns.append(_as(exp.column("name", table=f"{dimension}_names"), dimension))
        else:
            columns.append(_as(exp.column(column, table="answer"), dimension))
    order = [str(position + 1) for position in range(len(columns))]
    hidden = [column.alias_or_name for column in inner.selects[len(keys) :]]
    columns += [exp.column(name, table="answer", quoted=name.startswith("_")) for name in hidden]
    answer = exp.select(*columns, copy=False).from_(inner.subquery("answer", copy=False), copy=False)
    for joined, condition in joins:
        answer = answer.join(joined, on=condition, join_type="left", copy=False)
    if order:
        answer = answer.order_by(*order, dialect=DIALECT, copy=False)  # nulls last, as PostgreSQL does
    return answer.sql(DIALECT)


def _as(expression: exp.Expr, name: str) -> exp.Expr:
    return exp.alias_(expression, name, copy=False)


def _read(text: str) -> exp.Expr:
    return parse_one(text, read=DIALECT)


def _instant(iso: str) -> exp.Expr:
    return exp.cast(exp.Literal.string(iso), "timestamptz", dialect=DIALECT)


def _raw(text: str) -> exp.Expr:
    return _parsed(text).copy()


@cache
def _parsed(text: str) -> exp.Expr:
    return parse_one(text, read=DIALECT)


@cache
def _names_in(formula: str) -> frozenset[str]:
    return frozenset(column.name for column in _parsed(formula).find_all(exp.Column))


def check_dimensions(source: Source, names: Sequence[str]) -> None:
    """Raise QueryError for a dimension that the source does not have."""
    for name in names:
        if name not in source.dimensions:
            raise QueryError(
                f"{source.name} cannot be asked by {name!r}",
                hint=f"ask by one of: {', '.join(source.dimensions)}",
            )
