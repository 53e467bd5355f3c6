"""From a question and its plan to SQL, built with sqlglot.

Every relation that is read gives keys and parts; the outer select merges the parts (adds, or takes the extreme) and
computes each metric's formula over them. From raw rows the parts are computed with the very expressions that the
rollups use. Instants and ids are parameters, so that a question that is asked again, of another
week, is not built again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlglot import exp, parse_one

from framehouse.metrics.definitions import Metric, quantile_parts
from framehouse.metrics.plan import Plan
from framehouse.metrics.quantities import Merge, Part, Quantity
from framehouse.metrics.question import DIALECT, Question, names_in, parsed, parts_of, quantiles_of
from framehouse.metrics.rollups import NAMES, Rollup, Source
from framehouse.windows import Grain, Window

_ORIGIN = "'2000-01-01 00:00:00+00'"


@dataclass(frozen=True, slots=True)
class Query:
    """SQL with named parameters (`%(name)s`), and their values."""

    text: str
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Relation:
    """A relation that is read over one window or several: a rollup's cells or its view, or raw rows."""

    name: str
    is_raw: bool
    is_one_window: bool


@dataclass(frozen=True, slots=True)
class _Shape:
    """All of a question and its plan that the text of the SQL depends on.

    `where` says for each dimension whether values are among what it may have, and whether "none given" is.
    """

    source: Source
    metrics: tuple[Metric, ...]
    by: tuple[str, ...]
    grain: Grain | None
    zone_name: str
    where: tuple[tuple[str, bool, bool], ...]
    relations: tuple[_Relation, ...]


def metrics_query(question: Question, plan: Plan) -> Query:
    """Answers with the keys, then each metric with a formula, then the parts that quantiles need."""
    shape, params = _prepared(question, plan)
    return Query(_metrics_text(shape), params)


def histograms_query(question: Question, plan: Plan) -> Query:
    """Answers with the keys and, for each quantity with a quantile, its histogram added up bin by bin.

    Most bins are empty, so each histogram comes as two lists: which bins are not (NAME_bins, from 1), and how many each
    of those holds (NAME_counts).
    """
    shape, params = _prepared(question, plan)
    return Query(_histograms_text(shape), params)


def parts_union(question: Question, plan: Plan) -> tuple[exp.Subquery, Mapping[str, Any]]:
    """Keys and parts from every arm, not merged yet, as a relation called `parts`, and the parameters' values."""
    shape, params = _prepared(question, plan)
    return _union(shape, parts_of(shape.source, shape.metrics), "parts"), params


def _prepared(question: Question, plan: Plan) -> tuple[_Shape, dict[str, Any]]:
    windows: dict[Rollup | None, list[Window]] = {}
    for arm in plan.arms:
        windows.setdefault(arm.rollup, []).append(arm.window)
    if not windows:  # an empty window: the shape of an answer without rows
        windows[None] = [Window(question.window.start, question.window.start)]
    params: dict[str, Any] = {}
    for number, found in enumerate(windows.values()):
        params[f"start_{number}"] = found[0].start
        params[f"end_{number}"] = found[-1].end
        if len(found) > 1:
            params[f"starts_{number}"] = [window.start for window in found]
            params[f"ends_{number}"] = [window.end for window in found]
    where = []
    for dimension, allowed in question.where.items():
        values = [value for value in allowed if value is not None]
        if values:
            params[dimension] = values
        where.append((dimension, bool(values), None in allowed))
    relations = []
    for rollup, found in windows.items():
        name = (
            question.source.table if rollup is None else plan.cells.get(rollup.name, f"rollup.{rollup.name}")
        )
        relations.append(_Relation(name, rollup is None, len(found) == 1))
    shape = _Shape(
        question.source,
        question.metrics,
        question.by,
        question.grain,
        question.zone_name,
        tuple(where),
        tuple(relations),
    )
    return shape, params


@lru_cache(512)
def _metrics_text(shape: _Shape) -> str:
    parts = parts_of(shape.source, shape.metrics)
    keys = _keys(shape)
    needed = sorted({name for quantity in quantiles_of(shape.metrics) for name in quantile_parts(quantity)})
    # sqlglot copies the whole query at every step of a chain, so each clause is given at once.
    outer = exp.select(
        *(exp.column(key, table="parts") for key in keys),
        *(_as(_formula(metric, parts), metric.name) for metric in shape.metrics if metric.formula),
        *(_as(_merged(parts[name]), f"_{name}") for name in needed),
        copy=False,
    ).from_(_union(shape, parts, "parts"), copy=False)
    if keys:
        outer = outer.group_by(*(exp.column(key, table="parts") for key in keys), copy=False)
    return _named(shape, outer, keys)


