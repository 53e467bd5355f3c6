"""Writing heartbeats: what each worker did, counted once per worker and instant.

A heartbeat covers a span. What an earlier heartbeat of the same worker covers already stays as it is, so the first
writer of an instant wins and a heartbeat sent twice changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from framehouse.errors import ContractError
from framehouse.events import Heartbeat, printable
from framehouse.warehouse import Session, Warehouse
from framehouse.warehouse.written import WrittenKind, tell
from ingest import names
from ingest.body import Element
from ingest.verdict import (
    Judgement,
    Keep,
    Reach,
    Refusal,
    Status,
    Verdict,
    below_fence,
    in_transactions,
    judge,
    quarantine,
    quarantine_body,
)

#: Refused heartbeats are kept under an origin that begins with this, so that a replay knows their door.
ORIGIN = "heartbeats:"


@dataclass(slots=True, kw_only=True)
class HeartbeatResult(Verdict):
    """The answer for one heartbeat.

    worker            who sent it, if it said so
    covered_seconds   how much of its span was new and is stored now; 0 for a duplicate, None for a rejected one
    """

    worker: str | None = None
    covered_seconds: float | None = None


def write_heartbeats(
    warehouse: Warehouse,
    batch: Sequence[Element],
    *,
    origin: str = "http",
    reach: Reach | None = None,
    keep: Keep = Keep.ALWAYS,
) -> list[HeartbeatResult]:
    """Store what is new of each good heartbeat, quarantine the bad ones; one result per element, in order.

    When this returns, everything it acknowledges is committed. Raises UnreachableError: then send the batch again.
    """
    judged = [Judgement(element, _judged(element, reach or Reach())) for element in batch]

    def store(session: Session, batch: Sequence[Judgement[Heartbeat]]) -> list[HeartbeatResult]:
        results = [_result(judged.element, judged.found) for judged in batch]
        pairs = [
            (judged.found, result)
            for judged, result in zip(batch, results, strict=True)
            if isinstance(judged.found, Heartbeat)
        ]
        if pairs:
            _store(session, pairs)
        refused = [
            (judged.element.raw, result)
            for judged, result in zip(batch, results, strict=True)
            if result.status is Status.REJECTED
        ]
        quarantine(session, refused, ORIGIN + origin.removeprefix(ORIGIN), keep)
        return results

    return in_transactions(warehouse, judged, store)


def keep_refused(warehouse: Warehouse, raw: bytes, error: ContractError, *, origin: str) -> HeartbeatResult:
    """Quarantine a body that could not even be split into heartbeats."""
    found = quarantine_body(warehouse, raw, error, ORIGIN + origin)
    return HeartbeatResult(Status.REJECTED, error.code, found)


def _judged(element: Element, reach: Reach) -> Heartbeat | Refusal:
    return judge(element, Heartbeat, reach, oldest="covered_from", newest="covered_to")


def _result(element: Element, judged: Heartbeat | Refusal) -> HeartbeatResult:
    if isinstance(judged, Heartbeat):
        return HeartbeatResult(worker=judged.worker)
    result = HeartbeatResult(Status.REJECTED, judged.code, judged.problems)
    if isinstance(element.value, dict) and isinstance(worker := element.value.get("worker"), str):
        result.worker = printable(worker)
    return result


def _store(session: Session, pairs: list[tuple[Heartbeat, HeartbeatResult]]) -> None:
    session.run("ingest.hold_fence")
    raw_from: datetime | None = session.value("ingest.raw_from")
    for beat, result in pairs:
        if problem := below_fence(raw_from, beat.covered_from, "covered_from"):
            result.refuse("too_old", problem)
    good = [(beat, result) for beat, result in pairs if result.status is Status.ACCEPTED]
    ids = names.ids(session, {"worker": sorted({beat.worker for beat, _ in good})})
    for worker_id in sorted(ids.values()):  # always in this order, so that two batches never deadlock
        session.run("ingest.lock_worker", [worker_id])
    for beat, result in good:
        added = session.rows(
            "ingest.add_heartbeat",
            {
                "worker_id": ids["worker", beat.worker],
                "state": beat.state.value,
                "covered_from": beat.covered_from,
                "covered_to": beat.covered_to,
            },
        )
        result.covered_seconds = sum((row["covered_seconds"] for row in added), 0.0)
        if not added:
            result.status = Status.DUPLICATE
    if new := [beat for beat, result in good if result.status is Status.ACCEPTED]:
        tell(
            session,
            WrittenKind.HEARTBEATS,
            len(new),
            span=(min(beat.covered_from for beat in new), max(beat.covered_to for beat in new)),
            workflows=(),
            workers=(beat.worker for beat in new),
        )
