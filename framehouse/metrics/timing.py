"""What a query makes of time: how coarse its buckets are, and between which constants its rows lie."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlglot import exp

from framehouse.errors import QueryError
from framehouse.metrics.canonical import FLIPPED, canonical
from framehouse.windows import FINE, Grain
from framehouse.zones import zone

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
#: How long the units of time are that date_trunc and extract know; months and more begin with a day.
_TRUNCATED = {"hour": Grain.HOUR} | dict.fromkeys(
    ("day", "week", "month", "quarter", "year", "decade", "century", "millennium"), Grain.DAY
)
_EXTRACTED = _TRUNCATED | dict.fromkeys(("dow", "isodow", "doy", "isoyear"), Grain.DAY)
_UNITS = {
    "minute": timedelta(minutes=1), "min": timedelta(minutes=1), "hour": HOUR, "hr": HOUR, "h": HOUR,
    "day": DAY, "d": DAY, "week": 7 * DAY, "w": 7 * DAY,
}  # fmt: skip
_MONTHS = {"month", "mon", "quarter", "year", "yr", "y"}
_FINEST_FIRST = (Grain.FINE, Grain.HOUR, Grain.DAY)


@dataclass(frozen=True, slots=True)
class Bucketing:
    """Time cut into buckets that begin with multiples of a grain in a zone (and so are whole ones of it)."""

    grain: Grain
    zone_name: str


@dataclass(frozen=True, slots=True)
class Bound:
    """A comparison of the time with a constant: `after`, from it on (or later than it), or before."""

    is_start: bool
    is_strict: bool  # later than the constant, or (of an end) before it
    constant: exp.Expr


def bucketing(time: exp.Column) -> Bucketing | None:
    """What the expression around a time column is a function of; None where that is less than a quarter hour.

    The session's zone is UTC.
    """
    node, zone_name = _outside(time), "UTC"
    inner: exp.Expr = time
    is_local = False
    if isinstance(node, exp.AtTimeZone) and node.this.unnest() is time:
        named = _zone(node.args["zone"])
        if named is None:
            return None
        zone_name, is_local, inner = named, True, node
        node = _outside(node)
    if isinstance(node, exp.Cast) and node.to.is_type(exp.DataType.Type.DATE):
        return Bucketing(Grain.DAY, zone_name)
    if isinstance(node, exp.Extract) and node.expression.unnest() is inner:
        return _made(_EXTRACTED.get(node.name.lower()), zone_name)
    if isinstance(node, exp.Anonymous):
        return _called(node, inner, zone_name, is_local=is_local)
    return None


def combined(found: Sequence[Bucketing]) -> Bucketing | None:
    """A bucketing of which all buckets of some others are made; None for no buckets at all."""
    if not found:
        return None
    zones = {one.zone_name for one in found}
    if len(zones) > 1:
        return Bucketing(Grain.FINE, "UTC")
    return Bucketing(min((one.grain for one in found), key=_FINEST_FIRST.index), zones.pop())


def bounds(condition: exp.Expr, column: str) -> list[Bound] | None:
    """The comparisons with constants that a condition on the bare time column is made of; None for any other."""
    node = canonical(condition)
    if isinstance(node, exp.And):
        both = [bounds(one, column) for one in (node.left, node.right)]
        return None if None in both else [one for some in both for one in some or []]
    time = exp.column(column)
    if not isinstance(node, (exp.GT, exp.GTE, exp.LT, exp.LTE, exp.EQ)):
        return None
    left, right = node.this, node.expression
    kind: type[exp.Expr] = type(node)
    if right == time:
        left, right, kind = right, left, FLIPPED[kind]
    if left != time or not _is_constant(right):
        return None
    if kind is exp.EQ:
        return [Bound(True, False, right), Bound(False, False, right)]
    return [Bound(kind in {exp.GT, exp.GTE}, kind in {exp.GT, exp.LT}, right)]


def _is_constant(node: exp.Expr) -> bool:
    return not node.find(exp.Column, exp.Query, exp.Placeholder, exp.Parameter)


def _outside(node: exp.Expr) -> exp.Expr | None:
    found = node.parent
    while isinstance(found, exp.Paren):
        found = found.parent
    return found


def _made(grain: Grain | None, zone_name: str) -> Bucketing | None:
    return None if grain is None else Bucketing(grain, zone_name)


def _called(call: exp.Anonymous, time: exp.Expr, zone_name: str, *, is_local: bool) -> Bucketing | None:
    """What a function cuts time into, if its arguments are constants that say so."""
    name, given = call.name.lower(), [one.unnest() for one in call.expressions]
    if name == "date" and len(given) == 1:
        return Bucketing(Grain.DAY, zone_name)
    if len(given) < 2 or given[1] is not time:
        return None
    rest = given[2:]
    if name in {"date_trunc", "time_bucket"} and rest:
        named = _zone(rest[0]) if len(rest) == 1 and not is_local else None
        if named is None:
            return None
        zone_name = named
    if name == "date_trunc":
        return _made(_TRUNCATED.get(_text(given[0]).lower()), zone_name)
    if name == "date_part":
        return _made(_EXTRACTED.get(_text(given[0]).lower()), zone_name) if not rest else None
    width = _width(given[0])
    if name == "time_bucket" and width is not None:
        return _made(_grain(width), zone_name)
    if name == "date_bin" and width is not None and len(rest) == 1:
        return _binned(width, rest[0], zone_name, is_local=is_local)
    return None


def _binned(width: timedelta, given: exp.Expr, zone_name: str, *, is_local: bool) -> Bucketing | None:
    try:
        origin = datetime.fromisoformat(_text(given))
    except ValueError:
        return None
    if origin.tzinfo is not None:
        if is_local:
            return None
        origin = origin.astimezone(UTC).replace(tzinfo=None)
    grains = [_grain(width), _grain(origin - datetime(2000, 1, 3))]  # noqa: DTZ001 - local to whatever zone it is
    if None in grains:
        return None
    return Bucketing(min((one for one in grains if one is not None), key=_FINEST_FIRST.index), zone_name)


def _grain(width: timedelta) -> Grain | None:
    """The coarsest grain that a width is a multiple of."""
    for grain, length in ((Grain.DAY, DAY), (Grain.HOUR, HOUR), (Grain.FINE, FINE)):
        if not width % length:
            return grain
    return None


def _zone(node: exp.Expr) -> str | None:
    """The IANA zone that a constant (an argument called `timezone`, too) names."""
    if isinstance(node, exp.Kwarg):
        return _zone(node.expression) if node.name.lower() == "timezone" else None
    if not node.is_string:
        return None
    try:
        zone(node.name)
    except QueryError:
        return None
    return str(node.name)


def _text(node: exp.Expr) -> str:
    """A constant's text: 'x', or 'x' cast to a time or an interval."""
    inner = node.this if isinstance(node, exp.Cast) else node
    return str(inner.name) if inner.is_string else ""


def _width(node: exp.Expr) -> timedelta | None:
    """The length of a constant interval; months and years count as whole days, which they begin with."""
    text = _text(node)
    if isinstance(node, exp.Interval):
        text = f"{node.this.name} {node.args['unit'].name if node.args.get('unit') else ''}"
    words = re.fullmatch(r"\s*(?:\d{1,5}\s*[a-z]+\s*)+", text.lower())
    if words is None:
        return None
    width = timedelta()
    for count, plural in re.findall(r"(\d+)\s*([a-z]+)", text.lower()):
        unit = plural if plural in _UNITS.keys() | _MONTHS else plural.removesuffix("s")
        if unit in _MONTHS:
            width += int(count) * 30 * DAY
        elif unit in _UNITS:
            width += int(count) * _UNITS[unit]
        else:
            return None
    return width or None
