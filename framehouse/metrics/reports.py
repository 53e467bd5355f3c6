"""What is told of one workflow, one worker, and the quality and the stages of work."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from framehouse.errors import NoAnswerError, QueryError
from framehouse.metrics.answers import Filter
from framehouse.metrics.correlation import Correlation, correlations
from framehouse.metrics.definitions import Better, metric
from framehouse.metrics.distribution import Distribution, distribution
from framehouse.metrics.overview import Series, earlier_in, filled, filled_by
from framehouse.metrics.provenance import Provenance
from framehouse.metrics.read import Reader
from framehouse.metrics.summary import COSTS, Row, highest, summaries, workflows
from framehouse.metrics.table import number
from framehouse.warehouse import Warehouse
from framehouse.windows import Grain, Window

_MOMENTS = ("avg", "sd", "min", "max")
_QUANTILES = ("p50", "p90", "p95", "p99")
_SPREAD = (*_MOMENTS, *_QUANTILES)
_GPU_TIME = ("attempt_count", "gpu_hours", "wasted_gpu_hours", "gpu_time_unknown_count")
_STATES = ("generating_hours", "idle_hours", "offline_hours")


@dataclass(frozen=True, slots=True)
class Spread:
    """How a quantity is spread: mean, deviation, extremes and quantiles by name (`avg`, `p90`), and the bars."""

    name: str
    unit: str
    better: Better
    count: int
    statistics: Row
    distribution: Distribution


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a workflow. `share_ratio` is its part of the time of all stages of that workflow."""

    workflow: str
    stage: str
    run_count: int
    statistics: Row
    hours: float | None
    share_ratio: float | None
    cached_ratio: float | None


@dataclass(frozen=True, slots=True)
class WorkflowReport:
    """One workflow over a window. The breakdowns of GPU time add up to it."""

    zone_name: str
    currency: str | None
    summary: Row
    previous_window: Window | None
    previous_summary: Row | None
    time_per_frame: Spread | None
    gpu_time: Row
    by_tier: tuple[Row, ...]
    by_worker: tuple[Row, ...]
    by_gpu_model: tuple[Row, ...]
    quality: tuple[Spread, ...]
    stages: tuple[Stage, ...]
    provenance: Provenance


def workflow_report(
    warehouse: Warehouse,
    name: str,
    *,
    window: Window,
    zone_name: str | None = None,
    where: Mapping[str, Filter] | None = None,
    is_compared: bool = False,
) -> WorkflowReport:
    """Everything of one instant; `is_compared` adds the summary of the period before, of as many days."""
    with warehouse.session(is_snapshot=True) as session:
        reader = Reader(
            session, window=window, zone_name=zone_name, where={**(where or {}), "workflow": name}
        )
        [summary] = summaries(reader)
        before, earlier = earlier_in(reader, Grain.DAY) if is_compared else (None, None)
        [gpu_time] = reader.table([*_GPU_TIME, "avg_cold_gpu_seconds", *COSTS])
        return WorkflowReport(
            reader.zone_name,
            reader.currency,
            summary,
            before,
            earlier,
            next(iter(spreads(reader, "time_per_frame_ms")), None),
            gpu_time,
            _shares(reader, "tier"),
            _shares(reader, "worker"),
            _shares(reader, "gpu_model"),
            tuple(spreads(reader, "score")),
            tuple(stages_in(reader)[0]),
            reader.provenance(),
        )


def _shares(reader: Reader, dimension: str) -> tuple[Row, ...]:
    """GPU time by a dimension, the most first, and each one's share."""
    rows = [dict(row) for row in reader.table(_GPU_TIME, by=dimension)]
    whole = sum(_hours(row) for row in rows)
    for row in rows:
        row["share_ratio"] = _hours(row) / whole if whole else None
    return tuple(sorted(rows, key=lambda row: (-_hours(row), -(number(row["attempt_count"]) or 0.0))))


def _hours(row: Row) -> float:
    return (number(row["gpu_hours"]) or 0.0) + (number(row["wasted_gpu_hours"]) or 0.0)


def spreads(reader: Reader, name: str) -> list[Spread]:
    """How a quantity is spread; for `score`, each score by its own name. What has no values is left out."""
    asked = [metric(f"{statistic}_{name}") for statistic in _SPREAD]
    quantity, kind = asked[0].quantity, asked[0].source.kind
    assert quantity is not None
    answer = reader.answer(asked, by=[kind] if kind else [])
    found = []
    for key, values in answer.values.items():
        if values[f"min_{name}"] is None:
            continue
        own = metric(f"avg_{key[0]}_{name}") if kind else asked[0]
        spread = distribution(quantity, values, answer.bins.get(key, {}))
        count = spread.nonpositive_count + sum(bar.count for bar in spread.bars)
        statistics = {statistic: values[f"{statistic}_{name}"] for statistic in _SPREAD}
        found.append(
            Spread(own.name.removeprefix("avg_"), own.unit.shown, own.better, count, statistics, spread)
        )
    return found


