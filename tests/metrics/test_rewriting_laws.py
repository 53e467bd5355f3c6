"""Whatever analysts write: what is answered from rollups is what raw rows answer, to the type, and most of it is."""

from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings

from framehouse.metrics.analysts import sql
from framehouse.warehouse import Warehouse
from framehouse.warehouse.maintain import maintain
from tests.builders import store
from tests.conftest import TestServer
from tests.metrics.queries import differences, queries
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


@pytest.mark.parametrize("studio_zone", ["UTC", "America/New_York", "Asia/Kathmandu"])
def test_rewritten_is_raw_whatever_is_asked(server: TestServer, tmp_path: Path, studio_zone: str) -> None:
    random = Random(studio_zone)
    asked, with_raw = Asked(), Asked()
    with studio(server, studio_zone, tmp_path) as warehouse:
        store(warehouse, attempts(random, 300, 42))
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