@lru_cache(512)
def _histograms_text(shape: _Shape) -> str:
    quantiles = quantiles_of(shape.metrics)
    parts = {quantity.name: quantity.histogram_part() for quantity in quantiles}
    keys = [exp.column(key) for key in _keys(shape)]
    # Functions that return rows stand in the select list, where they need no storage of their own, and in step.
    spread = exp.select(
        *(key.copy() for key in keys),
        *(_as(_read(f"unnest(parts.{part.name})"), f"{name}_counts") for name, part in parts.items()),
        _as(_read(f"generate_series(1, {max(map(_bin_count, quantiles))})"), "bin"),
        copy=False,
    ).from_(_union(shape, {part.name: part for part in parts.values()}, "parts"), copy=False)
    added = exp.select(
        *(key.copy() for key in keys),
        "bin",
        *(_as(_read(f"cast(sum(bins.{name}_counts) as bigint)"), f"{name}_counts") for name in parts),
        copy=False,
    ).from_(spread.subquery("bins", copy=False), copy=False)
    added = added.where(exp.or_(*(_read(f"bins.{name}_counts > 0") for name in parts)), copy=False)
    added = added.group_by(*(key.copy() for key in keys), "bin", copy=False)
    listed = "coalesce(array_agg(added.{0} order by added.bin) filter (where added.{1}_counts > 0), '{{}}')"
    outer = exp.select(
        *(key.copy() for key in keys),
        *(
            _as(_read(listed.format(shown, name)), alias)
            for name in parts
            for shown, alias in (("bin", f"{name}_bins"), (f"{name}_counts", f"{name}_counts"))
        ),
        copy=False,
    ).from_(added.subquery("added", copy=False), copy=False)
    if keys:
        outer = outer.group_by(*(key.copy() for key in keys), copy=False)
    return _named(shape, outer, _keys(shape))


def _bin_count(quantity: Quantity) -> int:
    assert quantity.histogram is not None
    return quantity.histogram.bins + 2


def formula_sql(metric: Metric) -> str:
    """A metric's formula as SQL that aggregates rows of a rollup named `parts`."""
    names = names_in(metric.formula)
    return _formula(metric, {name: metric.source.part[name] for name in names}).sql(DIALECT)


def _keys(shape: _Shape) -> list[str]:
    keys = ["bucket"] if shape.grain is not None else []
    return keys + [shape.source.dimensions[dimension] for dimension in shape.by]


def _union(shape: _Shape, parts: Mapping[str, Part], alias: str) -> exp.Subquery:
    found = [_parts_from(shape, relation, number, parts) for number, relation in enumerate(shape.relations)]
    whole: exp.Query = found[0]
    for one in found[1:]:
        whole = exp.union(whole, one, distinct=False, copy=False)
    return whole.subquery(alias, copy=False)


