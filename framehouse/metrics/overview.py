"""The state of a studio over a window: totals, what was got through when, who needs the most memory, who stands out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from framehouse.metrics.answers import Filter, Key
from framehouse.metrics.definitions import Metric, metric
from framehouse.metrics.evaluate import evaluate, merged
from framehouse.metrics.provenance import Provenance
from framehouse.metrics.read import Reader
from framehouse.metrics.summary import Extremes, Row, extremes, highest, summaries, workflows
from framehouse.metrics.table import Value
from framehouse.metrics.trend import previous, spans
from framehouse.warehouse import Warehouse
from framehouse.windows import Grain, Window

#: What the series tells of each bucket.
THROUGHPUT = (
    "attempt_count",
    "succeeded_count",
    "failed_count",
    "succeeded_per_hour",
    "segments_per_hour",
    "gpu_hours",
    "wasted_gpu_hours",
    "avg_queue_wait_seconds",
    "max_vram_peak_mb",
)
BY = "avg_gpu_seconds_per_segment"


#: What each bucket of a window holds, in order.
Series = tuple[tuple[Window, Row], ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """Rows of metrics by name. `series` has every bucket of the window, those that hold nothing too."""

    zone_name: str
    totals: Row
    previous_window: Window | None
    previous_totals: Row | None
    currency: str | None
    series: Series
    vram_peaks: tuple[Row, ...]
    workflows: Extremes
    provenance: Provenance


def overview(
    warehouse: Warehouse,
    *,
    window: Window,
    grain: Grain = Grain.DAY,
    zone_name: str | None = None,
    where: Mapping[str, Filter] | None = None,
    by: str = BY,
    limit: int = 5,
    is_compared: bool = False,
    is_raw: bool = False,
) -> Overview:
    """All as of one instant; `is_compared` adds the totals of the period before, `is_raw` reads raw rows alone."""
    metric(by)  # before anything is read
    with warehouse.session(is_snapshot=True) as session:
        reader = Reader(session, window=window, zone_name=zone_name, where=where, is_raw=is_raw)
        [totals] = summaries(reader)
        each = workflows(reader, and_also=(by,))
        series = filled(reader, THROUGHPUT, grain)
        before, earlier = earlier_in(reader, grain) if is_compared else (None, None)
        told, currency = reader.provenance(), reader.currency
    return Overview(
        reader.zone_name, totals, before, earlier, currency, series,
        tuple(highest(each, "max_vram_peak_mb")[:limit]), extremes(each, by, limit), told,
    )  # fmt: skip


def earlier_in(reader: Reader, grain: Grain) -> tuple[Window, Row]:
    """The period before a reader's window, and the same rows in it."""
    before = previous(reader.window, grain, reader.zone_name)
    [earlier] = summaries(reader.over(before))
    return before, earlier


def filled(reader: Reader, names: Sequence[str], grain: Grain) -> Series:
    """Metrics in every bucket of a reader's window, also of those that hold nothing."""
    return filled_by(reader, names, grain, ())[()]


def filled_by(reader: Reader, names: Sequence[str], grain: Grain, by: Sequence[str]) -> dict[Key, Series]:
    """The same for each value of some dimensions."""
    held: dict[Key, dict[Value, Row]] = {} if by else {(): {}}
    for row in reader.table(names, by=by, grain=grain):
        own = held.setdefault(tuple(row[dimension] for dimension in by), {})
        own[row["bucket"]] = {name: row[name] for name in names}
    empty: Row = {name: _of_nothing(metric(name)) for name in names}
    buckets = spans(reader.window, grain, reader.zone_name)
    return {
        key: tuple((span, rows.get(start, empty)) for start, span in buckets) for key, rows in held.items()
    }


def _of_nothing(wanted: Metric) -> Value:
    """What a bucket without rows has: totals of 0, and nothing that is known of a mean."""
    found = evaluate(wanted, merged(wanted, [])) if wanted.formula else None
    return 0 if found == 0 else found
