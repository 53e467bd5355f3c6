"""Histories out of a warehouse: what each group took, day by day and stratum by stratum, as sums of logarithms."""

from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime

from framehouse.errors import QueryError
from framehouse.metrics.answers import Answer, Filter, read_parts
from framehouse.metrics.changes import Day
from framehouse.metrics.compare import LogSums
from framehouse.metrics.provenance import Provenance, parts_told, provenance
from framehouse.metrics.quantities import QUANTITIES, Quantity
from framehouse.metrics.rollups import ATTEMPTS
from framehouse.warehouse import Session
from framehouse.windows import Grain, Window

COMPARED = tuple(quantity.name for quantity in QUANTITIES if quantity.is_logged)


def quantity_of(name: str) -> Quantity:
    """A quantity whose logarithms are kept. Raises QueryError for any other name."""
    for quantity in QUANTITIES:
        if quantity.name == name and quantity.is_logged:
            return quantity
    raise QueryError(f"{name!r} cannot be compared", hint=f"one of: {', '.join(COMPARED)}")


def histories(
    session: Session,
    quantity: str,
    *,
    window: Window,
    by: str,
    strata: Sequence[str],
    zone_name: str | None = None,
    where: Mapping[str, Filter] | None = None,
) -> tuple[dict[str | None, list[Day]], Provenance]:
    """The days of each group (each value of the dimension `by`), stratified by other dimensions, in order.

    Only what is positive has a logarithm and counts. Raises QueryError for a quantity or dimension that cannot be had.
    """
    answer = _read(session, quantity, window, (by, *strata), where, Grain.DAY, zone_name)
    found: dict[str | None, dict[datetime, dict[Hashable, LogSums]]] = {}
    for (start, group, *key), values in answer.values.items():
        if sums := _sums(values, quantity):
            assert isinstance(start, datetime)
            days = found.setdefault(None if group is None else str(group), {})
            days.setdefault(start, {})[tuple(key)] = sums
    listed = {group: [Day(start, days[start]) for start in sorted(days)] for group, days in found.items()}
    return listed, provenance(answer, ATTEMPTS)


def totals(
    session: Session,
    quantity: str,
    *,
    window: Window,
    by: str,
    strata: Sequence[str],
    where: Mapping[str, Filter] | None = None,
) -> tuple[dict[str, dict[Hashable, LogSums]], Provenance]:
    """Each group's strata over the whole window; groups without a name are left out."""
    answer = _read(session, quantity, window, (by, *strata), where)
    found: dict[str, dict[Hashable, LogSums]] = {}
    for (group, *key), values in answer.values.items():
        if group is not None and (sums := _sums(values, quantity)):
            found.setdefault(str(group), {})[tuple(key)] = sums
    return found, provenance(answer, ATTEMPTS)


def _read(
    session: Session,
    quantity: str,
    window: Window,
    by: Sequence[str],
    where: Mapping[str, Filter] | None,
    grain: Grain | None = None,
    zone_name: str | None = None,
) -> Answer:
    parts = [*_parts(quantity_of(quantity).name), *parts_told(ATTEMPTS)]
    return read_parts(
        session, ATTEMPTS, parts, window=window, by=by, grain=grain, zone_name=zone_name, where=where
    )


def _parts(quantity: str) -> list[str]:
    return [f"{quantity}_ln_{kind}" for kind in ("count", "sum", "sumsq")]


def _sums(values: Mapping[str, object], quantity: str) -> LogSums | None:
    count, total, squares = (values[part] for part in _parts(quantity))
    if not count:
        return None
    assert isinstance(count, int)
    assert isinstance(total, float)
    assert isinstance(squares, float)
    return LogSums(count, total, squares)
