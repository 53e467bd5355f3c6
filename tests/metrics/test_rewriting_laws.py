"""Whatever analysts write: what is answered from rollups is what raw rows answer, to the type, and most of it is."""

from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings

from framehouse.events import Event, Outcome
from framehouse.metrics.analysts import sql
from framehouse.warehouse import Warehouse
from framehouse.warehouse.maintain import maintain
from tests.builders import store
from tests.conftest import TestServer
from tests.metrics.queries import alone, differences, queries
from tests.metrics.studio import attempts
from tests.metrics.test_laws import Interruption, StopAfter, studio

#: In each state of the warehouse; there are four of them for each of the zones.
EXAMPLES = 24


class Asked:
    """How many queries were asked, and how many of them were answered from rollups."""

    def __init__(self) -> None:
        self.count = self.rewritten = 0

    def check(self, warehouse: Warehouse, examples: int, *, has_raw: bool = False) -> None:
        """Ask of the state that the warehouse is in."""

        @settings(max_examples=examples)
        @given(queries(has_raw=has_raw))
        def ask(text: str) -> None:
            found, raw = sql(warehouse, text), sql(warehouse, text, is_raw=True)
            assert raw.sources == ("raw",)
            assert differences(found, raw) == [], f"{text}\n{found.rewritten}"
            self.count += 1
            self.rewritten += any(reading.plan is not None for reading in found.readings)

        ask()


def failures(random: Random) -> list[Event]:
    """Attempts of a workflow that never succeeded."""
    failed = {"workflow": "fails", "outcome": Outcome.FAILED}
    return [one.model_copy(update=failed) for one in attempts(random, 12, 6)]


def test_an_aggregate_of_nothing_is_what_it_is_of_no_rows(server: TestServer, tmp_path: Path) -> None:
    """Alone in its query, so that no other one asks for the rows' presence."""
    random = Random("nothing")
    with studio(server, "UTC", tmp_path) as warehouse:
        store(warehouse, [*attempts(random, 30, 6), *failures(random)])
        maintain(warehouse)
        rewritten = 0
        for text in alone():
            found = sql(warehouse, text)
            assert differences(found, sql(warehouse, text, is_raw=True)) == [], text
            rewritten += found.sources != ("raw",)
        assert rewritten > 90


@pytest.mark.parametrize("studio_zone", ["UTC", "America/New_York", "Asia/Kathmandu"])
def test_rewritten_is_raw_whatever_is_asked(server: TestServer, tmp_path: Path, studio_zone: str) -> None:
    random = Random(studio_zone)
    asked, with_raw = Asked(), Asked()
    with studio(server, studio_zone, tmp_path) as warehouse:
        store(warehouse, [*attempts(random, 300, 42), *failures(random)])
        asked.check(warehouse, EXAMPLES)
        maintain(warehouse)
        asked.check(warehouse, EXAMPLES)
        with_raw.check(warehouse, EXAMPLES, has_raw=True)
        store(warehouse, attempts(random, 50, 20))
        asked.check(warehouse, EXAMPLES)
        with pytest.raises(Interruption):
            maintain(warehouse, StopAfter(1))
        asked.check(warehouse, EXAMPLES)
    assert asked.count >= 4 * EXAMPLES
    # The rest are windows within a bucket or without one, and keys that are kept apart.
    assert asked.rewritten > 0.6 * asked.count
    assert 0 < with_raw.rewritten < with_raw.count
