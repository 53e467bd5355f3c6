"""Open streams as a client sees them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

Frame = dict[str, str]


class Heard:
    """An open stream; it is known to have begun."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()
        self.opening = self._frame()

    def next(self, name: str = "written") -> dict[str, Any]:
        """The data of the next event, which has to be one of this name."""
        frame = self.event()
        assert frame["event"] == name, frame
        found: dict[str, Any] = json.loads(frame["data"])
        return found

    def event(self) -> Frame:
        """The next event as it came."""
        while "event" not in (frame := self._frame()):
            pass
        return frame

    def rest(self) -> list[str]:
        """The lines until the stream ends."""
        return list(self._lines)

    def _frame(self) -> Frame:
        frame: Frame = {}
        for line in self._lines:
            if not line:
                return frame
            field, _, value = line.partition(": ")
            frame[field] = value
        raise AssertionError("the stream has ended")


@contextmanager
def heard(url: str | httpx.URL, *, last_id: str | None = None, **query: Any) -> Iterator[Heard]:
    """Listen to a service's stream."""
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    with httpx.stream("GET", f"{url}/api/stream", params=query, headers=headers, timeout=60) as response:
        assert response.status_code == 200, response.read()
        yield Heard(response)
