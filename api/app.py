"""The FastAPI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from starlette.concurrency import run_in_threadpool

from api import docs, problems, schemas
from api.middleware import Watch
from api.parameters import nothing_else
from api.routes import (
    attempts,
    budgets,
    estimates,
    ingest,
    performance,
    quarantine,
    reference,
    reports,
    service,
    stream,
)
from api.services import Services
from framehouse import __version__, embedded
from framehouse.config import Settings
from framehouse.config import settings as process_settings

_INGEST = (ingest.router, quarantine.router)
_READING = (
    estimates.router,
    budgets.router,
    performance.router,
    reports.router,
    attempts.router,
    reference.router,
    stream.router,
)

_DESCRIPTION = """\
Metrics of every job attempt, rolled up, compared, and estimated before you submit.

Numbers carry their unit in the name; times are RFC 3339 in UTC; unknown is `null`, never 0. White space around a name
is dropped before the name is judged. Lists are paged: give `next_cursor` back as `cursor`. Every error is
`application/problem+json` (RFC 9457) with a stable `code` and the path of each bad field: also a query parameter that
an endpoint does not take, and a second value where it takes one. Give ingest at most 8 MiB and
10,000 elements a request.
"""

_TAGS = [
    {"name": "ingest", "description": "Events, heartbeats and the queue, from engines and schedulers."},
    {"name": "quarantine", "description": "Refused bodies, kept byte for byte."},
    {"name": "attempts", "description": "What is stored, read back."},
    {"name": "estimates", "description": "What a batch will take, and how earlier estimates did."},
    {"name": "budgets", "description": "What may be spent, and the submission of what will be."},
    {"name": "performance", "description": "Comparisons, trends, rankings, and what they rest on."},
    {"name": "reference", "description": "Tiers, workflows, workers, projects."},
    {"name": "stream", "description": "What is written, as it is written."},
    {"name": "service", "description": "Health, readiness, metrics."},
]


def create_app(
    settings: Settings | None = None, *, url: str | None = None, is_ingest_only: bool = False
) -> FastAPI:
    """The application; it owns its connections, its batcher and its measurements.

    `url` is the warehouse's libpq URL (given, or else what the settings lead to, asked when it is first needed). The
    database need not be there at the start: until it is, /readyz says what is missing and requests get a 503.
    `is_ingest_only` leaves out everything that reads.
    """
    chosen = settings or process_settings()
    services = Services(lambda: url or embedded.database_url(chosen))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services.open()
        try:
            yield
        finally:
            await run_in_threadpool(services.close)

    app = FastAPI(
        title="framehouse",
        summary="An analytics-first time-series warehouse for studios that generate media.",
        description=_DESCRIPTION,
        version=__version__,
        openapi_tags=_TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=problems.documented(414, 431, 500),
        lifespan=lifespan,
    )
    app.state.services = services
    routers = (*_INGEST, service.router) if is_ingest_only else (*_INGEST, *_READING, service.router)
    for router in routers:
        # Balancers and browsers put what they like behind the addresses of the service itself.
        judged = [] if router is service.router else [Depends(nothing_else)]
        app.include_router(router, dependencies=judged)
    app.state.routes = [route for router in routers for route in router.routes]
    docs.install(app)
    problems.install(app)
    schemas.install(app)
    app.add_middleware(Watch, metrics=services.metrics)
    return app
