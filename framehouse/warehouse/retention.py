"""Dropping raw data that is older than it has to be kept: `framehouse retention`.

Rollups are kept for ever, so nothing may recompute a bucket whose raw rows are gone. The fence keeps that,
`ops.retention.raw_from`: the first studio midnight at or after the end of the last dropped chunk. Writers refuse what
is older, and triggers, views and maintenance ignore it.

The order is what makes it safe: become the one maintainer, bring every cell up to date, stop writers at the fence, work
off what they wrote last, and only then, in one transaction in which nobody writes, deletes or reads, move the fence and
drop the chunks. Killed anywhere before that transaction's end, nothing has happened. Nobody is kept waiting for more
than some seconds: where a backup or a long question is in the way, it gives up and says so.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from framehouse.errors import ContractError, LockedError, WarehouseError
from framehouse.progress import SILENT, Reporter
from framehouse.warehouse.build import is_built
from framehouse.warehouse.maintain import maintain, work_off
from framehouse.warehouse.pool import Warehouse
from framehouse.windows import Grain, ceil
from framehouse.zones import zone

SHORTEST_KEEP = timedelta(days=90)
#: Longer than any event is old: more would be for ever, and reaches back to where there are no dates.
LONGEST_KEEP = timedelta(days=100 * 365)
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Policy:
    """How long raw rows are kept (None: for ever), and from when on they are there (None: all of them)."""

    raw_keep: timedelta | None
    raw_from: datetime | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A span of raw rows of `relation` (attempts or heartbeats), and its bytes on disk."""

    relation: str
    range_start: datetime
    range_end: datetime
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would do at this moment: the chunks it would drop, and where the fence would be then."""

    policy: Policy
    dropped: tuple[Chunk, ...]
    kept: tuple[Chunk, ...]
    raw_from: datetime | None


def set_keep(warehouse: Warehouse, keep: timedelta | None) -> None:
    """Set how long raw rows are kept; None keeps them for ever. Drops nothing by itself.

    Raises ContractError for less than 90 days, and for more than 100 years.
    """
    check_keep(keep)
    with warehouse.session() as session:
        session.run("retention.set_keep", {"keep": keep})


def check_keep(keep: timedelta | None) -> None:
    """Raises ContractError for less than 90 days, and for more than 100 years."""
    if keep is None:
        return
    if keep < SHORTEST_KEEP:
        raise ContractError(
            f"raw data has to be kept for at least {SHORTEST_KEEP.days} days, not {keep.days}",
            hint="trends, comparisons and late events need it",
        )
    if keep > LONGEST_KEEP:
        raise ContractError(
            f"raw data can be kept for at most {LONGEST_KEEP.days} days (100 years), or for ever",
            hint="framehouse retention set forever",
        )


def preview(
    warehouse: Warehouse, *, proposed: timedelta | None = None, now: datetime | None = None
) -> Preview:
    """What a run would drop: whole chunks that ended longer ago than raw rows are kept (or would be, as `proposed`)."""
    with warehouse.session(is_snapshot=True) as session:
        [policy] = session.records(Policy, "retention.policy")
        chunks = session.records(Chunk, "retention.chunks")
        studio_zone = session.value("maintain.calendar") or "UTC"
    policy = replace(policy, raw_keep=proposed or policy.raw_keep)
    if policy.raw_keep is None:
        return Preview(policy, (), tuple(chunks), policy.raw_from)
    until = (now or datetime.now(UTC)) - min(policy.raw_keep, LONGEST_KEEP)
    dropped = tuple(chunk for chunk in chunks if chunk.range_end <= until)
    kept = tuple(chunk for chunk in chunks if chunk.range_end > until)
    ends = [ceil(chunk.range_end, Grain.DAY, zone(studio_zone)) for chunk in dropped]
    fence = max([*ends, *([policy.raw_from] if policy.raw_from else [])], default=None)
    return Preview(policy, dropped, kept, fence)


def drop(warehouse: Warehouse, planned: Preview, report: Reporter = SILENT) -> None:
    """Drop what was planned, and nothing else. Safe to kill at any moment, and to repeat.

    Raises WarehouseError when rows keep coming and going below the new fence, or writers do not let go of the old one.
    """
    if not planned.dropped:
        return
    assert planned.raw_from is not None
    if not is_built(warehouse):
        raise WarehouseError(
            "the rollups are not those of this version, and raw data is all there is of some of them",
            hint="framehouse build",
        )
    before = max(chunk.range_end for chunk in planned.dropped)
    report.step("bringing every cell up to date")
    maintain(warehouse, report)
    report.step(f"dropping {len(planned.dropped)} chunks of raw data")
    for _ in range(_TRIES):
        try:
            if _drop_behind(warehouse, before, planned.raw_from):
                return
        except LockedError as error:
            raise LockedError(
                "somebody maintains, writes or reads for long (a backup, say), and a drop has to wait for that",
                hint="run it again later; `framehouse serve` tries again in an hour",
            ) from error
    raise WarehouseError(
        f"rows before {planned.raw_from.isoformat()} keep changing, so their raw data cannot be dropped",
        hint="wait until whoever deletes there has finished, and run it again",
    )


def _drop_behind(warehouse: Warehouse, before: datetime, fence: datetime) -> bool:
    with warehouse.autocommit() as session:
        session.run("retention.wait_patiently")
        session.run("retention.hold_maintenance")
        work_off(session)
        session.run("retention.wait_briefly")
        session.run("retention.hold_fence")
        work_off(session)
        with session.transaction():
            session.run("retention.stop_changes")
            if session.value("retention.has_marks_below", {"fence": fence}):
                return False
            session.run("retention.move_fence", {"fence": fence})
            session.rows("retention.drop_chunks", {"before": before})
    return True
