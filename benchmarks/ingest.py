"""Ingest: the writer beside plain binary COPY of equal rows, and the HTTP path.

"The writer alone" is the whole transaction that makes a batch exactly-once, of events that were judged beforehand: a
connection from the pool, the fence, tiers, the claim in the ledger, the look-up of names, turning events into rows,
COPY into the hypertable (its trigger, checks, generated columns and indexes), commit with fsync, an answer for each
event. The lines after it add what comes before: validation and hashing, then parsing.

The ledger's keys fall on the pages of its index at random, and PostgreSQL logs the whole of a page when it changes for
the first time after a checkpoint. So the first batches after a checkpoint, a line of their own, are the slowest; the
other lines come when so many batches were written that most pages are logged.

The baseline is psycopg's binary COPY of rows that are ready as Python values, into the same hypertable, in batches of
the same size, each in a transaction of its own on a connection that is open already.
"""

import http.client
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from benchmarks import load, traffic
from benchmarks.databases import Place
from benchmarks.measure import Figure, median, seconds, timed
from benchmarks.service import service
from framehouse.progress import Reporter
from framehouse.warehouse import Warehouse
from ingest import rows, writer
from ingest.body import elements

_BATCH = 500
_PAIRS = 25
_BAR = 0.5
_JSON = {"Content-Type": "application/json"}


def measure(places: Sequence[Place], report: Reporter) -> list[Figure]:
    """The writer against COPY, then HTTP with one process that serves."""
    return [figure for place in places for figure in _measure(place, report)]


def _measure(place: Place, report: Reporter) -> list[Figure]:
    report.step("ingest: the writer beside COPY")
    with Warehouse(place.url, name="framehouse bench") as warehouse:
        figures, copied = _writer(place, warehouse)
    report.step("ingest: over HTTP")
    return figures + _http(place, copied)


def _writer(place: Place, warehouse: Warehouse) -> tuple[list[Figure], float]:
    """Four lines, and the rows per second of COPY."""
    known = load.ids(warehouse)
    with psycopg.connect(place.url) as connection:

        def pairs() -> Iterator[Any]:
            # Each is of new attempts, half of them for either side.
            took = [_pair(place, warehouse, connection, known) for _ in range(_PAIRS)]
            return (np.array(part) for part in zip(*took, strict=True))

        _pair(place, warehouse, connection, known)  # warms up
        connection.execute("checkpoint")
        connection.commit()
        _, _, first, first_copy = pairs()
        for _ in range(_pages(connection) * 2 // _BATCH):
            writer.store(warehouse, writer.judge_batch(elements(_attempts(place))))
        parse, judge, store, copy = pairs()
    copied = _BATCH / median(copy)
    figures = [
        _figure(place, "the writer alone: its transaction, batches of 500", store, copied, _BAR),
        _figure(place, "... right after a checkpoint", first, _BATCH / median(first_copy)),
        _figure(place, "... with validation and hashing: writer.write", judge + store, copied),
        _figure(place, "... and with parsing of the JSON", parse + judge + store, copied),
    ]
    return figures, copied


def _pages(connection: psycopg.Connection[Any]) -> int:
    """Pages of the ledger's index. Twice as many random keys leave an eighth of them untouched."""
    row = connection.execute("select pg_relation_size('ops.attempt_ledger_pkey') / 8192").fetchone()
    assert row is not None
    return int(row[0])


def _pair(
    place: Place, warehouse: Warehouse, connection: psycopg.Connection[Any], known: dict[tuple[str, str], int]
) -> tuple[float, float, float, float]:
    """Seconds of parsing, judging and storing one batch, and of COPY of another."""
    body, plain = _attempts(place), list(load.stored(_columns(place), known))
    batch, parse = timed(lambda: elements(body))
    judged, judge = timed(lambda: writer.judge_batch(batch))
    results, store = timed(lambda: writer.store(warehouse, judged))
    assert all(result.status is writer.Status.ACCEPTED for result in results)
    return parse, judge, store, seconds(lambda: _copy(connection, plain))


def _figure(place: Place, name: str, took: Any, copied: float, bar: float | None = None) -> Figure:
    ours = _BATCH / median(took)
    return Figure(place.size, name, ours, copied, "rows/s", "of COPY", _PAIRS, ours / copied, bar)


def _columns(place: Place, size: int = _BATCH) -> dict[str, list[Any]]:
    """New attempts of the last hour before the traffic's end."""
    salt = time.time_ns()
    end = place.until - timedelta(hours=1)
    when = np.random.default_rng(salt).uniform(0, 3600, size)
    return traffic.attempts(traffic.studio(place.seed), place.seed, end, when, salt=salt)


def _attempts(place: Place, size: int = _BATCH) -> bytes:
    return b"[" + b",".join(traffic.events(_columns(place, size))) + b"]"


def _copy(connection: psycopg.Connection[Any], plain: list[tuple[Any, ...]]) -> None:
    text = sql.SQL("copy {} ({}) from stdin (format binary)").format(
        sql.Identifier(*writer.TABLE.split(".")), sql.SQL(", ").join(map(sql.Identifier, rows.COLUMNS))
    )
    with connection.cursor() as cursor, cursor.copy(text) as copy:
        copy.set_types(list(rows.COLUMNS.values()))
        for row in plain:
            copy.write_row(row)
    connection.commit()


def _http(place: Place, copied: float) -> list[Figure]:
    figures = []
    with service(place.url, place.server.folder) as client:
        host, port = str(client.base_url.host), client.base_url.port
        for clients, size, requests in ((4, 100, 25), (16, 1, 100)):
            bodies = [[_attempts(place, size) for _ in range(requests)] for _ in range(clients)]
            warm = [[_attempts(place, size) for _ in range(3)] for _ in range(clients)]
            _post_all(host, port, warm)
            took = seconds(_posting(host, port, bodies))
            ours = clients * size * requests / took
            what = f"batches of {size}" if size > 1 else "single events"
            name = f"POST /api/events, {what}, {clients} clients"
            figures.append(
                Figure(
                    place.size,
                    name,
                    ours,
                    copied,
                    "rows/s",
                    "of COPY",
                    clients * requests,
                    ours / copied,
                )
            )
    return figures


def _posting(host: str, port: int | None, bodies: list[list[bytes]]) -> Callable[[], None]:
    return lambda: _post_all(host, port, bodies)


def _post_all(host: str, port: int | None, bodies: list[list[bytes]]) -> None:
    """Each list from a client of its own, all at once; every event must be stored."""
    with ThreadPoolExecutor(max_workers=len(bodies)) as pool:
        list(pool.map(lambda own: _post(host, port, own), bodies))


def _post(host: str, port: int | None, bodies: list[bytes]) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=60)
    try:
        for body in bodies:
            connection.request("POST", "/api/events", body, _JSON)
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status == 200, said[:500]
            assert b'"rejected"' not in said, said[:500]
    finally:
        connection.close()
