"""Parts sum to the whole, over any split of it; heartbeats too."""

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framehouse import metrics
from framehouse.metrics import METRICS
from framehouse.warehouse import Warehouse
from framehouse.warehouse.maintain import maintain
from framehouse.windows import Grain, Window
from ingest.body import elements
from ingest.heartbeats import write_heartbeats
from ingest.verdict import Reach, Status
from tests.builders import store
from tests.conftest import TestServer
from tests.metrics.studio import ERAS, attempts

WHOLE = Window(ERAS[0][0], ERAS[-1][1])
COUNTS = [
    m.name for m in METRICS if m.name.endswith("_count") and m.quantity is None and m.source.kind is None
]
SUMS = ["gpu_hours", "wall_hours", "wasted_gpu_hours", "output_gb"]
STATES = ["generating_hours", "idle_hours", "offline_hours"]
zones = st.sampled_from(["UTC", "America/New_York", "Asia/Kathmandu", "America/Havana"])
inside = st.datetimes(
    datetime(2025, 10, 24), datetime(2026, 3, 11), timezones=st.just(UTC)  # noqa: DTZ001 - it adds the zone
)  # fmt: skip


@pytest.fixture(scope="module")
def studio(server: TestServer) -> Iterator[Warehouse]:
    """Attempts and heartbeats, half of them in cells and half only touched."""
    url = server.create(template=server.template)
    random = Random("sums")
    with Warehouse(url) as warehouse:
        for is_late in (False, True):
            store(warehouse, attempts(random, 200, 30))
            beat(warehouse, random, day=int(is_late))
            if not is_late:
                maintain(warehouse)
        yield warehouse
    server.drop(url)


def beat(warehouse: Warehouse, random: Random, day: int) -> None:
    """A day of heartbeats of three workers, in spans that do not keep to quarter hours."""
    beats = []
    for worker in ("gpu-1", "gpu-2", "gpu-3"):
        at = ERAS[1][0] + timedelta(days=2 * day)
        end = at + timedelta(days=1)
        while at < end:
            until = min(end, at + timedelta(seconds=random.choice([60, 300, 1800, 7200])))
            beats.append(
                {
                    "worker": worker,
                    "state": random.choice(["generating", "idle", "offline"]),
                    "covered_from": at.isoformat(),
                    "covered_to": until.isoformat(),
                }
            )
            at = until
    batch = elements(json.dumps(beats).encode())
    assert {r.status for r in write_heartbeats(warehouse, batch, reach=Reach(back=None))} == {Status.ACCEPTED}


def total(values: list[object]) -> float:
    return math.fsum(value for value in values if isinstance(value, float | int))


@settings(max_examples=15)
@given(st.sampled_from(["workflow", "tier", "worker", "project", "outcome"]), inside, inside)
def test_groups_sum_to_the_total(studio: Warehouse, by: str, one: datetime, other: datetime) -> None:
    window = Window(min(one, other), max(one, other))
    names = [*COUNTS, *SUMS]
    [whole] = metrics.read(studio, names, window=window)
    groups = list(metrics.read(studio, names, window=window, by=by))
    for name in names:
        assert math.isclose(total([row[name] for row in groups]), whole[name] or 0, rel_tol=1e-9), name  # type: ignore[arg-type]


@settings(max_examples=15)
@given(st.sampled_from(list(Grain)), zones, inside, inside)
def test_buckets_sum_to_the_window(
    studio: Warehouse, grain: Grain, zone_name: str, one: datetime, other: datetime
) -> None:
    window = Window(min(one, other), max(one, other))
    names = [*COUNTS, *SUMS, *STATES]
    [whole] = metrics.read(studio, names, window=window)
    buckets = list(metrics.read(studio, names, window=window, grain=grain, zone_name=zone_name))
    for name in names:
        assert math.isclose(total([row[name] for row in buckets]), whole[name] or 0, rel_tol=1e-9), name  # type: ignore[arg-type]


@settings(max_examples=10)
@given(inside, st.lists(inside, min_size=1, max_size=4))
def test_windows_laid_end_to_end_sum_to_the_whole(
    studio: Warehouse, start: datetime, cuts: list[datetime]
) -> None:
    edges = sorted([start, *cuts])
    [whole] = metrics.read(studio, [*COUNTS, *SUMS, *STATES], window=Window(edges[0], edges[-1]))
    pieces = [
        next(iter(metrics.read(studio, [*COUNTS, *SUMS, *STATES], window=Window(a, b))))
        for a, b in pairwise(edges)
    ]
    for name, value in whole.items():
        assert math.isclose(total([row[name] for row in pieces]), value or 0, rel_tol=1e-9), name  # type: ignore[arg-type]


def test_outcomes_sum_to_attempts(studio: Warehouse) -> None:
    names = ["attempt_count", "succeeded_count", "failed_count", "canceled_count"]
    rows = list(metrics.read(studio, names, window=WHOLE, by=("workflow", "tier"), grain="day"))
    assert len(rows) > 30
    for row in rows:
        assert row["attempt_count"] == sum(row[name] for name in names[1:])  # type: ignore[misc]


@pytest.mark.parametrize("grain", [None, *Grain])
def test_heartbeats_are_counted_once_and_as_raw(studio: Warehouse, grain: Grain | None) -> None:
    names = [*STATES, "utilisation_ratio"]
    window = Window(ERAS[1][0] + timedelta(minutes=7), ERAS[1][1])
    answers = [
        list(
            metrics.read(
                studio,
                names,
                window=window,
                by="worker",
                grain=grain,
                zone_name="Asia/Kathmandu",
                is_raw=is_raw,
            )
        )
        for is_raw in (False, True)
    ]
    assert len(answers[0]) == len(answers[1])
    for cell, raw in zip(*answers, strict=True):
        assert cell["worker"] == raw["worker"]
        for name in names:
            one, other = cell[name], raw[name]
            assert (one is None) == (other is None)
            assert one is None or math.isclose(one, other, rel_tol=1e-9)  # type: ignore[arg-type]
    # Two days of three workers, of which the window leaves out the first seven minutes.
    hours = total([row[name] for row in answers[0] for name in STATES])
    assert math.isclose(hours, 3 * 48 - 3 * 7 / 60, rel_tol=1e-9)


def test_questions_of_both_sources_are_one_answer(studio: Warehouse) -> None:
    table = metrics.read(studio, ["attempt_count", "idle_hours"], window=WHOLE, by="worker")
    workers = [row["worker"] for row in table]
    assert workers == ["gpu-1", "gpu-2", "gpu-3", None]
    rows = {row["worker"]: row for row in table}
    assert rows["gpu-3"]["attempt_count"] is None
    assert rows["gpu-3"]["idle_hours"]
    assert rows[None]["idle_hours"] is None
    assert rows[None]["attempt_count"]


@pytest.mark.parametrize("names", [["attempt_count"], ["attempt_count", "idle_hours"]])
def test_rows_come_in_the_order_of_their_keys_and_none_last(studio: Warehouse, names: list[str]) -> None:
    """Whether one source answered or two."""
    rows = list(metrics.read(studio, names, window=WHOLE, by="worker", grain="day"))
    keys = [(row["bucket"], row["worker"] is None, row["worker"]) for row in rows]
    assert keys == sorted(keys)  # type: ignore[type-var]
    assert {row["worker"] for row in rows} >= {"gpu-1", "gpu-2", None}
