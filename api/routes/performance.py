"""Performance: comparisons, trends, rankings. Every answer says what it rests on."""

import math
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query

from api import performance as wire
from api.formats import TOLD, Wished, told
from api.parameters import Asked, Previous, Wanted, Workflow
from api.services import Here
from framehouse.errors import NotFoundError, QueryError
from framehouse.events import Name
from framehouse.metrics.answers import Filter
from framehouse.metrics.changes import Change
from framehouse.metrics.compare import LEVEL
from framehouse.metrics.comparison import MOST_SIDES, Compared, Side, change_told, compare
from framehouse.metrics.ranking import rank_workers
from framehouse.metrics.read import studio_zone
from framehouse.metrics.trend import MOVING, previous, trend
from framehouse.warehouse import Warehouse, reference
from framehouse.windows import Grain, Window

router = APIRouter(prefix="/api/performance", tags=["performance"])

Metrics = Annotated[
    list[Name] | None,
    Query(
        alias="metric",
        max_length=12,
        description="Quantities to compare, such as wall_seconds_per_segment or likeness_score; without any, what a"
        " unit of work takes and the scores that all have.",
    ),
]


@router.get(
    "/comparison",
    summary="Compare workflows, or one workflow in two periods or at two tiers",
    response_model=wire.ComparisonAnswer,
    responses=TOLD,
)
def comparison(
    here: Here,
    asked: Wanted,
    form: Wished,
    workflows: Annotated[
        list[Name],
        Query(
            description="Names or ids, repeated, or several in one, between commas; a value that is itself a workflow's"
            " name is not split.",
            min_length=1,
            max_length=MOST_SIDES,
        ),
    ],
    metric: Metrics = None,
    compare_with: Previous = None,
) -> Any:
    """Like for like: on the same tiers and workers where both have enough of those in common, and with an interval that
    holds for everything in the answer together. No clear difference is an answer. With one workflow and several tiers
    those are compared. As a table: the differences."""
    warehouse = here.warehouse()
    names = list(dict.fromkeys(name for given in workflows for name in _named(warehouse, given)))
    zone_name = asked.zone_name or studio_zone(warehouse)
    sides = _sides(warehouse, names, asked, zone_name, is_with_previous=compare_with is not None)
    found = compare(
        warehouse,
        sides,
        quantities=list(dict.fromkeys(metric)) if metric else None,
        history=_history(names, sides),
        zone_name=zone_name,
    )
    answer = {
        "sides": sides,
        "level_ratio": found.level,
        "sentences": found.sentences,
        "differences": [_difference(one) for one in found.compared],
        "changes": [
            _change(names[0], quantity, one, zone_name)
            for quantity, jumps in found.changes.items()
            for one in jumps
        ],
        "provenance": found.provenance,
    }
    return told(form, wire.ComparisonAnswer, answer, "differences")


@router.get(
    "/workflow/{id}/trend",
    summary="A metric of a workflow over time",
    response_model=wire.TrendAnswer,
    responses=TOLD,
)
def workflow_trend(
    here: Here,
    workflow: Workflow,
    asked: Wanted,
    form: Wished,
    metric: Name = "avg_time_per_frame_ms",
    grain: Grain = Grain.DAY,
    moving: Annotated[int, Query(ge=1, le=366, description="Buckets of the moving average.")] = MOVING,
) -> Any:
    """Hours, days, weeks or months of any time zone (the studio's, unless another is named), and the period before. As
    a table: the points."""
    warehouse = here.warehouse()
    name = reference.named(warehouse, "workflow", workflow).name
    found = trend(warehouse, metric, grain=grain, moving=moving, **asked.scope(warehouse, workflow=name))
    answer = {
        "workflow": name,
        "metric": metric,
        "unit": found.unit.shown,
        "grain": grain,
        "tz": found.zone_name,
        "moving": moving,
        "window": asked.window,
        "value": found.total,
        "previous_window": found.previous_window,
        "previous_value": found.previous_total,
        "change_ratio": found.change_ratio,
        "points": [
            {
                "start": point.window.start,
                "end": point.window.end,
                "value": point.value,
                "moving_average": point.moving_average,
                "change_ratio": point.change_ratio,
                "count": point.count,
            }
            for point in found.points
        ],
        "provenance": found.provenance,
    }
    return told(form, wire.TrendAnswer, answer, "points")


