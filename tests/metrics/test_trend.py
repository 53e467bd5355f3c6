"""Trends: formulas in Python are those of the SQL, averages move over whole parts, and nothing is made up."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from framehouse import metrics
from framehouse.errors import QueryError
from framehouse.metrics import METRICS
from framehouse.metrics.answers import read_parts
from framehouse.metrics.evaluate import evaluate, is_total, merged
from framehouse.metrics.question import names_in
from framehouse.metrics.rollups import ATTEMPTS, HEARTBEATS, Source
from framehouse.metrics.trend import Trend, previous, trend
from framehouse.warehouse import Warehouse
from framehouse.warehouse.maintain import maintain
from framehouse.warehouse.rates import Rate, set_rate
from framehouse.windows import Grain, Window
from tests.builders import event, store
from tests.conftest import TestServer
from tests.warehouse.cells import QUARTER, fill

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
NEW_YORK = "America/New_York"


@pytest.fixture(scope="module")
def studio(server: TestServer) -> Iterator[Warehouse]:
    """Ten days; a twelfth job on the last takes ten times as long; nothing happened on the fourth."""
    url = server.create(template=server.template)
    with Warehouse(url) as warehouse:
        store(warehouse, [
            event(
                finished_at=(MONDAY + timedelta(days=day, hours=12, minutes=n)).isoformat(),
                wall_seconds=10.0 * (1 + day) * (10 if (day, n) == (9, 11) else 1), segment_count=1,
            )
            for day in range(10) for n in range(12) if day != 3
        ])  # fmt: skip
        random = Random("trend")
        fill(
            warehouse,
            random,
            [MONDAY - timedelta(days=9) + QUARTER * random.randrange(600) for _ in range(80)],
        )
        maintain(warehouse)
        yield warehouse
    server.drop(url)


@pytest.mark.parametrize("source", [ATTEMPTS, HEARTBEATS], ids=lambda source: source.name)
def test_formulas_in_python_are_those_of_the_sql(studio: Warehouse, source: Source) -> None:
    window = Window(MONDAY - timedelta(days=10), MONDAY + timedelta(days=10))
    asked = [m for m in METRICS if m.source is source and m.formula and not m.is_rate]
    parts = sorted({name for m in asked for name in names_in(m.formula)})
    for grain in (None, Grain.DAY):
        table = metrics.read(studio, [m.name for m in asked], window=window, grain=grain)
        with studio.session(is_snapshot=True) as session:
            answer = read_parts(session, source, parts, window=window, grain=grain)
        assert len(answer.values) == len(table.rows) > 0
        for row, (key, values) in zip(table, answer.values.items(), strict=True):
            known = {part: values[part] for part in parts}
            for m in asked:
                ours = evaluate(m, known)  # type: ignore[arg-type]
                theirs = row[m.name]
                assert (ours is None) == (theirs is None), (m.name, key)
                if ours is not None:
                    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9), (m.name, key)


def asked(studio: Warehouse, name: str, days: int = 10, **more: int) -> Trend:
    window = Window(MONDAY, MONDAY + timedelta(days=days))
    return trend(
        studio, name, window=window, grain=Grain.DAY, zone_name="UTC", where={"workflow": "portrait"}, **more
    )


def test_a_moving_average_weighs_what_days_hold(studio: Warehouse) -> None:
    found = asked(studio, "avg_wall_seconds_per_segment", moving=3)
    values = [point.value for point in found.points]
    assert values[:3] == [10, 20, 30]
    assert values[3] is None, "nothing happened, which is not the same as nothing taken"
    assert found.points[3].count == 0
    assert found.points[4].moving_average == pytest.approx((30 + 50) / 2), "of the three days, one is empty"
    assert found.provenance.newest_recorded_at is not None
    last = found.points[9]
    assert last.value == pytest.approx((11 * 100 + 1000) / 12)
    assert last.moving_average == pytest.approx((12 * 80 + 12 * 90 + 11 * 100 + 1000) / 36)
    [total] = metrics.read(
        studio, "avg_wall_seconds_per_segment", window=Window(MONDAY, MONDAY + timedelta(days=10)),
        where={"workflow": "portrait"},
    )  # fmt: skip
    assert found.total == pytest.approx(total["avg_wall_seconds_per_segment"])


def test_changes_are_since_the_bucket_before(studio: Warehouse) -> None:
    found = asked(studio, "avg_wall_seconds")
    assert found.points[0].change_ratio is None
    assert found.points[1].change_ratio == pytest.approx(1.0)
    assert found.points[3].change_ratio is None
    assert found.points[4].change_ratio is None, "the day before is not known"


def test_counts_of_empty_days_are_zero_and_rates_are_by_the_clock(studio: Warehouse) -> None:
    assert [point.value for point in asked(studio, "succeeded_count").points] == [12, 12, 12, 0, *[12] * 6]
    found = asked(studio, "succeeded_per_hour", moving=2)
    assert [point.value for point in found.points[:5]] == [0.5, 0.5, 0.5, 0.0, 0.5]
    assert found.points[3].moving_average == 0.25
    assert found.total == pytest.approx(108 / 240)


def test_the_moving_average_of_a_total_is_the_mean_of_the_buckets(studio: Warehouse) -> None:
    found = asked(studio, "succeeded_count", moving=2)
    assert [point.moving_average for point in found.points[:5]] == [12, 12, 12, 6, 6]
    assert found.total == 108
    hours = asked(studio, "wall_hours", moving=2)
    assert hours.points[1].moving_average == pytest.approx((12 * 10 + 12 * 20) / 3600 / 2)


TOTALS = {"attempt_count", "gpu_hours", "energy_kwh", "stage_hours", "idle_hours", "score_count", "output_gb"}
MEANS = {"avg_wall_seconds", "sd_wall_seconds", "max_rtf", "cold_ratio", "avg_rtf", "wasted_gpu_ratio"}


@pytest.mark.parametrize("name", sorted(TOTALS | MEANS))
def test_totals_are_told_from_means(name: str) -> None:
    assert is_total(metrics.metric(name)) is (name in TOTALS)


def test_quantiles_move_over_whole_histograms(studio: Warehouse) -> None:
    found = asked(studio, "p90_wall_seconds", moving=3)
    assert found.points[0].value == pytest.approx(10, rel=0.01)
    assert found.points[3].value is None
    assert found.points[4].moving_average == pytest.approx(50, rel=0.01)
    assert found.points[9].moving_average == pytest.approx(100, rel=0.01)
    for place in (4, 9):
        span = Window(found.points[place - 2].window.start, found.points[place].window.end)
        [whole] = metrics.read(studio, "p90_wall_seconds", window=span, where={"workflow": "portrait"})
        assert found.points[place].moving_average == whole["p90_wall_seconds"]
    [whole] = metrics.read(
        studio, "p90_wall_seconds", window=Window(MONDAY, MONDAY + timedelta(days=10)),
        where={"workflow": "portrait"},
    )  # fmt: skip
    assert found.total == whole["p90_wall_seconds"]


def test_costs_and_scores_have_trends(database_url: str) -> None:
    with Warehouse(database_url) as warehouse:
        set_rate(warehouse, Rate("L40S", MONDAY, 2.0, "EUR"))
        store(warehouse, [
            event(
                finished_at=(MONDAY + timedelta(days=day, hours=12)).isoformat(), gpu_seconds=3600.0 * (day + 1),
                host={"gpu_model": "L40S"}, quality_scores={"likeness": 0.5 + day / 10},
            )
            for day in (-1, 0, 1, 3)
        ])  # fmt: skip
        window = Window(MONDAY, MONDAY + timedelta(days=4))
        cost, likeness = (
            trend(warehouse, name, window=window, grain=Grain.DAY, zone_name="UTC", moving=2)
            for name in ("gpu_cost", "avg_likeness_score")
        )
    assert [point.value for point in cost.points] == [2, 4, None, 8]
    assert [point.moving_average for point in cost.points] == [2, 3, 2, 4]
    assert (cost.total, cost.previous_total) == (14, 0)
    assert [point.count for point in likeness.points] == [1, 1, 0, 1]
    assert [point.value for point in likeness.points] == pytest.approx([0.5, 0.6, None, 0.8])
    assert likeness.points[1].moving_average == pytest.approx(0.55)
    assert (likeness.total, likeness.previous_total) == pytest.approx((1.9 / 3, 0.4))
    assert likeness.change_ratio == pytest.approx(1.9 / 3 / 0.4 - 1)
    assert likeness.provenance.count == 3


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_the_period_before_has_as_many_buckets() -> None:
    march = Window(at("2026-03-01T05:00Z"), at("2026-04-01T04:00Z"))
    assert previous(march, Grain.MONTH, NEW_YORK) == Window(at("2026-02-01T05:00Z"), at("2026-03-01T05:00Z"))
    week = Window(at("2026-03-08T05:00Z"), at("2026-03-15T04:00Z"))  # of 23 hours on its first day
    assert previous(week, Grain.DAY, NEW_YORK) == Window(at("2026-03-01T05:00Z"), at("2026-03-08T05:00Z"))
    for instant in (march.start, at("2026-03-01T09:30Z")):
        assert previous(Window(instant, instant), Grain.DAY, NEW_YORK).is_empty


def test_of_what_is_cut_the_period_before_is_as_long() -> None:
    """However many buckets it touches: a day across midnight is a day, and not two."""
    now = Window(at("2026-03-19T10:00Z"), at("2026-03-20T10:00Z"))
    for grain in (Grain.HOUR, Grain.DAY, Grain.MONTH):
        assert previous(now, grain, NEW_YORK) == Window(at("2026-03-18T10:00Z"), at("2026-03-19T10:00Z"))
    so_far = Window(at("2026-03-01T05:00Z"), at("2026-03-20T10:00Z"))
    assert previous(so_far, Grain.MONTH, NEW_YORK).end - previous(so_far, Grain.MONTH, NEW_YORK).start == (
        so_far.end - so_far.start
    )


def test_a_part_of_a_day_is_not_held_against_a_day(studio: Warehouse) -> None:
    window = Window(MONDAY, MONDAY + timedelta(days=2, hours=12, minutes=3))
    found = trend(studio, "attempt_count", window=window, grain=Grain.DAY, zone_name="UTC")
    assert [point.value for point in found.points] == [12, 12, 3]
    assert [point.change_ratio for point in found.points] == [None, 0, None]
    means = trend(studio, "avg_wall_seconds", window=window, grain=Grain.DAY, zone_name="UTC")
    assert [point.change_ratio for point in means.points] == [None, 1.0, 0.5]


def test_what_has_no_trend_is_said(studio: Warehouse) -> None:
    with pytest.raises(QueryError, match="no trend"):
        asked(studio, "priced_gpu_ratio")
    with pytest.raises(QueryError, match="0 buckets"):
        asked(studio, "avg_wall_seconds", moving=0)
    window = Window(MONDAY - timedelta(days=400), MONDAY)
    with pytest.raises(QueryError, match="more than 10,000") as caught:
        trend(studio, "attempt_count", window=window, grain=Grain.FINE, zone_name="UTC")
    assert "coarser" in str(caught.value.hint)


def test_parts_merge_as_those_of_the_union() -> None:
    one = metrics.metric("max_wall_seconds")
    assert merged(
        one, [{"wall_seconds_max": None}, {"wall_seconds_max": 3.0}, {"wall_seconds_max": 2.0}]
    ) == {"wall_seconds_max": 3.0}
    assert merged(one, [{"wall_seconds_max": None}]) == {"wall_seconds_max": None}
    spread = metrics.metric("sd_wall_seconds")
    rows = [
        {"wall_seconds_count": 2.0, "wall_seconds_sum": 3.0, "wall_seconds_sumsq": 5.0},
        {"wall_seconds_count": 1.0, "wall_seconds_sum": 3.0, "wall_seconds_sumsq": 9.0},
    ]
    assert evaluate(spread, merged(spread, rows)) == pytest.approx(math.sqrt((14 - 36 / 3) / 2))
