"""The performance API: an overview and a series beside the same computed from raw rows, and every endpoint cold.

Ours is all that a client of the service waits for; the baseline is the same answer from raw rows, in this process. Cold
is the first request of a service that has just begun, one service for each endpoint.
"""

import time
from collections.abc import Sequence
from typing import Any

import httpx

from benchmarks import reads, traffic
from benchmarks.databases import Place
from benchmarks.measure import Figure
from benchmarks.service import service
from framehouse.metrics import read
from framehouse.metrics.overview import overview
from framehouse.progress import Reporter
from framehouse.warehouse import Warehouse
from framehouse.warehouse.maintain import maintain
from framehouse.windows import Window

_SERIES = "avg_wall_seconds_per_segment"
_OTHER_ZONE = "Asia/Kathmandu"
#: Seconds that the first request to any endpoint may take.
_COLD = 3.0


def measure(places: Sequence[Place], report: Reporter) -> list[Figure]:
    """One place after the other."""
    found = []
    for place in places:
        with Warehouse(place.url, name="framehouse bench") as warehouse:
            maintain(warehouse)
            report.step("api: overview and series beside raw")
            found += _beside_raw(place, warehouse)
        for path, more in _endpoints(place).items():
            report.step(f"api: {path}, cold")
            found.append(_cold(place, path, more))
    return found


def _beside_raw(place: Place, warehouse: Warehouse) -> list[Figure]:
    window = reads.window(place, days=30)
    busiest = _busiest(place)

    with service(place.url, place.server.folder) as client:

        def get(path: str, **more: Any) -> None:
            _get(client, path, {**_asked(window), **more})

        def series_from_raw() -> None:
            read(
                warehouse,
                [_SERIES, "attempt_count"],
                window=window,
                grain="day",
                zone_name=_OTHER_ZONE,
                where={"workflow": busiest},
                is_raw=True,
            )

        return [
            reads.faster(
                place,
                "GET overview, 30 days",
                lambda: get("overview"),
                lambda: overview(warehouse, window=window, is_raw=True),
                bar=50.0,
            ),
            reads.faster(
                place,
                f"GET trend of a workflow by day in {_OTHER_ZONE}, 30 days",
                lambda: get(f"workflow/{busiest}/trend", metric=_SERIES, tz=_OTHER_ZONE),
                series_from_raw,
                bar=5.0,
            ),
        ]


def _endpoints(place: Place) -> dict[str, dict[str, Any]]:
    busiest = _busiest(place)
    others = [name for name in traffic.WORKFLOWS[: traffic.GENERATING] if name != busiest]
    return {
        "overview": {"compare": "previous"},
        f"workflow/{busiest}": {},
        f"workflow/{busiest}/trend": {"tz": _OTHER_ZONE},
        "worker/gpu-00": {},
        "workers/comparison": {},
        "comparison": {"workflows": f"{busiest},{others[0]}"},
        "quality": {"workflow": busiest},
        "stages": {},
    }


def _cold(place: Place, path: str, more: dict[str, Any]) -> Figure:
    with service(place.url, place.server.folder) as client:
        started = time.perf_counter()
        _get(client, path, {**_asked(reads.window(place, days=30)), **more})
        took = time.perf_counter() - started
    return Figure(
        place.size,
        f"GET {path}, 30 days, cold",
        took,
        _COLD,
        "s",
        "of 3 s",
        1,
        took / _COLD,
        1.0,
        is_ceiling=True,
    )


def _get(client: httpx.Client, path: str, params: dict[str, Any]) -> None:
    client.get(f"/api/performance/{path}", params=params).raise_for_status()


def _asked(window: Window) -> dict[str, str]:
    return {"from": window.start.isoformat(), "to": window.end.isoformat()}


def _busiest(place: Place) -> str:
    return traffic.WORKFLOWS[int(traffic.studio(place.seed).popularity[: traffic.GENERATING].argmax())]
