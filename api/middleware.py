"""Around every request: limits on its head, measurement, and the answer to an error that nobody foresaw."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from api.metrics import Metrics

MAX_HEAD_BYTES = 16 * 2**10
MAX_QUERY_BYTES = 8 * 2**10
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

_log = logging.getLogger(__name__)


class Watch:
    """Measures requests by route and status, and turns any other exception into a 500 without its insides."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        status = 0
        is_measured = False

        def measure() -> None:
            nonlocal is_measured
            if not is_measured:
                is_measured = True
                method = scope["method"] if scope["method"] in _METHODS else "other"
                route = getattr(scope.get("route"), "path_format", "none")
                self._metrics.on_request(method, route, status, time.monotonic() - started)

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if _has_no_end(message):
                    measure()
            await send(message)

        try:
            await self._answer(scope, receive, watched)
        except Exception:
            _log.exception("%s %s failed", scope["method"], scope["path"])
            if status:  # the answer is under way; all that is left is to cut it short
                raise
            await problems.unexpected()(scope, receive, watched)
        finally:
            measure()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if len(scope["query_string"]) > MAX_QUERY_BYTES:
            answer = problems.problem(
                414, "uri_too_long", f"the query is longer than {MAX_QUERY_BYTES} bytes", is_body_unread=True
            )
        elif sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEAD_BYTES:
            answer = problems.problem(
                431,
                "headers_too_large",
                f"the headers are longer than {MAX_HEAD_BYTES} bytes",
                is_body_unread=True,
            )
        else:
            await self._app(scope, receive, send)
            return
        await answer(scope, receive, send)


def _has_no_end(head: Message) -> bool:
    """Whether an answer lasts as long as its client likes, which says nothing about how fast it was given."""
    kinds = [value for name, value in head.get("headers", ()) if name.lower() == b"content-type"]
    return any(kind.startswith(b"text/event-stream") for kind in kinds)
