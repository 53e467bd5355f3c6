"""Half-open windows of UTC instants, grains, and the calendar of IANA time zones.

Days belong to people: a day, week or month is asked for in a zone and has 23, 24 or 25 hours. The finest grain
is 15 minutes, because zones begin their days at :00, :15, :30 and :45.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import cache
from zoneinfo import ZoneInfo

from framehouse.errors import QueryError

FINE = timedelta(minutes=15)
#: Since then every quarter hour lies within one day, in all zones: clocks went back from 00:01 to 23:01 until 2010
#: (St. John's). Nothing older is taken in.
EARLIEST = datetime(2011, 1, 1, tzinfo=UTC)


class Grain(StrEnum):
    """How long one bucket of an answer is. Weeks begin on Monday."""

    FINE = "15min"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    @property
    def is_calendar(self) -> bool:
        """Whether the bucket follows a calendar (its length depends on the zone)."""
        return self in {Grain.DAY, Grain.WEEK, Grain.MONTH}


@dataclass(frozen=True, slots=True)
class Window:
    """[start, end): both aware; kept in UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            value: datetime = getattr(self, name)
            if value.tzinfo is None:
                raise QueryError(
                    f"the window's {name} has no time zone", hint="give an aware datetime, such as UTC"
                )
            object.__setattr__(self, name, value.astimezone(UTC))
        if self.end < self.start:
            raise QueryError(f"the window ends ({self.end}) before it starts ({self.start})")

    @classmethod
    def last(cls, duration: timedelta, *, until: datetime | None = None) -> "Window":
        """The window of the given length that ends now (or at `until`)."""
        end = until or datetime.now(UTC)
        try:
            return cls(end - duration, end)
        except OverflowError:
            raise QueryError(f"{duration} before {end} is outside the calendar") from None

    @property
    def is_empty(self) -> bool:
        return self.start == self.end

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant < self.end


def midnight(day: date, tz: ZoneInfo) -> datetime:
    """The instant a local day begins, in UTC.

    Where a change of clocks skips midnight the day begins at the change; where it repeats midnight, at the first.
    PostgreSQL's `timestamp at time zone` resolves a skipped midnight to the same instant.
    """
    return datetime.combine(day, time(), tz).astimezone(UTC)


def repeats_midnight(tz: ZoneInfo) -> bool:
    """Whether some day since 2000 (up to 2040) had its midnight twice, because clocks were put back over it."""
    first = date(2000, 1, 1)
    for number in range(40 * 366):
        start = datetime.combine(first + timedelta(days=number), time(), tz)
        before, after = start.utcoffset(), start.replace(fold=1).utcoffset()
        if before is not None and after is not None and before > after:
            return True
    return False


@cache
def block_minutes(tz: ZoneInfo) -> int:
    """The longest of 60, 30 and 15 minutes of which every day of a zone since 2000 (up to 2040) is made."""
    first = datetime(2000, 1, 1, tzinfo=UTC)
    offsets = {(first + timedelta(days=n)).astimezone(tz).utcoffset() or timedelta() for n in range(40 * 366)}
    return next(
        minutes
        for minutes in (60, 30, 15)
        if minutes == 15 or all(not o % timedelta(minutes=minutes) for o in offsets)
    )


def floor(instant: datetime, grain: Grain, tz: ZoneInfo) -> datetime:
    """The start (UTC) of the bucket that holds an instant."""
    if grain is Grain.FINE:
        return floor_utc(instant, FINE)
    if grain is Grain.HOUR:
        offset = instant.astimezone(tz).utcoffset() or timedelta()
        return first_instant(floor_utc(instant + offset, timedelta(hours=1)) - offset, grain, tz)
    day = instant.astimezone(tz).date()
    if grain is Grain.WEEK:
        day -= timedelta(days=day.weekday())
    elif grain is Grain.MONTH:
        day = day.replace(day=1)
    return midnight(day, tz)


def first_instant(label: datetime, grain: Grain, tz: ZoneInfo) -> datetime:
    """The start (UTC) of a bucket, given what plain arithmetic on its local time says that it is.

    They differ where a change of clocks repeats midnight (the arithmetic gives the second one) and where it moves by
    half an hour, which makes an hour begin at the change.
    """
    if grain is Grain.FINE:
        return label.astimezone(UTC)
    local = label.astimezone(tz)
    if grain is Grain.HOUR:
        return label.astimezone(UTC) + timedelta(minutes=-local.minute % 60)
    return midnight(local.date(), tz)


def ceil(instant: datetime, grain: Grain, tz: ZoneInfo) -> datetime:
    """The first bucket start (UTC) at or after an instant."""
    start = floor(instant, grain, tz)
    return start if start == instant else following(start, grain, tz)


def following(start: datetime, grain: Grain, tz: ZoneInfo) -> datetime:
    """The start (UTC) of the bucket after the one that starts at `start`."""
    if grain is Grain.FINE:
        return start + FINE
    if grain is Grain.HOUR:
        return floor(start + timedelta(hours=1), grain, tz)
    day = start.astimezone(tz).date()
    if grain is Grain.DAY:
        day += timedelta(days=1)
    elif grain is Grain.WEEK:
        day += timedelta(days=7)
    else:
        day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return midnight(day, tz)


def starts(window: Window, grain: Grain, tz: ZoneInfo) -> Iterator[datetime]:
    """The starts (UTC) of all buckets that touch a window, in order; an empty one touches none."""
    start = floor(window.start, grain, tz)
    while start < window.end and not window.is_empty:
        yield start
        start = following(start, grain, tz)


def floor_utc(instant: datetime, width: timedelta) -> datetime:
    """The last multiple of a width at or before an instant, counted from a UTC midnight."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + (instant - epoch) // width * width
