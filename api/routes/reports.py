"""Reports: the overview, one workflow, one worker, quality, stages. Every answer says what it rests on."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from api import reports as wire
from api.formats import TABLES, Wished, told
from api.parameters import Wanted, cursor_at, position
from api.problems import documented
from api.services import Here, Services
from api.wire import Cursor, Limit
from framehouse.events import Name
from framehouse.metrics.compare import LEVEL
from framehouse.metrics.definitions import metric as metric_of
from framehouse.metrics.overview import BY, overview
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
from framehouse.warehouse.rates import rates
from framehouse.windows import Grain, Window

router = APIRouter(prefix="/api/performance", tags=["performance"])

Workflow = Annotated[Name, Path(alias="id", description="A workflow's name or id.")]
Worker = Annotated[Name, Path(alias="id", description="A worker's name or id.")]
Ends = Annotated[int, Query(ge=1, le=100, description="Workflows at either end.")]
_ERRORS = documented(404, 410, 422, 503)


@router.get(
    "/overview",
    summary="The state of the studio",
    response_model=wire.OverviewAnswer,
    responses={**_ERRORS, **TABLES},
)
def show_overview(
    here: Here,
    asked: Wanted,
    form: Wished,
    metric: Annotated[Name, Query(description="What workflows are ranked by.")] = BY,
    grain: Grain = Grain.DAY,
    limit: Ends = 5,
    compare: Annotated[
        Name | None, Query(description="`previous`: the period before beside it.", pattern="^previous$")
    ] = None,
) -> Any:
    """Totals, what was got through in each bucket, who needs the most GPU memory, and the workflows that do best and
    worst by a metric. As a table: the buckets."""
    found = overview(
        here.warehouse(),
        window=asked.window,
        grain=grain,
        zone_name=asked.zone_name,
        where=asked.where(here.warehouse()),
        by=metric,
        limit=limit,
        is_compared=compare is not None,
    )
    answer = {
        "window": asked.window,
        "tz": found.zone_name,
        "grain": grain,
        "currency": _currency(here),
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
    responses={**_ERRORS, **TABLES},
)
def show_workflow(here: Here, asked: Wanted, form: Wished, workflow: Workflow) -> Any:
    """Its metrics, how its time per frame is spread, where its GPU time went, its scores and its stages. As a table:
    the stages."""
    warehouse = here.warehouse()
    own = reference.named(warehouse, "workflow", workflow)
    found = workflow_report(
        warehouse,
        own.name,
        window=asked.window,
        zone_name=asked.zone_name,
        where=asked.where(warehouse),
    )
    answer = {
        "workflow_id": own.id,
        "workflow_name": own.name,
        "window": asked.window,
        "tz": found.zone_name,
        "currency": _currency(here),
        "summary": found.summary,
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


@router.get(
    "/worker/{id}", summary="One worker", response_model=wire.WorkerAnswer, responses={**_ERRORS, **TABLES}
)
def show_worker(here: Here, asked: Wanted, form: Wished, worker: Worker, grain: Grain = Grain.DAY) -> Any:
    """What it did with its time (from its heartbeats, clipped to the window), what it got through, and on what. As a
    table: the buckets."""
    warehouse = here.warehouse()
    own = reference.named(warehouse, "worker", worker)
    found = worker_report(
        warehouse,
        own.name,
        window=asked.window,
        grain=grain,
        zone_name=asked.zone_name,
        where=asked.where(warehouse),
    )
    answer = {
        "worker_id": own.id,
        "worker_name": own.name,
        "window": asked.window,
        "tz": found.zone_name,
        "grain": grain,
        "currency": _currency(here),
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
    responses={**_ERRORS, **TABLES},
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
        window=asked.window,
        grain=grain,
        zone_name=asked.zone_name,
        where=asked.where(warehouse),
    )
    answer = {
        "workflow_id": own.id,
        "workflow_name": own.name,
        "window": asked.window,
        "tz": found.zone_name,
        "grain": grain,
        "level_ratio": LEVEL,
        "scores": [{**_spread(one), "points": _points(found.trends[one.name])} for one in found.scores],
        "correlations": found.correlations,
        "why_no_correlations": found.why_no_correlations,
        "provenance": found.provenance,
    }
    return told(form, wire.QualityAnswer, answer, "scores")


@router.get(
    "/stages",
    summary="The stages of workflows",
    response_model=wire.StagePage,
    responses={**_ERRORS, **TABLES},
)
def show_stages(
    here: Here, asked: Wanted, form: Wished, cursor: Cursor | None = None, limit: Limit = 20
) -> Any:
    """What each stage of each workflow took, those first that take the most time of all."""
    warehouse = here.warehouse()
    start = position(cursor)
    found, count, provenance = stages(
        warehouse,
        window=asked.window,
        zone_name=asked.zone_name,
        where=asked.where(warehouse),
        start=start,
        limit=limit,
    )
    answer = {
        "window": asked.window,
        "items": [_stage(one) for one in found],
        "next_cursor": cursor_at(start + limit) if start + limit < count else None,
        "provenance": provenance,
    }
    return told(form, wire.StagePage, answer, "items")


def _currency(here: Services) -> str | None:
    with here.warehouse().session() as session:
        return next((rate.currency for rate in rates(session)), None)


def _points(series: tuple[tuple[Window, Row], ...]) -> list[dict[str, Any]]:
    return [{"start": window.start, "end": window.end, **row} for window, row in series]


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
