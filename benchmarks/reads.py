"""`metrics.read` from rollups beside the same question computed from raw rows, in pairs, answers compared.

The time is all of a read: plan, SQL text, query, rows. Touched buckets are ones that got a late row and wait to be
recomputed; a read computes them from raw meanwhile.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import numpy as np

from benchmarks import load, touch, traffic
from benchmarks.databases import Place
from benchmarks.measure import Figure, interleaved
from framehouse.metrics import Table, read
from framehouse.progress import Reporter
from framehouse.warehouse import Warehouse
from framehouse.warehouse.maintain import maintain
from framehouse.windows import Grain, Window, floor
from framehouse.zones import zone

_PAIRS = 9
#: How many times faster than raw, by how many buckets are touched; of a month of so many rows (8 M over 90 days).
_BAR_ROWS = 2_500_000
_BARS = {0: 100.0, 3: 30.0, 50: 12.0}
_DAYS = 30
MEANS = ("attempt_count", "avg_wall_seconds", "avg_gpu_seconds", "failure_ratio")
_QUANTILES = ("p50_wall_seconds", "p90_wall_seconds")


@dataclass(frozen=True)
class _Question:
    name: str
    days: int = _DAYS
    metrics: tuple[str, ...] = MEANS
    is_until_now: bool = False
    more: dict[str, Any] = field(default_factory=dict)
    touched: int = 0
    has_bar: bool = False


def measure(places: Sequence[Place], report: Reporter) -> list[Figure]:
    """Every question on every warehouse; then one of them with 3 and 50 touched buckets."""
    found = []
    for place in places:
        with Warehouse(place.url, name="framehouse bench") as warehouse:
            maintain(warehouse)
            for question in _questions(place):
                report.step(f"reads: {question.name}")
                found.append(_figure(place, warehouse, question))
            found += _touched(place, warehouse, report)
    return found


def _questions(place: Place) -> tuple[_Question, ...]:
    busiest = traffic.WORKFLOWS[int(traffic.studio(place.seed).popularity.argmax())]
    by_workflow = {"by": "workflow"}
    one = {"where": {"workflow": busiest, "tier": "draft"}}
    return (
        _Question("by workflow, 30 days", more=by_workflow, has_bar=True),
        _Question("by workflow, 30 days until now", more=by_workflow, is_until_now=True),
        _Question("by worker, 30 days", more={"by": "worker"}),
        _Question("one workflow at one tier, 14 days", days=14, more=one),
        _Question("the same by day", days=14, more=one | {"grain": "day"}),
        _Question("P50 and P90 of one workflow, 30 days", metrics=_QUANTILES, more={"where": {"workflow": busiest}}),
        _Question("P50 and P90 by workflow, 30 days", metrics=_QUANTILES, more=by_workflow),
    )  # fmt: skip


def _figure(place: Place, warehouse: Warehouse, question: _Question) -> Figure:
    asked = window(place, question.days, is_until_now=question.is_until_now)

    def ask(is_raw: bool) -> Table:
        return read(warehouse, question.metrics, window=asked, is_raw=is_raw, **question.more)

    _check_equal(ask(False), ask(True), is_exact=question.metrics is MEANS)
    bar = _BARS[question.touched] if question.has_bar else None
    return faster(place, question.name, lambda: ask(False), lambda: ask(True), bar=bar)


def faster(
    place: Place,
    name: str,
    ours: Callable[[], object],
    raw: Callable[[], object],
    *,
    bar: float | None = None,
) -> Figure:
    """How many times faster ours is than the same from raw; the bar is held against a month of enough rows."""
    took, baseline = interleaved(ours, raw, _PAIRS)
    is_large = place.rows_a_day * min(_DAYS, place.day_count) >= _BAR_ROWS
    return Figure(
        place.size,
        name,
        took * 1e3,
        baseline * 1e3,
        "ms",
        "x faster",
        _PAIRS,
        baseline / took,
        bar if is_large else None,
    )


def window(place: Place, days: int, *, is_until_now: bool = False) -> Window:
    """Whole days before today, or as many days until the traffic's end."""
    until = place.until if is_until_now else floor(place.until, Grain.DAY, zone("UTC"))
    return Window(until - timedelta(days=days), until)


def _touched(place: Place, warehouse: Warehouse, report: Reporter) -> list[Figure]:
    rng = np.random.default_rng([place.seed, 3])
    known = load.ids(warehouse)
    found = []
    for count in (3, 50):
        report.step(f"reads: {count} touched buckets")
        buckets = touch.settled_buckets(place, count, days=_DAYS, rng=rng)
        touch.touch(place, warehouse, known, buckets)
        for question in (_questions(place)[0], _questions(place)[3]):
            name = f"{question.name}, {count} touched buckets"
            found.append(_figure(place, warehouse, replace(question, name=name, touched=count)))
        maintain(warehouse)
    return found


def _check_equal(ours: Table, raw: Table, *, is_exact: bool) -> None:
    """Rollups and raw add up floats in another order; a quantile's bins are 2 % wide on both sides."""
    assert ours.sources != raw.sources
    assert len(ours) == len(raw) > 0
    for mine, theirs in zip(ours.rows, raw.rows, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            if isinstance(a, float) and isinstance(b, float):
                assert math.isclose(a, b, rel_tol=1e-9 if is_exact else 1e-6), (mine, theirs)
            else:
                assert a == b, (mine, theirs)
