"""What the handlers of one application share: the warehouse, the batcher, streams, measurements, readiness."""

import threading
from collections.abc import Callable, Sequence
from typing import Annotated, cast

from fastapi import Depends, Request

from api.live import Live
from api.metrics import Metrics
from api.readiness import Readiness
from framehouse.warehouse import Warehouse
from ingest import writer
from ingest.body import Element
from ingest.service import Batcher

DRAIN_SECONDS = 10.0


class Services:
    """Opened and closed with the application. `url` is asked whenever the warehouse has to be opened."""

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._warehouse: Warehouse | None = None
        self.metrics = Metrics()
        self.readiness = Readiness(self.warehouse)
        self.batcher = Batcher(self._write, on_batch=self.metrics.on_batch)
        self.live = Live(self.warehouse)
        self.metrics.watch(self.warehouse, lambda: self.batcher.waiting, lambda: self.live.stream_count)

    def open(self) -> None:
        """Begin to take events. The database need not be there yet: until it is, requests fail with 503."""
        self.batcher.start()
        self.live.open()

    def close(self) -> None:
        """End the streams, write what was taken, then close every connection."""
        self.live.close()
        self.batcher.close(DRAIN_SECONDS)
        with self._lock:
            if self._warehouse is not None:
                self._warehouse.close()
                self._warehouse = None

    def warehouse(self) -> Warehouse:
        """The open warehouse. Raises UnreachableError."""
        with self._lock:
            if self._warehouse is None:
                self._warehouse = Warehouse(self._url(), max_size=16, name="framehouse api")
            return self._warehouse

    def _write(self, batch: Sequence[Element]) -> list[writer.Result]:
        return writer.write(self.warehouse(), batch)


async def services(request: Request) -> Services:
    """The services of the application that handles a request."""
    return cast(Services, request.app.state.services)


Here = Annotated[Services, Depends(services)]
