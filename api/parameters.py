"""Query parameters that several routes share: a time zone, a window, what is kept of it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import Depends, Query
from pydantic import AfterValidator

from framehouse.events import Instant, Name
from framehouse.windows import Window


def _is_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("there is no such time zone; give an IANA name such as Asia/Kolkata") from None
    return name


Zone = Annotated[Name, AfterValidator(_is_zone)]


def window_of(length: timedelta, *, ahead: timedelta = timedelta()) -> Callable[..., Window]:
    """The window `from`..`to`; without an end until now (or so long after), without a start so long before the end."""

    def window(
        start: Annotated[
            Instant | None, Query(alias="from", description=f"{length.days} days before the end.")
        ] = None,
        end: Annotated[Instant | None, Query(alias="to", description="Now.")] = None,
    ) -> Window:
        until = end or datetime.now(UTC) + ahead
        return Window(start or until - length, until)

    return window


Month = Annotated[Window, Depends(window_of(timedelta(days=30)))]
