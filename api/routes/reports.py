"""Reports: the overview, one workflow, one worker, quality, stages. Every answer says what it rests on."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from api import reports as wire
from api.formats import TOLD, Wished, told
from api.parameters import Previous, Wanted, Workflow, place_in
from api.services import Here
from api.wire import Cursor, Limit
from framehouse.events import Name
from framehouse.metrics.compare import LEVEL
from framehouse.metrics.definitions import metric as metric_of
from framehouse.metrics.overview import BY, Series, overview
from framehouse.metrics.reports import (
    Spread,
    Stage,
    quality_report,
    stages,
    worker_report,
    workflow_report,
)
from framehouse.metrics.summary import Row
from framehouse.warehouse import reference
from framehouse.windows import Grain

router = APIRouter(prefix="/api/performance", tags=["performance"])

Worker = Annotated[Name, Path(alias="id", description="A worker's name or id.")]
Ends = Annotated[int, Query(ge=1, le=100, description="Workflows at either end.")]


@router.get(
    "/overview",
    summary="The state of the studio",
    response_model=wire.OverviewAnswer,
    responses=TOLD,
)
def show_overview(
    here: Here,
    asked: Wanted,
    form: Wished,
    metric: Annotated[Name, Query(description="What workflows are ranked by.")] = BY,
    grain: Grain = Grain.DAY,
    limit: Ends = 5,
    compare: Previous = None,
) -> Any:
    """Totals, what was got through in each bucket, who needs the most GPU memory, and the workflows that do best and
    worst by a metric. As a table: the buckets."""
    warehouse = here.warehouse()
    found = overview(
        warehouse,
        grain=grain,
        **asked.scope(warehouse),
        by=metric,
        limit=limit,
        is_compared=compare is not None,
    )
    answer = {
        "window": asked.window,
        "tz": found.zone_name,
        "grain": grain,
        "currency": found.currency,
        "totals": found.totals,
        "previous_window": found.previous_window,
        "previous_totals": found.previous_totals,
        "series": _points(found.series),
        "vram_peaks": found.vram_peaks,
        "metric": metric,
        "better": metric_of(metric).better,
        "top": found.workflows.top,
        "bottom": found.workflows.bottom,
        "provenance": found.provenance,
    }
    return told(form, wire.OverviewAnswer, answer, "series")


@router.get(
    "/workflow/{id}",
    summary="One workflow",
    response_model=wire.WorkflowAnswer,
    responses=TOLD,
)
def show_workflow(
    here: Here, asked: Wanted, form: Wished, workflow: Workflow, compare: Previous = None
) -> Any:
    """Its metrics, how its time per frame is spread, where its GPU time went, its scores and its stages. As a table:
    the stages."""
    warehouse = here.warehouse()
    own = reference.named(warehouse, "workflow", workflow)
    found = workflow_report(
        warehouse,
        own.name,
        **asked.scope(warehouse, workflow=own.name),
        is_compared=compare is not None,
    )
    answer = {
        "workflow_id": own.id,
        "workflow_name": own.name,
        "window": asked.window,
        "tz": found.zone_name,
        "currency": found.currency,
        "summary": found.summary,
        "previous_window": found.previous_window,
        "previous_summary": found.previous_summary,
        "time_per_frame": found.time_per_frame and _spread(found.time_per_frame),
        "gpu_time": {
            **found.gpu_time,
            "by_tier": _shares(found.by_tier, "tier"),
            "by_worker": _shares(found.by_worker, "worker"),
            "by_gpu_model": _shares(found.by_gpu_model, "gpu_model"),
        },
        "quality": [_spread(one) for one in found.quality],
        "stages": [_stage(one) for one in found.stages],
        "provenance": found.provenance,
    }
    return told(form, wire.WorkflowAnswer, answer, "stages")


@router.get("/worker/{id}", summary="One worker", response_model=wire.WorkerAnswer, responses=TOLD)
def show_worker(here: Here, asked: Wanted, form: Wished, worker: Worker, grain: Grain = Grain.DAY) -> Any:
    """What it did with its time (from its heartbeats, clipped to the window, whatever else is kept), what it got
    through, and on what. As a table: the buckets."""
    warehouse = here.warehouse()
    own = reference.named(warehouse, "worker", worker)
    found = worker_report(
        warehouse,
        own.name,
        grain=grain,
        **asked.scope(warehouse, worker=own.name),
    )
    answer = {
        "worker_id": own.id,
        "worker_name": own.name,
        "window": asked.window,
        "tz": found.zone_name,
        "grain": grain,
        "currency": found.currency,
        **found.states,
        "unknown_hours": found.unknown_hours,
        "summary": found.summary,
        "series": _points(found.series),
        "workflows": found.workflows,
        "provenance": found.provenance,
    }
    return told(form, wire.WorkerAnswer, answer, "series")


@router.get(
    "/quality",
    summary="The scores of a workflow",
    response_model=wire.QualityAnswer,
    responses=TOLD,
)
def show_quality(
    here: Here,
    asked: Wanted,
    form: Wished,
    workflow: Annotated[Name, Query(description="A name or id: one workflow at a time.")],
    grain: Grain = Grain.DAY,
) -> Any:
    """How each score is spread and how it went, and which numeric parameters go with it. As a table: the scores."""
    warehouse = here.warehouse()
    own = reference.named(warehouse, "workflow", workflow)
    found = quality_report(
        warehouse,
        own.name,
        grain=grain,
        **asked.scope(warehouse, workflow=own.name),
    )
    answer = {
        "workflow_id": own.id,
        "workflow_name": own.name,
        "window": asked.window,
        "tz": found.zone_name,
        "grain": grain,
        "level_ratio": LEVEL,
        "scores": [{**_spread(one), "points": _score_points(found.trends[one.name])} for one in found.scores],
        "correlations": found.correlations,
        "why_no_correlations": found.why_no_correlations,
        "provenance": found.provenance,
    }
    return told(form, wire.QualityAnswer, answer, "scores")


@router.get(
    "/stages",
    summary="The stages of workflows",
    response_model=wire.StagePage,
    responses=TOLD,
)
def show_stages(
    here: Here, asked: Wanted, form: Wished, cursor: Cursor | None = None, limit: Limit = 20
) -> Any:
    """What each stage of each workflow took, those first that take the most time of all."""
    warehouse = here.warehouse()
    start = place_in(cursor)
    found, count, provenance = stages(
        warehouse,
        **asked.scope(warehouse),
        start=start,
        limit=limit,
    )
    answer = {
        "window": asked.window,
        "items": [_stage(one) for one in found],
        "next_cursor": str(start + limit) if start + limit < count else None,
        "provenance": provenance,
    }
    return told(form, wire.StagePage, answer, "items")


def _points(series: Series) -> list[dict[str, Any]]:
    return [{"start": window.start, "end": window.end, **row} for window, row in series]


def _score_points(series: Series) -> list[dict[str, Any]]:
    return [{**point, "avg": point["avg_score"], "count": point["score_count"]} for point in _points(series)]


def _spread(one: Spread) -> dict[str, Any]:
    return {
        "metric": one.name,
        "unit": one.unit,
        "better": one.better,
        "count": one.count,
        **one.statistics,
        "nonpositive_count": one.distribution.nonpositive_count,
        "bars": one.distribution.bars,
    }


def _stage(one: Stage) -> dict[str, Any]:
    values = asdict(one)
    statistics = values.pop("statistics")
    return {**values, **{f"{name}_ms": value for name, value in statistics.items()}}


def _shares(rows: tuple[Row, ...], dimension: str) -> list[Row]:
    return [{"name": row[dimension], **row} for row in rows]