@router.get(
    "/workers/comparison",
    summary="Rank workers on the same work",
    response_model=wire.RankingAnswer,
    responses=TOLD,
)
def workers_comparison(
    here: Here, asked: Wanted, form: Wished, metric: Name = "wall_seconds_per_segment"
) -> Any:
    """By what each takes for the same workflow and tier, the fastest first; equals share a rank."""
    warehouse = here.warehouse()
    found, provenance = rank_workers(warehouse, metric, window=asked.window, where=asked.where(warehouse))
    answer = {
        "metric": metric,
        "level_ratio": LEVEL,
        "window": asked.window,
        "workers": [
            {
                "worker": one.worker,
                "rank": one.rank,
                "group": one.group,
                "difference_pct": _percent(one.factor),
                "low_pct": _percent(one.low) if math.isfinite(one.high) else None,
                "high_pct": _percent(one.high) if math.isfinite(one.high) else None,
                "count": one.count,
                "strata_count": one.strata_count,
            }
            for one in found
        ],
        "provenance": provenance,
    }
    return told(form, wire.RankingAnswer, answer, "workers")


def _named(warehouse: Warehouse, given: str) -> list[str]:
    """The one workflow that a value names, or else those between its commas. Raises NotFoundError."""
    try:
        return [reference.named(warehouse, "workflow", given).name]
    except NotFoundError:
        parts = [part.strip() for part in given.split(",") if part.strip()]
        if parts == [given]:
            raise
    return [reference.named(warehouse, "workflow", part).name for part in parts]


def _sides(
    warehouse: Warehouse, workflows: list[str], asked: Asked, zone_name: str, *, is_with_previous: bool
) -> list[Side]:
    """What the parameters ask to set beside each other. Raises QueryError where that is not two things."""
    where, window = asked.where(warehouse), asked.window
    tiers = where.pop("tier", [])
    if "workflow" in where:
        raise QueryError("what is compared is named in `workflows`", hint="leave `workflow` out")

    def taken(workflow: str, tier: Sequence[str | None]) -> dict[str, Filter]:
        return {**where, "workflow": workflow, **({"tier": tier[0]} if tier else {})}

    if len(workflows) > 1:
        if len(tiers) > 1 or is_with_previous:
            raise QueryError(
                "several workflows are compared at one tier and in one period",
                hint="name one workflow to compare tiers or periods",
            )
        return [Side(name, window, taken(name, tiers)) for name in workflows]
    if workflows and len(tiers) > 1 and not is_with_previous:
        return [Side(tier or "no tier", window, taken(workflows[0], [tier])) for tier in tiers]
    if workflows and is_with_previous and len(tiers) < 2:
        before = previous(window, Grain.DAY, zone_name)
        own = taken(workflows[0], tiers)
        return [Side("the period before", before, own), Side("this period", window, own)]
    raise QueryError(
        "one thing alone cannot be compared",
        hint="name two workflows, or one and compare=previous, or one and two tiers",
    )


def _history(names: list[str], sides: list[Side]) -> Window | None:
    """Where one workflow is compared with itself, when it jumped is asked of both periods."""
    if len(names) > 1 or sides[0].window == sides[1].window:
        return None
    return Window(min(side.window.start for side in sides), max(side.window.end for side in sides))


def _change(workflow: str, metric: str, change: Change, zone_name: str) -> dict[str, Any]:
    before, after = change.difference.counts
    return {
        "workflow": workflow,
        "metric": metric,
        "at": change.at,
        "sentence": change_told(workflow, metric, change, zone_name),
        "before_count": before,
        "after_count": after,
        "difference_pct": _percent(change.difference.ratio),
        "low_pct": _percent(change.difference.low),
        "high_pct": _percent(change.difference.high),
    }


def _difference(one: Compared) -> dict[str, Any]:
    told = one.difference
    return {
        "metric": one.quantity,
        "first": one.first,
        "second": one.second,
        "difference_pct": _percent(told.ratio),
        "low_pct": _percent(told.low),
        "high_pct": _percent(told.high),
        "is_clear": told.is_clear,
        "is_better": one.is_better if told.is_clear else None,
        "first_count": told.counts[0],
        "second_count": told.counts[1],
        "first_left_out_count": told.left_out[0],
        "second_left_out_count": told.left_out[1],
        "adjusted_for": one.adjusted_for,
        "reason": told.reason,
    }


def _percent(ratio: float | None) -> float | None:
    return None if ratio is None else (ratio - 1) * 100
