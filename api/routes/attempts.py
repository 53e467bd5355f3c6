"""Reading attempts back."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from api import wire
from api.problems import documented
from api.services import Here
from framehouse.errors import NotFoundError
from framehouse.events import Instant, Name, Outcome
from framehouse.warehouse import attempts

router = APIRouter(tags=["attempts"])


@router.get(
    "/api/jobs/{job_id:path}/attempts",
    summary="Every attempt of a job",
    response_model=wire.Manifest,
    responses=documented(404, 422, 503),
)
def job_attempts(here: Here, job_id: Annotated[Name, Path()]) -> dict[str, Any]:
    """The job's manifest: what each attempt was, took and gave."""
    found = attempts.attempts_of_job(here.warehouse(), job_id)
    if not found:
        raise NotFoundError(f"no attempt of a job {job_id!r} is stored")
    return {"job_id": job_id, "attempts": found}


@router.get(
    "/api/attempts",
    summary="Find attempts",
    response_model=wire.AttemptPage,
    responses=documented(404, 422, 503),
)
def list_attempts(
    here: Here,
    workflow: Name | None = None,
    worker: Name | None = None,
    tier: Name | None = None,
    outcome: Outcome | None = None,
    start: Annotated[Instant | None, Query(alias="from", description="Finished at or after it.")] = None,
    end: Annotated[Instant | None, Query(alias="to", description="Finished before it.")] = None,
    cursor: wire.Cursor | None = None,
    limit: wire.Limit = 100,
) -> dict[str, Any]:
    """The latest first."""
    items, next_cursor = attempts.page(
        here.warehouse(),
        workflow=workflow,
        worker=worker,
        tier=tier,
        outcome=outcome,
        start=start,
        end=end,
        cursor=cursor,
        limit=limit,
    )
    return {"items": items, "next_cursor": next_cursor}
