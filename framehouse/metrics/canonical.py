"""What an aggregate is of, in a form in which equal things are equal, and the parts that add up to it.

Both sides are read here: the aggregates that people write, and the expressions that the registry declares. So a part
that is added to the registry is known here at once.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations

from sqlglot import exp, parse_one

from framehouse.events import Outcome, WorkerState
from framehouse.metrics.dialect import AnalystSql
from framehouse.metrics.quantities import Part
from framehouse.metrics.rollups import Source

#: For each source the column that puts every one of its rows into one class; it is never null.
_CLASSES: dict[str, tuple[str, frozenset[str]]] = {
    "attempts": ("outcome", frozenset(map(str, Outcome))),
    "heartbeats": ("state", frozenset(map(str, WorkerState))),
}
#: Comparisons, and what they are with their sides exchanged.
FLIPPED: dict[type[exp.Expr], type[exp.Binary]] = {
    exp.EQ: exp.EQ, exp.NEQ: exp.NEQ, exp.GT: exp.LT, exp.LT: exp.GT, exp.GTE: exp.LTE, exp.LTE: exp.GTE,
}  # fmt: skip
#: More parts than these never make up one class of rows.
_MOST_PARTS = 3


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a source: those of some classes for which all the other conditions hold."""

    classes: frozenset[str]
    others: frozenset[exp.Expr] = frozenset()

    def __and__(self, other: "Rows") -> "Rows":
        return Rows(self.classes & other.classes, self.others | other.others)


@dataclass(frozen=True, slots=True)
class Measure:
    """An aggregate (count, sum, min, max) of an expression over some rows; without an argument: how many there are."""

    kind: str
    argument: exp.Expr | None
    rows: Rows


def all_rows(source: Source) -> Rows:
    return Rows(_CLASSES[source.name][1])


def rows_where(source: Source, conditions: Iterable[exp.Expr]) -> Rows:
    """The rows for which some conditions hold."""
    found = all_rows(source)
    for condition in conditions:
        for one in conjuncts(canonical(condition)):
            classes = _classes(one, source)
            if classes is not None:
                found &= Rows(classes)
            elif one != exp.true():
                found &= Rows(all_rows(source).classes, frozenset([one]))
    return found


def is_about_classes(source: Source, condition: exp.Expr) -> bool:
    """Whether a condition only chooses among the source's classes of rows."""
    return all(_classes(one, source) is not None for one in conjuncts(canonical(condition)))


def argument_of(expression: exp.Expr) -> exp.Expr:
    """What is aggregated. A column that was made a double is the column: sums of whole numbers are exact in one."""
    found = canonical(expression)
    is_double = isinstance(found, exp.Cast) and found.to.is_type(exp.DataType.Type.DOUBLE)
    return found.this if is_double and isinstance(found.this, exp.Column) else found


def conjuncts(condition: exp.Expr) -> Iterator[exp.Expr]:
    """The conditions that `and` joins."""
    node = condition.unnest()
    if isinstance(node, exp.And):
        yield from conjuncts(node.left)
        yield from conjuncts(node.right)
    else:
        yield node


def canonical(expression: exp.Expr) -> exp.Expr:
    """The expression without tables' names, parentheses, and other ways to write the same."""
    root: exp.Expr = exp.Paren(this=expression.copy())
    for node in reversed(list(root.walk(bfs=False))):  # what stands inside comes first
        plain = _plain(node)
        if plain is not node and node is not root:
            node.replace(plain)
    found = root.this
    assert isinstance(found, exp.Expr)
    found.pop()
    return found


def _plain(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Paren):
        return _this(node).copy()
    if isinstance(node, exp.Column) and isinstance(node.this, exp.Identifier):
        return exp.column(node.name)
    if isinstance(node, exp.Anonymous):
        return exp.Anonymous(this=node.name.lower(), expressions=[e.copy() for e in node.expressions])
    if isinstance(node, exp.Cast) and node.this.is_string and node.to.is_type(exp.DataType.Type.TEXT):
        return _this(node).copy()
    if isinstance(node, exp.Between) and not node.args.get("symmetric"):
        low, high = (node.this.copy() >= node.args[edge].copy() for edge in ("low", "high"))
        return exp.and_(low, exp.LTE(this=node.this.copy(), expression=high.expression.copy()), copy=False)
    if isinstance(node, exp.Not) and isinstance(node.this, (exp.EQ, exp.NEQ)):
        other = exp.NEQ if isinstance(node.this, exp.EQ) else exp.EQ
        return other(this=node.this.this.copy(), expression=node.this.expression.copy())
    if type(node) in FLIPPED:
        return _compared(node)
    return node


