"""Budgets, and the submission of estimates that they are checked at."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import Response

from api import wire
from api.bodies import Body, json_body, understood
from api.budgets import BudgetList, BudgetRequest, CrossingPage, SubmissionRequest
from api.parameters import place_in
from api.problems import documented
from api.schemas import body_of
from api.services import Here
from framehouse.estimates import budgets, spending, submission

router = APIRouter(tags=["budgets"])

BudgetId = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.get(
    "/api/budgets",
    summary="List budgets and how they stand",
    response_model=BudgetList,
    responses=documented(422, 503),
)
def list_budgets(here: Here, include_archived: bool = False) -> dict[str, Any]:
    """In the order of their names: spent, committed and remaining in the present period."""
    with here.warehouse().session(is_snapshot=True) as session:
        return {"items": spending.states(session, include_archived=include_archived)}


@router.post(
    "/api/budgets",
    summary="Add a budget",
    status_code=201,
    response_model=budgets.Budget,
    responses=documented(408, 409, 413, 415, 422, 503),
    openapi_extra=body_of(BudgetRequest),
)
def create_budget(
    here: Here, asked: Annotated[BudgetRequest, Depends(json_body(BudgetRequest))]
) -> budgets.Budget:
    """Its project need not have had a job yet."""
    return budgets.create(here.warehouse(), budgets.Terms(**asked.model_dump()))


@router.get(
    "/api/budgets/crossings",
    summary="List what was crossed and refused",
    response_model=CrossingPage,
    responses=documented(422, 503),
)
def list_crossings(
    here: Here,
    budget: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Of this budget's id alone.")] = None,
    cursor: wire.Cursor | None = None,
    limit: wire.Limit = 100,
) -> dict[str, Any]:
    """The latest first. A level is told once for each period and amount, a refusal each time."""
    before = None if cursor is None else place_in(cursor)
    found = submission.crossings(here.warehouse(), budget_id=budget, before=before, limit=limit + 1)
    more = len(found) > limit
    return {"items": found[:limit], "next_cursor": str(found[limit - 1].id) if more else None}


@router.get(
    "/api/budgets/{id}",
    summary="A budget and how it stands",
    response_model=spending.BudgetState,
    responses=documented(404, 422, 503),
)
def show_budget(here: Here, id: BudgetId) -> spending.BudgetState:  # noqa: A002 - the path's own word
    """Archived ones, too."""
    with here.warehouse().session(is_snapshot=True) as session:
        return spending.state(session, budgets.budget(session, id))


@router.put(
    "/api/budgets/{id}",
    summary="Change a budget",
    response_model=budgets.Budget,
    responses=documented(404, 408, 409, 413, 415, 422, 503),
    openapi_extra=body_of(BudgetRequest),
)
def change_budget(
    here: Here,
    id: BudgetId,  # noqa: A002 - as above
    asked: Annotated[BudgetRequest, Depends(json_body(BudgetRequest))],
) -> budgets.Budget:
    """All of it is replaced; one that was archived is in use again."""
    return budgets.change(here.warehouse(), id, budgets.Terms(**asked.model_dump()))


@router.delete(
    "/api/budgets/{id}",
    summary="Archive a budget",
    response_model=budgets.Budget,
    responses=documented(404, 422, 503),
)
def archive_budget(here: Here, id: BudgetId) -> budgets.Budget:  # noqa: A002 - as above
    """It is checked no more; what it crossed stays."""
    return budgets.archive(here.warehouse(), id)


@router.post(
    "/api/estimates/{id}/submission",
    summary="Submit an estimate",
    status_code=201,
    response_model=submission.Submission,
    responses={
        200: {"model": submission.Submission, "description": "It was submitted before; nothing changed."},
        **documented(404, 408, 409, 413, 415, 422, 503),
    },
    openapi_extra=body_of(SubmissionRequest, is_required=False),
)
def submit(here: Here, id: UUID, raw: Body, answer: Response) -> submission.Submission:  # noqa: A002 - as above
    """What it predicts is committed until its scenes succeed or it is withdrawn. Where a budget blocks it, nothing is
    committed: 409, `budget_exceeded`. Nor is an estimate that is submitted for another project than the one that is
    named: 409, `already_submitted`."""
    asked = understood(SubmissionRequest, raw) if raw.strip() else SubmissionRequest()
    done = submission.submit(here.warehouse(), id, asked.project)
    answer.status_code = 201 if done.is_new else 200
    return done


@router.delete(
    "/api/estimates/{id}/submission",
    summary="Withdraw a submission",
    response_model=submission.Commitment,
    responses=documented(404, 422, 503),
)
def release(here: Here, id: UUID) -> submission.Commitment:  # noqa: A002 - as above
    """What it predicted is committed no more; it may be submitted again."""
    return submission.release(here.warehouse(), id)
