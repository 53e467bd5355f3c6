"""Maintenance that stops at any step leaves every answer right. And with its steps in another order it does not."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any
from unittest.mock import patch

import psycopg
import pytest

from framehouse.warehouse import Warehouse, maintain, pool
from framehouse.warehouse.maintain import Backlog, backlog
from framehouse.windows import floor_utc
from tests.warehouse.cells import QUARTER, exact, fill, tell, wrong_cells

DAY = datetime(2026, 3, 2, tzinfo=UTC)
_STEPS = ("run", "run_text", "delete_buckets", "refresh")
_AS_PENDING = """
    insert into ops.pending_buckets (rollup, bucket)
    select distinct rollups.name, case rollups.grain
        when 'fine' then bucket
        when 'block' then date_bin('1 hour', bucket, '2000-01-01 00:00:00+00')
        else time_bucket('1 day', bucket, 'UTC') end
    from ops.rollups as rollups join ops.touched_buckets as touched using (source)
    on conflict do nothing"""


class StoppedError(Exception):
    """As if it had been killed there."""


@contextmanager
def stopped_at(step: int) -> Iterator[None]:
    """Whatever is done meanwhile ends before its nth change."""
    number = count()

    def before(method: Callable[..., Any]) -> Callable[..., Any]:
        def step_or_stop(*given: Any, **named: Any) -> Any:
            if next(number) == step:
                raise StoppedError
            return method(*given, **named)

        return step_or_stop

    with suppress(StoppedError):
        patches = [patch.object(pool.Session, name, before(getattr(pool.Session, name))) for name in _STEPS]
        with patches[0], patches[1], patches[2], patches[3]:
            yield


def everything_waits(warehouse: Warehouse, random: Random) -> None:
    """One quarter hour of new rows waits as a new rollup's would, another as touched."""
    fill(warehouse, random, [DAY + QUARTER * random.randrange(96)])
    tell(warehouse.url, _AS_PENDING)
    tell(warehouse.url, "delete from ops.touched_buckets")
    fill(warehouse, random, [DAY + timedelta(days=1) + QUARTER * random.randrange(96)])


def wrong_after_a_stop(warehouse: Warehouse) -> list[str]:
    """What is wrong after maintenance stopped at its first step, at its second..., and was run whole."""
    random = Random("interrupted")
    for step in count():
        everything_waits(warehouse, random)
        with stopped_at(step):
            maintain.maintain(warehouse)
        is_whole = backlog(warehouse) == Backlog(0, 0, 0)
        with psycopg.connect(warehouse.url) as connection:
            if found := wrong_cells(connection):
                return found
        if is_whole:
            assert step > 30
            return []
        maintain.maintain(warehouse)
    raise AssertionError


def test_stopped_at_any_step_nothing_is_wrong(warehouse: Warehouse) -> None:
    assert wrong_after_a_stop(warehouse) == []
    exact(warehouse.url)


def _pending_first(session: Any, rollups: Any, recompute: Any) -> int:
    for rollup in rollups:
        rows = session.rows("maintain.pending", {"rollup": rollup.name, "limit": 4})
        if rows:
            buckets = sorted(row["bucket"] for row in rows)
            session.run("maintain.delete_pending", {"rollup": rollup.name, "buckets": buckets})
            recompute(session, rollup, buckets)
            return len(buckets)
    return 0


def _days_last(session: Any, source: str, newest: int, rollups: Any, recompute: Any) -> int:
    marks = session.rows("maintain.touched_buckets", {"source": source, "newest": newest, "limit": 192})
    buckets = [mark["bucket"] for mark in marks]
    for rollup in rollups:
        if buckets and rollup.grain != "day":
            recompute(session, rollup, sorted({floor_utc(bucket, rollup.width) for bucket in buckets}))
    session.run("maintain.delete_bucket_marks", [[i for mark in marks for i in mark["ids"]]])
    session.run("maintain.add_touched_days", {"source": source, "buckets": buckets, "zone": "UTC"})
    return len(buckets)


def _day_marks_first(session: Any, source: str, rollups: Any, recompute: Any) -> int:
    marks = session.rows("maintain.touched_days", {"source": source, "limit": 4})
    session.run("maintain.delete_day_marks", [[i for mark in marks for i in mark["ids"]]])
    for rollup in rollups:
        if marks and rollup.grain == "day":
            recompute(session, rollup, [mark["bucket"] for mark in marks])
    return len(marks)


@pytest.mark.parametrize(
    ("step", "disordered"),
    [
        pytest.param("_pending", _pending_first, id="a bucket waits no longer before it was computed"),
        pytest.param("_touched_buckets", _days_last, id="a day waits after its quarter hours no longer do"),
        pytest.param("_touched_days", _day_marks_first, id="a day waits no longer before it was computed"),
    ],
)
def test_in_another_order_a_stop_is_found(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, step: str, disordered: Callable[..., int]
) -> None:
    # On the Apache edition a round is a transaction, so that its order does not show until that is gone too.
    monkeypatch.setattr(pool.Session, "transaction", lambda _: nullcontext())
    monkeypatch.setattr(maintain, step, disordered)
    assert wrong_after_a_stop(warehouse) != []
