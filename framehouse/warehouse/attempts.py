"""Reading attempts back, in the contract's own names and nesting."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

from framehouse.errors import ContractError, NotFoundError, Problem
from framehouse.warehouse.pool import Session, Warehouse

MAX_PAGE = 1000
_OUTCOMES = ("succeeded", "failed", "canceled")
_GROUPS = ("input", "host")


def attempts_of_job(warehouse: Warehouse, job_id: str) -> list[dict[str, Any]]:
    """The manifest of a job: every attempt in order; empty for a job that the warehouse does not know."""
    if not _is_storable(job_id):
        return []
    with warehouse.session(is_snapshot=True) as session:
        return _by_keys(session, session.rows("attempts.keys_of_job", {"job_id": job_id}))


def page(
    warehouse: Warehouse,
    *,
    workflow: str | None = None,
    worker: str | None = None,
    tier: str | None = None,
    outcome: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    cursor: str | None = None,
    limit: int = 100,
) -> tuple[list[dict[str, Any]], str | None]:
    """Attempts that finished in [start, end), the latest first, and the cursor of the next page (None at the end).

    Names filter exactly. What arrives meanwhile neither repeats nor hides a row that was there before. Raises
    NotFoundError for a name that nothing has, ContractError for a bad cursor, outcome, limit or time.
    """
    _check(outcome, limit, start, end)
    after = _read_cursor(cursor)
    with warehouse.session(is_snapshot=True) as session:
        asked = {
            "workflow_id": _id(session, "workflow", workflow),
            "worker_id": _id(session, "worker", worker),
            "tier_id": _id(session, "tier", tier),
            "outcome": outcome,
            "start": start,
            "end": end,
            "limit": limit + 1,
        }
        keys = session.rows("attempts.keys_of_page", asked | after)
        found = _by_keys(session, keys[:limit])
    return found, _cursor(keys[limit - 1]) if len(keys) > limit else None


def _check(outcome: str | None, limit: int, start: datetime | None, end: datetime | None) -> None:
    problems = []
    if outcome is not None and outcome not in _OUTCOMES:
        problems.append(
            Problem("outcome", f"there is no outcome {outcome!r}", f"one of: {', '.join(_OUTCOMES)}")
        )
    if not 1 <= limit <= MAX_PAGE:
        problems.append(Problem("limit", f"{limit} is outside its range", f"1 to {MAX_PAGE}"))
    for name, value in (("from", start), ("to", end)):
        if value is not None and value.tzinfo is None:
            problems.append(Problem(name, "the time has no offset", "a time such as 2026-03-01T12:00:00Z"))
    if problems:
        raise ContractError("the question cannot be asked like this", problems)


def _id(session: Session, kind: str, name: str | None) -> int | None:
    if name is None:
        return None
    found: int | None = None
    if _is_storable(name):
        found = session.value(f"attempts.{kind}_id", {"name": name})
    if found is None:
        raise NotFoundError(f"there is no {kind} {name!r}")
    return found


def _by_keys(session: Session, keys: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the attempts say, in the order of their keys."""
    asked = {
        "finished": [key["finished_at"] for key in keys],
        "job_ids": [key["job_id"] for key in keys],
        "attempts": [key["attempt"] for key in keys],
    }
    return [_nested(row) for row in session.rows("attempts.by_keys", asked)]


def _is_storable(text: str) -> bool:
    """Whether the database can hold the text at all: no NUL, no half characters."""
    try:
        return "\x00" not in text and bool(text.encode())
    except UnicodeEncodeError:
        return False


def _nested(row: dict[str, Any]) -> dict[str, Any]:
    """Columns such as input_width become {"input": {"width": ...}}; a group of which nothing is known is None."""
    nested: dict[str, Any] = {}
    for name, value in row.items():
        group, _, field = name.partition(".")
        if field:
            nested.setdefault(group, {})[field] = value
        else:
            nested[name] = value
    for group in _GROUPS:
        if all(value is None for value in nested[group].values()):
            nested[group] = None
    return nested


def _cursor(row: dict[str, Any]) -> str:
    place = [row["finished_at"].astimezone(UTC).isoformat(), row["job_id"], row["attempt"]]
    return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")


def _read_cursor(cursor: str | None) -> dict[str, Any]:
    if cursor is None:
        return {"after_at": None, "after_job": None, "after_attempt": None}
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        finished, job_id, attempt = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        at = datetime.fromisoformat(finished)
        is_sound = at.tzinfo is not None and isinstance(job_id, str) and type(attempt) is int
        if is_sound and _is_storable(job_id) and 0 < attempt < 2**15:
            return {"after_at": at.astimezone(UTC), "after_job": job_id, "after_attempt": attempt}
    except (ValueError, TypeError, OverflowError, RecursionError):
        pass
    problem = Problem("cursor", "this is no cursor", "the next_cursor of the page before, unchanged")
    raise ContractError("the cursor cannot be read", [problem])
