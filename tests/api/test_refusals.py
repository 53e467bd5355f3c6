"""What the database refuses by rules of its own: a bad value is a 422, a fault of the server's a 503, never a 500."""

from typing import Any

import httpx
import pytest

from framehouse.warehouse import Warehouse

from .conftest import Event

TIER = {"name": "4k", "width": 3840, "height": 2160, "speed_factor": 0.25}
RATE = {
    "gpu_model": "L40S",
    "valid_from": "2026-01-01T00:00:00Z",
    "price_per_gpu_hour": 1.1,
    "currency": "EUR",
}
ESTIMATE = {"scenes": [{"workflow": "wan_i2v", "tier": "draft", "target_seconds": 20, "segment_seconds": 5}]}

#: Every other way to write: the request, and the table that it writes to.
WRITES: dict[str, tuple[str, str, Any, str]] = {
    "the queue": ("PUT", "/api/queue", {"waiting": [{"workflow": "a"}]}, "studio.queue"),
    "a tier": ("POST", "/api/resolution-tiers", TIER, "studio.resolution_tiers"),
    "a rate": ("PUT", "/api/gpu-rates", RATE, "studio.gpu_rates"),
    "an estimate": ("POST", "/api/estimates", ESTIMATE, "ops.estimates"),
    "its scenes": ("POST", "/api/estimates", ESTIMATE, "ops.estimate_scenes"),
    "quarantine": ("POST", "/api/events", {"a": 1}, "ops.quarantine"),
    "no JSON": ("POST", "/api/heartbeats", None, "ops.quarantine"),
}

_OBJECT = """create function public.object() returns trigger language plpgsql as $$
             begin raise exception 'not this one' using errcode = '{code}', column = 'that_column'; end $$;
             create trigger object before insert on {table} for each row execute function public.object()"""
_MEND = "drop function public.object cascade"


def object_to(warehouse: Warehouse, table: str, code: str) -> None:
    with warehouse.session() as session:
        session.run_text(_OBJECT.format(table=table, code=code))


@pytest.mark.parametrize("write", WRITES)
def test_a_value_that_the_database_refuses_is_said(
    api: httpx.Client, warehouse: Warehouse, write: str
) -> None:
    method, path, body, table = WRITES[write]
    object_to(warehouse, table, "22000" if write == "a tier" else "23514")
    answer = api.request(method, path, json=body) if body else api.request(method, path, content=b"{")
    assert (answer.status_code, answer.json()["code"]) == (422, "refused_by_database")
    [problem] = answer.json()["errors"]
    assert (problem["path"], problem["message"]) == ("that_column", "not this one")


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("code", ["P0001", "42501"])
def test_a_fault_of_the_servers_asks_for_another_try(
    api: httpx.Client, warehouse: Warehouse, write: str, code: str
) -> None:
    method, path, body, table = WRITES[write]
    object_to(warehouse, table, code)
    answer = api.request(method, path, json=body) if body else api.request(method, path, content=b"{")
    assert (answer.status_code, answer.json()["code"]) == (503, "warehouse_error")
    assert "retry-after" in answer.headers


@pytest.mark.parametrize("code", ["P0001", "42501", "XX000", "53100"])
def test_such_a_fault_refuses_no_event(
    api: httpx.Client, warehouse: Warehouse, event: Event, code: str
) -> None:
    sent = [event(), event()]
    object_to(warehouse, "telemetry.performance_metrics", code)
    answer = api.post("/api/events", json=sent)
    assert (answer.status_code, answer.json()["code"]) == (503, "warehouse_error")
    assert api.get("/api/quarantine").json()["items"] == []
    with warehouse.session() as session:
        session.run_text(_MEND)
    results = api.post("/api/events", json=sent).json()["results"]
    assert [result["status"] for result in results] == ["accepted", "accepted"]