def _this(node: exp.Expr) -> exp.Expr:
    inner = node.this
    assert isinstance(inner, exp.Expr)
    return inner


def _compared(node: exp.Expr) -> exp.Expr:
    """A comparison with its constant on the right, and none with `true`."""
    left, right = node.this, node.expression
    if isinstance(left, (exp.Literal, exp.Boolean)) and not isinstance(right, (exp.Literal, exp.Boolean)):
        return _compared(FLIPPED[type(node)](this=right.copy(), expression=left.copy()))
    if isinstance(node, exp.EQ) and right == exp.true():
        whole: exp.Expr = left.copy()
        return whole
    return node


def _classes(condition: exp.Expr, source: Source) -> frozenset[str] | None:
    """The classes of rows that a canonical condition lets through, if it is about nothing else."""
    column, everything = _CLASSES[source.name]
    if isinstance(condition, (exp.EQ, exp.NEQ)):
        if condition.this == exp.column(column) and condition.expression.is_string:
            named = frozenset([condition.expression.name]) & everything
            return named if isinstance(condition, exp.EQ) else everything - named
        return None
    if isinstance(condition, exp.In):
        listed = condition.expressions
        if condition.this == exp.column(column) and listed and all(one.is_string for one in listed):
            return frozenset(one.name for one in listed) & everything
        return None
    if isinstance(condition, exp.Not):
        inner = _classes(condition.this, source)
        return None if inner is None else everything - inner
    if isinstance(condition, (exp.And, exp.Or)):
        left, right = _classes(condition.left, source), _classes(condition.right, source)
        if left is None or right is None:
            return None
        return left & right if isinstance(condition, exp.And) else left | right
    return None


def parts_for(source: Source, measure: Measure, not_null: frozenset[str]) -> tuple[Part, ...] | None:
    """The parts that make up a measure, in disjoint classes of rows; None where the registry has none such."""
    same = _same(source, measure, not_null)
    for count in range(1, _MOST_PARTS + 1):
        for some in combinations(sorted(same, key=sorted), count):
            if frozenset().union(*some) == measure.rows.classes and sum(map(len, some)) == len(
                measure.rows.classes
            ):
                return tuple(same[classes] for classes in some)
    return None


def classes_kept(source: Source, measure: Measure, not_null: frozenset[str]) -> list[frozenset[str]]:
    """Of which classes of rows the registry has parts of a measure's kind."""
    return list(_same(source, measure, not_null))


def _same(source: Source, measure: Measure, not_null: frozenset[str]) -> dict[frozenset[str], Part]:
    """The parts of a measure's kind, by their classes of rows."""
    measure = _counted(measure, not_null)
    return {
        of.rows.classes: part
        for of, part in _declared(source, not_null)
        if replace(of, rows=measure.rows) == measure and of.rows.others == measure.rows.others
    }


def _counted(measure: Measure, not_null: frozenset[str]) -> Measure:
    """Counting a column that is never null is counting rows."""
    is_column = isinstance(measure.argument, exp.Column) and measure.argument.name in not_null
    return replace(measure, argument=None) if measure.kind == "count" and is_column else measure


@lru_cache(8)
def _declared(source: Source, not_null: frozenset[str]) -> tuple[tuple[Measure, Part], ...]:
    """What the registry's parts are of; of equal ones the first."""
    found: dict[Measure, Part] = {}
    for part in source.parts:
        tree = parse_one(part.raw, dialect=AnalystSql)
        where = [tree.expression.this] if isinstance(tree, exp.Filter) else []
        call = tree.this if isinstance(tree, exp.Filter) else tree
        assert isinstance(call, exp.Anonymous)
        if len(call.expressions) != 1:
            continue  # a histogram
        [given] = call.expressions
        argument = None if isinstance(given, exp.Star) else argument_of(given)
        of = _counted(Measure(call.name.lower(), argument, rows_where(source, where)), not_null)
        found.setdefault(of, part)
    return tuple(found.items())
