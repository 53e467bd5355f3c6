"""Keeping the cells of rollups up to date: `framehouse maintain`.

Readers never wait for this and never see a wrong number, because the views compute touched buckets from their source;
it only makes them faster. The order is what makes it safe: read marks, recompute their buckets, delete exactly those
marks. A mark that arrives meanwhile stays, and its bucket is recomputed once more.

On the Apache edition a round is one READ COMMITTED transaction. On Community `refresh_continuous_aggregate` cannot run
in one, so marks stay until it has returned; killed at any point, the next round does the same work again.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg

from framehouse.progress import SILENT, Reporter
from framehouse.warehouse.pool import Session, Warehouse
from framehouse.windows import FINE, floor_utc

SOURCES = ("attempts", "heartbeats")
_FINE_A_ROUND = 192
_DAYS_A_ROUND = 4


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits to be recomputed: marks of fine buckets and of days, and buckets of new rollups."""

    touched_buckets: int
    touched_days: int
    pending_buckets: int

    @property
    def total(self) -> int:
        return self.touched_buckets + self.touched_days + self.pending_buckets


@dataclass(frozen=True, slots=True)
class _Rollup:
    name: str
    source: str
    grain: str
    cells: str
    studio_zone: str
    block_minutes: int
    recompute: str | None

    @property
    def width(self) -> timedelta:
        return FINE if self.grain == "fine" else timedelta(minutes=self.block_minutes)


#: Brings the cells of some buckets of a rollup up to date.
_Recompute = Callable[[Session, _Rollup, Sequence[datetime]], None]


def backlog(warehouse: Warehouse) -> Backlog:
    """What waits at this moment."""
    with warehouse.session() as session:
        return session.records(Backlog, "maintain.backlog")[0]


def maintain(warehouse: Warehouse, report: Reporter = SILENT) -> int:
    """Work the backlog off; the number of buckets recomputed (0 also when another maintainer is at work).

    Safe to kill at any moment and to call as often as one likes.
    """
    with warehouse.autocommit() as session:
        if not session.value("maintain.try_lock"):
            return 0
        try:
            return work_off(session, report)
        finally:
            # Closing the connection gives the lock back too, but some time after this returned.
            with suppress(psycopg.Error):
                session.value("maintain.unlock")


def work_off(session: Session, report: Reporter = SILENT) -> int:
    """Work off what waits now, though not what writers add meanwhile; the number of buckets recomputed.

    `session` commits each statement by itself and holds the maintenance lock.
    """
    is_community = session.value("maintain.is_community")
    newest = session.value("maintain.newest_mark")
    total = session.records(Backlog, "maintain.backlog")[0].total
    session.run("maintain.forget_below_fence")
    done = 0
    while recomputed := _community_round(session, newest) if is_community else _apache_round(session, newest):
        done += recomputed
        report.advance(done, max(total, done), f"{done} buckets")
    return done


def _apache_round(session: Session, newest: int) -> int:
    # READ COMMITTED: the rows are read after the marks, and the lock was got before both.
    with session.transaction():
        return _round(session, newest, _recompute_apache)


def _community_round(session: Session, newest: int) -> int:
    return _round(session, newest, _refresh_community)


def _round(session: Session, newest: int, recompute: _Recompute) -> int:
    """One bounded step of everything that waits; the number of buckets recomputed."""
    rollups = session.records(_Rollup, "maintain.rollups")
    done = 0
    for source in SOURCES:
        own = [rollup for rollup in rollups if rollup.source == source]
        done += _touched_buckets(session, source, newest, own, recompute)
        done += _touched_days(session, source, own, recompute)
    return done + _pending(session, rollups, recompute)


def _touched_buckets(
    session: Session, source: str, newest: int, rollups: list[_Rollup], recompute: _Recompute
) -> int:
    marks = session.rows(
        "maintain.touched_buckets", {"source": source, "newest": newest, "limit": _FINE_A_ROUND}
    )
    if not marks:
        return 0
    buckets = [mark["bucket"] for mark in marks]
    for rollup in rollups:  # quarter hours before the blocks that are computed from them
        if rollup.grain != "day":
            recompute(session, rollup, sorted({floor_utc(bucket, rollup.width) for bucket in buckets}))
    zone = next((rollup.studio_zone for rollup in rollups if rollup.grain == "day"), None)
    # One statement each, and the days first: killed between them, a day is recomputed twice, never forgotten.
    session.run("maintain.add_touched_days", {"source": source, "buckets": buckets, "zone": zone})
    session.run("maintain.delete_bucket_marks", [[i for mark in marks for i in mark["ids"]]])
    return len(buckets)


def _touched_days(session: Session, source: str, rollups: list[_Rollup], recompute: _Recompute) -> int:
    marks = session.rows("maintain.touched_days", {"source": source, "limit": _DAYS_A_ROUND})
    if not marks:
        return 0
    days = [mark["bucket"] for mark in marks]
    for rollup in rollups:
        if rollup.grain == "day":
            recompute(session, rollup, days)
    session.run("maintain.delete_day_marks", [[i for mark in marks for i in mark["ids"]]])
    return len(days)


def _pending(session: Session, rollups: list[_Rollup], recompute: _Recompute) -> int:
    """A step of the first rollup's backfill that is not done, newest buckets first; fine ones before daily ones."""
    for rollup in rollups:
        limit = _DAYS_A_ROUND if rollup.grain == "day" else _FINE_A_ROUND
        rows = session.rows("maintain.pending", {"rollup": rollup.name, "limit": limit})
        if rows:
            buckets = sorted(row["bucket"] for row in rows)
            recompute(session, rollup, buckets)
            session.run("maintain.delete_pending", {"rollup": rollup.name, "buckets": buckets})
            return len(buckets)
    return 0


def _recompute_apache(session: Session, rollup: _Rollup, buckets: Sequence[datetime]) -> None:
    """Cells are a table: delete, then insert from the source."""
    assert rollup.recompute is not None
    session.delete_buckets(rollup.cells, buckets)
    session.run_text(rollup.recompute, [list(buckets)])


def _refresh_community(session: Session, rollup: _Rollup, buckets: Sequence[datetime]) -> None:
    """Cells are a continuous aggregate: refresh the ranges that the buckets make up."""
    for start, end in _ranges(session, rollup, buckets):
        session.refresh(rollup.cells, start, end)


def _ranges(
    session: Session, rollup: _Rollup, buckets: Iterable[datetime]
) -> list[tuple[datetime, datetime]]:
    """Half-open ranges that cover the buckets, neighbours joined."""
    found: list[tuple[datetime, datetime]] = []
    for start in sorted(buckets):
        if rollup.grain != "day":
            end = start + rollup.width
        else:
            end = session.value("maintain.next_day", {"day": start, "zone": rollup.studio_zone})
        if found and found[-1][1] == start and end - found[-1][0] <= timedelta(days=7):
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found
