"""Submitting an estimate: what it predicts is spoken for from then on, unless a budget has no room for it.

Submissions go one at a time, each on a snapshot that is taken once the one before has committed, so that two cannot
both take the last of a budget.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from framehouse.errors import BudgetExceededError, NotFoundError, Problem, SubmittedError
from framehouse.estimates.budgets import QUANTITIES, Quantity, in_utc, is_above
from framehouse.estimates.spending import Asked, BudgetState, checked, predicted, states
from framehouse.warehouse import Session, Warehouse

MAX_PAGE = 1000
_LOCK = "budgets.lock_submissions"


@dataclass(frozen=True, slots=True)
class Commitment:
    """A submitted estimate. It is open until it is released, or all of its scenes are found to be done
    (`finished_at`)."""

    estimate_id: UUID
    project: str | None
    committed_at: datetime
    released_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Submission:
    """What a submission did: the commitment, whether it is new, how the budgets of its project stand with it, and what
    people should hear of that."""

    commitment: Commitment
    is_new: bool
    budgets: tuple[BudgetState, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Crossing:
    """A budget came above a level, by a submission or (without an estimate) by what was spent; or refused one.

    Amounts are those of the moment, in the unit that the quantity says.
    """

    id: int
    budget_id: int
    budget: str
    project: str | None
    level: Literal["warn", "block"]
    period_starts_at: datetime
    estimate_id: UUID | None
    quantity: Quantity
    amount: float
    spent: float | None
    committed: float
    asked: float | None
    is_refused: bool
    crossed_at: datetime


def submit(warehouse: Warehouse, estimate_id: UUID, project: str | None = None) -> Submission:
    """Commit a stored estimate to a project (its own, unless another is named). Once more, it changes nothing.

    Raises NotFoundError for an estimate that is not stored, SubmittedError for one that is committed to another project
    than the named one, BudgetExceededError where a budget blocks it, which is recorded.
    """
    with warehouse.session(lock=_LOCK) as session:
        stored = session.row("budgets.estimate", {"id": estimate_id})
        if stored is None:
            raise NotFoundError(
                f"there is no stored estimate {estimate_id}", hint="estimates with store=false are not kept"
            )
        session.run("budgets.finish_commitments")
        known = _commitment(session, estimate_id)
        if known is not None and known.released_at is None:
            if project not in (None, known.project):
                raise _taken(known, project)
            standing = checked(session, known.project)
            return Submission(known, False, standing, _warnings(standing))
        chosen = project or stored["project"]
        standing = checked(session, chosen, _asked(session, estimate_id, stored))
        refusing = [one for one in standing if one.is_blocking]
        if not refusing:
            session.run("budgets.commit", {"id": estimate_id, "project": chosen})
            _record(session, standing, estimate_id)
            made = _commitment(session, estimate_id)
            assert made is not None
            return Submission(made, True, standing, _warnings(standing))
        for one in refusing:
            _add(session, one, "block", estimate_id, is_refused=True)
    raise _refusal(refusing)  # after the commit, which keeps the record


def release(warehouse: Warehouse, estimate_id: UUID) -> Commitment:
    """Withdraw a submission: what it predicted is spoken for no more. Once more, it changes nothing.

    Raises NotFoundError.
    """
    with warehouse.session() as session:
        session.run("budgets.release", {"id": estimate_id})
        found = _commitment(session, estimate_id)
    if found is None:
        raise NotFoundError(
            f"the estimate {estimate_id} was never submitted",
            hint="POST /api/estimates/{id}/submission submits one",
        )
    return found


def note_crossings(warehouse: Warehouse) -> list[str]:
    """Record the levels that budgets have come above by what was spent; those that are new, in words."""
    with warehouse.session(lock=_LOCK) as session:
        session.run("budgets.finish_commitments")
        now = datetime.now(UTC)
        current = [one for one in states(session) if one.starts_at <= now < one.ends_at]
        return _record(session, current, None)


def crossings(
    warehouse: Warehouse, *, budget_id: int | None = None, before: int | None = None, limit: int = 100
) -> list[Crossing]:
    """What was crossed and refused, the latest first; of one budget, and with ids below `before`, on request."""
    params = {"budget_id": budget_id, "before": before, "limit": min(limit, MAX_PAGE)}
    with warehouse.session() as session:
        return [Crossing(**in_utc(row)) for row in session.rows("budgets.crossings", params)]


def _asked(session: Session, estimate_id: UUID, stored: Mapping[str, Any]) -> dict[Quantity, Asked]:
    """What an estimate predicts of what has not been made yet of its scenes."""
    row = session.row("budgets.asked", {"id": estimate_id})
    assert row is not None
    found: dict[Quantity, Asked] = {}
    for quantity in QUANTITIES:
        mean, unknown = predicted(row, quantity)
        # A total's P90 is not the sum of its scenes': it is of the whole batch, and is known for that alone.
        total = (stored["totals"] or {}).get(quantity) or {}
        p90 = total.get("p90") if row["whole_scenes"] == stored["total_scenes"] else None
        is_unknown = unknown == row["scene_count"] > 0
        found[quantity] = Asked(None if is_unknown else mean, p90, unknown)
    return found


def _commitment(session: Session, estimate_id: UUID) -> Commitment | None:
    row = session.row("budgets.commitment", {"id": estimate_id})
    return None if row is None else Commitment(**in_utc(row))


def _record(session: Session, standing: Iterable[BudgetState], estimate_id: UUID | None) -> list[str]:
    """Each level that a budget is above, as the estimate's doing unless it was above before; the new ones in words."""
    new = []
    for one in standing:
        levels: Mapping[Literal["warn", "block"], float | None] = {
            "warn": one.budget.warn_ratio,
            "block": one.budget.block_ratio,
        }
        for level, ratio in levels.items():
            if ratio is not None and is_above(one.total, ratio * one.budget.amount):
                was_above = is_above(one.total - (one.asked or 0.0), ratio * one.budget.amount)
                if _add(session, one, level, None if was_above else estimate_id):
                    new.append(f"{one.sentence} ({level} level crossed)")
    return new


