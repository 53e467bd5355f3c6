"""Every rollup's view against the same aggregates over raw rows, cell by cell, as of one instant."""

import json
import subprocess
import sys
import time
from collections.abc import Container, Iterable
from datetime import datetime, timedelta
from functools import cache
from random import Random

import psycopg
from psycopg.rows import tuple_row

from framehouse.metrics.quantities import Merge, Part
from framehouse.metrics.rollups import ROLLUPS
from framehouse.warehouse import Warehouse
from framehouse.windows import Grain, block_minutes
from framehouse.zones import zone
from ingest.body import elements
from ingest.heartbeats import write_heartbeats
from ingest.verdict import Reach, Status
from tests.builders import event, store

QUARTER = timedelta(minutes=15)


def wrong_cells(
    connection: psycopg.Connection,
    *,
    zone_name: str = "UTC",
    since: str = "-infinity",
    only: Container[str] | None = None,
) -> list[str]:
    """What differs between the views and raw: the rollup, the bucket and the keys of each wrong cell.

    Sums may differ in the last bits, since days add up what quarter hours added up; all else is equal. `since` leaves
    out what is older (raw that was dropped), `only` all rollups but these. Call it in a REPEATABLE READ transaction
    while others write.
    """
    found = []
    for rollup in ROLLUPS:
        if only is not None and rollup.name not in only:
            continue
        with connection.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(_difference_sql(rollup.name, zone_name), {"since": since})
            found += [f"{rollup.name}: {row}" for row in cursor.fetchall()]
    return found


def exact(url: str, *, zone_name: str = "UTC", since: str = "-infinity") -> None:
    """Assert that nothing is wrong at this moment."""
    with psycopg.connect(url) as connection:
        connection.execute("set transaction isolation level repeatable read read only")
        assert wrong_cells(connection, zone_name=zone_name, since=since) == []


@cache
def _difference_sql(name: str, zone_name: str) -> str:
    [rollup] = [rollup for rollup in ROLLUPS if rollup.name == name]
    time = rollup.source.time
    bucket = {
        Grain.FINE: f"time_bucket(interval '15 minutes', {time})",
        Grain.HOUR: f"time_bucket(interval '{block_minutes(zone(zone_name))} minutes', {time})",
        Grain.DAY: f"time_bucket(interval '1 day', {time}, '{zone_name}')",
    }[rollup.grain]
    keys = [rollup.source.dimensions[dimension] for dimension in rollup.dimensions]
    parts = {f"p{n}": part for n, part in enumerate(rollup.parts)}
    raw = ", ".join(
        [f"{bucket} as bucket", *keys, *(f"{part.raw} as {short}" for short, part in parts.items())]
    )
    cells = ", ".join(["bucket", *keys, *(f"{part.name} as {short}" for short, part in parts.items())])
    numbers = ", ".join(str(n + 1) for n in range(1 + len(keys)))
    on = " and ".join(
        [
            "v.bucket = r.bucket",
            *(f"coalesce(v.{key}::text, '') = coalesce(r.{key}::text, '')" for key in keys),
        ]
    )
    rows = rollup.source.table
    if rollup.source.unnested:
        rows += f" cross join lateral {rollup.source.unnested}"
    differs = " or ".join(
        ["v.bucket is null", "r.bucket is null", *(_differs(short, part) for short, part in parts.items())]
    )
    return (
        f"with r as materialized ("
        f"select {raw} from {rows} where {time} >= %(since)s group by {numbers}),"
        f" v as materialized (select {cells} from rollup.{rollup.name} where bucket >= %(since)s)"
        f" select coalesce(v.bucket, r.bucket), {', '.join(f'coalesce(v.{key}, r.{key})' for key in keys)},"
        " v.p0, r.p0"
        f" from v full join r on {on} where {differs}"
    )


def _differs(short: str, part: Part) -> str:
    if part.merge is not Merge.SUM:
        return f"v.{short} is distinct from r.{short}"
    return (
        f"((v.{short} is null) <> (r.{short} is null)"
        f" or abs(v.{short} - r.{short}) > 1e-9 * (1 + abs(r.{short})))"
    )


