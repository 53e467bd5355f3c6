"""What is written, as it is written."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from api.live import Resync, Stream, Wanted
from api.problems import documented
from api.schemas import events_of
from api.services import Here, Services
from framehouse.events import Name
from framehouse.warehouse import reference
from framehouse.warehouse.written import Written, WrittenKind

router = APIRouter(tags=["stream"])

Kinds = Annotated[list[WrittenKind] | None, Query(max_length=10, description="These kinds only; all.")]
Workflows = Annotated[list[Name] | None, Query(max_length=50, description="Names or ids, repeated; all.")]
Workers = Annotated[list[Name] | None, Query(max_length=50, description="Names or ids, repeated; all.")]
LastId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        description="Sent by a client that connects again; the first event is a `resync` if it missed some.",
    ),
]


async def joined(
    here: Here,
    kind: Kinds = None,
    workflow: Workflows = None,
    worker: Workers = None,
    last_id: LastId = None,
) -> AsyncIterator[Stream]:
    """A stream for as long as the request lasts. Whatever fails does so before the answer begins."""
    wanted = await run_in_threadpool(_wanted, here, kind or [], workflow or [], worker or [])
    await run_in_threadpool(here.live.listen)
    stream = here.live.join(wanted, last_id)
    try:
        yield stream
    finally:
        here.live.leave(stream)


@router.get(
    "/api/stream",
    summary="Hear what is written",
    response_class=EventSourceResponse,
    responses={**documented(404, 422, 503), **events_of({"written": Written, "resync": Resync})},
)
async def stream(found: Annotated[Stream, Depends(joined)]) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events without an end. `written`: a batch was stored and can be read; read again what shows it.
    `resync`: some may have been missed; read everything again. A batch of so many workflows or workers that they are
    not named is told whatever is asked for. In silence a comment comes every 15 s."""
    async for event in found.events():
        yield event


def _wanted(here: Services, kinds: list[WrittenKind], workflows: list[str], workers: list[str]) -> Wanted:
    """What is asked for, by name. Raises NotFoundError."""
    return Wanted(
        frozenset(kinds),
        frozenset(reference.named(here.warehouse(), "workflow", asked).name for asked in workflows),
        frozenset(reference.named(here.warehouse(), "worker", asked).name for asked in workers),
    )
