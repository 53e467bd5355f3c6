"""uvicorn, with limits."""

import socket

import uvicorn
from fastapi import FastAPI

from api.live import Live

# uvicorn has no limit on how slowly the head of a request may arrive: the number of connections is what bounds it.
CONNECTIONS = 1000
KEEP_ALIVE_SECONDS = 15
GRACE_SECONDS = 5
HEAD_BYTES = 32 * 2**10


def config(app: FastAPI, *, access_log: bool = False) -> uvicorn.Config:
    """How the service runs on uvicorn: one process, bounded, logging like the rest of the program."""
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        log_config=None,
        access_log=access_log,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        h11_max_incomplete_event_size=HEAD_BYTES,
        server_header=False,
    )


class Server(uvicorn.Server):
    """Ends open streams as soon as it is to stop. uvicorn alone would wait for clients to leave, and the application
    hears of the stop only after that."""

    def __init__(self, app: FastAPI, *, access_log: bool = False) -> None:
        super().__init__(config(app, access_log=access_log))
        self._live: Live = app.state.services.live

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, after the streams have ended."""
        self._live.end()
        await super().shutdown(sockets)