def contents(url: str) -> dict[str, tuple[int, int, int, str]]:
    """For each rollup: the oids of its view and cells, how many cells there are, and a hash of them."""
    found = {}
    with psycopg.connect(url) as connection:
        for rollup in ROLLUPS:
            row = connection.execute(
                f"""select 'rollup.{rollup.name}'::regclass::oid::bigint,
                       'rollup.{rollup.name}_cells'::regclass::oid::bigint, count(*),
                       coalesce(md5(string_agg(cell::text, chr(10) order by cell::text)), '')
                    from rollup.{rollup.name}_cells as cell"""
            ).fetchone()
            assert row is not None
            found[rollup.name] = row
    return found


def tell(url: str, sql: str, *values: object) -> None:
    """Run a statement and commit it."""
    with psycopg.connect(url) as connection:
        connection.execute(sql, values)


def ask(url: str, sql: str, *values: object) -> object:
    """The first column of the first row."""
    with psycopg.connect(url) as connection:
        row = connection.execute(sql, values).fetchone()
    assert row is not None
    return row[0]


def until_somebody_waits(url: str) -> None:
    """Return when somebody in this database waits for a lock of any kind."""
    deadline = time.monotonic() + 60
    while not ask(
        url,
        """select count(*) from pg_locks
           where not granted and database = (select oid from pg_database where datname = current_database())""",
    ):
        assert time.monotonic() < deadline, "nobody came to wait"
        time.sleep(0.01)


def is_community(url: str) -> bool:
    return ask(url, "select current_setting('timescaledb.license')") == "timescale"


def fill(warehouse: Warehouse, random: Random, quarters: Iterable[datetime], each: int = 2) -> None:
    """Some attempts, and a heartbeat of a worker, in each of these quarter hours."""
    quarters = list(quarters)
    store(
        warehouse,
        [
            event(
                workflow=random.choice("ab"),
                tier=random.choice(["draft", None]),
                worker=random.choice(["gpu-1", "gpu-2", None]),
                outcome=random.choice(["succeeded", "succeeded", "failed"]),
                finished_at=(at + timedelta(seconds=random.random() * 899)).isoformat(),
                wall_seconds=random.lognormvariate(3, 1),
                gpu_seconds=random.lognormvariate(2, 1),
                segment_count=random.randrange(4),
                is_cold=random.random() < 0.2,
                project=random.choice(["show", None]),
                host={"gpu_model": random.choice(["L40S", "RTX 4090"])},
                quality_scores=random.choice(
                    [None, {"likeness": random.random(), "drift": random.gauss(0, 1)}]
                ),
                pipeline_stages=[
                    {"name": name, "duration_ms": random.random() * 900, "is_cached": random.random() < 0.2}
                    for name in ("load", "sample")
                ],
            )
            for at in quarters
            for _ in range(each)
        ],
    )
    beats = [
        {
            "worker": random.choice(["gpu-1", "gpu-2"]),
            "state": random.choice(["generating", "idle", "offline"]),
            "covered_from": (at + timedelta(seconds=10)).isoformat(),
            "covered_to": (at + timedelta(seconds=random.randrange(20, 1200))).isoformat(),
        }
        for at in dict.fromkeys(quarters)
    ]
    results = write_heartbeats(warehouse, elements(json.dumps(beats).encode()), reach=Reach(back=None))
    assert not [result for result in results if result.status is Status.REJECTED]


_MAINTAIN = """
import sys
from framehouse.warehouse import Warehouse
from framehouse.warehouse.maintain import maintain
with Warehouse(sys.argv[1], name="maintain in a process of its own") as warehouse:
    maintain(warehouse)
"""


def maintaining(url: str) -> "subprocess.Popen[bytes]":
    """`maintain` in a process of its own."""
    return subprocess.Popen([sys.executable, "-c", _MAINTAIN, url])
