"""Budgets: how many GPU hours, how much money or disk a project, or the whole studio, may spend in a period."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter, ValidationError

from framehouse.errors import ContractError, NotFoundError, Problem, TakenError
from framehouse.events import MEASURE_MAX, Name
from framehouse.warehouse import Session, Warehouse
from framehouse.windows import Window, midnight

Quantity = Literal["gpu_hours", "cost", "disk_gb"]
Period = Literal["day", "week", "month", "quarter", "year", "once"]

QUANTITIES: tuple[Quantity, ...] = ("gpu_hours", "cost", "disk_gb")
PERIODS: tuple[Period, ...] = ("day", "week", "month", "quarter", "year", "once")
MAX_RATIO = 100.0
_MONTHS: Mapping[str, int] = {"month": 1, "quarter": 3, "year": 12}


@dataclass(frozen=True, slots=True)
class Terms:
    """What a budget says.

    quantity     what is counted, which is also the unit of the amount; cost is in the currency of the GPU rates
    project      whose work; None: the whole studio's
    period       a recurring one follows the studio's calendar, `once` has a beginning and an end of its own
    warn_ratio   from above which share of the amount on people are warned
    block_ratio  from above which share on submissions are refused; None: never
    """

    name: str
    quantity: Quantity
    amount: float
    period: Period = "month"
    project: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    warn_ratio: float = 0.8
    block_ratio: float | None = 1.0


@dataclass(frozen=True, slots=True)
class Budget:
    """A stored budget: its terms, and what it is known by."""

    id: int
    name: str
    project: str | None
    quantity: Quantity
    amount: float
    period: Period
    starts_at: datetime | None
    ends_at: datetime | None
    warn_ratio: float
    block_ratio: float | None
    archived_at: datetime | None
    created_at: datetime
    updated_at: datetime

    def window(self, instant: datetime, tz: ZoneInfo) -> Window:
        """The period that holds an instant in the studio's zone; the one that there is of `once`."""
        if self.starts_at is not None and self.ends_at is not None:
            return Window(self.starts_at, self.ends_at)
        return calendar_period(self.period, instant, tz)


