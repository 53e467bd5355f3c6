"""How budgets stand: spent, spoken for, asked for, and the level that this comes to.

What is spent comes from the metrics of the attempts themselves, failed and canceled ones too; what is spoken for, from
the predictions of scenes that were submitted and have not been made yet. Nothing unknown counts as nothing: it is
counted beside the sum, which is at least what it says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from framehouse.errors import NoAnswerError
from framehouse.estimates.budgets import QUANTITIES, Budget, Quantity, budgets, is_above
from framehouse.estimates.totals import Distribution
from framehouse.metrics.read import Reader
from framehouse.metrics.table import number
from framehouse.units import gib_from_mib, hours_from_seconds
from framehouse.warehouse import Session, Warehouse
from framehouse.windows import Window
from framehouse.zones import zone

Level = Literal["ok", "warn", "block"]
#: By quantity: what a batch will take of it; None where that is unknown.
Totals = Mapping[str, Distribution | None]

#: Per quantity: the metrics that add up to what was spent, and the one that counts attempts which do not say theirs.
_SPENT: Mapping[Quantity, tuple[tuple[str, ...], str]] = {
    "gpu_hours": (("gpu_hours", "wasted_gpu_hours"), "gpu_time_unknown_count"),
    "cost": (("priced_gpu_cost",), "gpu_cost_unknown_count"),
    "disk_gb": (("output_gb",), "output_unknown_count"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for of one quantity (a mean of None: unknown), and how many scenes are not in it."""

    mean: float | None
    p90: float | None
    unknown_scenes: int


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget in one of its periods, `starts_at` to `ends_at`; amounts are in the unit that its quantity says.

    spent             by the period's attempts, as far as they say; None: raw rows that it takes were dropped
    unknown_attempts  attempts that are not in it, because they do not say theirs or it has no rate
    committed         predicted of what is still to be made of submitted scenes, in whichever period it will
    asked             the mean of what is asked for now; None: unknown
    unknown_scenes    scenes, committed and asked for, that are in neither, because nobody can predict theirs
    total             all of that together
    p90_total         the same with the P90 of what is asked for
    remaining         the amount less the total; below 0 where it is exceeded
    level             what the total comes to; p90_level what p90_total does
    notes             what else has to be known to read this, for people
    """

    budget: Budget
    starts_at: datetime
    ends_at: datetime
    spent: float | None
    unknown_attempts: int
    committed: float
    asked: float | None
    unknown_scenes: int
    total: float
    p90_total: float | None
    remaining: float
    level: Level
    p90_level: Level | None
    notes: tuple[str, ...]

    @property
    def is_blocking(self) -> bool:
        """Whether what is asked for is refused. Nothing is, for what nobody knows or for what adds nothing."""
        return self.level == "block" and bool(self.asked)

    @property
    def sentence(self) -> str:
        """How it stands, in words."""
        unit = self.budget.quantity
        parts = [
            f"{'an unknown amount' if self.spent is None else f'{self.spent:,.2f}'} spent",
            f"{self.committed:,.2f} committed",
            f"{'an unknown amount' if self.asked is None else f'{self.asked:,.2f}'} asked for",
        ]
        return f"budget {self.budget.name!r}: {', '.join(parts)}, of {self.budget.amount:,.2f} {unit}"


def states(session: Session, *, include_archived: bool = False) -> list[BudgetState]:
    """How all budgets stand now, in the order of their names."""
    moment = _Moment(session)
    return [moment.state(one, _NOTHING) for one in budgets(session, include_archived=include_archived)]


def state(session: Session, one: Budget) -> BudgetState:
    """How one budget stands now."""
    return _Moment(session).state(one, _NOTHING)


def check(
    session: Session, project: str | None, totals: Totals, *, unknown_scenes: int = 0
) -> tuple[BudgetState, ...]:
    """How the budgets of a project's work, its own and the whole studio's, would stand with `totals` besides.

    A quantity without a distribution is unknown, as are the scenes that no total counts.
    """
    asked: dict[Quantity, Asked] = {}
    for quantity in QUANTITIES:
        total = totals.get(quantity)
        asked[quantity] = (
            Asked(None, None, max(1, unknown_scenes))
            if total is None
            else Asked(total.mean, total.p90, unknown_scenes)
        )
    return checked(session, project, asked)


def checked(
    session: Session, project: str | None, asked: Mapping[Quantity, Asked] | None = None
) -> tuple[BudgetState, ...]:
    """The same of what is asked for by quantity, or of nothing more; only budgets whose period is now are checked."""
    moment = _Moment(session)
    return tuple(
        moment.state(one, _NOTHING if asked is None else asked[one.quantity])
        for one in budgets(session)
        if one.project in {None, project} and moment.is_within(one)
    )


def told(
    warehouse: Warehouse, project: str | None, totals: Totals, *, unknown_scenes: int = 0
) -> tuple[BudgetState, ...]:
    """What the answer to an estimate tells of budgets: nothing unless it names its project."""
    if project is None:
        return ()
    with warehouse.session(is_snapshot=True) as session:
        return check(session, project, totals, unknown_scenes=unknown_scenes)


def predicted(row: Mapping[str, Any], quantity: Quantity) -> tuple[float, int]:
    """Of sums over scenes (`budgets.committed`, `budgets.asked`): a quantity's mean, and how many scenes lack it."""
    column = {"gpu_hours": "gpu_seconds", "cost": "cost", "disk_gb": "disk_mb"}[quantity]
    amount = float(row[column])
    if quantity == "gpu_hours":
        amount = hours_from_seconds(amount)
    elif quantity == "disk_gb":
        amount = gib_from_mib(amount)
    return amount, row["scene_count"] - row[f"{column}_count"]


