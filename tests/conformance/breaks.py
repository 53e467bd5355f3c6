"""Ways to break the protocol on purpose. The race has to find every one of them, or it proves nothing."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from unittest.mock import patch

import psycopg

from framehouse.metrics import answers
from framehouse.metrics.plan import Marks
from framehouse.metrics.rollups import ROLLUPS
from framehouse.warehouse import Warehouse, maintain, pool
from framehouse.windows import floor_utc

_SILENT = """
    create or replace function ops.{0}() returns trigger language plpgsql as $$ begin return null; end $$"""
_ONCE = """
    create or replace function ops.{0}() returns trigger language plpgsql as $$
    begin
        insert into ops.touched_buckets (source, bucket)
        select distinct '{1}', time_bucket('15 minutes', {2}) from arrived order by 2
        on conflict do nothing;
        return null;
    end $$"""


@dataclass(frozen=True)
class Break:
    """A rule, and how it is broken: named statements, other parts of the program, or what is in the database."""

    rule: str
    statements: dict[str, str] = field(default_factory=dict)
    patches: tuple[tuple[Any, str, Any], ...] = ()
    ddl: tuple[str, ...] = ()
    community_only: bool = False
    apache_only: bool = False
    is_loud: bool = False  # it shows in maintenance that fails, and not in numbers


def _marks_first(session: Any, source: str, newest: int, rollups: Any, recompute: Any) -> int:
    """Deletes the marks, and then recomputes their buckets."""
    marks = session.rows("maintain.touched_buckets", {"source": source, "newest": newest, "limit": 192})
    buckets = [mark["bucket"] for mark in marks]
    session.run("maintain.delete_bucket_marks", [[i for mark in marks for i in mark["ids"]]])
    for rollup in rollups:
        if buckets and rollup.grain != "day":
            recompute(session, rollup, sorted({floor_utc(bucket, rollup.width) for bucket in buckets}))
    zone = rollups[0].studio_zone
    session.run("maintain.add_touched_days", {"source": source, "buckets": buckets, "zone": zone})
    return len(buckets)


def _trusting_refresh(session: Any, cells: str, start: datetime, end: datetime) -> None:
    session._connection.execute("call refresh_continuous_aggregate(%s, %s, %s)", [cells, start, end])


_read = importlib.import_module("framehouse.metrics.read")
_state: Callable[[Any, Any], Any] = _read.state_of


def _state_of_later(session: Any, window: Any) -> Any:
    """Marks that are read when the snapshot is older already."""
    with Warehouse(session._connection.info.dsn) as warehouse, warehouse.session() as other:
        return _state(other, window)


BREAKS: dict[str, Break] = {
    "marks_up_to_newest": Break(
        "exactly the marks that were read are deleted, not all up to the newest of them",
        {
            "maintain.delete_bucket_marks": "delete from ops.touched_buckets"
            " where id <= (select max(i) from unnest(%s::bigint[]) as i)"
        },
    ),
    "marks_by_bucket": Break(
        "exactly the marks that were read are deleted, not all of their buckets",
        {
            "maintain.delete_bucket_marks": "delete from ops.touched_buckets where bucket in"
            " (select bucket from ops.touched_buckets where id = any(%s::bigint[]))"
        },
    ),
    "marks_first": Break(
        "marks are deleted after their buckets were recomputed",
        patches=(
            (maintain, "_touched_buckets", _marks_first),
            (pool.Session, "transaction", lambda _: nullcontext()),
        ),
    ),
    "marks_once": Break(
        "every writer leaves a mark of its own, also beside one that is about to be deleted",
        ddl=(
            "delete from ops.touched_buckets",
            "create unique index on ops.touched_buckets (source, bucket)",
            _ONCE.format("mark_attempts_inserted", "attempts", "finished_at"),
            _ONCE.format("mark_heartbeats_inserted", "heartbeats", "covered_from"),
        ),
    ),
    "days_forgotten": Break(
        "a day whose quarter hours were recomputed is marked until it is recomputed itself",
        {"maintain.add_touched_days": "select"},
    ),
    "inserts_unmarked": Break("rows that come leave marks", ddl=(_SILENT.format("mark_attempts_inserted"),)),
    "deletes_unmarked": Break("rows that go leave marks", ddl=(_SILENT.format("mark_attempt_deleted"),)),
    "heartbeats_unmarked": Break(
        "heartbeats that come leave marks", ddl=(_SILENT.format("mark_heartbeats_inserted"),)
    ),
    "lost_heartbeats_unmarked": Break(
        "heartbeats that go leave marks", ddl=(_SILENT.format("mark_heartbeat_deleted"),)
    ),
    "views_without_marks": Break(
        "views compute touched buckets from their source",
        ddl=tuple(
            f"create or replace view rollup.{rollup.name} as select * from rollup.{rollup.name}_cells"
            for rollup in ROLLUPS
        ),
    ),
    "plans_without_marks": Break(
        "metrics.read reads touched buckets from their source",
        patches=((answers, "_marks", lambda found: Marks()),),
    ),
    "marks_of_another_instant": Break(
        "metrics.read knows the marks of the very snapshot in which it reads cells",
        patches=((_read, "state_of", _state_of_later),),
    ),
    "two_maintainers": Break(
        "one maintainer works at a time",
        {"maintain.try_lock": "select true", "maintain.unlock": "select true"},
        apache_only=True,
        is_loud=True,
    ),
    "trusting_refresh": Break(
        "refreshes are forced: TimescaleDB's own log of changes misses some",
        patches=((pool.Session, "refresh", _trusting_refresh),),
        community_only=True,
    ),
}


def apply(url: str, name: str) -> None:
    """Break what is in the database."""
    if name:
        with psycopg.connect(url) as connection:
            for text in BREAKS[name].ddl:
                connection.execute(text)


@contextmanager
def broken(name: str) -> Iterator[None]:
    """Break this process."""
    found = BREAKS[name] if name else Break("")
    whole: Callable[[str], str] = pool.statement
    with ExitStack() as stack:
        for target, attribute, other in found.patches:
            stack.enter_context(patch.object(target, attribute, other))
        stack.enter_context(
            patch.object(pool, "statement", lambda name: found.statements.get(name) or whole(name))
        )
        yield
