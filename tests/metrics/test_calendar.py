"""Hours, days, weeks and months of people's own zones, against what was worked out by hand.

One attempt finishes in every quarter hour of each stretch, so a day of 25 hours counts 100.
"""

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

import psycopg
import pytest

from framehouse import config, metrics
from framehouse.errors import ConfigError, QueryError, RefusedError
from framehouse.estimates import outcomes
from framehouse.metrics.comparison import changes_of
from framehouse.warehouse import Warehouse
from framehouse.windows import EARLIEST, FINE, Grain, Window, ceil, floor, floor_utc, following, starts
from framehouse.zones import zone
from tests.builders import event, store
from tests.conftest import TestServer

QUARTER = timedelta(minutes=15)
STRETCHES = {
    "New York, November": ("2025-11-01T04:00Z", "2025-11-04T05:00Z"),
    "New York, March": ("2026-03-07T05:00Z", "2026-03-10T04:00Z"),
    "Lord Howe, October": ("2025-10-04T13:30Z", "2025-10-04T18:00Z"),
    "Lord Howe, April": ("2026-04-04T13:00Z", "2026-04-04T17:30Z"),
    "the Azores, October": ("2025-10-25T00:00Z", "2025-10-28T01:00Z"),
    "Beirut, March": ("2026-03-27T22:00Z", "2026-03-30T21:00Z"),
    "Havana, a month that begins with the change": ("2026-10-31T04:00Z", "2026-11-02T05:00Z"),
}

CASES = {
    "a day of 25 hours": (
        "America/New_York", Grain.DAY, "2025-11-01T04:00Z", "2025-11-04T05:00Z",
        {"2025-11-01T04:00Z": 96, "2025-11-02T04:00Z": 100, "2025-11-03T05:00Z": 96},
    ),
    "a day of 23 hours": (
        "America/New_York", Grain.DAY, "2026-03-07T05:00Z", "2026-03-10T04:00Z",
        {"2026-03-07T05:00Z": 96, "2026-03-08T05:00Z": 92, "2026-03-09T04:00Z": 96},
    ),
    "a repeated hour is two": (
        "America/New_York", Grain.HOUR, "2025-11-02T04:00Z", "2025-11-02T08:00Z",
        {"2025-11-02T04:00Z": 4, "2025-11-02T05:00Z": 4, "2025-11-02T06:00Z": 4, "2025-11-02T07:00Z": 4},
    ),
    "a skipped hour is none": (
        "America/New_York", Grain.HOUR, "2026-03-08T06:00Z", "2026-03-08T08:00Z",
        {"2026-03-08T06:00Z": 4, "2026-03-08T07:00Z": 4},
    ),
    "weeks begin on Monday": (
        "America/New_York", Grain.WEEK, "2025-11-01T04:00Z", "2025-11-04T05:00Z",
        {"2025-10-27T04:00Z": 196, "2025-11-03T05:00Z": 96},
    ),
    "months begin on the first": (
        "America/New_York", Grain.MONTH, "2025-11-01T04:00Z", "2025-11-04T05:00Z", {"2025-11-01T04:00Z": 292},
    ),
    "half an hour forward makes an hour of two quarters": (
        "Australia/Lord_Howe", Grain.HOUR, "2025-10-04T13:30Z", "2025-10-04T18:00Z",
        {"2025-10-04T13:30Z": 4, "2025-10-04T14:30Z": 4, "2025-10-04T15:30Z": 2, "2025-10-04T16:00Z": 4,
         "2025-10-04T17:00Z": 4},
    ),
    "half an hour back repeats half an hour": (
        "Australia/Lord_Howe", Grain.HOUR, "2026-04-04T13:00Z", "2026-04-04T17:30Z",
        {"2026-04-04T13:00Z": 4, "2026-04-04T14:00Z": 4, "2026-04-04T15:00Z": 2, "2026-04-04T15:30Z": 4,
         "2026-04-04T16:30Z": 4},
    ),
    "a zone at :45 has whole days": (
        "Asia/Kathmandu", Grain.DAY, "2025-11-01T18:15Z", "2025-11-03T18:15Z",
        {"2025-11-01T18:15Z": 96, "2025-11-02T18:15Z": 96},
    ),
    "a zone at :45 has whole hours": (
        "Asia/Kathmandu", Grain.HOUR, "2025-11-01T18:15Z", "2025-11-01T20:30Z",
        {"2025-11-01T18:15Z": 4, "2025-11-01T19:15Z": 4, "2025-11-01T20:15Z": 1},
    ),
    "a zone at :30 has whole hours": (
        "Asia/Kolkata", Grain.HOUR, "2025-11-01T18:30Z", "2025-11-01T20:30Z",
        {"2025-11-01T18:30Z": 4, "2025-11-01T19:30Z": 4},
    ),
    "a repeated midnight begins one day, not two": (
        "America/Havana", Grain.DAY, "2025-11-01T04:00Z", "2025-11-04T05:00Z",
        {"2025-11-01T04:00Z": 96, "2025-11-02T04:00Z": 100, "2025-11-03T05:00Z": 96},
    ),
    "a repeated midnight hour is two hours": (
        "America/Havana", Grain.HOUR, "2025-11-02T04:00Z", "2025-11-02T07:00Z",
        {"2025-11-02T04:00Z": 4, "2025-11-02T05:00Z": 4, "2025-11-02T06:00Z": 4},
    ),
    "a month that begins with a repeated midnight": (
        "America/Havana", Grain.MONTH, "2026-10-31T04:00Z", "2026-11-02T05:00Z",
        {"2026-10-01T04:00Z": 96, "2026-11-01T04:00Z": 100},
    ),
    "midnight repeated east of the ocean": (
        "Atlantic/Azores", Grain.DAY, "2025-10-25T00:00Z", "2025-10-28T01:00Z",
        {"2025-10-25T00:00Z": 96, "2025-10-26T00:00Z": 100, "2025-10-27T01:00Z": 96},
    ),
    "a skipped midnight: the day begins at one o'clock": (
        "Asia/Beirut", Grain.DAY, "2026-03-27T22:00Z", "2026-03-30T21:00Z",
        {"2026-03-27T22:00Z": 96, "2026-03-28T22:00Z": 92, "2026-03-29T21:00Z": 96},
    ),
}  # fmt: skip
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
Case = tuple[str, Grain, str, str, dict[str, int]]


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.fixture(scope="module")
def quarters(server: TestServer) -> Iterator[Warehouse]:
    """A warehouse with an attempt in every quarter hour of each stretch."""
    url = server.create(template=server.template)
    with Warehouse(url) as warehouse:
        for start, end in STRETCHES.values():
            count = (instant(end) - instant(start)) // QUARTER
            store(
                warehouse,
                (event(finished_at=(instant(start) + n * QUARTER).isoformat()) for n in range(count)),
            )
        yield warehouse
    server.drop(url)


