"""Refused bodies: look at them, send them through the same door again once the cause is mended, or discard them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from framehouse.errors import ContractError, NotFoundError, Problem
from framehouse.warehouse import Warehouse
from ingest import heartbeats, writer
from ingest.body import elements
from ingest.verdict import Keep, Reach, Status, Verdict

MAX_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Summary:
    """A refused body without the body."""

    id: int
    received_at: datetime
    origin: str
    code: str
    size_bytes: int
    problems: list[Problem]
    replayed_at: datetime | None
    replay_status: str | None


@dataclass(frozen=True, slots=True)
class Refused(Summary):
    """A refused body, byte for byte as it came."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay did: the row is settled unless `status` is rejected. `verdicts` has one for each element."""

    id: int
    status: Status
    code: str | None = None
    errors: list[Problem] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)


def page(
    warehouse: Warehouse,
    after: int = 0,
    limit: int = 100,
    include_replayed: bool = False,
    *,
    code: str | None = None,
) -> list[Summary]:
    """Refused bodies in order of arrival, those with an id above `after`; the next page begins after the last id.

    Raises ContractError for a limit outside 1-1000.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise ContractError(
            f"the limit is {limit}", [Problem("limit", "outside its range", f"1 to {MAX_PAGE}")]
        )
    asked = {"after": after, "limit": limit, "include_replayed": include_replayed, "code": code}
    with warehouse.session() as session:
        return [Summary(**_typed(row)) for row in session.rows("quarantine.page", asked)]


def show(warehouse: Warehouse, id: int) -> Refused:  # noqa: A002 - the table's own word
    """One refused body. Raises NotFoundError."""
    with warehouse.session() as session:
        row = session.row("quarantine.one", {"id": id})
    if row is None:
        raise NotFoundError(f"there is no quarantined body {id}", hint="framehouse quarantine list --all")
    return Refused(**_typed(row))


def replay(warehouse: Warehouse, id: int, mended: bytes | None = None) -> Replay:  # noqa: A002 - as above
    """Send a refused body (or a mended one in its place) through its door again, down to the fence.

    Stored or already known: the row is settled. Refused again: the row stays open, the answer says why, and nothing
    new is quarantined. Where a body holds several elements the good ones are stored all the same; they are duplicates
    the next time. Raises NotFoundError.
    """
    kept = show(warehouse, id)
    try:
        batch = elements(kept.body if mended is None else mended)
    except ContractError as error:
        return Replay(id, Status.REJECTED, error.code, error.problems)
    verdicts: Sequence[Verdict]
    if kept.origin.startswith(heartbeats.ORIGIN):
        verdicts = heartbeats.write_heartbeats(
            warehouse, batch, origin=kept.origin, reach=Reach(back=None), keep=Keep.NEVER
        )
    else:
        verdicts = writer.write(warehouse, batch, origin=kept.origin, reach=Reach(back=None), keep=Keep.NEVER)
    result = _overall(id, list(verdicts))
    if result.status is not Status.REJECTED:
        with warehouse.session() as session:
            session.run("quarantine.mark_replayed", {"id": id, "status": result.status.value})
    return result


def discard(warehouse: Warehouse, id: int) -> bool:  # noqa: A002 - as above
    """Settle a refused body that nobody will mend; its bytes stay. False where it was settled before.

    Raises NotFoundError.
    """
    show(warehouse, id)
    with warehouse.session() as session:
        return session.run("quarantine.mark_replayed", {"id": id, "status": "discarded"}) == 1


def open_ids(
    warehouse: Warehouse, *, code: str | None = None, after: int = 0, limit: int = MAX_PAGE
) -> list[int]:
    """Ids of rows that wait for a replay, in order of arrival."""
    with warehouse.session() as session:
        rows = session.rows("quarantine.open_ids", {"code": code, "after": after, "limit": limit})
    return [row["id"] for row in rows]


def count_open(warehouse: Warehouse) -> int:
    """How many rows wait for a replay."""
    with warehouse.session() as session:
        count: int = session.value("quarantine.count_open")
    return count


def _overall(row_id: int, verdicts: list[Verdict]) -> Replay:
    """One word for all elements: rejected if any was, accepted if any was new, else duplicate."""
    if not verdicts:
        return Replay(row_id, Status.REJECTED, "invalid", [Problem("", "the body is empty", "an event")])
    if refused := [(i, verdict) for i, verdict in enumerate(verdicts) if verdict.status is Status.REJECTED]:
        place, first = refused[0]
        errors = first.errors
        if len(verdicts) > 1:
            errors = [Problem(f"[{place}].{e.path}".rstrip("."), e.message, e.expected) for e in errors]
        return Replay(row_id, Status.REJECTED, first.code, errors, verdicts)
    is_new = any(verdict.status is Status.ACCEPTED for verdict in verdicts)
    return Replay(row_id, Status.ACCEPTED if is_new else Status.DUPLICATE, verdicts=verdicts)


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a statement as arguments of Summary or Refused."""
    problems = [Problem(item["path"], item["message"], item["expected"]) for item in row.pop("problems")]
    if "body" in row:
        row["body"] = bytes(row["body"])
        row["size_bytes"] = len(row["body"])
    return row | {"problems": problems}
