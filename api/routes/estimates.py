"""What a batch will take, and how earlier estimates did."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from api.bodies import json_body
from api.estimates import EstimateHistory, StoredEstimate
from api.parameters import Zone, window_of
from api.problems import documented
from api.schemas import body_of
from api.services import Here
from framehouse.estimates import outcomes
from framehouse.estimates.batch import estimate_batch
from framehouse.estimates.wire import BatchAnswer, BatchRequest
from framehouse.events import Name
from framehouse.windows import Grain, Window

router = APIRouter(tags=["estimates"])

#: Events may be an hour ahead of the clock.
Quarter = Annotated[Window, Depends(window_of(timedelta(days=90), ahead=timedelta(hours=1)))]


class Bucket(StrEnum):
    """How long one bucket of scores is."""

    HOUR = Grain.HOUR
    DAY = Grain.DAY
    WEEK = Grain.WEEK
    MONTH = Grain.MONTH


@router.post(
    "/api/estimates",
    summary="Estimate a batch before it is submitted",
    response_model=BatchAnswer,
    responses=documented(408, 413, 415, 422, 503),
    openapi_extra=body_of(BatchRequest),
)
def estimate(here: Here, request: Annotated[BatchRequest, Depends(json_body(BatchRequest))]) -> BatchAnswer:
    """Scenes without history are listed, never guessed. Jobs that carry the answer's `estimate_id` and their
    `scene_key` are later scored against it."""
    return estimate_batch(here.warehouse(), request)


@router.get(
    "/api/estimates/history",
    summary="Calibration, and predicted against actual",
    response_model=EstimateHistory,
    responses=documented(422, 503),
)
def history(
    here: Here,
    window: Quarter,
    workflow: Name | None = None,
    grain: Bucket = Bucket.DAY,
    tz: Annotated[Zone, Query(description="Whose days the buckets follow.")] = "UTC",
) -> outcomes.History:
    """Calibration by workflow and tier; scores of scenes also by time; scores of whole estimates (`totals`);
    and which estimates are off (`alarms`)."""
    return outcomes.history(
        here.warehouse(), workflow=workflow, window=window, grain=Grain(grain), zone_name=tz
    )


@router.get(
    "/api/estimates/{id}",
    summary="A stored estimate, predicted against actual",
    response_model=StoredEstimate,
    responses=documented(404, 422, 503),
)
def stored(here: Here, id: UUID) -> outcomes.Stored:  # noqa: A002 - the path's own word
    """Each scene's prediction, and each total's, beside what its jobs took."""
    return outcomes.stored(here.warehouse(), id)