def stages_in(reader: Reader, *, start: int = 0, limit: int | None = None) -> tuple[list[Stage], int]:
    """The stages of each workflow, those first that take the most time of all: some of them, and how many there are.

    Quantiles are of those alone, since histograms of all would take long to add up.
    """
    moments, quantiles = ([f"{statistic}_stage_ms" for statistic in some] for some in (_MOMENTS, _QUANTILES))
    keys = ("workflow", "stage")
    rows = [
        dict(row)
        for row in reader.table([*moments, "stage_count", "stage_hours", "stage_cached_ratio"], by=keys)
        if row["stage_count"] or row["stage_cached_ratio"] is not None  # or else of failed attempts alone
    ]
    whole: dict[str, float] = {}
    for row in rows:
        own = str(row["workflow"])
        whole[own] = whole.get(own, 0.0) + (number(row["stage_hours"]) or 0.0)
    rows.sort(key=lambda row: -(number(row["stage_hours"]) or 0.0))
    end = len(rows) if limit is None else start + limit
    page = {(str(row["workflow"]), str(row["stage"])): row for row in rows[start:end]}
    if page:
        workflows_of, stages_of = (sorted({key[place] for key in page}) for place in (0, 1))
        for told in reader.of(workflow=workflows_of, stage=stages_of).table(quantiles, by=keys):
            if (place := page.get((str(told["workflow"]), str(told["stage"])))) is not None:
                place |= {name: told[name] for name in quantiles}
    return [_stage(row, whole[workflow]) for (workflow, _), row in page.items()], len(rows)


def _stage(row: Row, whole: float) -> Stage:
    hours = number(row["stage_hours"])
    return Stage(
        str(row["workflow"]),
        str(row["stage"]),
        int(number(row["stage_count"]) or 0),
        {statistic: row[f"{statistic}_stage_ms"] for statistic in _SPREAD},
        hours,
        None if hours is None or not whole else hours / whole,
        number(row["stage_cached_ratio"]),
    )


def stages(
    warehouse: Warehouse,
    *,
    window: Window,
    zone_name: str | None = None,
    where: Mapping[str, Filter] | None = None,
    start: int = 0,
    limit: int | None = None,
) -> tuple[list[Stage], int, Provenance]:
    """Some stages of all workflows (or those of `where`), how many there are, and what that rests on."""
    with warehouse.session(is_snapshot=True) as session:
        reader = Reader(session, window=window, zone_name=zone_name, where=where)
        return *stages_in(reader, start=start, limit=limit), reader.provenance()


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """One worker over a window: what it did with its time, and what it got through.

    unknown_hours   hours of the window, as far as that is over, of which no heartbeat tells
    """

    zone_name: str
    currency: str | None
    states: Row
    unknown_hours: float
    summary: Row
    series: Series
    workflows: tuple[Row, ...]
    provenance: Provenance


def worker_report(
    warehouse: Warehouse,
    name: str,
    *,
    window: Window,
    grain: Grain = Grain.DAY,
    zone_name: str | None = None,
    where: Mapping[str, Filter] | None = None,
    now: datetime | None = None,
) -> WorkerReport:
    """Everything of one instant; states are clipped to the window."""
    own = {**(where or {}), "worker": name}
    with warehouse.session(is_snapshot=True) as session:
        # Heartbeats know the worker alone.
        beats = Reader(session, window=window, zone_name=zone_name, where={"worker": name})
        [states] = beats.table([*_STATES, "utilisation_ratio"])
        reader = beats.of(**own)
        [summary] = summaries(reader, has_scores=False)  # no rollup keeps those by worker
        done = filled(reader, ("attempt_count", "succeeded_count", "segments_per_hour", "gpu_hours"), grain)
        told = filled(beats, _STATES, grain)
        each = highest(workflows(reader, has_scores=False), "attempt_count")
        provenance, currency = _of_both(reader, beats), reader.currency
    until = now or datetime.now(UTC)
    series = []
    for (span, work), (_, state) in zip(done, told, strict=True):
        series.append((span, {**work, **state, "unknown_hours": _untold(span, state, until)}))
    return WorkerReport(
        reader.zone_name, currency, dict(states), _untold(window, states, until), summary, tuple(series), tuple(each),
        provenance,
    )  # fmt: skip


def _of_both(reader: Reader, beats: Reader) -> Provenance:
    """How many attempts, how fresh they and the heartbeats are, and what was read of either."""
    told = reader.provenance()
    try:
        newest = beats.provenance(_STATES[0]).newest_recorded_at
    except NoAnswerError:  # rollups that were built before they kept it, of rows that were dropped since
        return told
    known = [at for at in (told.newest_recorded_at, newest) if at]
    return replace(told, newest_recorded_at=max(known, default=None))


def _untold(window: Window, states: Mapping[str, object], until: datetime) -> float:
    over = max(min(window.end, until) - window.start, timedelta())
    return max(0.0, over / timedelta(hours=1) - sum(number(states[state]) or 0.0 for state in _STATES))


@dataclass(frozen=True, slots=True)
class QualityReport:
    """The scores of one workflow: how each is spread, how it went, and which parameters go with it.

    trends         `avg_score` and `score_count` of each score in every bucket
    correlations   None where there are none of what is kept, for `why_no_correlations`
    """

    zone_name: str
    scores: tuple[Spread, ...]
    trends: Mapping[str, Series]
    correlations: tuple[Correlation, ...] | None
    why_no_correlations: str | None
    provenance: Provenance


def quality_report(
    warehouse: Warehouse,
    name: str,
    *,
    window: Window,
    grain: Grain = Grain.DAY,
    zone_name: str | None = None,
    where: Mapping[str, Filter] | None = None,
) -> QualityReport:
    """Everything of one instant."""
    own = {**(where or {}), "workflow": name}
    with warehouse.session(is_snapshot=True) as session:
        reader = Reader(session, window=window, zone_name=zone_name, where=own)
        found = spreads(reader, "score")
        each = filled_by(reader, ("avg_score", "score_count"), grain, ("score",))
        trends = {f"{score}_score": series for (score,), series in each.items()}
        related, why = _correlations(reader)
        told = reader.provenance()
    return QualityReport(reader.zone_name, tuple(found), trends, related, why, told)


def _correlations(reader: Reader) -> tuple[tuple[Correlation, ...] | None, str | None]:
    try:
        return tuple(correlations(reader)), None
    except QueryError as error:  # raw rows were dropped, or are kept by what correlations do not ask for
        return None, str(error)
