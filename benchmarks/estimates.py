"""Estimates over HTTP, beside a GET that reads one row by its key from the same server, in turns.

One client on one open connection, and one process that serves. Both sides are all that a client waits for; scenes name
the workflows and tiers of the traffic, the pool is the workers whose heartbeats came last, and the estimate is stored
unless the line says otherwise.
"""

import http.client
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import psycopg

from benchmarks import traffic
from benchmarks.databases import Place
from benchmarks.measure import Figure, interleaved, median, seconds, timed
from benchmarks.service import service
from framehouse.estimates import BatchRequest, estimate_batch
from framehouse.estimates.learning import learn
from framehouse.progress import Reporter
from framehouse.warehouse import Warehouse

_PAIRS = {200: 31, 10_000: 7}
_MOST_GETS, _MOST_SECONDS = 3.0, 1.0


def measure(places: Sequence[Place], report: Reporter) -> list[Figure]:
    """200 and 10,000 scenes over HTTP, then in this process; from forecasts that know all attempts."""
    found = []
    for place in places:
        report.step("estimates: learning")
        found += _learning(place)
        report.step("estimates: over HTTP")
        with service(place.url, place.server.folder) as client:
            connection = http.client.HTTPConnection(
                str(client.base_url.host), client.base_url.port, timeout=60
            )
            found += _http(place, connection)
            connection.close()
        report.step("estimates: in process")
        found += _in_process(place)
    return found


def _http(place: Place, connection: http.client.HTTPConnection) -> list[Figure]:
    path = f"/api/jobs/{_some_job(place)}/attempts"
    _request(connection, "POST", "/api/heartbeats", _heartbeats())
    found = []
    for count, is_stored in ((200, True), (200, False), (10_000, True), (10_000, False)):
        body = _batch(place, count, is_stored)
        answer = json.loads(_request(connection, "POST", "/api/estimates", body))
        assert answer["estimated_scenes"] == count, answer["unknown"]
        assert answer["wall_clock_hours"] is not None, answer["wall_clock_reason"]
        ours, get = interleaved(
            partial(_request, connection, "POST", "/api/estimates", body),
            partial(_request, connection, "GET", path),
            _PAIRS[count],
        )
        name = f"POST /api/estimates, {count:,} scenes{'' if is_stored else ', not stored'}"
        found.append(
            Figure(
                place.size,
                name,
                ours * 1e3,
                get * 1e3,
                "ms",
                "GETs",
                _PAIRS[count],
                ours / get,
                _MOST_GETS if count == 200 else None,
                is_ceiling=True,
            )
        )
        if count == 10_000:
            name = f"{name}: beside one second"
            found.append(
                Figure(
                    place.size,
                    name,
                    ours * 1e3,
                    1e3,
                    "ms",
                    "s",
                    _PAIRS[count],
                    ours,
                    _MOST_SECONDS,
                    is_ceiling=True,
                )
            )
    return found


def _learning(place: Place) -> list[Figure]:
    """Learning everything anew, from nothing."""
    with psycopg.connect(place.url) as connection:
        connection.execute("delete from ops.forecasts")
        connection.execute("delete from ops.forecasts_shared")
        connection.execute(
            "insert into ops.touched_forecasts (workflow_id, tier_id)"
            " select distinct workflow_id, tier_id from rollup.attempt_totals_by_workflow_daily"
        )
    with Warehouse(place.url, name="framehouse bench") as warehouse:
        count, took = timed(partial(learn, warehouse))
    return [Figure(place.size, f"learning {count} forecasts from nothing", took, None, "s", "", 1)]


def _in_process(place: Place) -> list[Figure]:
    found = []
    with Warehouse(place.url, name="framehouse bench") as warehouse:
        for count, n in _PAIRS.items():
            request = BatchRequest.model_validate_json(_batch(place, count, is_stored=False))
            took = [seconds(partial(estimate_batch, warehouse, request)) for _ in range(n + 1)][1:]
            name = f"estimate_batch, {count:,} scenes, in process, not stored"
            found.append(Figure(place.size, name, median(took) * 1e3, None, "ms", "", n))
    return found


def _some_job(place: Place) -> str:
    with psycopg.connect(place.url) as connection:
        row = connection.execute("select job_id from telemetry.performance_metrics limit 1").fetchone()
    assert row is not None
    return str(row[0])


def _heartbeats() -> bytes:
    now = datetime.now(UTC)
    span = {"covered_from": (now - timedelta(minutes=5)).isoformat(), "covered_to": now.isoformat()}
    workers = (f"gpu-{index:02d}" for index in range(traffic.WORKER_COUNT))
    return json.dumps([{"worker": worker, "state": "generating"} | span for worker in workers]).encode()


def _batch(place: Place, count: int, is_stored: bool) -> bytes:
    rng = np.random.default_rng([place.seed, 5])
    popularity = traffic.studio(place.seed).popularity
    scenes: list[dict[str, Any]] = []
    for number, index in enumerate(rng.choice(len(popularity), count, p=popularity).tolist()):
        is_media = index >= traffic.GENERATING
        scenes.append(
            {
                "scene_key": f"sc-{number:05d}",
                "workflow": traffic.WORKFLOWS[index],
                "tier": None if is_media else traffic.TIERS[int(rng.integers(0, 3))],
                "target_seconds": round(float(rng.uniform(4, 60)), 1),
                "segment_seconds": 5,
                "scene_type": ("dialogue", "action", "establishing")[number % 3],
                "character": f"character-{number % 30}",
            }
        )
    return json.dumps({"scenes": scenes, "store": is_stored}).encode()


def _request(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None
) -> bytes:
    connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    answer = connection.getresponse()
    said = answer.read()
    assert answer.status == 200, said[:500]
    return said
