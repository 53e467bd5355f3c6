"""Whatever is asked, whenever: the rollups' answer is raw's answer, and both are what the events themselves say."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from unittest.mock import patch

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import migrations
from framehouse import metrics
from framehouse.errors import ConfigError
from framehouse.events import Event
from framehouse.metrics import METRICS, Table, answers
from framehouse.warehouse import Warehouse
from framehouse.warehouse.build import build
from framehouse.warehouse.maintain import Backlog, backlog, maintain
from framehouse.windows import Grain, Window
from tests.builders import store
from tests.conftest import TestServer
from tests.metrics.studio import ERAS, TRUTH, Asked, attempts, truth
from tests.warehouse.cells import is_community

ZONES = ["UTC", "Asia/Kolkata", "Asia/Kathmandu", "America/New_York", "America/Havana", "Atlantic/Azores"]
MANY = 20  # every so many of the metrics, where all of them would take long
OF_ATTEMPTS = [m.name for m in METRICS if m.source.name == "attempts"]
WHOLE = Window(ERAS[0][0], ERAS[-1][1])
EXACT = ("min_", "max_")
EDGES = ("min", "max")


@st.composite
def edges(draw: st.DrawFn) -> datetime:
    """Any microsecond near the events, often a round one."""
    start, end = draw(st.sampled_from(ERAS))
    instant = start + timedelta(microseconds=draw(st.integers(0, (end - start) // timedelta(microseconds=1))))
    round_to = draw(st.sampled_from([1, 1, 900_000_000, 3_600_000_000, 86_400_000_000]))
    return start + (instant - start) // timedelta(microseconds=round_to) * timedelta(microseconds=round_to)


asked = st.builds(
    Asked,
    window=st.one_of(
        st.just(WHOLE), st.tuples(edges(), edges()).map(lambda pair: Window(min(pair), max(pair)))
    ),
    by=st.sampled_from(
        [
            (),
            ("workflow",),
            ("tier",),
            ("worker",),
            ("workflow", "tier"),
            ("tier", "worker"),
            ("project",),
            ("outcome", "workflow"),
        ]
    ),
    grain=st.sampled_from([None, *Grain]),
    zone_name=st.sampled_from(ZONES),
    where=st.sampled_from(
        [
            None,
            None,
            {"tier": "draft"},
            {"tier": None},
            {"tier": ["preview", None]},
            {"workflow": ["a", "c"]},
            {"worker": None, "tier": "draft"},
            {"worker": "gpu-1"},
            {"outcome": "failed"},
            {"outcome": ["succeeded", "canceled"], "project": "film"},
        ]
    ),
)


#: Marks that the planner wants to know; above that the views are read.
most_marks = st.sampled_from([0, 1000, 100_000])
REPEATS_MIDNIGHT = "America/Havana"


@contextmanager
def studio(server: TestServer, zone_name: str, folder: Path) -> Iterator[Warehouse]:
    """A warehouse whose days follow a zone."""
    url = server.create(template=server.template if zone_name == "UTC" else None)
    try:
        migrations.upgrade(url)
        with Warehouse(url) as warehouse:
            build(warehouse, log_dir=folder, studio_zone=zone_name)
            yield warehouse
    finally:
        server.drop(url)


def read(warehouse: Warehouse, names: list[str], question: Asked, *, is_raw: bool = False) -> Table:
    return metrics.read(
        warehouse,
        names,
        window=question.window,
        by=question.by,
        grain=question.grain,
        zone_name=question.zone_name,
        where=question.where,
        is_raw=is_raw,
    )


def by_key(table: Table, question: Asked) -> dict[tuple[object, ...], dict[str, object]]:
    """Rows by their keys; a key that came twice would be lost here, so none may."""
    keys = (["bucket"] if question.grain else []) + [*question.by]
    found = {tuple(row[key] for key in keys): row for row in table}
    assert len(found) == len(table)
    return found


def is_close(name: str, one: object, other: object, scale: float = 0.0) -> bool:
    """Equal; floats but extremes to 1e-9, a spread to what its formula loses in a double."""
    if one is None or other is None or isinstance(one, int) or name.startswith(EXACT):
        return one == other
    assert isinstance(one, float)
    assert isinstance(other, float)
    if name.startswith("sd_"):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-6 * scale)
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9 * scale)


def agree_with_raw(warehouse: Warehouse, question: Asked, names: list[str]) -> None:
    # Scores may be negative, so their mean may be small beside them, too.
    of = {name: name.split("_", 1)[1] for name in names if name.startswith("sd_") or name == "avg_score"}
    wanted = list(
        dict.fromkeys([*names, *(f"{edge}_{quantity}" for quantity in of.values() for edge in EDGES)])
    )
    cells = by_key(read(warehouse, wanted, question), question)
    raw = by_key(read(warehouse, wanted, question, is_raw=True), question)
    assert cells.keys() == raw.keys()
    for key, row in raw.items():
        for name in wanted:
            scale = (
                max((abs(row[f"{edge}_{of[name]}"] or 0.0) for edge in EDGES), default=0.0)
                if name in of
                else 0.0
            )  # type: ignore[arg-type]
            assert is_close(name, row[name], cells[key][name], scale), (
                key,
                name,
                row[name],
                cells[key][name],
            )


def agree_with_events(warehouse: Warehouse, question: Asked, events: list[Event]) -> None:
    table = read(warehouse, [*TRUTH], question)
    found = by_key(table, question)
    expected = truth(events, question)
    if not expected and not question.by and question.grain is None:
        # A total over nothing is one row: none were counted, they took nothing, and nothing else is known.
        [row] = found.values()
        assert row == {name: 0 if name.endswith(("_count", "_hours")) else None for name in TRUTH}
        return
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        for name, value in values.items():
            got = found[key][name]
            if name.startswith("p") and value is not None:
                assert isinstance(got, float)
                assert abs(got - value) <= 0.01 * value, (key, name, got, value)
            else:
                assert is_close(name, value, got), (key, name, got, value)


def check(warehouse: Warehouse, events: list[Event], examples: int) -> None:
    """Ask some questions of the state that the warehouse is in."""

    @settings(max_examples=examples)
    @example(Asked(WHOLE), ["attempt_count"], 1000)
    @example(Asked(WHOLE, by=("workflow", "tier"), grain=Grain.DAY), OF_ATTEMPTS[::MANY], 1000)
    @example(Asked(WHOLE, by=("workflow", "tier"), grain=Grain.DAY), OF_ATTEMPTS[::MANY], 0)
    @given(asked, st.lists(st.sampled_from(OF_ATTEMPTS), min_size=1, max_size=6, unique=True), most_marks)
    def ask(question: Asked, names: list[str], most: int) -> None:
        with patch.object(answers, "MOST_MARKS", most):
            agree_with_events(warehouse, question, events)
            agree_with_raw(warehouse, question, names)

    ask()


class Interruption(Exception):  # noqa: N818 - nothing went wrong
    """Ends maintenance between two steps."""


class StopAfter:
    """A reporter that ends the work after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self, text: str) -> None:
        pass

    def advance(self, done: float, total: float, text: str = "") -> None:
        self.left -= 1
        if self.left == 0:
            raise Interruption


