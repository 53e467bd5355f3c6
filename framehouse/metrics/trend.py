"""Trends: a metric bucket by bucket, its moving average, and what changed since the bucket before.

A moving average of a ratio is the ratio of the sums, not the mean of the ratios: every bucket weighs what it holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from framehouse.errors import QueryError
from framehouse.metrics.answers import Filter, read_parts
from framehouse.metrics.definitions import Metric, metric
from framehouse.metrics.evaluate import evaluate, merged
from framehouse.metrics.provenance import Provenance, parts_told, provenance
from framehouse.metrics.question import names_in
from framehouse.units import Unit
from framehouse.warehouse import Warehouse
from framehouse.windows import Grain, Window, floor, following, starts, zone

MOVING = 7
MOST_BUCKETS = 10_000


@dataclass(frozen=True, slots=True)
class Point:
    """One bucket, of which `window` is what the question covers.

    value            None where nothing is known
    moving_average   of this bucket and those before it, as far as the question's own first bucket; from whole parts
    change_ratio     the value beside the one of the bucket before: 0.1 is 10 % more
    count            attempts (or heartbeats) that the bucket holds
    """

    window: Window
    value: float | None
    moving_average: float | None
    change_ratio: float | None
    count: int


@dataclass(frozen=True)
class Trend:
    """A metric over time, the same over all of the window, and what answered."""

    metric: str
    unit: Unit
    grain: Grain
    zone_name: str
    moving: int
    total: float | None
    points: tuple[Point, ...]
    provenance: Provenance


def trend(
    warehouse: Warehouse,
    name: str,
    *,
    window: Window,
    grain: Grain,
    zone_name: str,
    where: Mapping[str, Filter] | None = None,
    moving: int = MOVING,
) -> Trend:
    """A metric in every bucket of a window, also in those that hold nothing.

    The moving average spans `moving` buckets. Raises QueryError for a quantile, whose buckets cannot be added here, and
    for more than 10,000 buckets.
    """
    wanted = metric(name)
    if not wanted.formula:
        raise QueryError(
            f"{name} has no trend with a moving average", hint="ask metrics.read for it by grain"
        )
    if not 1 <= moving <= 366:
        raise QueryError(f"a moving average of {moving} buckets cannot be had", hint="1 to 366")
    tz = zone(zone_name)
    buckets = _buckets(window, grain, zone_name)
    parts = sorted(names_in(wanted.formula))
    counted = wanted.source.parts[0].name
    with warehouse.session(is_snapshot=True) as session:
        answer = read_parts(
            session,
            wanted.source,
            [*parts, *parts_told(wanted.source)],
            window=window,
            grain=grain,
            zone_name=zone_name,
            where={**(where or {}), **dict(wanted.where)},
        )
    found = {key[0]: values for key, values in answer.values.items()}
    rows: list[Mapping[str, float | None]] = [
        _numbers(found.get(start, {}), [*parts, counted]) for start in buckets
    ]
    spans = [
        Window(max(start, window.start), min(following(start, grain, tz), window.end)) for start in buckets
    ]
    points: list[Point] = []
    for place, (row, span) in enumerate(zip(rows, spans, strict=True)):
        first = max(0, place - moving + 1)
        value = _value(wanted, [row], [span])
        average = _value(wanted, rows[first : place + 1], spans[first : place + 1])
        before = points[-1].value if points else None
        change = None if value is None or not before else value / before - 1
        points.append(Point(span, value, average, change, int(row[counted] or 0)))
    return Trend(
        name, wanted.unit, grain, zone_name, moving, _value(wanted, rows, spans), tuple(points),
        provenance(answer, wanted.source),
    )  # fmt: skip


def previous(window: Window, grain: Grain, zone_name: str) -> Window:
    """The period before a window, of as many buckets: the days, weeks or months that come right before it."""
    buckets, tz = _buckets(window, grain, zone_name), zone(zone_name)
    if not buckets:
        return Window(window.start, window.start)
    start = buckets[0]
    for _ in buckets:
        start = floor(start - timedelta(seconds=1), grain, tz)
    return Window(start, buckets[0])


def _buckets(window: Window, grain: Grain, zone_name: str) -> list[datetime]:
    found: list[datetime] = []
    for start in starts(window, grain, zone(zone_name)):
        if len(found) == MOST_BUCKETS:
            raise QueryError(
                f"the window has more than {MOST_BUCKETS:,} buckets",
                hint="ask for a coarser grain or a shorter window",
            )
        found.append(start)
    return found


def _numbers(row: Mapping[str, object], parts: Sequence[str]) -> dict[str, float | None]:
    return {part: float(value) if isinstance(value := row.get(part), int | float) else None for part in parts}


def _value(
    wanted: Metric, rows: Sequence[Mapping[str, float | None]], spans: Sequence[Window]
) -> float | None:
    found = evaluate(wanted, merged(wanted, rows))
    if not wanted.is_rate or found is None:
        return found
    hours = sum((span.end - span.start) / timedelta(hours=1) for span in spans)
    return found / hours if hours else None
