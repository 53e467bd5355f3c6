"""`framehouse rates show | set | remove`."""

from datetime import UTC, datetime, timedelta

import pytest

from framehouse.warehouse import Warehouse
from framehouse.warehouse.rates import rates
from framehouse.windows import EARLIEST
from tests.builders import event, store
from tests.cli.conftest import Command


def test_rates_from_the_first_to_the_last(warehouse: Warehouse, command: Command) -> None:
    url = warehouse.url
    assert "there are no rates" in command(url, "rates", "show").output
    assert command(url, "rates", "set", "L40S", "1.25", "eur").exit_code == 0
    done = command(url, "rates", "set", "L40S", "0.95", "EUR", "--from", "2026-07-01")
    assert "L40S costs 0.9500 EUR an hour from 2026-07-01 00:00 UTC" in done.output
    command(url, "rates", "set", "L40S", "0.5", "EUR", "--from", "2026-08-01T02:00:00+02:00")
    with warehouse.session() as session:
        found = [(rate.valid_from, rate.price_per_gpu_hour, rate.currency) for rate in rates(session)]
    assert found == [
        (EARLIEST, 1.25, "EUR"),
        (datetime(2026, 7, 1, tzinfo=UTC), 0.95, "EUR"),
        (datetime(2026, 8, 1, tzinfo=UTC), 0.5, "EUR"),
    ]
    shown = command(url, "rates", "show").output
    assert "0.9500 EUR/h  from 2026-07-01 00:00 UTC" in shown
    assert command(url, "rates", "remove", "L40S", "--from", "2026-07-01").exit_code == 0
    assert "0.9500" not in command(url, "rates", "show").output
    gone = command(url, "rates", "remove", "L40S", "--from", "2026-07-01")
    assert gone.exit_code == 1
    assert "has no rate from 2026-07-01" in gone.output


def test_show_names_the_models_that_have_no_rate(warehouse: Warehouse, command: Command) -> None:
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    store(
        warehouse,
        [event(finished_at=yesterday, host={"gpu_model": model}) for model in ("L40S", "H100", None)],
    )
    command(warehouse.url, "rates", "set", "L40S", "1", "USD")
    shown = command(warehouse.url, "rates", "show").output
    assert "H100" in shown
    assert shown.count("has no rate") == 1
    assert 'framehouse rates set "H100" 1.10 USD' in shown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("L40S", "-1", "EUR"), "this is no rate"),
        (("L40S", "nan", "EUR"), "this is no rate"),
        (("L40S", "much", "EUR"), "not a valid float"),
        (("L40S", "1", "Euro"), "this is no rate"),
        (("L40S", "1", "EUR", "--from", "July"), "'July' is no day"),
    ],
)
def test_what_is_no_rate_is_refused(
    warehouse: Warehouse, command: Command, words: tuple[str, ...], says: str
) -> None:
    done = command(warehouse.url, "rates", "set", *words)
    assert done.exit_code != 0
    assert says in done.output
    with warehouse.session() as session:
        assert rates(session) == []
