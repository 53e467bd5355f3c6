"""The state of a studio over a window: totals, what was got through when, who needs the most memory, who stands out."""

from collections.abc import Mapping
from dataclasses import dataclass

from framehouse.metrics.answers import Filter
from framehouse.metrics.definitions import metric
from framehouse.metrics.provenance import Provenance
from framehouse.metrics.read import Reading
from framehouse.metrics.summary import Extremes, Row, extremes, highest, summaries, workflows
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


@dataclass(frozen=True, slots=True)
class Overview:
    """Rows of metrics by name. `series` has every bucket of the window, those that hold nothing too."""

    zone_name: str
    totals: Row
    previous_window: Window | None
    previous_totals: Row | None
    series: tuple[tuple[Window, Row], ...]
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
) -> Overview:
    """All as of one instant; `is_compared` adds the totals of the period before."""
    metric(by)
    with warehouse.session(is_snapshot=True) as session:
        reading = Reading(session, window=window, zone_name=zone_name, where=where)
        [totals] = summaries(reading)
        each = workflows(reading, and_also=(by,))
        series = filled(reading, THROUGHPUT, grain)
        told = reading.provenance()
        before = previous(window, grain, reading.zone_name) if is_compared else None
        earlier = None
        if before is not None:
            [earlier] = summaries(Reading(session, window=before, zone_name=zone_name, where=where))
    return Overview(
        reading.zone_name, totals, before, earlier, tuple(series),
        tuple(highest(each, "max_vram_peak_mb")[:limit]), extremes(each, by, limit), told,
    )  # fmt: skip


def filled(reading: Reading, names: tuple[str, ...], grain: Grain) -> list[tuple[Window, Row]]:
    """Metrics in every bucket of a reading's window: counts of empty ones are 0, all else of them is unknown."""
    rows = {row["bucket"]: dict(row) for row in reading.table(names, grain=grain)}
    empty: Row = {name: 0 if metric(name).unit.suffix == "count" else None for name in names}
    found = []
    for start, span in spans(reading.window, grain, reading.zone_name):
        row = rows.get(start, empty)
        found.append((span, {name: row[name] for name in names}))
    return found
