"""Reference data: resolution tiers, and the names that events brought."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from api import reference as answers
from api import wire
from api.bodies import json_body
from api.problems import documented
from api.schemas import body_of
from api.services import Here, Services
from framehouse.warehouse import rates, reference
from framehouse.warehouse.reference import Kind

router = APIRouter(tags=["reference"])


@router.get(
    "/api/resolution-tiers",
    summary="List resolution tiers",
    response_model=answers.TierList,
    responses=documented(422, 503),
)
def list_tiers(here: Here) -> dict[str, Any]:
    """All tiers in use, in their order."""
    return {"items": reference.tiers(here.warehouse())}


@router.post(
    "/api/resolution-tiers",
    summary="Add a resolution tier",
    status_code=201,
    response_model=answers.Tier,
    responses=documented(408, 409, 413, 415, 422, 503),
    openapi_extra=body_of(answers.TierRequest),
)
def create_tier(
    here: Here, asked: Annotated[answers.TierRequest, Depends(json_body(answers.TierRequest))]
) -> reference.Tier:
    """A name is given once: history refers to tiers by it."""
    return reference.create_tier(here.warehouse(), **asked.model_dump())


@router.get(
    "/api/gpu-rates",
    summary="List GPU rates",
    response_model=answers.RateList,
    responses=documented(422, 503),
)
def list_rates(here: Here) -> dict[str, Any]:
    """What an hour of each GPU model costs, from when on."""
    with here.warehouse().session() as session:
        return {"items": rates.rates(session)}


@router.put(
    "/api/gpu-rates",
    summary="Set a GPU rate",
    response_model=answers.RateAnswer,
    responses=documented(408, 413, 415, 422, 503),
    openapi_extra=body_of(answers.RateRequest),
)
def set_rate(
    here: Here, asked: Annotated[answers.RateRequest, Depends(json_body(answers.RateRequest))]
) -> rates.Rate:
    """It takes the place of one of the same model and instant. Costs of the time it covers change at once."""
    return rates.set_rate(here.warehouse(), rates.Rate(**asked.model_dump()))


@router.get(
    "/api/workflows",
    summary="List workflows",
    response_model=answers.NamedPage,
    responses=documented(422, 503),
)
def list_workflows(here: Here, cursor: wire.Cursor | None = None, limit: wire.Limit = 100) -> dict[str, Any]:
    """In the order of their names."""
    return _page(here, Kind.WORKFLOWS, cursor, limit)


@router.get(
    "/api/workers", summary="List workers", response_model=answers.NamedPage, responses=documented(422, 503)
)
def list_workers(here: Here, cursor: wire.Cursor | None = None, limit: wire.Limit = 100) -> dict[str, Any]:
    """In the order of their names."""
    return _page(here, Kind.WORKERS, cursor, limit)


@router.get(
    "/api/projects", summary="List projects", response_model=answers.NamedPage, responses=documented(422, 503)
)
def list_projects(here: Here, cursor: wire.Cursor | None = None, limit: wire.Limit = 100) -> dict[str, Any]:
    """In the order of their names."""
    return _page(here, Kind.PROJECTS, cursor, limit)


def _page(here: Services, kind: Kind, cursor: str | None, limit: int) -> dict[str, Any]:
    items, next_cursor = reference.page(here.warehouse(), kind, cursor=cursor, limit=limit)
    return {"items": items, "next_cursor": next_cursor}
