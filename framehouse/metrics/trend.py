"""Trends: a metric bucket by bucket, its moving average, and what changed since the bucket and the period before.

A moving average of a ratio is the ratio of the sums, not the mean of the ratios, and that of a quantile is the quantile
of all: every bucket weighs what it holds. Of a total, which grows with what is counted, it is the mean of the buckets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from framehouse.errors import QueryError
from framehouse.metrics.answers import Bins, Filter, quantile_of
from framehouse.metrics.definitions import Metric, metric, quantile_parts
from framehouse.metrics.evaluate import evaluate, is_total, merged
from framehouse.metrics.provenance import Provenance
from framehouse.metrics.question import names_in
from framehouse.metrics.read import Reader
from framehouse.metrics.table import number
from framehouse.units import Unit
from framehouse.warehouse import Warehouse
from framehouse.windows import Grain, Window, floor, following, starts
from framehouse.zones import zone

MOVING = 7
MOST_BUCKETS = 10_000


@dataclass(frozen=True, slots=True)
class Point:
    """One bucket, of which `window` is what the question covers.

    value            None where nothing is known
    moving_average   of this bucket and those before it, as far as the question's own first bucket; from whole parts
    change_ratio     the value beside the one of the bucket before: 0.1 is 10 % more; None where it grows with what is
                     counted and the window has only a part of either bucket
    count            attempts (or scores, stages, heartbeats) that the bucket holds
    """

    window: Window
    value: float | None
    moving_average: float | None
    change_ratio: float | None
    count: int


@dataclass(frozen=True)
class Trend:
    """A metric over time, the same over all of the window and of the period before it, and what answered."""

    metric: str
    unit: Unit
    grain: Grain
    zone_name: str
    moving: int
    total: float | None
    previous_window: Window
    previous_total: float | None
    points: tuple[Point, ...]
    provenance: Provenance

    @property
    def change_ratio(self) -> float | None:
        """What changed since the period before: 0.1 is 10 % more."""
        return _change(self.total, self.previous_total)


@dataclass(frozen=True, slots=True)
class _Bucket:
    """What a bucket holds: how many rows, parts, bins of the histogram, or what was priced."""

    span: Window
    is_whole: bool
    count: int
    values: Mapping[str, Any]
    bins: Mapping[str, Bins] = field(default_factory=dict)


def trend(
    warehouse: Warehouse,
    name: str,
    *,
    window: Window,
    grain: Grain = Grain.DAY,
    zone_name: str | None = None,
    where: Mapping[str, Filter] | None = None,
    moving: int = MOVING,
) -> Trend:
    """A metric in every bucket of a window (in the studio's zone, unless another is named), also in those that hold
    nothing.

    The moving average spans `moving` buckets. Raises QueryError for what cannot be averaged over buckets, and for more
    than 10,000 of them.
    """
    wanted = metric(name)
    if not 1 <= moving <= 366:
        raise QueryError(f"a moving average of {moving} buckets cannot be had", hint="1 to 366")
    if wanted.is_priced and wanted.unit.dimension != "money":
        raise QueryError(
            f"{name} has no trend", hint="ask for gpu_cost, which is unknown where some has no rate"
        )
    with warehouse.session(is_snapshot=True) as session:
        reader = Reader(session, window=window, zone_name=zone_name, where=where)
        zone_name = reader.zone_name
        before = previous(window, grain, zone_name)
        buckets = _buckets(reader, wanted, grain)
        [whole] = reader.table(name)
        [earlier] = reader.over(before).table(name)
        told = reader.provenance(name)
    points: list[Point] = []
    grows = _is_summed(wanted)
    for place, bucket in enumerate(buckets):
        value = _value(wanted, [bucket])
        average = _average(wanted, buckets[max(0, place - moving + 1) : place + 1])
        is_like = place > 0 and (not grows or (bucket.is_whole and buckets[place - 1].is_whole))
        change = _change(value, points[-1].value) if is_like else None
        points.append(Point(bucket.span, value, average, change, bucket.count))
    return Trend(
        name, wanted.unit, grain, zone_name, moving, number(whole[name]), before, number(earlier[name]),
        tuple(points), told,
    )  # fmt: skip


def previous(window: Window, grain: Grain, zone_name: str) -> Window:
    """The period before a window: of whole buckets, as many as it has; else as long as it is, right before it."""
    buckets, tz = _starts(window, grain, zone_name), zone(zone_name)
    if not buckets or buckets[0] < window.start or following(buckets[-1], grain, tz) > window.end:
        return Window(window.start - (window.end - window.start), window.start)
    start = window.start
    for _ in buckets:
        start = floor(start - timedelta(seconds=1), grain, tz)
    return Window(start, window.start)


def spans(window: Window, grain: Grain, zone_name: str) -> list[tuple[datetime, Window]]:
    """Every bucket of a window: its first instant, and what the window has of it.

    Raises QueryError where they are more than 10,000.
    """
    tz = zone(zone_name)
    return [
        (start, Window(max(start, window.start), min(following(start, grain, tz), window.end)))
        for start in _starts(window, grain, zone_name)
    ]


def _starts(window: Window, grain: Grain, zone_name: str) -> list[datetime]:
    found: list[datetime] = []
    for start in starts(window, grain, zone(zone_name)):
        if len(found) == MOST_BUCKETS:
            raise QueryError(
                f"the window has more than {MOST_BUCKETS:,} buckets",
                hint="ask for a coarser grain or a shorter window",
            )
        found.append(start)
    return found


def _change(value: float | None, before: float | None) -> float | None:
    return None if value is None or not before else value / before - 1


def _buckets(reader: Reader, wanted: Metric, grain: Grain) -> list[_Bucket]:
    """Every bucket of the window, also those without rows."""
    source = wanted.source
    counted = source.parts[0].name
    asked = [counted, *sorted(names_in(wanted.formula))] if wanted.formula else [counted]
    parts = [
        Metric(part, "", formula=part, source=source, where=wanted.where) for part in dict.fromkeys(asked)
    ]
    if wanted.quantile is not None:
        parts.append(wanted)
    found = reader.answer(parts, grain=grain)
    priced = reader.answer([wanted], grain=grain).values if wanted.is_priced else {}
    buckets = []
    for start, span in spans(reader.window, grain, reader.zone_name):
        key = (start,)
        values = {**found.values.get(key, {}), **priced.get(key, {})}
        is_whole = span == Window(start, following(start, grain, zone(reader.zone_name)))
        buckets.append(
            _Bucket(span, is_whole, int(number(values.get(counted)) or 0), values, found.bins.get(key, {}))
        )
    return buckets


def _value(wanted: Metric, buckets: Sequence[_Bucket]) -> float | None:
    """The metric over all that some buckets hold together."""
    if wanted.is_priced:
        known = [number(bucket.values.get(wanted.name)) for bucket in buckets if bucket.count]
        return sum(one for one in known if one is not None) if known and None not in known else None
    if wanted.quantile is not None:
        return _quantile(wanted, buckets)
    found = evaluate(wanted, merged(wanted, [_numbers(bucket, wanted) for bucket in buckets]))
    if not wanted.is_rate or found is None:
        return found
    hours = sum((bucket.span.end - bucket.span.start) / timedelta(hours=1) for bucket in buckets)
    return found / hours if hours else None


def _average(wanted: Metric, buckets: Sequence[_Bucket]) -> float | None:
    found = _value(wanted, buckets)
    return found / len(buckets) if _is_summed(wanted) and found is not None else found


def _is_summed(wanted: Metric) -> bool:
    """Whether half a bucket has half as much of it."""
    return wanted.is_priced or (is_total(wanted) and not wanted.is_rate)


def _quantile(wanted: Metric, buckets: Sequence[_Bucket]) -> float | None:
    assert wanted.quantity is not None
    name, (count, low, high) = wanted.quantity.name, quantile_parts(wanted.quantity)
    frames = [bucket.values for bucket in buckets if bucket.values.get(f"_{count}")]
    if not frames:
        return None
    bins: dict[int, int] = {}
    for bucket in buckets:
        for place, held in zip(*bucket.bins.get(name, ((), ())), strict=True):
            bins[place] = bins.get(place, 0) + held
    frame = {
        f"_{count}": sum(values[f"_{count}"] for values in frames),
        f"_{low}": min(values[f"_{low}"] for values in frames),
        f"_{high}": max(values[f"_{high}"] for values in frames),
    }
    return quantile_of(wanted, frame, {name: (list(bins), list(bins.values()))})


def _numbers(bucket: _Bucket, wanted: Metric) -> dict[str, float | None]:
    return {part: number(bucket.values.get(part)) for part in names_in(wanted.formula)}
