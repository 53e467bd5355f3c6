"""The service on a real port, over a real database."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api import create_app
from api.server import Server
from framehouse.config import Settings

from . import studio as week
from .contract import Contract

Event = Callable[..., dict[str, Any]]


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Run an application with uvicorn on a free port; its address."""
    ready = threading.Event()

    class Announcing(Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready.set()

    # The protocol by name, as framehouse serve has it: asyncio sends at once (TCP_NODELAY) on nothing else.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        server = Announcing(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert ready.wait(30)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def client() -> Iterator[Callable[[FastAPI], httpx.Client]]:
    """Serves an application for this test; every answer is held against its OpenAPI document."""
    with ExitStack() as stack:

        def start(app: FastAPI) -> httpx.Client:
            contract = Contract(app.openapi())
            hooks = {"response": [contract.check]}
            url = stack.enter_context(serving(app))
            return stack.enter_context(httpx.Client(base_url=url, event_hooks=hooks, timeout=60))

        yield start


@pytest.fixture
def app(database_url: str, settings: Settings) -> FastAPI:
    """The application on a database of the test's own."""
    return create_app(settings, url=database_url)


@pytest.fixture
def api(app: FastAPI, client: Callable[[FastAPI], httpx.Client]) -> httpx.Client:
    """A client of the running service."""
    return client(app)


@pytest.fixture
def studio(database_url: str, app: FastAPI, client: Callable[[FastAPI], httpx.Client]) -> httpx.Client:
    """A client of a service that knows the week of tests/api/studio.py."""
    week.fill(database_url)
    return client(app)


@pytest.fixture
def event() -> Event:
    """Makes events that differ in their job."""
    count = 0
    finished = datetime.now(UTC) - timedelta(hours=2)

    def make(**fields: Any) -> dict[str, Any]:
        nonlocal count
        count += 1
        return {
            "job_id": f"job-{count}",
            "workflow": "wan_i2v",
            "outcome": "succeeded",
            "finished_at": (finished + timedelta(seconds=count)).isoformat(),
            "wall_seconds": 12.5,
        } | fields

    return make
