"""Refused bodies: look at them, mend them, send them through the same door again."""

import base64
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.responses import JSONResponse, Response

from api import wire
from api.answers import refusal, results
from api.bodies import Body
from api.parameters import place_in
from api.problems import documented, problem
from api.schemas import one_or_many, refused
from api.services import Here
from framehouse.events import Event, Heartbeat, Name
from ingest import quarantine
from ingest.verdict import Status

router = APIRouter(tags=["quarantine"])

RowId = Annotated[int, Path(ge=1, le=2**63 - 1)]


@router.get(
    "/api/quarantine",
    summary="List refused bodies",
    response_model=wire.QuarantinePage,
    responses=documented(422, 503),
)
def list_quarantine(
    here: Here,
    include_replayed: bool = False,
    code: Annotated[Name | None, Query(description="Only those refused with this code.")] = None,
    limit: wire.Limit = 100,
    cursor: wire.Cursor | None = None,
) -> dict[str, Any]:
    """In the order of their arrival; those that were replayed only on request."""
    warehouse = here.warehouse()
    rows = quarantine.page(warehouse, place_in(cursor), limit, include_replayed, code=code)
    is_last = len(rows) < limit or not quarantine.page(warehouse, rows[-1].id, 1, include_replayed, code=code)
    return {"items": rows, "next_cursor": None if is_last else str(rows[-1].id)}


@router.get(
    "/api/quarantine/{id}",
    summary="Show a refused body",
    response_model=wire.QuarantineBody,
    responses=documented(404, 422, 503),
)
def show_quarantined(here: Here, id: RowId) -> dict[str, Any]:  # noqa: A002 - the path's own word
    """The body byte for byte, and what was wrong with it."""
    row = quarantine.show(here.warehouse(), id)
    return {
        **{name: value for name, value in asdict(row).items() if name != "body"},
        "body_text": _text(row.body),
        "body_base64": base64.b64encode(row.body).decode(),
    }


@router.post(
    "/api/quarantine/{id}/replay",
    summary="Send a refused body again",
    response_model=wire.ReplayAnswer,
    responses={**documented(404, 408, 413, 415, 503), **refused(wire.ReplayRefusal, 409, 422)},
    openapi_extra=one_or_many(Event, Heartbeat, is_required=False),
)
def replay_quarantined(here: Here, id: RowId, mended: Body) -> Response:  # noqa: A002 - the path's own word
    """As it came, or, with a body, that in its place. What is stored or known now is settled; what is refused again
    stays open."""
    done = quarantine.replay(here.warehouse(), id, mended if mended.strip() else None)
    if done.status is not Status.REJECTED:
        return JSONResponse({"id": id, "status": done.status.value, "results": results(done.verdicts)})
    detail = "it was refused again and stays in quarantine"
    if done.verdicts:
        return refusal(done.verdicts, detail)
    return problem(422, done.code or "invalid", detail, done.errors)


def _text(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None
