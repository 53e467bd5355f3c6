"""What grows with the warehouse and what does not: an overview, planning, building all rollups anew, the columnstore.

Building is `framehouse build --renew` up to the swap: every rollup's cells computed from all raw rows, beside those
that are there; then the new ones are removed. The columnstore, which only the Community edition has, is tried on some
settled chunks, which are rows again at the end.
"""

import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from benchmarks import load, reads, touch, traffic
from benchmarks.databases import Place
from benchmarks.measure import Figure, median, seconds
from framehouse.metrics import read
from framehouse.metrics.rollups import ROLLUPS
from framehouse.progress import Reporter
from framehouse.warehouse import Warehouse
from framehouse.warehouse.build import fix_calendar, profile, project_dir, run_dbt
from framehouse.warehouse.maintain import backlog, maintain
from framehouse.warehouse.pool import Session
from framehouse.warehouse.renew import abandon
from framehouse.windows import Window
from ingest import rows
from ingest.writer import TABLE

_OVERVIEW = (
    "attempt_count", "succeeded_count", "failure_ratio", "gpu_hours", "wall_hours", "avg_gpu_seconds_per_segment",
    "segment_count", "output_gb", "wasted_gpu_hours",
)  # fmt: skip
_PAIRS = 9
_CHUNKS = 4
_LATE = 20_000


def measure(places: Sequence[Place], report: Reporter) -> list[Figure]:
    """One place after the other."""
    found = []
    for place in places:
        with Warehouse(place.url, name="framehouse bench") as warehouse:
            maintain(warehouse)
            report.step("scale: overview and planning")
            found += [_overview(place, warehouse), *_planning(place, warehouse)]
            report.step("scale: building every rollup anew")
            found.append(_building(place, warehouse, report))
            if _is_community(place):
                report.step("scale: columnstore")
                found += _columnstore(place, warehouse)
    return found


def _overview(place: Place, warehouse: Warehouse) -> Figure:
    """What a page of the last 30 days shows: totals, a series by day, and workflows."""
    window = reads.window(place, days=30)

    def ask(is_raw: bool) -> None:
        read(warehouse, _OVERVIEW, window=window, is_raw=is_raw)
        read(warehouse, _OVERVIEW[:4], window=window, grain="day", is_raw=is_raw)
        read(warehouse, _OVERVIEW, window=window, by="workflow", is_raw=is_raw)

    name = "overview of 30 days: totals, by day, by workflow"
    return reads.faster(place, name, lambda: ask(False), lambda: ask(True))


def _planning(place: Place, warehouse: Warehouse) -> Iterator[Figure]:
    """PostgreSQL's planning time of the statement that answers, not prepared, beside that of the same from raw."""
    window, known = reads.window(place, days=30), load.ids(warehouse)
    rng = np.random.default_rng([place.seed, 5])
    for count in (0, 3, 50):
        if count:
            touch.touch(place, warehouse, known, touch.settled_buckets(place, count, days=30, rng=rng))
        ours, raw = (
            median(_planned(warehouse, window, is_raw=is_raw) for _ in range(_PAIRS))
            for is_raw in (False, True)
        )
        maintain(warehouse)
        yield Figure(place.size, f"planning: by workflow, 30 days, {count} touched buckets", ours, raw, "ms",
                     "of raw's", _PAIRS, ours / raw)  # fmt: skip


def _planned(warehouse: Warehouse, window: Window, *, is_raw: bool) -> float:
    texts: list[tuple[str, Any]] = []
    whole = Session.table

    def watched(self: Session, text: str, params: Any = None) -> Any:
        texts.append((text, params))
        return whole(self, text, params)

    Session.table = watched  # type: ignore[method-assign]
    try:
        read(warehouse, reads.MEANS, window=window, by="workflow", is_raw=is_raw)
    finally:
        Session.table = whole  # type: ignore[method-assign]
    [(text, params)] = texts
    with psycopg.connect(warehouse.url, prepare_threshold=None) as connection:
        connection.execute(
            "explain " + text, params
        )  # the catalog is in memory, as in any session that lives
        told = connection.execute("explain (summary) " + text, params).fetchall()
    [found] = [re.search(r"[\d.]+", row[0]) for row in told if row[0].startswith("Planning Time")]
    assert found is not None
    return float(found[0])


def _building(place: Place, warehouse: Warehouse, report: Reporter) -> Figure:
    with _changed_project() as project:
        started = time.perf_counter()
        with profile(warehouse.url) as profiles:
            run_dbt(
                ["run", "--select", "rollup"],
                project=project,
                profiles=profiles,
                calendar=fix_calendar(warehouse, None),
                is_renewing=True,
                log_dir=place.server.folder / "log",
                report=report,
            )
        created = time.perf_counter() - started
        while backlog(warehouse).total:
            maintain(warehouse, report)
        took = time.perf_counter() - started
    assert len(abandon(warehouse)) == len(ROLLUPS)
    return Figure(
        place.size, f"building all {len(ROLLUPS)} rollups (dbt: {created:.1f} s)", took, None, "s", "", 1
    )


