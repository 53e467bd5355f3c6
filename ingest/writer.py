"""Writing attempts exactly once.

A batch is one transaction: hold the fence, claim the keys in the ledger (in key order), COPY the attempts whose claim
succeeded. Nothing is acknowledged before the commit, and a batch sent twice changes nothing. Claiming first means that
rows go straight into the hypertable, with no temporary table between.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pydantic import ValidationError

from framehouse.errors import ContractError, Problem
from framehouse.events import Event, Outcome, printable, problems
from framehouse.warehouse import Session, Warehouse
from framehouse.warehouse.pool import Json, is_retryable
from ingest import rows
from ingest.body import Element, duplicated_keys

HTTP_REACH = timedelta(days=400)
CLOCK_SLACK = timedelta(hours=1)
TABLE = "telemetry.performance_metrics"


class Status(StrEnum):
    """What became of one event."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


@dataclass(slots=True)
class Result:
    """The answer for one event; `code` and `errors` say why it was rejected."""

    status: Status
    job_id: str | None = None
    attempt: int | None = None
    code: str | None = None
    errors: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reach:
    """How far back and ahead of now `finished_at` may lie. None: as far as the fence."""

    back: timedelta | None = HTTP_REACH
    ahead: timedelta = CLOCK_SLACK


@dataclass(slots=True)
class _Item:
    element: Element
    event: Event | None
    result: Result
    hash: bytes = b""


def write(
    warehouse: Warehouse, batch: Sequence[Element], *, origin: str = "http", reach: Reach | None = None
) -> list[Result]:
    """Store the good events of a batch, quarantine the others; one Result per element, in order.

    When this returns, everything it acknowledges is committed. Raises UnreachableError, and then nothing was stored.
    """
    items = [_check(element, reach or Reach()) for element in batch]
    _refuse_twins(items)
    try:
        _transaction(warehouse, items, origin)
    except Exception as error:
        if not is_retryable(error):
            raise
        _transaction(warehouse, items, origin)
    return [item.result for item in items]


def write_events(warehouse: Warehouse, events: Iterable[Event], *, origin: str = "python") -> list[Result]:
    """Store events that are already typed, down to the fence."""
    batch = [Element(None, event.model_dump_json(exclude_defaults=True).encode()) for event in events]
    return write(
        warehouse,
        [Element(json.loads(element.raw), element.raw) for element in batch],
        origin=origin,
        reach=Reach(back=None),
    )


def _check(element: Element, reach: Reach) -> _Item:
    """Validate one element; a rejected one keeps its identity if it had one."""
    result = Result(Status.ACCEPTED)
    if isinstance(element.value, dict):
        job_id, attempt = element.value.get("job_id"), element.value.get("attempt", 1)
        result.job_id = printable(job_id) if isinstance(job_id, str) else None
        result.attempt = attempt if type(attempt) is int and 0 < attempt < 2**15 else None
    found = duplicated_keys(element.value)
    if found:
        return _Item(element, None, _reject(result, "duplicate_key", *found))
    try:
        event = Event.model_validate(element.value)
    except ValidationError as error:
        return _Item(element, None, _reject(result, "invalid", *problems(error)))
    result.job_id, result.attempt = event.job_id, event.attempt
    now = datetime.now(UTC)
    if event.finished_at > now + reach.ahead:
        limit = f"at most {_words(reach.ahead)} ahead of the server's clock"
        return _Item(
            element, None, _reject(result, "in_future", Problem("finished_at", "in the future", limit))
        )
    if reach.back is not None and event.finished_at < now - reach.back:
        limit = f"at most {_words(reach.back)} ago; `framehouse load` takes older events"
        return _Item(element, None, _reject(result, "too_old", Problem("finished_at", "too long ago", limit)))
    return _Item(element, event, result, rows.body_hash(event))


def _refuse_twins(items: list[_Item]) -> None:
    """Within a batch the first of equal keys counts; the others are duplicates or conflicts of it."""
    first: dict[tuple[str, int], bytes] = {}
    for item in items:
        if item.event is None:
            continue
        key = (item.event.job_id, item.event.attempt)
        if key not in first:
            first[key] = item.hash
        else:
            _settle_known(item, first[key])


