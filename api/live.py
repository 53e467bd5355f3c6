"""Handing what was written to every open stream: one listener, and for each stream a short queue of its own.

The listener's thread never waits for a stream. One that does not keep up loses what it was late for and is told so;
the others notice nothing.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from fastapi.sse import ServerSentEvent
from pydantic import BaseModel, ConfigDict

from framehouse.errors import BusyError
from framehouse.warehouse import Warehouse
from framehouse.warehouse.listen import Listener
from framehouse.warehouse.written import Written, WrittenKind

MOST_STREAMS = 200  # of the connections that the server takes; requests need some too
MOST_WAITING = 256
RETRY_MS = 2000


class Gap(StrEnum):
    """Why something may have been missed."""

    RECONNECTED = "reconnected"
    TOO_SLOW = "too_slow"
    NOT_HEARD = "not_heard"


class Resync(BaseModel):
    """Something may have been missed: read everything again that matters."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    reason: Gap
    """The client was away, the client read too slowly, or the service did not hear everything from the database."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a stream is to tell; an empty set keeps nothing out."""

    kinds: frozenset[WrittenKind] = frozenset()
    workflows: frozenset[str] = frozenset()
    workers: frozenset[str] = frozenset()

    def includes(self, written: Written) -> bool:
        """Whether it may concern what is wanted."""
        return (
            (not self.kinds or written.kind in self.kinds)
            and _may_concern(self.workflows, written.workflows)
            and _may_concern(self.workers, written.workers)
        )


def _may_concern(wanted: frozenset[str], named: Iterable[str] | None) -> bool:
    return not wanted or named is None or not wanted.isdisjoint(named)


class Stream:
    """What one client has not been sent yet. Made and read in an event loop, filled by any thread."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self._loop = asyncio.get_running_loop()
        self._is_filled = asyncio.Event()
        self._lock = threading.Lock()
        self._waiting: deque[ServerSentEvent] = deque()
        self._has_ended = False

    def put(self, event: ServerSentEvent) -> None:
        """Add an event; where too many wait already, all of them give place to a resync."""
        with self._lock:
            was_empty = not self._waiting
            if len(self._waiting) >= MOST_WAITING:
                self._waiting.clear()
                event = _resync(event.id, Gap.TOO_SLOW)
            self._waiting.append(event)
        if was_empty:
            self._wake()

    def end(self) -> None:
        """Nothing more comes."""
        self._has_ended = True
        self._wake()

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        """What was put, in order, until the end."""
        while not self._has_ended:
            await self._is_filled.wait()
            self._is_filled.clear()
            while (event := self._next()) is not None:
                yield event

    def _next(self) -> ServerSentEvent | None:
        with self._lock:
            return self._waiting.popleft() if self._waiting and not self._has_ended else None

    def _wake(self) -> None:
        self._loop.call_soon_threadsafe(self._is_filled.set)


class Live:
    """The open streams of one application, and its listener, which starts with the first of them.

    `warehouse` opens the warehouse or raises.
    """

    def __init__(self, warehouse: Callable[[], Warehouse]) -> None:
        self._warehouse = warehouse
        self._lock = threading.Lock()
        self._streams: set[Stream] = set()
        self._is_open = True
        # Ids begin with the clock's microseconds, so that they grow from one process to the next too.
        self._last_id = time.time_ns() // 1000
        self._listener = self._new_listener()

    @property
    def stream_count(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    def open(self) -> None:
        """Take streams, also after `close`."""
        with self._lock:
            if not self._is_open:
                self._is_open, self._listener = True, self._new_listener()

    def listen(self) -> None:
        """Hear what is written, from the return of this on. Raises UnreachableError, BusyError."""
        self._listener.listen()

    def join(self, wanted: Wanted, last_id: str | None = None) -> Stream:
        """A new stream, within the event loop that will read it. `last_id`: of the last event that its client had.

        Raises BusyError when there are too many, or after `end`.
        """
        stream = Stream(wanted)
        with self._lock:
            if not self._is_open:
                raise BusyError("the service is stopping", hint="ask again when the service is back")
            if len(self._streams) >= MOST_STREAMS:
                raise BusyError(f"{MOST_STREAMS} streams are open", hint="close some, or share one")
            known = str(self._last_id)
            if last_id in {None, known}:
                stream.put(ServerSentEvent(id=known, retry=RETRY_MS))
            else:
                # In one event: whoever has got the id has got the resync too.
                stream.put(_resync(known, Gap.RECONNECTED, retry=RETRY_MS))
            self._streams.add(stream)
        return stream

    def leave(self, stream: Stream) -> None:
        """Forget a stream that nobody reads any more."""
        with self._lock:
            self._streams.discard(stream)

    def end(self) -> None:
        """End all streams and take no new ones."""
        with self._lock:
            self._is_open = False
            for stream in self._streams:
                stream.end()
            self._streams.clear()

    def close(self) -> None:
        """End all streams and stop listening."""
        self.end()
        self._listener.close()

    def _new_listener(self) -> Listener:
        return Listener(self._warehouse, self._on_written, self._on_gap)

    def _on_written(self, written: Written) -> None:
        data = written.model_dump_json()
        with self._lock:
            event = ServerSentEvent(event="written", id=self._next_id(), raw_data=data)
            for stream in self._streams:
                if stream.wanted.includes(written):
                    stream.put(event)

    def _on_gap(self) -> None:
        with self._lock:
            event = _resync(self._next_id(), Gap.NOT_HEARD)
            for stream in self._streams:
                stream.put(event)

    def _next_id(self) -> str:
        self._last_id += 1
        return str(self._last_id)


def _resync(event_id: str | None, reason: Gap, retry: int | None = None) -> ServerSentEvent:
    data = Resync(reason=reason).model_dump_json()
    return ServerSentEvent(event="resync", id=event_id, retry=retry, raw_data=data)