@pytest.mark.parametrize("studio_zone", ["UTC", "America/New_York", "Asia/Kathmandu", REPEATS_MIDNIGHT])
def test_rollups_answer_as_raw_at_every_moment(server: TestServer, tmp_path: Path, studio_zone: str) -> None:
    if studio_zone == REPEATS_MIDNIGHT and is_community(server.url):
        pytest.skip("the studio's days cannot follow a zone that repeats midnight on the Community edition")
    random = Random(studio_zone)
    with studio(server, studio_zone, tmp_path) as warehouse:
        events = attempts(random, 300, 42)
        store(warehouse, events)
        check(warehouse, events, 4)

        with pytest.raises(Interruption):
            maintain(warehouse, StopAfter(1))
        assert backlog(warehouse).total > 0
        check(warehouse, events, 4)

        maintain(warehouse)
        assert backlog(warehouse) == Backlog(0, 0, 0)
        check(warehouse, events, 6)

        late = attempts(random, 50, 20)
        store(warehouse, late)
        events += late
        check(warehouse, events, 4)
        maintain(warehouse)
        assert backlog(warehouse) == Backlog(0, 0, 0)
        check(warehouse, events, 4)

        gone = {e.job_id for e in random.sample(events, 80)}
        with psycopg.connect(warehouse.url) as connection:
            connection.execute(
                "delete from telemetry.performance_metrics where job_id = any(%s)", [sorted(gone)]
            )
        events = [e for e in events if e.job_id not in gone]
        check(warehouse, events, 4)

        with pytest.raises(Interruption):
            maintain(warehouse, StopAfter(1))
        check(warehouse, events, 4)
        maintain(warehouse)
        assert backlog(warehouse) == Backlog(0, 0, 0)
        check(warehouse, events, 6)

        whole = read(warehouse, ["attempt_count"], Asked(WHOLE, zone_name=studio_zone))
        assert "raw" not in whole.sources


def test_a_zone_that_repeats_midnight_is_refused_where_its_days_would_be_wrong(
    server: TestServer, empty_database_url: str, tmp_path: Path
) -> None:
    if not is_community(server.url):
        pytest.skip(
            "the Apache edition computes such days right; test_rollups_answer_as_raw holds it to that"
        )
    migrations.upgrade(empty_database_url)
    with (
        Warehouse(empty_database_url) as warehouse,
        pytest.raises(ConfigError, match="put back over midnight"),
    ):
        build(warehouse, log_dir=tmp_path, studio_zone=REPEATS_MIDNIGHT)