def _transaction(warehouse: Warehouse, items: list[_Item], origin: str) -> None:
    # A retry of the transaction starts from what was known before it.
    open_items = [item for item in items if item.event is not None and item.result.status is Status.ACCEPTED]
    before = [(item, item.result) for item in open_items]
    try:
        with warehouse.session() as session:
            if open_items:
                session.run("ingest.hold_fence")
                _refuse_below_fence(session, open_items)
                ids = _ids(session, open_items)
                fresh = _claim(
                    session, [item for item in open_items if item.result.status is Status.ACCEPTED]
                )
                session.copy_in(TABLE, rows.COLUMNS, (rows.row(event, ids) for event in fresh))
                _add_outcomes(session, fresh)
            for item in items:
                if item.result.status is Status.REJECTED:
                    session.run("ingest.quarantine", quarantine_row(item.element.raw, item.result, origin))
    except BaseException:
        for item, result in before:
            item.result = Result(Status.ACCEPTED, result.job_id, result.attempt)
        raise


def quarantine_row(raw: bytes, result: Result, origin: str) -> dict[str, object]:
    """Parameters of the statement that keeps a refused body."""
    return {
        "origin": origin,
        "code": result.code,
        "body": raw,
        "problems": Json([asdict(problem) for problem in result.errors]),
    }


def keep_refused(warehouse: Warehouse, raw: bytes, error: ContractError, *, origin: str) -> Result:
    """Quarantine a body that could not even be split into events."""
    result = _reject(Result(Status.REJECTED), "not_json", *error.problems)
    with warehouse.session() as session:
        session.run("ingest.quarantine", quarantine_row(raw, result, origin))
    return result


def _refuse_below_fence(session: Session, items: list[_Item]) -> None:
    raw_from: datetime | None = session.value("ingest.raw_from")
    if raw_from is None:
        return
    for item in items:
        assert item.event is not None
        if item.event.finished_at < raw_from:
            problem = Problem(
                "finished_at", "raw data of that time is gone", f"at or after {raw_from.isoformat()}"
            )
            _reject(item.result, "too_old", problem)


def _ids(session: Session, items: list[_Item]) -> dict[tuple[str, str], int]:
    """Ids of every name the events mention; unseen ones are registered, unknown tiers refused."""
    wanted = dict(rows.names([item.event for item in items if item.event is not None]))
    ids = {(row["kind"], row["name"]): row["id"] for row in session.rows("ingest.ids_by_name", wanted)}
    unseen = {kind: [n for n in found if (kind, n) not in ids] for kind, found in wanted.items()}
    for name in unseen.pop("tier"):
        tiers = ", ".join(row["name"] for row in session.rows("ingest.tier_names"))
        for item in items:
            if item.event is not None and item.event.tier == name:
                problem = Problem("tier", f"there is no tier {name!r}", f"null or one of: {tiers}")
                _reject(item.result, "unknown_tier", problem)
    if any(unseen.values()):
        for kind, found in unseen.items():
            if found:
                session.run(f"ingest.register_{kind}", [found])
        for row in session.rows("ingest.ids_by_name", wanted):
            ids[row["kind"], row["name"]] = row["id"]
    return ids


def _claim(session: Session, items: list[_Item]) -> list[Event]:
    """Claim the attempts in the ledger; the events whose claim is new."""
    if not items:
        return []
    by_key = {(item.event.job_id, item.event.attempt): item for item in items if item.event is not None}
    keys = {"job_ids": [key[0] for key in by_key], "attempts": [key[1] for key in by_key]}
    claim = keys | {
        "hashes": [item.hash for item in by_key.values()],
        "finished": [item.event.finished_at for item in by_key.values() if item.event is not None],
    }
    fresh = {(row["job_id"], row["attempt"]) for row in session.rows("ingest.claim_attempts", claim)}
    if len(fresh) < len(by_key):
        for row in session.rows("ingest.known_hashes", keys):
            key = (row["job_id"], row["attempt"])
            if key not in fresh:
                _settle_known(by_key[key], bytes(row["body_hash"]))
    return [item.event for key, item in by_key.items() if key in fresh and item.event is not None]


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
                "segments": [event.segment_count for event in done],
                "finished": [event.finished_at for event in done],
            },
        )


def _settle_known(item: _Item, known_hash: bytes) -> None:
    if item.hash == known_hash:
        item.result.status = Status.DUPLICATE
    else:
        problem = Problem(
            "job_id",
            "this attempt is known with other content",
            "the same content, or another attempt number",
        )
        _reject(item.result, "conflict", problem)


def _reject(result: Result, code: str, *found: Problem) -> Result:
    result.status, result.code, result.errors = Status.REJECTED, code, list(found)
    return result


def _words(duration: timedelta) -> str:
    hours = round(duration.total_seconds() / 3600)
    return f"{hours // 24} days" if hours >= 48 else f"{hours} h"