@contextmanager
def _changed_project() -> Iterator[Path]:
    """This program's dbt project, with a word more in each rollup."""
    with tempfile.TemporaryDirectory(prefix="framehouse-bench-") as folder:
        project = Path(shutil.copytree(project_dir(), Path(folder) / "project"))
        for model in (project / "models" / "rollup").glob("*.sql"):
            model.write_text(model.read_text().rstrip() + "\n-- anew\n")
        yield project


def _is_community(place: Place) -> bool:
    with psycopg.connect(place.url) as connection:
        row = connection.execute("select current_setting('timescaledb.license') = 'timescale'").fetchone()
    return row == (True,)


def _columnstore(place: Place, warehouse: Warehouse) -> Iterator[Figure]:
    """Size, late rows and the refresh of a touched bucket: in chunks of the columnstore, and in the same as rows."""
    known = load.ids(warehouse)
    with psycopg.connect(place.url, autocommit=True) as connection:
        connection.execute(
            """alter table telemetry.performance_metrics set (timescaledb.enable_columnstore,
               timescaledb.segmentby = 'workflow_id', timescaledb.orderby = 'finished_at')"""
        )
        chunks = connection.execute(
            """select format('%%I.%%I', chunk_schema, chunk_name)::text, range_start, range_end
               from timescaledb_information.chunks
               where hypertable_name = 'performance_metrics' and range_end < %s - interval '2 days'
               order by range_start desc limit %s""",
            [place.until, _CHUNKS],
        ).fetchall()
        span = (min(chunk[1] for chunk in chunks), max(chunk[2] for chunk in chunks))
        as_rows = [_late(place, warehouse, known, span, salt) for salt in range(3)]
        refreshed_rows = [_refreshed(place, warehouse, known, span, salt) for salt in range(3, 8)]
        before = _bytes(connection)
        took = seconds(
            lambda: [connection.execute("call convert_to_columnstore(%s)", [name]) for name, *_ in chunks]
        )
        after = _bytes(connection)
        whole = sum(before[name] for name, *_ in chunks)
        packed = sum(after[name] for name, *_ in chunks)
        yield Figure(place.size, f"columnstore: size of {len(chunks)} chunks", packed / 2**20, whole / 2**20, "MiB",
                     "times smaller", 1, whole / packed)  # fmt: skip
        yield Figure(place.size, f"columnstore: converting {len(chunks)} chunks", took, None, "s", "", 1)
        as_columns = [_late(place, warehouse, known, span, salt) for salt in range(10, 13)]
        refreshed = [_refreshed(place, warehouse, known, span, salt) for salt in range(13, 18)]
        ours, plain = _LATE / median(as_columns), _LATE / median(as_rows)
        yield Figure(place.size, "columnstore: late rows into its chunks", ours, plain, "rows/s", "of row store's", 3,
                     ours / plain)  # fmt: skip
        ours, plain = median(refreshed) * 1e3, median(refreshed_rows) * 1e3
        yield Figure(place.size, "columnstore: one touched bucket brought up to date", ours, plain, "ms",
                     "of row store's", 5, ours / plain)  # fmt: skip
        for name, *_ in chunks:
            connection.execute("call convert_to_rowstore(%s)", [name])


def _bytes(connection: psycopg.Connection[Any]) -> dict[str, int]:
    found = connection.execute(
        """select format('%I.%I', chunk_schema, chunk_name), total_bytes
           from chunks_detailed_size('telemetry.performance_metrics')"""
    ).fetchall()
    return dict(found)


def _late(
    place: Place,
    warehouse: Warehouse,
    known: dict[tuple[str, str], int],
    span: tuple[datetime, datetime],
    salt: int,
) -> float:
    """Seconds of writing late rows into a span, in one transaction; then they are in the cells."""
    rng = np.random.default_rng([place.seed, 6, salt])
    day = span[0] + timedelta(days=int(rng.integers(1, max(2, (span[1] - span[0]).days - 1))))
    offsets = np.sort(rng.uniform(0, 86_400, _LATE))
    columns = traffic.attempts(traffic.studio(place.seed), place.seed, day, offsets, salt=time.time_ns())
    late = list(load.stored(columns, known))

    def write() -> None:
        with warehouse.session() as session:
            session.copy_in(TABLE, rows.COLUMNS, late)

    took = seconds(write)
    maintain(warehouse)
    return took


def _refreshed(
    place: Place,
    warehouse: Warehouse,
    known: dict[tuple[str, str], int],
    span: tuple[datetime, datetime],
    salt: int,
) -> float:
    rng = np.random.default_rng([place.seed, 7, salt])
    bucket = span[0] + timedelta(minutes=15 * int(rng.integers(96, (span[1] - span[0]).days * 96 - 96)))
    touch.touch(place, warehouse, known, [bucket])
    return seconds(lambda: maintain(warehouse))
