"""Health, readiness, metrics."""

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from api import metrics, wire
from api.problems import documented, problem
from api.services import Here
from migrations import newest

router = APIRouter(tags=["service"])


@router.get("/healthz", summary="Does the process live?", response_model=wire.Alive)
async def healthz() -> Response:
    """Asks nothing and nobody."""
    return JSONResponse({"status": "alive"})


@router.get(
    "/readyz",
    summary="Can the service do its work?",
    response_model=wire.Ready,
    responses=documented(503),
)
def readyz(here: Here) -> Response:
    """The database answers, its schema is up to date, the rollups are built; else what is missing, and what mends
    it."""
    missing = here.readiness.missing()
    if not missing:
        return JSONResponse({"status": "ready", "schema_version": newest().number})
    told = "; ".join(f"{item.path}: {item.message} (try: {item.expected})" for item in missing)
    return problem(503, "not_ready", told, missing)


@router.get(
    "/metrics",
    summary="Measurements for Prometheus",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus text"}
    },
)
def prometheus(here: Here) -> Response:
    """Events, batches, requests, quarantine, backlog; answers during an outage of the database too."""
    return Response(here.metrics.text(), media_type=metrics.CONTENT_TYPE)
