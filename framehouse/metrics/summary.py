"""What is said of a set of attempts in one row, and who stands out: summaries by workflow, ranked by a metric."""

from collections.abc import Sequence
from dataclasses import dataclass

from framehouse.metrics.answers import ids
from framehouse.metrics.definitions import Better, metric
from framehouse.metrics.read import Reader
from framehouse.metrics.table import Value

Row = dict[str, Value]

#: What a row says, whatever it is of; the scores it has come besides, under their own names.
SUMMARY = (
    "attempt_count",
    "job_count",
    "succeeded_count",
    "failed_count",
    "canceled_count",
    "failure_ratio",
    "retry_ratio",
    "cold_ratio",
    "segment_count",
    "frame_count",
    "succeeded_per_hour",
    "segments_per_hour",
    "gpu_hours",
    "wall_hours",
    "wasted_gpu_hours",
    "wasted_gpu_ratio",
    "output_gb",
    "energy_kwh",
    "avg_time_per_frame_ms",
    "avg_gpu_seconds",
    "avg_wall_seconds",
    "avg_gpu_seconds_per_segment",
    "avg_wall_seconds_per_segment",
    "avg_output_mb_per_segment",
    "avg_queue_wait_seconds",
    "avg_dependency_wait_seconds",
    "avg_vram_peak_mb",
    "max_vram_peak_mb",
    "avg_rss_peak_mb",
    "avg_cpu_mean_pct",
    "avg_rtf",
)
#: And what that cost, at the rates of the GPU models.
COSTS = ("gpu_cost", "wasted_gpu_cost", "priced_gpu_ratio")


def summaries(
    reader: Reader, by: Sequence[str] = (), *, and_also: Sequence[str] = (), has_scores: bool = True
) -> list[Row]:
    """A row for each value of the dimensions (without any, one row), with the means of its scores."""
    unpriced: Row = dict.fromkeys(COSTS)
    rows = [{**row, **unpriced} for row in reader.table([*SUMMARY, *and_also], by=by)]
    places = {tuple(row[dimension] for dimension in by): row for row in rows}
    for priced in reader.table(COSTS, by=by) if reader.rates else ():
        places[tuple(priced[dimension] for dimension in by)] |= priced
    for scored in reader.table("avg_score", by=(*by, "score")) if has_scores else ():
        if scored["avg_score"] is not None:
            own = places[tuple(scored[dimension] for dimension in by)]
            own[f"avg_{scored['score']}_score"] = scored["avg_score"]
    return rows


def workflows(reader: Reader, *, and_also: Sequence[str] = (), has_scores: bool = True) -> list[Row]:
    """A row for each workflow, with its id and its name first."""
    rows = summaries(reader, ("workflow",), and_also=and_also, has_scores=has_scores)
    names = [str(row.pop("workflow")) for row in rows]
    found = ids(reader.session, {"workflow": names})["workflow"] if names else ()
    return [
        {"workflow_id": own, "workflow_name": name, **row}
        for own, name, row in zip(found, names, rows, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Extremes:
    """Those that do best by a metric, the best first, and those that do worst, the worst first; nobody is in both."""

    top: tuple[Row, ...]
    bottom: tuple[Row, ...]


def extremes(rows: Sequence[Row], name: str, limit: int) -> Extremes:
    """Up to `limit` rows at either end; where no direction is better, what is highest is on top.

    Rows of which the metric is unknown are at neither end.
    """
    ordered = highest(rows, name)
    if metric(name).better is Better.LOWER:
        ordered.reverse()
    bottom = ordered[max(limit, len(ordered) - limit) :]
    return Extremes(tuple(ordered[:limit]), tuple(reversed(bottom)))


def highest(rows: Sequence[Row], name: str) -> list[Row]:
    """The rows of which a metric is known, the highest first."""
    known = [(value, row) for row in rows if isinstance(value := row.get(name), int | float)]
    return [row for _, row in sorted(known, key=lambda pair: pair[0], reverse=True)]
