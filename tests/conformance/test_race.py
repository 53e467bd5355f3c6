"""Writers, a deleter and maintenance race, killed at random, and every rollup is right in every snapshot.

And with any rule of the protocol broken on purpose, some are not.
"""

from collections.abc import Callable

import psycopg
import pytest

from framehouse.warehouse import Warehouse
from framehouse.warehouse.maintain import Backlog, backlog, maintain
from tests.conformance.breaks import BREAKS
from tests.conformance.race import CAST, COLUMNS, race
from tests.warehouse.cells import exact, is_community

NOTHING = Backlog(0, 0, 0)
SOME = """
    select timestamptz '2026-03-02 12:00+00' + n * interval '7 minutes', %(way)s || n, 1, 1 + n %% 2, 1, 1,
           'succeeded', n + 0.5, n
    from generate_series(1, 12) as n"""


def test_no_reader_ever_sees_a_wrong_cell(warehouse: Warehouse, race_seconds: float) -> None:
    result = race(warehouse.url, race_seconds, kill_every=1.5)
    assert result.wrong == []
    assert result.failures == []
    assert result.deadlocks == 0
    assert set(result.kills) == set(CAST), "each role was killed"
    assert result.comparisons >= 50
    while backlog(warehouse) != NOTHING:
        maintain(warehouse)
    exact(warehouse.url)


@pytest.mark.parametrize("name", BREAKS)
def test_the_race_finds_every_broken_rule(warehouse: Warehouse, name: str) -> None:
    rule, community = BREAKS[name], is_community(warehouse.url)
    if rule.community_only and not community:
        pytest.skip("continuous aggregates are refreshed on the Community edition only")
    if rule.apache_only and community:
        pytest.skip("a continuous aggregate's refreshes wait for each other by themselves")
    result = race(warehouse.url, 120, broken=name, until_wrong=True)
    assert result.failures if rule.is_loud else result.wrong, rule.rule


def _insert(cursor: psycopg.Cursor, way: str) -> None:
    cursor.execute(
        SOME.replace("select", f"insert into telemetry.performance_metrics ({COLUMNS}) select", 1),
        {"way": way},
    )


def _insert_values(cursor: psycopg.Cursor, way: str) -> None:
    rows = cursor.execute(SOME, {"way": way}).fetchall()
    for row in rows:
        marks = ", ".join(["%s"] * len(row))
        cursor.execute(f"insert into telemetry.performance_metrics ({COLUMNS}) values ({marks})", row)


def _copy(cursor: psycopg.Cursor, way: str) -> None:
    rows = cursor.execute(SOME, {"way": way}).fetchall()
    with cursor.copy(f"copy telemetry.performance_metrics ({COLUMNS}) from stdin") as copy:
        for row in rows:
            copy.write_row(row)


def _merge(cursor: psycopg.Cursor, way: str) -> None:
    cursor.execute(
        f"""merge into telemetry.performance_metrics as known
            using ({SOME}) as fresh ({COLUMNS}) on known.job_id = fresh.job_id and known.finished_at = fresh.finished_at
            when not matched then insert ({COLUMNS})
            values ({", ".join(f"fresh.{column.strip()}" for column in COLUMNS.split(","))})""",
        {"way": way},
    )


def _delete(cursor: psycopg.Cursor, way: str) -> None:
    cursor.execute("delete from telemetry.performance_metrics where workflow_id = 2")


@pytest.mark.parametrize("write", [_insert, _insert_values, _copy, _merge, _delete])
def test_every_way_of_writing_reaches_the_cells(
    warehouse: Warehouse, write: Callable[[psycopg.Cursor, str], None]
) -> None:
    """Into buckets whose cells are there already, which is where a refresh could think it has nothing to do."""
    with psycopg.connect(warehouse.url) as connection:
        _insert(connection.cursor(), "first ")
    maintain(warehouse)
    assert backlog(warehouse) == NOTHING
    with psycopg.connect(warehouse.url) as connection:
        write(connection.cursor(), "second ")
    assert backlog(warehouse).touched_buckets > 0
    exact(warehouse.url)
    maintain(warehouse)
    assert backlog(warehouse) == NOTHING
    exact(warehouse.url)
