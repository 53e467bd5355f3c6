"""Workflows, periods and tiers beside each other, from a real warehouse: like for like, with a sentence."""

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest

import framehouse
from framehouse import metrics
from framehouse.errors import QueryError
from framehouse.metrics.compare import Unclear
from framehouse.metrics.comparison import Comparison, Side, changes_of, compare
from framehouse.metrics.histories import compared
from framehouse.metrics.ranking import rank_workers
from framehouse.warehouse import Warehouse
from framehouse.warehouse.maintain import maintain
from framehouse.windows import Window
from tests.builders import event, store
from tests.conftest import TestServer

FIRST = datetime(2026, 3, 2, tzinfo=UTC)
WEEKS = Window(FIRST, FIRST + timedelta(days=30))
SECONDS = ("wall_seconds_per_segment",)


@pytest.fixture(scope="module")
def month(server: TestServer) -> Iterator[Warehouse]:
    """b takes a fifth more than a, and writes a tenth less; c is a's equal but did the long tier on the slow worker,
    and from the 20th day on took a third more."""
    rng = np.random.default_rng(11)
    factor = {"a": 1.0, "b": 1.2, "c": 1.0}
    output = {"a": 10.0, "b": 9.0, "c": 10.0}
    tier = {"draft": 5.0, "production": 60.0}
    worker = {"gpu-1": 1.0, "gpu-2": 1.5}
    events = []
    for day in range(30):
        for workflow, slower in factor.items():
            for n in range(12):
                is_long = n % 4 == 0 if workflow != "c" else n % 4 != 0
                on = "gpu-2" if (n % 3 == 0) is (workflow != "c") else "gpu-1"
                name = "production" if is_long else "draft"
                size = slower * tier[name] * worker[on]
                size *= 4 / 3 if workflow == "c" and day >= 20 else 1
                segments = 1 + (n // 4 + day) % 4
                events.append(event(
                    workflow=workflow, tier=name, worker=on, segment_count=segments,
                    finished_at=(FIRST + timedelta(days=day, minutes=20 * n + 5)).isoformat(),
                    wall_seconds=float(size * segments * rng.lognormal(0, 0.15)),
                    output_mb=float(output[workflow] * segments * rng.lognormal(0, 0.1)),
                ))  # fmt: skip
    url = server.create(template=server.template)
    with Warehouse(url) as warehouse:
        store(warehouse, events)
        maintain(warehouse)
        yield warehouse
    server.drop(url)


def workflow(name: str, window: Window = WEEKS) -> Side:
    return Side(name, window, {"workflow": name})


def test_a_fifth_is_named_with_its_price(month: Warehouse) -> None:
    found = compare(month, [workflow("a"), workflow("b")])
    by_quantity = {one.quantity: one for one in found.compared}
    seconds = by_quantity["wall_seconds_per_segment"]
    assert seconds.difference.ratio == pytest.approx(1.2, rel=0.04)
    assert seconds.difference.counts == (360, 360)
    assert (seconds.is_better, seconds.adjusted_for) == (False, ("tier", "worker"))
    assert found.provenance.count == 720
    assert set(found.provenance.sources) == {
        "attempts_by_workflow_daily",
        "attempts_by_worker_workflow_daily",
    }
    assert found.provenance.why_raw is None
    assert found.provenance.newest_recorded_at is not None
    assert by_quantity["gpu_seconds_per_segment"].difference.reason is not None, "nobody said how much"
    assert "time_per_frame_ms" not in by_quantity, "nobody said how many frames"
    [told] = found.sentences
    assert re.fullmatch(
        r"b is \d\d % slower than a \(\d\d-\d\d %, n = 720\) and writes \d+(\.\d)? % less \(.* %, n = 720\)\.",
        told,
    ), told


def test_another_mix_of_tiers_and_workers_is_no_difference(month: Warehouse) -> None:
    before = Window(FIRST, FIRST + timedelta(days=20))
    found = compare(month, [workflow("a", before), workflow("c", before)], quantities=SECONDS)
    [told] = found.compared
    assert not told.difference.is_clear
    assert found.sentences == ("No clear difference between a and c (n = 480).",)
    totals = {side: sum_of(month, side, before) for side in "ac"}
    assert totals["c"] > 1.5 * totals["a"], "although it took far longer as a whole"


def sum_of(warehouse: Warehouse, name: str, window: Window) -> float:
    [row] = metrics.read(warehouse, ["wall_hours"], window=window, where={"workflow": name})
    assert isinstance(row["wall_hours"], float)
    return row["wall_hours"]


def test_one_workflow_in_two_periods(month: Warehouse) -> None:
    change = FIRST + timedelta(days=20)
    sides = [
        Side("before", Window(WEEKS.start, change), {"workflow": "c"}),
        Side("after", Window(change, WEEKS.end), {"workflow": "c"}),
    ]
    found = compare(month, sides, quantities=SECONDS)
    assert found.compared[0].difference.ratio == pytest.approx(4 / 3, rel=0.05)
    assert found.sentences[0].startswith("after is 3")


def test_one_workflow_at_two_tiers_is_compared_on_the_same_workers(month: Warehouse) -> None:
    sides = [Side(name, WEEKS, {"workflow": "a", "tier": name}) for name in ("draft", "production")]
    [told] = compare(month, sides, quantities=SECONDS).compared
    assert told.adjusted_for == ("worker",)
    assert told.difference.ratio == pytest.approx(12, rel=0.05)


def test_the_change_is_dated(month: Warehouse) -> None:
    told = compare(month, [workflow("c"), workflow("a")], quantities=SECONDS, history=WEEKS)
    [found] = told.changes[SECONDS[0]]
    assert found.at == FIRST + timedelta(days=20)
    assert found.difference.ratio == pytest.approx(4 / 3, rel=0.1)
    assert set(told.provenance.sources) == {"attempts_by_worker_workflow_daily", "attempts_by_workflow_daily"}
    assert told.provenance.count == 720
    assert changes_of(month, SECONDS[0], window=WEEKS, where={"workflow": "c"})[0] == [found]
    even = compare(month, [workflow("a"), workflow("c")], quantities=SECONDS, history=WEEKS)
    assert even.changes == {SECONDS[0]: []}
    assert compare(month, [workflow("a"), workflow("c")], quantities=SECONDS).changes == {}


def test_three_workflows_are_three_pairs_at_one_level(month: Warehouse) -> None:
    def reach(found: Comparison) -> float:
        one = found.compared[0].difference
        assert one.low is not None
        assert one.high is not None
        return math.log(one.high / one.low)

    before = Window(FIRST, FIRST + timedelta(days=20))  # when c was a's equal
    two = compare(month, [workflow(name, before) for name in "ab"], quantities=SECONDS)
    three = compare(month, [workflow(name, before) for name in "abc"], quantities=SECONDS)
    assert [(one.first, one.second) for one in three.compared] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert reach(three) > reach(two)


def test_workers_are_ranked_on_the_same_work(month: Warehouse) -> None:
    """c's long jobs were mostly on the fast one, and its jump was on both."""
    (fast, slow), provenance = rank_workers(month, window=WEEKS)
    assert (fast.worker, fast.rank, slow.worker, slow.rank) == ("gpu-1", 1, "gpu-2", 2)
    assert slow.factor / fast.factor == pytest.approx(1.5, rel=0.05)
    assert fast.strata_count == 6
    assert fast.count + slow.count == 1080
    assert (provenance.count, provenance.sources) == (1080, ("attempts_by_worker_workflow_daily",))
    only, _ = rank_workers(month, window=WEEKS, where={"workflow": "a"})
    assert [one.strata_count for one in only] == [2, 2]


def test_what_cannot_be_compared_is_said(month: Warehouse) -> None:
    with pytest.raises(QueryError, match="1 sides"):
        compare(month, [workflow("a")])
    with pytest.raises(QueryError, match="same name"):
        compare(month, [workflow("a"), workflow("a")])
    with pytest.raises(QueryError, match="cannot be compared") as caught:
        compared("attempt_count")
    assert "wall_seconds" in str(caught.value.hint)
    with pytest.raises(QueryError, match="no workflow 'nobody'"):
        compare(month, [workflow("a"), workflow("nobody")])
    nothing = compare(month, [workflow("a"), workflow("b", Window(WEEKS.end, WEEKS.end + timedelta(days=9)))])
    assert nothing.sentences == ("a and b have done nothing alike, so they cannot be compared.",)


@pytest.fixture(scope="module")
def sizes(server: TestServer) -> Iterator[Warehouse]:
    """A minute and a second for each frame: `mix` had short jobs for ten days and then long ones, `short`, `long` and
    `even` had one length each, `both` and `slow` had many of either in other proportions, `half` as many of both, which
    makes the mean of `even`; slow takes a fifth more. `once` ran a single time, elsewhere."""
    rng = np.random.default_rng(12)

    def frames(workflow: str, day: int, n: int) -> int:
        if workflow in {"both", "slow"}:
            return 10 if (n % 4 == 0) is (workflow == "both") else 100
        if workflow == "half":
            return 10 if n % 2 else 100
        return {"short": 10, "long": 100, "even": 55}.get(workflow, 10 if day < 10 else 100)

    events = []
    for day in range(20):
        for workflow in ("mix", "short", "long", "even", "both", "slow", "half"):
            for n in range(12):
                count = frames(workflow, day, n)
                seconds = (60 + count) * (1.2 if workflow == "slow" else 1) * rng.lognormal(0, 0.1)
                at = FIRST + timedelta(days=day, minutes=20 * n + 5)
                events.append(event(
                    workflow=workflow, segment_count=1, frame_count=count, wall_seconds=float(seconds),
                    finished_at=at.isoformat(), quality_scores={"likeness": float(rng.uniform(0.7, 0.8))},
                ))  # fmt: skip
    events.append(event(
        workflow="once", segment_count=1, frame_count=10, wall_seconds=70.0, worker="another",
        finished_at=FIRST.isoformat(),
    ))  # fmt: skip
    url = server.create(template=server.template)
    with Warehouse(url) as warehouse:
        store(warehouse, events)
        maintain(warehouse)
        yield warehouse
    server.drop(url)


PER_UNIT = ("wall_seconds_per_segment", "time_per_frame_ms")
TWENTY = Window(FIRST, FIRST + timedelta(days=20))


def test_other_work_is_neither_slower_nor_faster(sizes: Warehouse) -> None:
    """A segment takes longer with more frames, and a frame takes less."""
    middle = FIRST + timedelta(days=10)
    periods = [
        Side("before", Window(FIRST, middle), {"workflow": "mix"}),
        Side("after", Window(middle, TWENTY.end), {"workflow": "mix"}),
    ]
    for sides in (
        periods,
        *([workflow(a, TWENTY), workflow(b, TWENTY)] for a, b in (("short", "long"), ("even", "half"))),
    ):
        found = compare(sizes, sides, quantities=PER_UNIT)
        assert [one.difference.reason for one in found.compared] == [Unclear.OTHER_WORK] * 2
        assert "other sizes, so they cannot be compared" in found.sentences[0]
        assert found.provenance.why_raw is not None
        assert "frames" in found.provenance.why_raw
    for quantity in PER_UNIT:
        assert changes_of(sizes, quantity, window=TWENTY, where={"workflow": "mix"})[0] == []


def test_scores_are_compared_whatever_the_size(sizes: Warehouse) -> None:
    found = compare(sizes, [workflow("short", TWENTY), workflow("long", TWENTY)])
    [told] = found.sentences
    assert told == (
        "No clear difference between short and long (n = 480)."
        " They did work of other sizes, so what it takes cannot be compared."
    )


def test_a_single_attempt_is_too_few_and_not_unlike(sizes: Warehouse) -> None:
    found = compare(sizes, [workflow("short", TWENTY), workflow("once", TWENTY)], quantities=PER_UNIT)
    assert {one.difference.reason for one in found.compared} == {Unclear.TOO_FEW_SAMPLES}
    unknown = compare(sizes, [workflow("both", TWENTY), workflow("half", TWENTY)], quantities=["output_mb"])
    assert unknown.compared[0].difference.reason is Unclear.NOTHING_ALIKE, "nobody said it"


def test_where_raw_rows_are_gone_the_rest_is_told(sizes: Warehouse) -> None:
    """Whether jobs of one size changed is in no rollup."""
    middle = FIRST + timedelta(days=10)
    sides = [
        Side("before", Window(FIRST, middle), {"workflow": "mix"}),
        Side("after", Window(middle, TWENTY.end), {"workflow": "mix"}),
    ]
    with psycopg.connect(sizes.url, autocommit=True) as connection:
        connection.execute("update ops.retention set raw_from = %s", [TWENTY.end])
        try:
            found = compare(sizes, sides, history=TWENTY)
        finally:
            connection.execute("update ops.retention set raw_from = '-infinity'")
    by_quantity = {one.quantity: one.difference for one in found.compared}
    assert by_quantity[PER_UNIT[0]].reason is Unclear.OTHER_WORK
    assert by_quantity["likeness_score"].ratio == pytest.approx(1, abs=0.02)
    assert not any(found.changes.values())


def test_what_is_of_one_size_is_compared(sizes: Warehouse) -> None:
    found = compare(sizes, [workflow("both", TWENTY), workflow("slow", TWENTY)])
    seconds = found.compared[0]
    assert (seconds.quantity, seconds.adjusted_for) == (PER_UNIT[0], ("tier", "worker", "segments", "frames"))
    assert seconds.difference.is_clear
    assert seconds.difference.ratio == pytest.approx(1.2, rel=0.04)
    assert found.sentences[0].startswith("slow is 2"), found.sentences


def test_work_of_one_size_needs_no_raw_rows(sizes: Warehouse) -> None:
    first_days = Window(FIRST, FIRST + timedelta(days=10))
    found = compare(sizes, [workflow("short", TWENTY), workflow("mix", first_days)])
    assert found.provenance.why_raw is None
    assert found.sentences == ("No clear difference between short and mix (n = 360).",)


def test_a_notebook_has_what_the_api_has(month: Warehouse) -> None:
    with framehouse.connect(month.url) as warehouse:
        sides = [workflow("a"), workflow("b")]
        assert warehouse.compare(sides).sentences == compare(month, sides).sentences
        [change], _ = warehouse.changes(SECONDS[0], window=WEEKS, where={"workflow": "c"})
        assert change.at == FIRST + timedelta(days=20)
        assert [one.worker for one in warehouse.rank_workers(window=WEEKS)[0]] == ["gpu-1", "gpu-2"]
        assert warehouse.overview(window=WEEKS).totals["attempt_count"] == 1080
        trend = warehouse.trend("attempt_count", window=WEEKS, where={"workflow": "a"})
        assert (trend.zone_name, trend.total, [point.value for point in trend.points]) == (
            "UTC",
            360,
            [12] * 30,
        )
        assert warehouse.workflow("a", window=WEEKS).summary["attempt_count"] == 360
        assert warehouse.worker("gpu-1", window=WEEKS).summary["attempt_count"] == 600
        assert warehouse.quality("a", window=WEEKS).scores == ()
        assert warehouse.stages(window=WEEKS)[:2] == ([], 0)
