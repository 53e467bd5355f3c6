"""Health, readiness in every state, metrics, and life during an outage."""

import re
import socket
from collections.abc import Callable

import httpx
from fastapi import FastAPI

import migrations
from api import create_app
from framehouse.config import Settings
from framehouse.warehouse import Warehouse
from tests.conftest import TestServer

from .conftest import Event

Start = Callable[[FastAPI], httpx.Client]


def test_a_built_warehouse_is_ready(api: httpx.Client) -> None:
    assert api.get("/healthz").json() == {"status": "alive"}
    assert api.get("/readyz").json() == {"status": "ready", "schema_version": migrations.newest().number}


def test_without_a_schema_it_is_not_ready_and_becomes_so(
    settings: Settings, empty_database_url: str, client: Start
) -> None:
    api = client(create_app(settings, url=empty_database_url))
    answer = api.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["code"] == "not_ready"
    assert answer.headers["retry-after"]
    [missing] = answer.json()["errors"]
    assert missing["path"] == "schema"
    assert missing["expected"] == "framehouse migrate"
    assert api.get("/api/workflows").json()["code"] == "not_migrated"
    assert api.get("/healthz").status_code == 200
    assert api.get("/metrics").status_code == 200

    migrations.upgrade(empty_database_url)
    [missing] = api.get("/readyz").json()["errors"]
    assert missing["path"] == "rollups"
    assert missing["expected"] == "framehouse build"


def test_a_rollup_that_is_missing_is_named(api: httpx.Client, warehouse: Warehouse) -> None:
    assert api.get("/readyz").status_code == 200
    with warehouse.session() as session:
        session.run_text("delete from ops.rollups where name = 'attempts_by_worker_fine'")
    answer = api.get("/readyz")
    assert answer.status_code == 503
    assert "attempts_by_worker_fine" in answer.json()["detail"]


def test_without_a_database_it_lives_and_says_so(settings: Settings, client: Start, event: Event) -> None:
    with socket.socket() as nobody:  # bound and not listening: connections are refused
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        api = client(create_app(settings, url=f"postgresql://postgres@127.0.0.1:{port}/x"))
        assert api.get("/healthz").status_code == 200
        ready = api.get("/readyz")
        assert ready.status_code == 503
        assert [error["path"] for error in ready.json()["errors"]] == ["database"]
        stored = api.post("/api/events", json=event())
        assert stored.status_code == 503
        assert stored.json()["code"] == "unreachable"
        assert int(stored.headers["retry-after"]) > 0
        assert "framehouse_database_up 0.0" in api.get("/metrics").text


def test_a_database_that_went_away_is_told(api: httpx.Client, server: TestServer, database_url: str) -> None:
    assert api.get("/readyz").status_code == 200
    server.drop(database_url)
    ready = api.get("/readyz")
    assert ready.status_code == 503
    assert [error["path"] for error in ready.json()["errors"]] == ["database"]
    assert "framehouse_database_up 0.0" in api.get("/metrics").text
    assert api.get("/healthz").status_code == 200


def test_metrics_count_what_happened(api: httpx.Client, event: Event) -> None:
    sent = event()
    api.post("/api/events", json=[sent, event(), event(tier="8k")])
    api.post("/api/events", json=sent)
    api.get("/api/jobs/a%2Fb/attempts")
    api.get("/nothing/at/all")
    api.request("BREW", "/healthz")
    answer = api.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    text = answer.text

    def value(name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (.+)$", text, re.MULTILINE)
        assert found, name
        return float(found[1])

    assert value('framehouse_events_total{status="accepted"}') == 2
    assert value('framehouse_events_total{status="duplicate"}') == 1
    assert value('framehouse_events_total{status="rejected"}') == 1
    assert value("framehouse_batch_events_sum") == 4
    assert value("framehouse_write_seconds_count") == 2
    assert value("framehouse_quarantine_open") == 1
    assert value("framehouse_database_up") == 1
    assert value('framehouse_backlog_buckets{kind="fine"}') >= 1
    assert value("framehouse_ingest_waiting_events") == 0
    assert value('framehouse_http_requests_total{method="POST",route="/api/events",status="200"}') == 2
    route = "/api/jobs/{job_id}/attempts"
    assert value(f'framehouse_http_requests_total{{method="GET",route="{route}",status="404"}}') == 1
    assert value('framehouse_http_requests_total{method="GET",route="none",status="404"}') == 1
    assert "BREW" not in text
    assert value("process_resident_memory_bytes") > 0


def test_two_applications_count_for_themselves(settings: Settings) -> None:
    first, second = (create_app(settings, url="postgresql://nowhere.invalid/x") for _ in range(2))
    first.state.services.metrics.on_batch(5, 0.1)
    assert "framehouse_batch_events_sum 5.0" in first.state.services.metrics.text().decode()
    assert "framehouse_batch_events_sum 0.0" in second.state.services.metrics.text().decode()