_NOTHING = Asked(0.0, None, 0)


class _Moment:
    """One snapshot, and what several budgets read of it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._now = datetime.now(UTC)
        self._tz = zone(session.value("metrics.studio_zone") or "UTC")
        self._committed: dict[str | None, Mapping[str, Any]] = {}

    def is_within(self, one: Budget) -> bool:
        """Whether a period of the budget is now."""
        return self._now in one.window(self._now, self._tz)

    def state(self, one: Budget, asked: Asked) -> BudgetState:
        window = one.window(self._now, self._tz)
        spent, unknown_attempts = _spent(self._session, one, window)
        committed, unknown_scenes = 0.0, asked.unknown_scenes
        if (
            self._now in window
        ):  # what is still to be done will be in no period that is over, or has not begun
            committed, unpredicted = predicted(self._open(one.project), one.quantity)
            unknown_scenes += unpredicted
        before = (spent or 0.0) + committed
        total = before + (asked.mean or 0.0)
        p90_total = None if asked.p90 is None else before + asked.p90
        level, p90_level = _level(one, total), None if p90_total is None else _level(one, p90_total)
        return BudgetState(
            budget=one,
            starts_at=window.start,
            ends_at=window.end,
            spent=spent,
            unknown_attempts=unknown_attempts,
            committed=committed,
            asked=asked.mean,
            unknown_scenes=unknown_scenes,
            total=total,
            p90_total=p90_total,
            remaining=one.amount - total,
            level=level,
            p90_level=p90_level,
            notes=tuple(_notes(one, spent, unknown_attempts, unknown_scenes, level, p90_level)),
        )

    def _open(self, project: str | None) -> Mapping[str, Any]:
        """Sums over all scenes that are committed, of a project or of the whole studio."""
        if project not in self._committed:
            row = self._session.row("budgets.committed", {"project": project})
            assert row is not None
            self._committed[project] = row
        return self._committed[project]


def _spent(session: Session, one: Budget, window: Window) -> tuple[float | None, int]:
    names, unknown = _SPENT[one.quantity]
    where = {} if one.project is None else {"project": one.project}
    try:
        [row] = Reader(session, window=window, where=where).table(["attempt_count", *names, unknown])
    except NoAnswerError:
        return None, 0
    # Of no attempts nothing is known but that they took nothing.
    return sum(number(row[name]) or 0.0 for name in names), int(number(row[unknown]) or 0)


def _level(one: Budget, total: float) -> Level:
    if one.block_ratio is not None and is_above(total, one.block_ratio * one.amount):
        return "block"
    return "warn" if is_above(total, one.warn_ratio * one.amount) else "ok"


_ORDER: Sequence[Level] = ("ok", "warn", "block")


def _notes(
    one: Budget,
    spent: float | None,
    unknown_attempts: int,
    unknown_scenes: int,
    level: Level,
    p90_level: Level | None,
) -> list[str]:
    found = []
    if spent is None:
        found.append("what was spent is unknown: raw rows of the period were dropped")
    if unknown_attempts:
        why = "have no rate or do not say their GPU time" if one.quantity == "cost" else "do not say theirs"
        found.append(f"at least this was spent: {_count(unknown_attempts, 'attempt')} {why}")
    if unknown_scenes:
        found.append(f"at least this will be spent: {_count(unknown_scenes, 'scene')} cannot be predicted")
    if p90_level is not None and _ORDER.index(p90_level) > _ORDER.index(level):
        found.append(f"the mean is {level}, and the P90 would cross the {p90_level} level")
    return found


def _count(number_of: int, name: str) -> str:
    return f"{number_of:,} {name}{'' if number_of == 1 else 's'}"