@each_case
@pytest.mark.parametrize("is_raw", [False, True], ids=["cells", "raw"])
def test_buckets_of_peoples_calendars(quarters: Warehouse, case: Case, is_raw: bool) -> None:
    zone_name, grain, start, end, expected = case
    window = Window(instant(start), instant(end))
    table = metrics.read(
        quarters, "attempt_count", window=window, grain=grain, zone_name=zone_name, is_raw=is_raw
    )
    found = {row["bucket"]: row["attempt_count"] for row in table}
    assert found == {instant(text): count for text, count in expected.items()}
    assert list(found) == sorted(found)  # type: ignore[type-var]


@pytest.mark.parametrize("grain", [None, Grain.HOUR, Grain.DAY, Grain.WEEK])
def test_a_rate_is_of_the_hours_that_were(quarters: Warehouse, grain: Grain | None) -> None:
    """Four in every hour, also on a day of 25 hours and in a bucket that the window cuts."""
    window = Window(instant("2025-11-01T09:30Z"), instant("2025-11-03T20:15Z"))
    rates = metrics.read(
        quarters,
        ["succeeded_per_hour", "segments_per_hour"],
        window=window,
        grain=grain,
        zone_name="America/New_York",
    )
    assert len(list(rates)) == {None: 1, Grain.HOUR: 60, Grain.DAY: 3, Grain.WEEK: 2}[grain]
    assert {row["succeeded_per_hour"] for row in rates} == {4.0}
    assert rates.columns[-1].unit is not None
    assert rates.columns[-1].unit.label == "/h"


@each_case
def test_the_calendar_in_python_is_the_same(case: Case) -> None:
    zone_name, grain, start, end, expected = case
    tz = zone(zone_name)
    window = Window(instant(start), instant(end))
    assert list(starts(window, grain, tz)) == [instant(text) for text in expected]
    quarter = window.start
    while quarter < window.end:
        bucket = floor(quarter, grain, tz)
        assert bucket <= quarter < following(bucket, grain, tz)
        assert floor(bucket, grain, tz) == bucket
        assert ceil(quarter, grain, tz) == (bucket if bucket == quarter else following(bucket, grain, tz))
        quarter += QUARTER


@pytest.mark.parametrize(
    "zone_name",
    [
        "America/New_York",
        "Australia/Lord_Howe",
        "America/Havana",
        "Asia/Beirut",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "Africa/Casablanca",
    ],
)
@pytest.mark.parametrize("grain", list(Grain))
def test_every_year_has_its_buckets_once(zone_name: str, grain: Grain) -> None:
    window = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    found = list(starts(window, grain, zone(zone_name)))
    longest = {"15min": 0.25, "hour": 1, "day": 25, "week": 7 * 24 + 1, "month": 31 * 24 + 1}[grain]
    for one, other in pairwise(found):
        assert timedelta() < other - one <= timedelta(hours=longest)
    assert found[0] <= window.start
    assert found[-1] < window.end


def test_a_day_that_never_was_is_passed_over() -> None:
    """Samoa went from 29 to 31 December 2011."""
    tz = zone("Pacific/Apia")
    last = floor(datetime(2011, 12, 30, 9, 59, tzinfo=UTC), Grain.DAY, tz)
    assert last == datetime(2011, 12, 29, 10, tzinfo=UTC)
    assert following(last, Grain.DAY, tz) == datetime(2011, 12, 30, 10, tzinfo=UTC)
    assert following(following(last, Grain.DAY, tz), Grain.DAY, tz) == datetime(2011, 12, 31, 10, tzinfo=UTC)


