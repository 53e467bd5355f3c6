"""The other side of the wire: a small HTTP server on loopback that keeps what it is sent and answers as it is told."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ACCEPTED: dict[str, Any] = {"results": [{"index": 0, "job_id": "j", "attempt": 1, "status": "accepted"}]}


class Listener:
    """What was received, and what the next answers will be."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.status = 200
        self.answer: Any = ACCEPTED
        self.requests: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.requests]


@contextmanager
def listening() -> Iterator[Listener]:
    """A server that answers every POST; it is gone afterwards."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            listener.requests.append((self.path, dict(self.headers), body))
            answer = listener.answer
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(listener.status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener = Listener(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield listener
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
