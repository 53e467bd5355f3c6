"""Writing attempts exactly once.

A batch is one transaction: hold the fence, claim the keys in the ledger (in key order), COPY the attempts whose claim
succeeded. Nothing is acknowledged before the commit, and a batch sent twice changes nothing. Claiming first means that
rows go straight into the hypertable, with no temporary table between. Only where the database itself refuses a value is
the batch split, until that value stands alone.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from framehouse.errors import ContractError, Problem
from framehouse.events import Event, Outcome, printable
from framehouse.warehouse import Session, Warehouse
from framehouse.warehouse.pool import Array
from framehouse.warehouse.written import WrittenKind, tell
from ingest import names, rows
from ingest.body import Element
from ingest.verdict import (
    CLOCK_SLACK,
    HTTP_REACH,
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

__all__ = [
    "CLOCK_SLACK",
    "HTTP_REACH",
    "Judged",
    "Keep",
    "Reach",
    "Result",
    "Status",
    "check",
    "judge_batch",
    "keep_refused",
    "store",
    "write",
    "write_events",
]

TABLE = "telemetry.performance_metrics"


@dataclass(slots=True, kw_only=True)
class Result(Verdict):
    """The answer for one event."""

    job_id: str | None = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Judged(Judgement[Event]):
    """An element, what the contract says of it, and the hash of what an event says."""

    hash: bytes


@dataclass(slots=True)
class _Item:
    """An event that may be stored, and what becomes of it."""

    event: Event
    hash: bytes
    result: Result

    @property
    def key(self) -> tuple[str, int]:
        return self.event.job_id, self.event.attempt

    @property
    def is_open(self) -> bool:
        return self.result.status is Status.ACCEPTED


def write(
    warehouse: Warehouse,
    batch: Sequence[Element],
    *,
    origin: str = "http",
    reach: Reach | None = None,
    keep: Keep = Keep.ALWAYS,
) -> list[Result]:
    """Store the good events of a batch, quarantine the others; one Result per element, in order.

    When this returns, everything it acknowledges is committed. Raises UnreachableError: then send the batch again;
    whatever of it had been committed is answered as duplicate.
    """
    return store(warehouse, judge_batch(batch, reach=reach), origin=origin, keep=keep)


def judge_batch(batch: Sequence[Element], *, reach: Reach | None = None) -> list[Judged]:
    """The first half of `write`: everything that needs no database."""
    reach = reach or Reach()
    judged = [_judged(element, reach) for element in batch]
    return [
        Judged(element, found, b"" if isinstance(found, Refusal) else rows.body_hash(found))
        for element, found in zip(batch, judged, strict=True)
    ]


def store(
    warehouse: Warehouse, batch: Sequence[Judged], *, origin: str = "http", keep: Keep = Keep.ALWAYS
) -> list[Result]:
    """The second half of `write`: the transaction, as `write` says."""

    def work(session: Session, batch: Sequence[Judged]) -> list[Result]:
        # Results are made anew by each try of the transaction.
        results = [_result(judged.element, judged.found) for judged in batch]
        items = [
            _Item(judged.found, judged.hash, result)
            for judged, result in zip(batch, results, strict=True)
            if isinstance(judged.found, Event)
        ]
        if items:
            _store(session, items)
        refused = [
            (judged.element.raw, result)
            for judged, result in zip(batch, results, strict=True)
            if result.status is Status.REJECTED
        ]
        quarantine(session, refused, origin, keep)
        return results

    return in_transactions(warehouse, batch, work)


def write_events(warehouse: Warehouse, events: Iterable[Event], *, origin: str = "python") -> list[Result]:
    """Store events that are already typed, down to the fence."""
    bodies = [event.model_dump_json(exclude_defaults=True).encode() for event in events]
    batch = [Element(json.loads(body), body) for body in bodies]
    return write(warehouse, batch, origin=origin, reach=Reach(back=None))


def check(element: Element, *, reach: Reach | None = None) -> Result:
    """What `write` would say of an element before it asks the database."""
    return _result(element, _judged(element, reach or Reach()))


def keep_refused(warehouse: Warehouse, raw: bytes, error: ContractError, *, origin: str) -> Result:
    """Quarantine a body that could not even be split into events."""
    return Result(Status.REJECTED, error.code, quarantine_body(warehouse, raw, error, origin))


def _judged(element: Element, reach: Reach) -> Event | Refusal:
    return judge(element, Event, reach, oldest="finished_at", newest="finished_at")


def _result(element: Element, judged: Event | Refusal) -> Result:
    """The answer so far; a rejected event keeps its identity if it had one."""
    if isinstance(judged, Event):
        return Result(job_id=judged.job_id, attempt=judged.attempt)
    result = Result(Status.REJECTED, judged.code, judged.problems)
    if isinstance(element.value, dict):
        job_id, attempt = element.value.get("job_id"), element.value.get("attempt", 1)
        result.job_id = printable(job_id) if isinstance(job_id, str) else None
        result.attempt = attempt if type(attempt) is int and 0 < attempt < 2**15 else None
    return result


def _store(session: Session, items: list[_Item]) -> None:
    session.run("ingest.hold_fence")
    _refuse_below_fence(session, items)
    tier_ids = _refuse_unknown_tiers(session, items)
    # Twins are settled by the claim, after every other check: a twin of a refused event stands for itself.
    fresh = _claim(session, [item for item in items if item.is_open])
    if fresh:
        fresh = _with_projects(session, fresh)
        mentioned = dict(rows.names(fresh))
        ids = names.ids(session, mentioned)
        ids |= {("tier", name): tier_id for name, tier_id in tier_ids.items()}
        session.copy_in(TABLE, rows.COLUMNS, (rows.row(event, ids) for event in fresh))
        _add_outcomes(session, fresh)
        tell(
            session,
            WrittenKind.ATTEMPTS,
            len(fresh),
            span=(min(event.finished_at for event in fresh), max(event.finished_at for event in fresh)),
            workflows=mentioned["workflow"],
            workers=mentioned["worker"],
        )


def _refuse_below_fence(session: Session, items: list[_Item]) -> None:
    raw_from = session.value("ingest.raw_from")
    for item in items:
        if problem := below_fence(raw_from, item.event.finished_at, "finished_at"):
            item.result.refuse("too_old", problem)


def _refuse_unknown_tiers(session: Session, items: list[_Item]) -> dict[str, int]:
    """Refuse events of unknown tiers; the ids of the known ones."""
    if all(item.event.tier is None for item in items):
        return {}
    known = names.tiers(session)
    for item in items:
        if item.is_open and item.event.tier is not None and item.event.tier not in known:
            item.result.refuse("unknown_tier", names.unknown_tier(item.event.tier, known))
    return known


def _claim(session: Session, items: list[_Item]) -> list[Event]:
    """Claim the attempts in the ledger; the events whose claim is new. All others are duplicates or conflicts."""
    if not items:
        return []
    first: dict[tuple[str, int], _Item] = {}
    for item in items:
        first.setdefault(item.key, item)
    keys: dict[str, Array[Any]] = {
        "job_ids": Array(job_id for job_id, _ in first),
        "attempts": Array(attempt for _, attempt in first),
    }
    claim = keys | {
        "hashes": Array(item.hash for item in first.values()),
        "finished": Array(item.event.finished_at for item in first.values()),
    }
    fresh = {(row["job_id"], row["attempt"]) for row in session.rows("ingest.claim_attempts", claim)}
    known = {key: first[key].hash for key in fresh}
    if len(fresh) < len(first):
        for row in session.rows("ingest.known_hashes", keys):
            known[row["job_id"], row["attempt"]] = bytes(row["body_hash"])
    stored = []
    for item in items:
        if item.key in fresh and item is first[item.key]:
            stored.append(item.event)
        elif item.hash == known[item.key]:
            item.result.status = Status.DUPLICATE
        else:
            item.result.refuse("conflict", _CONFLICT)
    return stored


_CONFLICT = Problem(
    "job_id", "this attempt is known with other content", "the same content, or another attempt number"
)


def _with_projects(session: Session, events: list[Event]) -> list[Event]:
    """The events, with the project that they were submitted or estimated for where they name none: what they take
    leaves what is committed for that project, and has to enter what it spent."""
    asked = {event.estimate_id for event in events if event.estimate_id is not None and event.project is None}
    if not asked:
        return events
    known = {row["id"]: row["project"] for row in session.rows("ingest.projects_of_estimates", [list(asked)])}
    return [
        event.model_copy(update={"project": known[event.estimate_id]})
        if event.project is None and event.estimate_id in known
        else event
        for event in events
    ]


def _add_outcomes(session: Session, events: list[Event]) -> None:
    """Add succeeded attempts of estimated jobs to what their estimates are scored against."""
    done = [
        event
        for event in events
        if event.estimate_id is not None
        and event.scene_key is not None
        and event.outcome is Outcome.SUCCEEDED
    ]
    if done:
        session.run(
            "ingest.add_outcomes",
            {
                "estimate_ids": [event.estimate_id for event in done],
                "scene_keys": [event.scene_key for event in done],
                "gpu": [0.0 if event.gpu_count == 0 else event.gpu_seconds for event in done],
                "wall": [event.wall_seconds for event in done],
                "output": [event.output_mb for event in done],
                "energy": [event.energy_joules for event in done],
                "vram": [event.vram_peak_mb for event in done],
                "rss": [event.rss_peak_mb for event in done],
                "segments": [event.segment_count for event in done],
                "finished": [event.finished_at for event in done],
            },
        )
