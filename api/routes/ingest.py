"""What schedulers and engines send: events, heartbeats, the queue."""

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api import wire
from api.answers import answer
from api.bodies import BadEncodingError, Body, parsed, read_body
from api.problems import documented, problem
from api.schemas import body_of, one_or_many, refused
from api.services import Here, Services
from framehouse.errors import ContractError
from framehouse.events import Event, Heartbeat, Queue
from ingest import heartbeats, writer
from ingest.body import Element, elements
from ingest.queue import put_queue

router = APIRouter(tags=["ingest"])


@router.post(
    "/api/events",
    summary="Store finished job attempts",
    response_model=wire.EventAnswer,
    responses={**documented(408, 413, 415, 503), **refused(wire.EventRefusal, 409, 422)},
    openapi_extra=one_or_many(Event),
)
async def post_events(request: Request, here: Here) -> Response:
    """One event, or a list of them (up to 10,000 and 8 MiB; `Content-Encoding: gzip` is welcome).

    Whatever is accepted is committed and on disk when the answer comes, exactly once: send it again whenever in
    doubt. Rejected events are kept in quarantine, and their neighbours are stored all the same.
    """
    raw = b""
    try:
        raw = await read_body(request)
        batch = await run_in_threadpool(elements, raw)
    except ContractError as error:
        return await run_in_threadpool(_keep, here, writer.keep_refused, raw, error)
    results: list[writer.Result] = []
    if batch:
        results = await asyncio.wrap_future(here.batcher.submit(batch))
    here.metrics.count_events(results)
    return answer(results, "event")


@router.post(
    "/api/heartbeats",
    summary="Say what workers did",
    response_model=wire.HeartbeatAnswer,
    responses={**documented(408, 413, 415, 503), **refused(wire.HeartbeatRefusal, 422)},
    openapi_extra=one_or_many(Heartbeat),
)
async def post_heartbeats(request: Request, here: Here) -> Response:
    """One heartbeat, or a list of them. Every instant of a worker counts once, whoever tells it first."""
    raw = b""
    try:
        raw = await read_body(request)
        batch = await run_in_threadpool(elements, raw)
    except ContractError as error:
        return await run_in_threadpool(_keep, here, heartbeats.keep_refused, raw, error)
    return await run_in_threadpool(_store_heartbeats, here, batch)


@router.put(
    "/api/queue",
    summary="Replace the scheduler's queue",
    response_model=wire.QueueAnswer,
    responses=documented(408, 413, 415, 422, 503),
    openapi_extra=body_of(Queue),
)
def replace_queue(raw: Body, here: Here) -> dict[str, Any]:
    """What waits and what runs at this moment. Estimates of the wall clock begin behind it."""
    queue = put_queue(here.warehouse(), parsed(raw))
    return {"waiting_count": len(queue.waiting), "running_count": len(queue.running)}


def _store_heartbeats(here: Services, batch: list[Element]) -> Response:
    results = heartbeats.write_heartbeats(here.warehouse(), batch) if batch else []
    here.metrics.count_heartbeats(results)
    return answer(results, "heartbeat")


def _keep(here: Services, keep: Callable[..., object], raw: bytes, error: ContractError) -> Response:
    """Quarantine a body that could not be split into elements."""
    body = error.raw if isinstance(error, BadEncodingError) else raw
    if body.strip():
        keep(here.warehouse(), body, error, origin="http")
    return problem(422, error.code, str(error), error.problems)