def _add(
    session: Session,
    one: BudgetState,
    level: Literal["warn", "block"],
    estimate_id: UUID | None,
    *,
    is_refused: bool = False,
) -> int:
    """Record a crossing; 1, or 0 where it is recorded already."""
    return session.run(
        "budgets.add_crossing",
        {
            "budget_id": one.budget.id,
            "level": level,
            "period_starts_at": one.starts_at,
            "estimate_id": estimate_id,
            "quantity": one.budget.quantity,
            "amount": one.budget.amount,
            "spent": one.spent,
            "committed": one.committed,
            "asked": one.asked,
            "is_refused": is_refused,
        },
    )


def _warnings(standing: Iterable[BudgetState]) -> tuple[str, ...]:
    found = []
    for one in standing:
        if one.level != "ok":
            found.append(f"{one.sentence} ({one.level} level crossed)")
        found += [f"budget {one.budget.name!r}: {note}" for note in one.notes]
    return tuple(found)


def _taken(known: Commitment, project: str | None) -> SubmittedError:
    whose = "without a project" if known.project is None else f"for the project {known.project!r}"
    message = f"the estimate {known.estimate_id} is submitted already, {whose}"
    expected = "nothing" if known.project is None else f"{known.project!r}, or nothing"
    found = Problem("project", f"{project!r} is another one", expected)
    return SubmittedError(
        message, [found], hint="withdraw that submission first, to submit it for another project"
    )


def _refusal(refusing: Iterable[BudgetState]) -> BudgetExceededError:
    problems, said = [], []
    for one in refusing:
        assert one.budget.block_ratio is not None
        room = max(0.0, one.budget.block_ratio * one.budget.amount - (one.total - (one.asked or 0.0)))
        said.append(f"{one.sentence} (blocks above {one.budget.block_ratio:.0%})")
        problems.append(Problem("", said[-1], f"at most {room:,.2f} {one.budget.quantity} more"))
    return BudgetExceededError(
        "; ".join(said), problems, hint="a smaller batch, a larger budget, or withdraw another submission"
    )
