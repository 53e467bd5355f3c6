"""Metrics' formulas in Python, over parts that were merged already: the same arithmetic that the SQL does.

For answers that need parts of several buckets together, such as a moving average, without asking the database again.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache

from sqlglot import exp

from framehouse.metrics.definitions import Metric
from framehouse.metrics.quantities import Merge
from framehouse.metrics.question import names_in, parsed

Parts = Mapping[str, float | None]
_Compiled = Callable[[Parts], float | None]


def evaluate(metric: Metric, parts: Parts) -> float | None:
    """A metric from its parts; None where a part that it needs is unknown, and for a division by zero."""
    return _compiled(metric.formula)(parts)


def merged(metric: Metric, rows: Iterable[Parts]) -> dict[str, float | None]:
    """The parts of a metric, of several sets of rows, as those of their union. Counts of nothing are 0."""
    found: dict[str, float | None] = {}
    listed = list(rows)
    for name in names_in(metric.formula):
        merge = metric.source.part[name].merge
        known = [value for row in listed if (value := row[name]) is not None]
        if merge is Merge.COUNT or (merge is Merge.SUM and known):
            found[name] = math.fsum(known)
        elif known:
            found[name] = min(known) if merge is Merge.MIN else max(known)
        else:
            found[name] = None
    return found


@cache
def is_total(metric: Metric) -> bool:
    """Whether a metric grows with what is counted: twice the same rows, twice the number. Means and extremes do not."""
    return bool(metric.formula) and _degree(parsed(metric.formula), metric) == 1


def _degree(node: exp.Expr, metric: Metric) -> float:
    """With which power of the number of rows a formula grows."""
    if isinstance(node, (exp.Paren, exp.Abs)):
        return _degree(node.this, metric)
    if isinstance(node, exp.Sqrt):
        return _degree(node.this, metric) / 2
    if isinstance(node, exp.Column):
        return 1 if metric.source.part[node.name].merge in {Merge.COUNT, Merge.SUM} else 0
    if isinstance(node, exp.Coalesce):
        return _degree(node.this, metric)
    if isinstance(node, exp.Binary):
        left, right = _degree(node.this, metric), _degree(node.expression, metric)
        if isinstance(node, exp.Mul):
            return left + right
        return left - right if isinstance(node, exp.Div) else max(left, right)
    return 0


@cache
def _compiled(formula: str) -> _Compiled:
    return _compile(parsed(formula))


def _compile(node: exp.Expr) -> _Compiled:
    if isinstance(node, exp.Paren):
        return _compile(node.this)
    if isinstance(node, exp.Column):
        name = node.name
        return lambda parts: parts[name]
    if isinstance(node, exp.Literal):
        number = float(node.this)
        return lambda parts: number
    if isinstance(node, exp.Coalesce):
        options = [_compile(one) for one in (node.this, *node.expressions)]
        return lambda parts: next((value for one in options if (value := one(parts)) is not None), None)
    if isinstance(node, (exp.Sqrt, exp.Abs)):
        inner, function = _compile(node.this), math.sqrt if isinstance(node, exp.Sqrt) else abs
        return lambda parts: None if (value := inner(parts)) is None else function(value)
    if isinstance(node, (exp.Add, exp.Sub, exp.Mul, exp.Div)):
        return _binary(node)
    raise NotImplementedError(f"formulas know no {type(node).__name__}")


def _binary(node: exp.Binary) -> _Compiled:
    left, right = _compile(node.this), _compile(node.expression)
    operation: Callable[[float, float], float | None] = {
        exp.Add: lambda a, b: a + b,
        exp.Sub: lambda a, b: a - b,
        exp.Mul: lambda a, b: a * b,
        exp.Div: lambda a, b: a / b if b else None,
    }[type(node)]

    def applied(parts: Parts) -> float | None:
        a, b = left(parts), right(parts)
        return None if a is None or b is None else operation(a, b)

    return applied
