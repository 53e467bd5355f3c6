"""Group commit for events that arrive over HTTP: many small requests, one transaction.

A handler submits the elements of its request and waits for a Future. One thread takes what came within a few
milliseconds, writes it as one transaction and hands every request its own results; a Future is done only after the
commit.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from framehouse.errors import BusyError, FramehouseError, UnreachableError
from ingest.body import Element
from ingest.writer import Result

#: Writes a batch as one transaction; one Result per element, in order.
Store = Callable[[Sequence[Element]], list[Result]]

BATCH_ELEMENTS = 500
LINGER_SECONDS = 0.003
QUEUE_ELEMENTS = 20_000

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Request:
    elements: Sequence[Element]
    future: Future[list[Result]] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)


class Batcher:
    """Writes submitted requests in batches; use it as a context manager, or `start` and `close` it.

    store            writes one batch; called by one thread only
    batch_elements   a batch is complete with this many elements (a larger request is a batch of its own)
    linger_seconds   how long the oldest request waits for company
    queue_elements   how many elements may wait; what comes then raises BusyError
    on_batch         told of every committed batch: elements and seconds
    """

    def __init__(
        self,
        store: Store,
        *,
        batch_elements: int = BATCH_ELEMENTS,
        linger_seconds: float = LINGER_SECONDS,
        queue_elements: int = QUEUE_ELEMENTS,
        on_batch: Callable[[int, float], None] | None = None,
    ) -> None:
        self._store = store
        self._batch_elements = batch_elements
        self._linger_seconds = linger_seconds
        self._queue_elements = queue_elements
        self._on_batch = on_batch
        self._queue: deque[_Request] = deque()
        self._waiting = 0
        self._is_open = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Begin to write."""
        self._is_open = True
        self._thread = threading.Thread(target=self._run, name="framehouse batcher", daemon=True)
        self._thread.start()

    def close(self, timeout_seconds: float | None = None) -> None:
        """Take nothing more, write what waits, stop. What is not written in time fails with BusyError."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_seconds)
        self._fail_waiting(_stopping())

    @property
    def waiting(self) -> int:
        """How many elements wait for their transaction to begin."""
        return self._waiting

    def submit(self, elements: Sequence[Element]) -> Future[list[Result]]:
        """Queue one request. Its Future gives one Result per element, or what the writer raised.

        Raises BusyError when too much waits already, or after `close`.
        """
        request = _Request(elements)
        with self._changed:
            if not self._is_open:
                raise _stopping()
            # An empty queue takes any request: one larger than the queue must not be refused for ever.
            if self._queue and self._waiting + len(elements) > self._queue_elements:
                raise BusyError(
                    f"{self._waiting} events wait to be stored", hint="send them again in a moment"
                )
            self._queue.append(request)
            self._waiting += len(elements)
            self._changed.notify_all()
        return request.future

    def _run(self) -> None:
        try:
            while batch := self._take():
                self._write([request for request in batch if request.future.set_running_or_notify_cancel()])
        finally:
            with self._changed:
                self._is_open = False
            self._fail_waiting(_stopping())

    def _take(self) -> list[_Request]:
        """The next batch; empty when closed and nothing waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or not self._is_open)
            if not self._queue:
                return []
            # What arrived during the last transaction has waited long enough already.
            remaining = self._queue[0].arrived + self._linger_seconds - time.monotonic()
            if remaining > 0:
                self._changed.wait_for(
                    lambda: self._waiting >= self._batch_elements or not self._is_open, remaining
                )
            batch = [self._queue.popleft()]
            size = len(batch[0].elements)
            while self._queue and size + len(self._queue[0].elements) <= self._batch_elements:
                batch.append(self._queue.popleft())
                size += len(batch[-1].elements)
            self._waiting -= size
            return batch

    def _write(self, batch: list[_Request]) -> None:
        try:
            self._commit(batch)
        except UnreachableError as error:
            # Nobody's fault in the batch, and those who wait behind it would only wait for the same.
            _fail(batch, error)
            self._fail_waiting(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to a request and not to this thread
            if len(batch) == 1:
                _fail(batch, error)
                return
            _log.warning("a batch of %d requests failed (%s); writing them one by one", len(batch), error)
            self._write_singly(batch)

    def _write_singly(self, batch: list[_Request]) -> None:
        for done, request in enumerate(batch, start=1):
            self._write([request])
            error = request.future.exception()
            if isinstance(error, UnreachableError):
                _fail(batch[done:], error)
                return

    def _commit(self, batch: list[_Request]) -> None:
        elements = [element for request in batch for element in request.elements]
        started = time.monotonic()
        results = self._store(elements)
        if self._on_batch is not None:
            self._on_batch(len(elements), time.monotonic() - started)
        at = 0
        for request in batch:
            request.future.set_result(results[at : at + len(request.elements)])
            at += len(request.elements)

    def _fail_waiting(self, error: FramehouseError) -> None:
        with self._changed:
            failed = list(self._queue)
            self._queue.clear()
            self._waiting = 0
        _fail([request for request in failed if request.future.set_running_or_notify_cancel()], error)


def _fail(requests: list[_Request], error: Exception) -> None:
    for request in requests:
        request.future.set_exception(error)


def _stopping() -> BusyError:
    return BusyError("the service is stopping", hint="send it again when the service is back")
