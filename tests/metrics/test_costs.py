"""What GPU time cost: by hand, and as parts that sum to the whole."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framehouse import metrics
from framehouse.errors import ContractError, NotFoundError
from framehouse.warehouse import Warehouse
from framehouse.warehouse.maintain import maintain
from framehouse.warehouse.rates import Rate, rates, remove_rate, set_rate
from framehouse.windows import Grain, Window
from tests.builders import event, store
from tests.conftest import TestServer

DAY = datetime(2026, 3, 2, tzinfo=UTC)
WEEK = Window(DAY, DAY + timedelta(days=7))
COST = ["gpu_cost", "wasted_gpu_cost", "priced_gpu_ratio"]


def rate(model: str, price: float, day: float = -100, currency: str = "EUR") -> Rate:
    return Rate(model, DAY + timedelta(days=day), price, currency)


def held(hours: float, day: float, model: str | None = "L40S", **fields: Any) -> Any:
    finished = DAY + timedelta(days=day)
    return event(
        finished_at=finished.isoformat(), gpu_seconds=hours * 3600, host={"gpu_model": model}, **fields
    )


@pytest.fixture
def studio(database_url: str) -> Iterator[Warehouse]:
    with Warehouse(database_url) as warehouse:
        yield warehouse


def row(warehouse: Warehouse, window: Window = WEEK, **asked: Any) -> dict[str, Any]:
    [found] = metrics.read(warehouse, COST, window=window, **asked)
    return found


def test_a_rate_holds_until_the_next_one_begins(studio: Warehouse) -> None:
    """10 h at 1 until noon of the third day, 4 h at 2 after it; an attempt counts where it finished."""
    for one in (rate("L40S", 1.0), rate("L40S", 2.0, 2.5), rate("H100", 5.0)):
        set_rate(studio, one)
    store(
        studio,
        [
            held(8, 0.1),
            held(2, 2.4999, outcome="failed"),
            held(3, 2.5),
            held(1, 3, outcome="canceled"),
            held(10, 1, "H100"),
        ],
    )
    assert row(studio) == {"gpu_cost": 10 + 8 + 50, "wasted_gpu_cost": 2 + 2, "priced_gpu_ratio": 1.0}
    by_model = {
        r["gpu_model"]: r["gpu_cost"] for r in metrics.read(studio, COST, window=WEEK, by="gpu_model")
    }
    assert by_model == {"L40S": 18, "H100": 50}
    days = [r["gpu_cost"] for r in metrics.read(studio, COST, window=WEEK, grain="day")]
    assert days == [8, 50, 2 + 6, 2]
    remove_rate(studio, "L40S", DAY + timedelta(days=2.5))
    assert row(studio)["gpu_cost"] == 14 + 50
    with pytest.raises(NotFoundError):
        remove_rate(studio, "L40S", DAY + timedelta(days=2.5))


def test_gpu_time_without_a_rate_leaves_the_cost_unknown(studio: Warehouse) -> None:
    store(studio, [held(3, 0.5, workflow="a"), held(1, 0.5, "H100", workflow="b")])
    assert row(studio) == {"gpu_cost": None, "wasted_gpu_cost": None, "priced_gpu_ratio": 0.0}
    set_rate(studio, rate("L40S", 2.0))
    assert row(studio) == {"gpu_cost": None, "wasted_gpu_cost": None, "priced_gpu_ratio": 0.75}
    assert row(studio, where={"workflow": "a"})["gpu_cost"] == 6
    set_rate(studio, rate("H100", 4.0, 0.6))
    assert row(studio)["gpu_cost"] is None, "the rate begins after it"
    set_rate(studio, rate("H100", 4.0, 0.4))
    assert row(studio)["gpu_cost"] == 10


def test_gpu_time_that_nobody_told_leaves_the_cost_unknown(studio: Warehouse) -> None:
    set_rate(studio, rate("L40S", 2.0))
    assert row(studio)["gpu_cost"] is None, "nothing is known of nothing"
    silent = {"finished_at": DAY.isoformat()}
    store(studio, [event(**silent, workflow="thumbnails"), held(3, 0)])
    assert row(studio)["gpu_cost"] == 6, "who names no GPU held none"
    assert row(studio, where={"workflow": "thumbnails"})["gpu_cost"] is None
    store(studio, [event(**silent, host={"gpu_model": "L40S"})])
    assert row(studio)["gpu_cost"] is None, "who names one and not its time did"
    [count] = metrics.read(studio, "gpu_time_unknown_count", window=WEEK)
    assert count == {"gpu_time_unknown_count": 2}


def test_gpus_of_an_unknown_model_and_time_leave_the_cost_unknown(studio: Warehouse) -> None:
    set_rate(studio, rate("L40S", 2.0))
    store(studio, [held(1, 0), event(finished_at=DAY.isoformat(), gpu_count=2)])
    assert row(studio)["gpu_cost"] is None
    [told] = metrics.read(studio, ["priced_gpu_cost", "gpu_cost_unknown_count"], window=WEEK)
    assert told == {"priced_gpu_cost": 2.0, "gpu_cost_unknown_count": 1}


def test_what_is_known_of_a_cost_is_told_beside_what_is_not(studio: Warehouse) -> None:
    def known(**asked: Any) -> tuple[Any, Any]:
        names = ["priced_gpu_cost", "gpu_cost_unknown_count"]
        [found] = metrics.read(studio, names, window=WEEK, **asked)
        return tuple(found[name] for name in names)  # type: ignore[return-value]

    assert known() == (None, 0)
    store(studio, [held(3, 0.5), held(1, 0.5, "H100", outcome="failed"), held(1, 2, "H100")])
    assert known() == (None, 3)
    store(studio, [event(finished_at=DAY.isoformat(), gpu_count=0, gpu_seconds=0.0), held(0, 2, "H100")])
    assert known() == (None, 3), "no time needs no rate, whoever else needs one"
    set_rate(studio, rate("L40S", 2.0))
    assert known() == (6, 2)
    set_rate(studio, rate("H100", 4.0, 1))
    assert known() == (10, 1)
    store(studio, [event(finished_at=DAY.isoformat(), host={"gpu_model": "L40S"})])
    assert (known(), known(where={"outcome": "failed"})) == ((10, 2), (None, 1))


def test_a_free_gpu_costs_nothing_and_that_is_known(studio: Warehouse) -> None:
    set_rate(studio, rate("L40S", 0.0))
    store(studio, [held(3, 0), event(finished_at=DAY.isoformat(), gpu_count=0, gpu_seconds=0.0)])
    assert row(studio) == {"gpu_cost": 0, "wasted_gpu_cost": 0, "priced_gpu_ratio": 1.0}


@settings(max_examples=10)
@given(
    st.sampled_from([None, *Grain]),
    st.sampled_from(["UTC", "Asia/Kathmandu", "America/New_York"]),
    st.sampled_from([(), ("workflow",), ("project",), ("gpu_model", "tier"), ("worker",)]),
    st.booleans(),
)
def test_parts_sum_to_the_whole(
    priced: Warehouse, grain: Grain | None, zone_name: str, by: tuple[str, ...], is_raw: bool
) -> None:
    whole = row(priced)
    assert whole["priced_gpu_ratio"] == 1.0
    parts = metrics.read(priced, COST, window=WEEK, by=by, grain=grain, zone_name=zone_name, is_raw=is_raw)
    for name in ("gpu_cost", "wasted_gpu_cost"):
        assert math.isclose(math.fsum(r[name] or 0 for r in parts), whole[name], rel_tol=1e-9)  # type: ignore[misc]


@pytest.fixture(scope="module")
def priced(server: TestServer) -> Iterator[Warehouse]:
    """A week of attempts on two models whose prices change now and then."""
    url = server.create(template=server.template)
    random = Random("costs")
    with Warehouse(url) as warehouse:
        for model in ("L40S", "H100"):
            for day in (-10, 1.25, 3, 5.01):
                set_rate(warehouse, rate(model, random.uniform(0.5, 4), day))
        for _ in range(2):
            store(
                warehouse,
                [
                    held(
                        random.random(),
                        random.random() * 7,
                        random.choice(["L40S", "H100"]),
                        workflow=random.choice("ab"),
                        project=random.choice(["film", None]),
                        worker=random.choice(["gpu-1", "gpu-2"]),
                        tier=random.choice(["draft", None]),
                        outcome=random.choice(["succeeded", "failed"]),
                    )
                    for _ in range(100)
                ],
            )
            maintain(warehouse)
        yield warehouse
    server.drop(url)


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        (rate("L40S", -1.0), "price_per_gpu_hour"),
        (rate("L40S", math.nan), "price_per_gpu_hour"),
        (rate("L40S", math.inf), "price_per_gpu_hour"),
        (rate("L40S", 1.0, currency="Euro"), "currency"),
        (rate("L40S", 1.0, currency="eur"), "currency"),
        (rate("", 1.0), "gpu_model"),
        (rate("H100", 1.0, currency="USD"), "currency"),
    ],
)
def test_what_is_no_rate_is_refused(studio: Warehouse, wrong: Rate, path: str) -> None:
    set_rate(studio, rate("L40S", 1.0))
    with pytest.raises(ContractError) as caught:
        set_rate(studio, wrong)
    assert [problem.path for problem in caught.value.problems] == [path]
    with studio.session() as session:
        assert rates(session) == [rate("L40S", 1.0)]


def test_the_only_rate_may_change_its_currency(studio: Warehouse) -> None:
    set_rate(studio, rate("L40S", 1.0))
    set_rate(studio, rate("L40S", 1.1, currency="USD"))
    with studio.session() as session:
        assert rates(session) == [rate("L40S", 1.1, currency="USD")]
