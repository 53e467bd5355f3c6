"""The stream of what is written: what it tells, to whom, and through which troubles."""

import asyncio
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from api import create_app
from api.live import MOST_STREAMS, Live, Wanted
from framehouse.config import Settings
from framehouse.errors import BusyError
from framehouse.warehouse import Warehouse
from framehouse.warehouse.written import WrittenKind, tell

from .conftest import Event, serving
from .contract import Contract
from .streams import heard

PATIENCE_SECONDS = 60
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    """The address of the running service."""
    with serving(app) as address:
        yield address


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def post(url: str, *events: dict[str, Any]) -> None:
    """Send events, which have to be stored or known."""
    httpx.post(f"{url}/api/events", json=events).raise_for_status()


def beat(worker: str, minutes_ago: int = 10) -> dict[str, Any]:
    """A heartbeat of a minute."""
    begun = NOW - timedelta(minutes=minutes_ago)
    ended = begun + timedelta(minutes=1)
    return {
        "worker": worker,
        "state": "idle",
        "covered_from": begun.isoformat(),
        "covered_to": ended.isoformat(),
    }


def measured(url: str, name: str) -> float:
    """A measurement of the service."""
    found = re.search(rf"^{re.escape(name)} (.+)$", httpx.get(f"{url}/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def connections(database_url: str) -> list[int]:
    """The processes of the database that a listener is connected to."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "select pid from pg_stat_activity"
            " where datname = current_database() and application_name = 'framehouse listen'"
        ).fetchall()
    return [row[0] for row in rows]


def test_a_batch_is_told_once(url: str, app: FastAPI, event: Event) -> None:
    first, second = event(worker="gpu-1"), event(worker="gpu-2", workflow="upscale")
    with heard(url) as stream:
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        assert stream.response.headers["cache-control"] == "no-cache"
        assert stream.opening["retry"] == "2000"
        post(url, second, first, event())
        told = stream.event()
        post(url, event(job_id="marker", workflow="other"))
        assert stream.next()["workflows"] == ["other"]
    assert int(told["id"]) > int(stream.opening["id"])
    contract = Contract(app.openapi())
    [kind] = [
        kind["properties"]
        for kind in app.openapi()["paths"]["/api/stream"]["get"]["responses"]["200"]["content"][
            "text/event-stream"
        ]["itemSchema"]["oneOf"]
        if kind["properties"]["event"]["const"] == told["event"]
    ]
    data = httpx.Response(200, text=told["data"]).json()
    contract.validate(data, kind["data"]["contentSchema"])
    assert {name: data[name] for name in ("kind", "count", "workflows", "workers")} == {
        "kind": "attempts",
        "count": 3,
        "workflows": ["upscale", "wan_i2v"],
        "workers": ["gpu-1", "gpu-2"],
    }
    assert datetime.fromisoformat(data["first_at"]) == datetime.fromisoformat(first["finished_at"])
    assert data["last_at"].endswith("Z")


def test_a_batch_can_be_read_when_it_is_told(url: str, event: Event) -> None:
    with heard(url) as stream:
        post(url, event(job_id="here"))
        stream.next()
        assert httpx.get(f"{url}/api/jobs/here/attempts").status_code == 200


def test_duplicates_and_refusals_are_not_told(url: str, event: Event) -> None:
    known = event()
    post(url, known)
    with heard(url) as stream:
        post(url, known)
        assert httpx.post(f"{url}/api/events", json=known | {"wall_seconds": 99}).status_code == 409
        assert httpx.post(f"{url}/api/events", json=event(tier="8k")).status_code == 422
        assert httpx.post(f"{url}/api/events", json=[known, event(workflow="new")]).status_code == 200
        told = stream.next()
    assert (told["count"], told["workflows"]) == (1, ["new"])


def test_heartbeats_and_the_queue_are_told(url: str) -> None:
    with heard(url) as stream:
        httpx.post(f"{url}/api/heartbeats", json=[beat("gpu-2"), beat("gpu-1")]).raise_for_status()
        told = stream.next()
        assert (told["kind"], told["count"], told["workers"]) == ("heartbeats", 2, ["gpu-1", "gpu-2"])
        assert told["workflows"] == []
        assert datetime.fromisoformat(told["first_at"]) == NOW - timedelta(minutes=10)
        queue = {"waiting": [{"workflow": "wan_i2v"}] * 2}
        httpx.put(f"{url}/api/queue", json=queue).raise_for_status()
        told = stream.next()
    assert told == {
        "kind": "queue",
        "count": 2,
        "first_at": None,
        "last_at": None,
        "workflows": None,
        "workers": None,
    }


def test_everybody_is_told_over_one_connection(url: str, database_url: str, event: Event) -> None:
    assert connections(database_url) == []
    with heard(url) as one, heard(url) as other:
        assert len(connections(database_url)) == 1
        assert measured(url, "framehouse_streams_open") == 2
        post(url, event())
        assert one.event() == other.event()


def test_a_filter_keeps_out_what_cannot_concern_it(url: str, event: Event) -> None:
    post(url, event(workflow="upscale", worker="gpu-1"), event(workflow="wan_i2v", worker="gpu-2"))
    found = {item["name"]: item["id"] for item in httpx.get(f"{url}/api/workflows").json()["items"]}
    with (
        heard(url, kind=["heartbeats", "queue"]) as pool,
        heard(url, workflow="upscale") as named,
        heard(url, workflow=found["upscale"]) as numbered,
        heard(url, worker=["gpu-2", "gpu-1"], kind="attempts") as worker,
    ):
        post(url, event(workflow="wan_i2v", worker="gpu-9"))
        post(url, event(workflow="wan_i2v", worker="gpu-2"))
        post(url, event(workflow="upscale"))
        httpx.post(f"{url}/api/heartbeats", json=beat("gpu-1")).raise_for_status()
        httpx.put(f"{url}/api/queue", json={"waiting": []}).raise_for_status()
        post(url, event(workflow="upscale", worker="gpu-1"))
        assert [pool.next()["kind"] for _ in range(2)] == ["heartbeats", "queue"]
        for stream in (named, numbered):
            told = [stream.next() for _ in range(3)]
            assert [one["kind"] for one in told] == ["attempts", "queue", "attempts"]
            assert told[0]["workflows"] == ["upscale"]
        assert [worker.next()["workers"] for _ in range(2)] == [["gpu-2"], ["gpu-1"]]


def test_more_names_than_are_told_may_be_anybody(url: str, event: Event) -> None:
    post(url, event(workflow="upscale"))
    with heard(url, workflow="upscale") as stream:
        post(url, *(event(workflow=f"workflow-{number}") for number in range(51)))
        told = stream.next()
    assert (told["count"], told["workflows"], told["workers"]) == (51, None, [])


@pytest.mark.parametrize(
    ("query", "status"),
    [("workflow=nobody", 404), ("worker=nobody", 404), ("kind=scenes", 422), ("workflow=%00", 422)],
)
def test_what_cannot_be_heard_is_a_problem(api: httpx.Client, query: str, status: int) -> None:
    assert api.get(f"/api/stream?{query}").status_code == status


def test_who_was_away_is_told_to_read_again(url: str, event: Event) -> None:
    with heard(url) as stream:
        post(url, event())
        newest = stream.event()["id"]
    with heard(url, last_id=newest) as stream:
        post(url, event())
        missed = stream.event()["id"]
    with heard(url, last_id=newest) as stream:
        assert stream.opening["event"] == "resync"
        assert stream.opening["data"] == '{"reason":"reconnected"}'
        post(url, event())
        assert int(stream.event()["id"]) > int(missed)


def test_a_lost_connection_is_told_and_mended(url: str, database_url: str, event: Event) -> None:
    with heard(url) as one, heard(url, kind="queue") as other:
        for _ in range(2):
            with psycopg.connect(database_url, autocommit=True) as connection:
                connection.execute("select pg_terminate_backend(%s)", connections(database_url))
            for stream in (one, other):
                assert stream.next("resync") == {"reason": "not_heard"}
            post(url, event(workflow="after"))
            assert one.next()["workflows"] == ["after"]


def test_a_notification_that_nobody_understands_is_a_gap(url: str, database_url: str) -> None:
    with heard(url) as stream, psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("select pg_notify('framehouse_written', 'hello')")
        assert stream.next("resync") == {"reason": "not_heard"}


def test_a_slow_client_loses_its_own_events_and_nobody_elses(url: str, warehouse: Warehouse) -> None:
    there = urlsplit(url)
    names = [f"{number:02}-{'n' * 60}" for number in range(50)]
    count = 0
    with socket.socket() as slow, heard(url) as fast:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(PATIENCE_SECONDS)
        slow.connect((there.hostname, there.port))
        slow.sendall(b"GET /api/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        received = slow.recv(4096)
        until(lambda: measured(url, "framehouse_streams_open") == 2)
        # More than kernels, the server and the stream's own queue hold.
        while count < 2000:
            with warehouse.session() as session:
                for _ in range(100):
                    count += 1
                    tell(session, WrittenKind.ATTEMPTS, count, workflows=names, workers=names)
            assert [fast.next()["count"] for _ in range(100)] == list(range(count - 99, count + 1))
        with warehouse.session() as session:
            tell(session, WrittenKind.QUEUE, 7)
        assert fast.next()["kind"] == "queue"
        while b'"kind":"queue"' not in received[-20_000:]:
            received += slow.recv(2**16)
    told = [int(number) for number in re.findall(rb'"kind":"attempts","count":(\d+)', received)]
    before, _, after = received.partition(b"event: resync")
    assert b'"reason":"too_slow"' in after
    assert told == sorted(set(told))
    assert told[0] == 1
    assert len(told) < count
    assert before.count(b"event: written") + after.count(b"event: written") == len(told) + 1


def test_who_leaves_is_forgotten(url: str, event: Event) -> None:
    route = 'method="GET",route="/api/stream"'
    with ExitStack() as stack:
        streams = [stack.enter_context(heard(url)) for _ in range(3)]
        assert measured(url, "framehouse_streams_open") == len(streams)
        # Counted when they begin, and by how long that took.
        assert measured(url, f'framehouse_http_requests_total{{{route},status="200"}}') == 3
    until(lambda: measured(url, "framehouse_streams_open") == 0)
    assert measured(url, f"framehouse_http_request_seconds_count{{{route}}}") == 3
    with heard(url) as stream:
        post(url, event())
        assert stream.next()["count"] == 1


def test_without_a_database_there_is_no_stream(
    settings: Settings, client: Callable[[FastAPI], httpx.Client]
) -> None:
    with socket.socket() as nobody:  # bound and not listening: connections are refused
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        api = client(create_app(settings, url=f"postgresql://postgres@127.0.0.1:{port}/x"))
        for _ in range(2):
            answer = api.get("/api/stream")
            assert answer.status_code == 503
            assert answer.json()["code"] == "unreachable"
            assert int(answer.headers["retry-after"]) > 0
        assert measured(str(api.base_url).rstrip("/"), "framehouse_streams_open") == 0


def test_ingest_alone_has_no_stream(
    settings: Settings, database_url: str, client: Callable[[FastAPI], httpx.Client]
) -> None:
    api = client(create_app(settings, url=database_url, is_ingest_only=True))
    assert api.get("/api/stream").status_code == 404


def test_ingest_in_another_process_is_heard(
    url: str, settings: Settings, database_url: str, event: Event
) -> None:
    with serving(create_app(settings, url=database_url, is_ingest_only=True)) as ingest, heard(url) as stream:
        post(ingest, event(workflow="elsewhere"))
        assert stream.next()["workflows"] == ["elsewhere"]


def test_there_is_an_end_to_how_many_may_listen(warehouse: Warehouse) -> None:
    live = Live(lambda: warehouse)

    async def fill() -> None:
        streams = [live.join(Wanted()) for _ in range(MOST_STREAMS)]
        with pytest.raises(BusyError):
            live.join(Wanted())
        live.leave(streams[0])
        live.join(Wanted())
        live.end()
        with pytest.raises(BusyError):
            live.join(Wanted())

    asyncio.run(fill())
    live.close()