def _parts_from(shape: _Shape, relation: _Relation, number: int, parts: Mapping[str, Part]) -> exp.Select:
    """Keys and parts from one relation.

    Over several windows: once for each of them, beside the bounds of all, by which the planner leaves out chunks.
    """
    time = shape.source.time if relation.is_raw else "bucket"
    keys: list[exp.Expr] = []
    columns: list[exp.Expr] = []
    if shape.grain is not None:
        keys.append(_bucket(shape.grain, shape.zone_name, time))
        columns.append(_as(keys[-1].copy(), "bucket"))
    for dimension in shape.by:
        keys.append(exp.column(shape.source.dimensions[dimension]))
        columns.append(keys[-1].copy())
    for name, part in parts.items():
        columns.append(_as(_raw(part.raw), name) if relation.is_raw else exp.column(name))
    edges = [(_instant(f"start_{number}"), _instant(f"end_{number}"))]
    if not relation.is_one_window:
        edges.append((exp.column("opens_at", table="span"), exp.column("closes_at", table="span")))
    rows: exp.Expr = exp.to_table(relation.name)
    conditions: list[exp.Expr] = []
    if relation.is_raw and shape.source.until:
        rows = _clipped(shape.source, parts, edges)
    else:
        conditions += [
            test for start, end in edges for test in (exp.column(time) >= start, exp.column(time) < end)
        ]
    conditions += [
        _among(shape.source.dimensions[dimension], dimension, has_values=has_values, has_none=has_none)
        for dimension, has_values, has_none in shape.where
    ]
    select = exp.select(*columns, copy=False).from_(rows, copy=False)
    if relation.is_raw and shape.source.unnested:
        select = select.join(_unnested(shape.source.unnested), copy=False)
    select = select.where(*conditions, copy=False)
    if relation.is_raw:
        # Without rows a plain aggregate still gives one row; `having` keeps an empty arm empty.
        select = select.group_by(*keys, copy=False) if keys else select
        select = select.having(_read("count(*) > 0"), copy=False)
    if relation.is_one_window:
        return select
    opens_at, closes_at = (f"cast(%({edge}_{number})s as timestamptz[])" for edge in ("starts", "ends"))
    spans = _read(f"select from unnest({opens_at}, {closes_at}) as span (opens_at, closes_at)")
    assert isinstance(spans, exp.Select)
    computed = exp.Lateral(
        this=select.subquery(copy=False), alias=exp.TableAlias(this=exp.to_identifier("computed"))
    )
    spans.set("expressions", [exp.column(column.alias_or_name, table="computed") for column in columns])
    return spans.join(computed, join_type="cross", copy=False)


def _clipped(
    source: Source, parts: Mapping[str, Part], edges: Sequence[tuple[exp.Expr, exp.Expr]]
) -> exp.Subquery:
    """The rows of a source that last, as far as they lie within a window: their seconds are those within it."""
    assert source.until is not None
    assert source.lasted is not None
    needed = {column for part in parts.values() for column in names_in(part.raw)} | {source.time}
    columns: list[exp.Expr] = [
        exp.column(name) for name in sorted(needed | set(source.dimensions.values())) if name != source.lasted
    ]
    opens, closes = edges[-1]
    covered = exp.func("least", exp.column(source.until), closes) - exp.func(
        "greatest", exp.column(source.time), opens
    )
    seconds = exp.cast(exp.Extract(this=exp.var("epoch"), expression=exp.paren(covered)), "double precision")
    inside = [
        test
        for start, end in edges
        for test in (
            # A row lies within a quarter hour, and so begins no longer than that before the window does.
            exp.column(source.time) > start - _read("interval '15 minutes'"),
            exp.column(source.time) < end,
            exp.column(source.until) > start,
        )
    ]
    clipped = exp.select(*columns, _as(seconds, source.lasted), copy=False)
    return clipped.from_(source.table, copy=False).where(*inside, copy=False).subquery("clipped", copy=False)


def _unnested(text: str) -> exp.Join:
    """A set-returning function with its alias, evaluated for each row."""
    join = _read(f"select from raw_rows cross join lateral {text}").find(exp.Join)
    assert join is not None
    return join


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


def _among(column: str, dimension: str, *, has_values: bool, has_none: bool) -> exp.Expr:
    kind = "int" if dimension in NAMES else "text"
    found: list[exp.Expr] = []
    if has_values:
        found.append(_read(f"{column} = any(cast(%({dimension})s as {kind}[]))"))
    if has_none:
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

    formula = parsed(metric.formula).copy()
    for division in reversed(list(formula.find_all(exp.Div))):  # the innermost first
        division.set("this", exp.cast(division.this, "double precision", dialect=DIALECT))
        division.set("expression", exp.func("nullif", division.expression, exp.Literal.number(0)))
    return formula.transform(
        lambda node: _merged(parts[node.name]) if isinstance(node, exp.Column) else node, copy=False
    )


def _named(shape: _Shape, inner: exp.Select, keys: Sequence[str]) -> str:
    """The answer with names instead of ids, in the order of the keys."""
    columns: list[exp.Expr] = []
    joins: list[tuple[exp.Expr, exp.Expr]] = []
    if shape.grain is not None:
        columns.append(exp.column("bucket", table="answer"))
    for dimension in shape.by:
        column = shape.source.dimensions[dimension]
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


def _instant(parameter: str) -> exp.Expr:
    return exp.cast(exp.Placeholder(this=parameter), "timestamptz", dialect=DIALECT)


def _raw(text: str) -> exp.Expr:
    return parsed(text).copy()
