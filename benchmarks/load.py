"""Filling a warehouse with traffic: straight into the hypertable and the ledger, day by day, then into the rollups."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import repeat
from typing import Any

import psycopg

from benchmarks import traffic
from benchmarks.databases import Place, Server
from framehouse.progress import Reporter
from framehouse.warehouse import Warehouse
from framehouse.warehouse.build import build
from framehouse.warehouse.maintain import backlog, maintain
from framehouse.warehouse.pool import Json
from ingest import names, rows
from ingest.writer import TABLE
from migrations import upgrade

LEDGER = "ops.attempt_ledger"
_LEDGER_COLUMNS = {"job_id": "text", "attempt": "int2", "body_hash": "bytea", "finished_at": "timestamptz"}
_HEARTBEAT_DAYS = 7
_COMPLETE = "filled until "
_JSON = {
    "quality_scores_json": "quality_scores",
    "pipeline_stages_json": "pipeline_stages",
    "parameters_json": "parameters",
}


def fill(server: Server, name: str, row_count: int, day_count: int, seed: int, report: Reporter) -> Place:
    """A database of that name with so many attempts, their last one just now.

    A complete one of an earlier run is taken as it is.
    """
    url = server.database(name)
    note = server.note(name)
    if note is not None and note.startswith(_COMPLETE):
        until = datetime.fromisoformat(note.removeprefix(_COMPLETE))
        return Place(server, url, row_count, day_count, seed, until)
    place = Place(server, url, row_count, day_count, seed, datetime.now(UTC).replace(microsecond=0))
    server.create(name)
    upgrade(url, report)
    with Warehouse(url, name="framehouse bench") as warehouse:
        build(warehouse, log_dir=server.folder / "log", studio_zone="UTC", report=report)
        _load(warehouse, place, report)
        _heartbeats(warehouse, place.until)
        report.step("computing the last cells")
        maintain(warehouse, report)
        assert backlog(warehouse).total == 0
    report.step("vacuum analyze")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")
    server.annotate(name, _COMPLETE + place.until.isoformat())
    return place


def ids(warehouse: Warehouse) -> dict[tuple[str, str], int]:
    """The ids of everything that the traffic names."""
    wanted = {
        "workflow": sorted(traffic.WORKFLOWS),
        "worker": [f"gpu-{index:02d}" for index in range(traffic.WORKER_COUNT)],
        "project": [f"show-{index}" for index in range(4)],
        "character": sorted(f"character-{index}" for index in range(30)),
        "scene_type": ["action", "dialogue", "establishing"],
    }
    with warehouse.session() as session:
        found = names.ids(session, wanted)
        return found | {("tier", name): tier_id for name, tier_id in names.tiers(session).items()}


def stored(columns: dict[str, list[Any]], known: dict[tuple[str, str], int]) -> Iterator[tuple[Any, ...]]:
    """The attempts as rows of the hypertable, in the order of `rows.COLUMNS`."""
    n = len(columns["job_id"])
    kinds = {column: kind for kind, column in rows.NAMED.items()}
    found: list[Any] = []
    for column in rows.COLUMNS:
        kind = kinds.get(column)
        if kind is not None:
            found.append([known.get((kind, name)) for name in columns.get(kind, [None] * n)])
        elif column in _JSON:
            found.append([None if value is None else Json(value) for value in columns[_JSON[column]]])
        else:
            nested = column.replace("input_", "input.", 1) if column.startswith("input_") else column
            nested = nested.replace("host_", "host.", 1) if column.startswith("host_") else nested
            found.append(columns.get(nested) or repeat(None, n))
    return zip(*found, strict=True)


def _load(warehouse: Warehouse, place: Place, report: Reporter) -> None:
    """A transaction a day; the cells of what is loaded are computed meanwhile."""
    known = ids(warehouse)
    made = traffic.studio(place.seed)
    until, start = place.until, place.until - timedelta(days=place.day_count)
    day = start.replace(hour=0, minute=0, second=0)
    report.step(f"writing {place.row_count:,} attempts, {place.rows_a_day:,} a day")
    written = 0
    with ThreadPoolExecutor(max_workers=1) as pool:
        cells = pool.submit(int)
        while day < until:
            seconds = traffic.times(place.seed, place.rows_a_day, day, start, until)
            columns = traffic.attempts(made, place.seed, day, seconds)
            with warehouse.session() as session:
                session.copy_in(TABLE, rows.COLUMNS, stored(columns, known))
                session.copy_in(LEDGER, _LEDGER_COLUMNS, _ledger(columns))
            written += len(seconds)
            report.advance(
                written, place.row_count, f"{written:,} of {place.row_count:,}, day {day:%Y-%m-%d}"
            )
            day += timedelta(days=1)
            if cells.done():
                cells.result()
                cells = pool.submit(maintain, warehouse)
        report.step("computing cells")
        cells.result()


def _ledger(columns: dict[str, list[Any]]) -> list[tuple[Any, ...]]:
    """What the writer would have claimed; nobody compares these hashes."""
    keys = zip(columns["job_id"], columns["attempt"], columns["finished_at"], strict=True)
    return [(job, attempt, bytes.fromhex(job) * 2, at) for job, attempt, at in sorted(keys)]


def _heartbeats(warehouse: Warehouse, until: datetime) -> None:
    """A heartbeat a minute of every worker, over the last week."""
    known = ids(warehouse)
    workers = [id_ for (kind, _), id_ in known.items() if kind == "worker"]
    minute = timedelta(minutes=1)
    last = until.replace(second=0)
    spans = [last - minute * back for back in range(_HEARTBEAT_DAYS * 1440, 0, -1)]
    columns = {
        "covered_from": "timestamptz",
        "covered_to": "timestamptz",
        "worker_id": "int4",
        "state": "text",
    }
    with warehouse.session() as session:
        session.copy_in(
            "telemetry.worker_heartbeats",
            columns,
            (
                (at, at + minute, worker, "idle" if (at.minute + worker) % 5 == 0 else "generating")
                for at in spans
                for worker in workers
            ),
        )