def calendar_period(period: Period, instant: datetime, tz: ZoneInfo) -> Window:
    """The day, week (from Monday on), month, quarter or year of a zone that holds an instant."""
    day = instant.astimezone(tz).date()
    if (months := _MONTHS.get(period)) is None:
        first = day - timedelta(days=day.weekday()) if period == "week" else day
        return Window(midnight(first, tz), midnight(first + timedelta(days=7 if period == "week" else 1), tz))
    first = date(day.year, (day.month - 1) // months * months + 1, 1)
    years, month = divmod(first.month - 1 + months, 12)
    return Window(midnight(first, tz), midnight(date(first.year + years, month + 1, 1), tz))


def budgets(session: Session, *, include_archived: bool = False) -> list[Budget]:
    """Budgets in the order of their names."""
    return [
        Budget(**in_utc(row)) for row in session.rows("budgets.all", {"include_archived": include_archived})
    ]


def budget(session: Session, id: int) -> Budget:  # noqa: A002 - the table's own word
    """One budget, archived or not. Raises NotFoundError."""
    if (row := session.row("budgets.one", {"id": id, "name": None})) is None:
        raise NotFoundError(f"there is no budget {id}", hint="framehouse budget list --all")
    return Budget(**in_utc(row))


def named(session: Session, name: str) -> Budget | None:
    """The budget of that name, archived or not."""
    row = session.row("budgets.one", {"id": None, "name": name})
    return None if row is None else Budget(**in_utc(row))


def create(warehouse: Warehouse, terms: Terms) -> Budget:
    """Store a new budget. Raises ContractError for terms that are none, TakenError for a name that is given."""
    _check(terms)
    with warehouse.session() as session:
        session.run("budgets.lock")
        _check_name(session, terms.name)
        return budget(session, session.value("budgets.create", _stored(session, terms)))


def change(warehouse: Warehouse, id: int, terms: Terms) -> Budget:  # noqa: A002 - as above
    """Put other terms in the place of a budget's; one that was archived is in use again.

    Raises NotFoundError, and what `create` raises.
    """
    _check(terms)
    with warehouse.session() as session:
        session.run("budgets.lock")
        _check_name(session, terms.name, of=budget(session, id).id)
        session.run("budgets.change", _stored(session, terms) | {"id": id})
        return budget(session, id)


def put(warehouse: Warehouse, terms: Terms) -> Budget:
    """Create the budget of that name, or change it."""
    with warehouse.session() as session:
        known = named(session, terms.name)
    return create(warehouse, terms) if known is None else change(warehouse, known.id, terms)


def archive(warehouse: Warehouse, id: int) -> Budget:  # noqa: A002 - as above
    """Let a budget rest: it is checked no more, and what it crossed stays. Raises NotFoundError."""
    with warehouse.session() as session:
        session.run("budgets.archive", {"id": id})
        return budget(session, id)


def in_utc(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its times in UTC, whatever zone the database's session has."""
    return {
        name: value.astimezone(UTC) if isinstance(value, datetime) else value for name, value in row.items()
    }


def _stored(session: Session, terms: Terms) -> dict[str, Any]:
    session.run("budgets.register_project", {"project": terms.project})
    return asdict(terms)


def _check_name(session: Session, name: str, *, of: int | None = None) -> None:
    known = named(session, name)
    if known is not None and known.id != of:
        which = "an archived budget" if known.archived_at else "a budget"
        raise TakenError(
            f"there is {which} {name!r} already",
            [Problem("name", "taken", "a name that no other budget has")],
            hint=f"change that one (id {known.id}), which also brings it back",
        )


def _check(terms: Terms) -> None:
    names = {"name": terms.name, "project": terms.project}
    problems = [
        Problem(field, "no name", "text of 1 to 200 characters, without control characters")
        for field, value in names.items()
        if value is not None and not _is_name(value)
    ]
    if terms.quantity not in QUANTITIES:
        problems.append(Problem("quantity", "nothing that is budgeted", f"one of: {', '.join(QUANTITIES)}"))
    if not 0 < terms.amount <= MEASURE_MAX:
        problems.append(Problem("amount", "no amount", "a number above 0"))
    problems += _wrong_period(terms)
    if not 0 < terms.warn_ratio <= MAX_RATIO:
        problems.append(Problem("warn_ratio", "no share", "a number above 0, such as 0.8"))
    elif terms.block_ratio is not None and not terms.warn_ratio <= terms.block_ratio <= MAX_RATIO:
        expected = f"null, or a number from warn_ratio ({terms.warn_ratio:g}) on, such as 1"
        problems.append(Problem("block_ratio", "below the level of the warning, or no share", expected))
    if problems:
        said = "; ".join(f"{problem.path} must be {problem.expected}" for problem in problems)
        raise ContractError(f"this is no budget: {said}", problems)


_name = TypeAdapter[str](Name)


def _is_name(value: str) -> bool:
    try:
        return _name.validate_python(value) == value
    except ValidationError:
        return False


def _wrong_period(terms: Terms) -> list[Problem]:
    if terms.period not in PERIODS:
        return [Problem("period", "no period", f"one of: {', '.join(PERIODS)}")]
    edges = {"starts_at": terms.starts_at, "ends_at": terms.ends_at}
    if terms.period != "once":
        return [
            Problem(name, f"a {terms.period} follows the calendar", "null, or the period once")
            for name, at in edges.items()
            if at is not None
        ]
    missing = [Problem(name, "missing", "an instant") for name, at in edges.items() if at is None]
    if terms.starts_at is not None and terms.ends_at is not None and terms.starts_at >= terms.ends_at:
        return [Problem("ends_at", "not after starts_at", "a later instant")]
    return missing


def is_above(value: float, level: float) -> bool:
    """Whether a sum is above a level by more than the last bits of its parts."""
    return value > level and not math.isclose(value, level, rel_tol=1e-9)
