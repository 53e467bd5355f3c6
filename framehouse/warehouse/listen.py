"""Hearing what writers tell, in whatever process they are: one connection, one thread.

PostgreSQL keeps nothing for those who do not listen. So whenever the connection was lost, what was told meanwhile is
gone, and that is what is told instead: there was a gap.
"""

import logging
import threading
from collections.abc import Callable

from pydantic import ValidationError

from framehouse.errors import BusyError, FramehouseError, UnreachableError
from framehouse.warehouse.pool import Warehouse
from framehouse.warehouse.written import Written

#: How soon `close` is noticed; notifications themselves are heard at once.
POLL_SECONDS = 0.5
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 30.0
PATIENCE_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Listener:
    """Listens from the first `listen` until `close`, through restarts of the database.

    warehouse    opens the warehouse or raises; asked whenever a connection is needed
    on_written   told of every batch, by the listener's thread
    on_gap       told, by that thread, when something may have been missed, as soon as it listens again
    """

    def __init__(
        self,
        warehouse: Callable[[], Warehouse],
        on_written: Callable[[Written], None],
        on_gap: Callable[[], None],
    ) -> None:
        self._warehouse = warehouse
        self._on_written = on_written
        self._on_gap = on_gap
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_listening = False
        self._has_listened = False
        self._is_wanted = False
        self._is_closed = False
        self._failures = 0
        self._error: Exception | None = None

    def listen(self) -> None:
        """Return as soon as it listens: what is committed from then on is told.

        Raises UnreachableError where it cannot (it goes on trying), BusyError after `close`.
        """
        with self._changed:
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._run, name="framehouse listener", daemon=True)
                self._thread.start()
            failures = self._failures
            self._is_wanted = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_listening or self._is_closed or self._failures > failures)
            if self._is_closed:
                raise BusyError("the service is stopping", hint="ask again when the service is back")
            if not self._is_listening:
                hint = self._error.hint if isinstance(self._error, FramehouseError) else None
                raise UnreachableError(f"nobody hears what is written: {self._error}", hint=hint)

    def close(self) -> None:
        """Stop listening."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(PATIENCE_SECONDS)  # a thread that waits for a server to answer is left alone

    def _run(self) -> None:
        wait_seconds = FIRST_WAIT_SECONDS
        while not self._is_closed:
            try:
                self._hear()
            except Exception as error:  # noqa: BLE001 - whatever it is, listening has to go on
                with self._changed:
                    if self._is_listening:
                        wait_seconds = FIRST_WAIT_SECONDS
                        _log.warning("what is written is not heard for now: %s", error)
                    self._is_listening = self._is_wanted = False
                    self._error = error
                    self._failures += 1
                    self._changed.notify_all()
                    # Somebody who comes meanwhile need not wait for the next try.
                    self._changed.wait_for(lambda: self._is_wanted or self._is_closed, wait_seconds)
                wait_seconds = min(wait_seconds * 2, LONGEST_WAIT_SECONDS)

    def _hear(self) -> None:
        """Tell what is heard, until closed or until the connection is lost."""
        with self._warehouse().autocommit(name="framehouse listen") as session:
            session.run("written.listen")
            if self._has_listened:
                # Only now: who reads again because of it misses nothing that comes later.
                self._on_gap()
                _log.info("what is written is heard again")
            with self._changed:
                self._has_listened = self._is_listening = True
                self._changed.notify_all()
            while not self._is_closed:
                for payload in session.notifications(POLL_SECONDS):
                    self._tell(payload)

    def _tell(self, payload: str) -> None:
        try:
            written = Written.model_validate_json(payload)
        except ValidationError:
            _log.warning("somebody else's notification on our channel, or a newer writer's: %.100s", payload)
            self._on_gap()
        else:
            self._on_written(written)
