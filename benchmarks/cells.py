"""How much smaller the rollups are than what they are computed from: raw rows to a cell."""

from collections.abc import Sequence

import psycopg
from psycopg import sql

from benchmarks.databases import Place
from benchmarks.measure import Figure
from framehouse.metrics.rollups import HEARTBEATS, ROLLUPS, Rollup
from framehouse.progress import Reporter
from framehouse.windows import Grain

#: Of a studio with so many rows a day; in quieter ones there is less to add up.
_BAR_ROWS_A_DAY = 80_000
_BARS = {Grain.FINE: 6.0, Grain.HOUR: 6.0, Grain.DAY: 50.0}


def measure(places: Sequence[Place], report: Reporter) -> list[Figure]:
    """One line a rollup. The bars are for attempts; a heartbeat's cells say how often the workers speak."""
    report.step("cells: counting")
    found = []
    for place in places:
        with psycopg.connect(place.url) as connection:
            found += [_figure(place, connection, rollup) for rollup in ROLLUPS]
    return found


def _figure(place: Place, connection: psycopg.Connection[tuple[int]], rollup: Rollup) -> Figure:
    cells = _count(connection, f"rollup.{rollup.name}")
    raw = _count(connection, rollup.source.table)
    has_bar = rollup.source is not HEARTBEATS and place.rows_a_day >= _BAR_ROWS_A_DAY
    bar = _BARS[rollup.grain] if has_bar else None
    return Figure(place.size, rollup.name, cells, raw, "rows", "rows a cell", 1, raw / cells, bar)


def _count(connection: psycopg.Connection[tuple[int]], relation: str) -> int:
    text = sql.SQL("select count(*) from {}").format(sql.Identifier(*relation.split(".")))
    row = connection.execute(text).fetchone()
    assert row is not None
    return row[0]