def test_every_quarter_hour_lies_in_one_day_in_every_zone() -> None:
    """Where that is not so, as in St. John's before, fine cells cannot be added up to days."""

    def halves(tz: ZoneInfo, start: datetime, end: datetime) -> Iterator[datetime]:
        """The quarter hours in which a zone's clocks change."""
        if end - start <= FINE:
            yield start
            return
        middle = floor_utc(start + (end - start) / 2, FINE)
        offsets = [at.astimezone(tz).utcoffset() for at in (start, middle, end)]
        for (one, other), (low, high) in zip(
            pairwise(offsets), ((start, middle), (middle, end)), strict=True
        ):
            if one != other:
                yield from halves(tz, low, high)

    step, last = timedelta(days=8), datetime(2037, 1, 1, tzinfo=UTC)
    for name in sorted(available_timezones()):
        tz = ZoneInfo(name)
        at = EARLIEST
        offset = at.astimezone(tz).utcoffset()
        while at < last:
            then, at = at, at + step
            if (now := at.astimezone(tz).utcoffset()) != offset:
                offset = now
                for quarter in halves(tz, then, at):
                    days = {(quarter + timedelta(seconds=n)).astimezone(tz).date() for n in range(0, 900, 15)}
                    assert len(days) == 1, f"{name} {quarter}"


def accepted(names: set[str]) -> list[str]:
    """Those of some names that are zones here."""

    def is_zone(name: str) -> bool:
        try:
            return bool(zone(name))
        except QueryError:
            return False

    return sorted(filter(is_zone, names))


def test_the_server_reads_every_zone_as_python_does(server: TestServer) -> None:
    """It reads CET as an hour ahead of UTC all year, although it has a zone of that name."""
    with psycopg.connect(server.url) as connection:
        rows = connection.execute("select name from pg_timezone_names")
        known = {name for (name,) in rows}
        abbreviations = {name for (name,) in connection.execute("select abbrev from pg_timezone_abbrevs")}
        names = accepted(available_timezones() | known | abbreviations)
        assert {name.upper() for name in names} & abbreviations <= {"UTC", "GMT"}
        assert set(names) >= {name for name in available_timezones() if "/" in name}
        # Of the past alone: of years to come two editions of the zones' database may say different things.
        times = [datetime(year, month, 15, 12, tzinfo=UTC) for year in range(2011, 2024) for month in (1, 7)]
        for name in set(names) & known:
            local = connection.execute("select timezone(%s, t) from unnest(%s) as t", [name, times])
            expected = [at.astimezone(ZoneInfo(name)).replace(tzinfo=None) for at in times]
            assert [at for (at,) in local] == expected, name


@pytest.mark.parametrize(
    "name",
    ["CET", "MET", "EET", "WET", "EST", "MST", "cet", "localtime", "Factory", "posixrules", "Mars/Olympus",
     "posix/Europe/Berlin", "right/Europe/Berlin", "Europe", "Europe/", "../UTC", "UTC\n", "a/\x00", "UTC-2"],
)  # fmt: skip
def test_what_is_no_places_zone_is_refused_everywhere(quarters: Warehouse, name: str) -> None:
    window = Window(instant("2025-11-01T04:00Z"), instant("2025-11-04T05:00Z"))
    for ask in (
        lambda: zone(name),
        lambda: metrics.read(quarters, "attempt_count", window=window, zone_name=name),
        lambda: changes_of(quarters, "wall_seconds", window=window, where={}, zone_name=name),
        lambda: outcomes.history(quarters, zone_name=name),
    ):
        with pytest.raises(QueryError, match="is not the name of a place's time zone") as caught:
            ask()
        assert "Europe/Brussels" in str(caught.value.hint)
    with pytest.raises(ConfigError, match=r"FRAMEHOUSE_STUDIO_ZONE: .* is not the name") as refused:
        config.read({"FRAMEHOUSE_STUDIO_ZONE": name})
    assert "Europe/Brussels" in str(refused.value.hint)


def test_a_zone_that_the_server_does_not_know_is_said(quarters: Warehouse, tmp_path: Path) -> None:
    """Its database of zones may be older, or smaller, than ours."""
    (tmp_path / "Mars").mkdir()
    source = files("tzdata.zoneinfo") / "Etc" / "UTC"
    (tmp_path / "Mars" / "Olympus").write_bytes(source.read_bytes())
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([*before, tmp_path])
    try:
        with pytest.raises(RefusedError, match='time zone "Mars/Olympus" not recognized'):
            metrics.read(
                quarters,
                "attempt_count",
                window=Window(instant("2025-11-01T04:00Z"), instant("2025-11-04T05:00Z")),
                grain=Grain.DAY,
                zone_name="Mars/Olympus",
            )
    finally:
        zoneinfo.reset_tzpath(before)
        ZoneInfo.clear_cache(only_keys=["Mars/Olympus"])
