"""POST /api/events: what is stored, what is refused, and what is said of it."""

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx

from framehouse.warehouse import Warehouse

from .conftest import Event


def test_one_event_is_stored_and_can_be_read_back(api: httpx.Client, event: Event) -> None:
    sent = event(worker="gpu-1", tier="draft", frame_count=50, parameters={"steps": 20})
    answer = api.post("/api/events", json=sent)
    assert answer.status_code == 200
    assert answer.json() == {
        "results": [{"index": 0, "job_id": sent["job_id"], "attempt": 1, "status": "accepted"}]
    }
    manifest = api.get(f"/api/jobs/{sent['job_id']}/attempts").json()
    [attempt] = manifest["attempts"]
    assert attempt["workflow"] == "wan_i2v"
    assert attempt["time_per_frame_ms"] == 250
    assert attempt["parameters"] == {"steps": 20}
    assert attempt["finished_at"].endswith("Z")
    assert attempt["gpu_seconds"] is None


def test_a_batch_answers_every_event_in_order(api: httpx.Client, event: Event) -> None:
    known = event()
    api.post("/api/events", json=known)
    sent = [event(), known, event(wall_seconds=-1), known | {"wall_seconds": 99.0}, event(tier="8k"), 7]
    answer = api.post("/api/events", json=sent)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["index"] for result in results] == list(range(6))
    assert [result["status"] for result in results] == [
        "accepted", "duplicate", "rejected", "rejected", "rejected", "rejected",
    ]  # fmt: skip
    assert [result.get("code") for result in results[2:]] == [
        "invalid",
        "conflict",
        "unknown_tier",
        "invalid",
    ]
    assert results[2]["errors"] == [
        {
            "path": "wall_seconds",
            "message": "Input should be greater than or equal to 0",
            "expected": "at least 0.0",
        }
    ]
    assert results[5]["job_id"] is None
    assert "errors" not in results[0]


def test_when_nothing_is_stored_the_answer_is_a_problem_with_results(api: httpx.Client, event: Event) -> None:
    one = api.post("/api/events", json=event(frames=12))
    assert one.status_code == 422
    assert one.json()["code"] == "invalid"
    assert one.json()["errors"][0]["path"] == "frames"
    assert one.json()["results"][0]["status"] == "rejected"
    two = api.post("/api/events", json=[event(attempt=0), event(tier="8k")])
    assert two.status_code == 422
    assert [error["path"] for error in two.json()["errors"]] == ["[0].attempt", "[1].tier"]
    assert [result["code"] for result in two.json()["results"]] == ["invalid", "unknown_tier"]


def test_other_content_for_a_known_attempt_is_a_conflict(api: httpx.Client, event: Event) -> None:
    sent = event()
    assert api.post("/api/events", json=sent).status_code == 200
    assert api.post("/api/events", json=sent).json()["results"][0]["status"] == "duplicate"
    changed = api.post("/api/events", json=sent | {"wall_seconds": 13.0})
    assert changed.status_code == 409
    assert changed.json()["code"] == "conflict"
    [kept] = api.get("/api/quarantine").json()["items"]
    assert kept["code"] == "conflict"


def test_nothing_at_all_is_refused_and_not_kept(api: httpx.Client) -> None:
    for body in (b"", b" \n", b"[]"):
        assert api.post("/api/events", content=body).status_code == 422
    assert api.get("/api/quarantine").json()["items"] == []


def test_what_only_the_database_refuses_costs_no_neighbour(
    api: httpx.Client, event: Event, warehouse: Warehouse
) -> None:
    with warehouse.session() as session:
        session.run_text("alter table telemetry.performance_metrics add check (job_id <> 'bad')")
    with ThreadPoolExecutor(4) as pool:
        batches = [
            [event(), event(job_id="bad"), event()],
            [event()],
            [event(job_id="bad", attempt=2)],
            [event()],
        ]
        answers = list(pool.map(lambda batch: api.post("/api/events", json=batch), batches))
    assert [answer.status_code for answer in answers] == [200, 200, 422, 200]
    assert [result["status"] for result in answers[0].json()["results"]] == [
        "accepted",
        "rejected",
        "accepted",
    ]
    assert answers[2].json()["code"] == "refused_by_database"
    rows = api.get("/api/quarantine", params={"code": "refused_by_database"}).json()["items"]
    assert len(rows) == 2
    assert all("violates check constraint" in row["errors"][0]["message"] for row in rows)


def test_a_packed_body_is_unpacked(api: httpx.Client, event: Event) -> None:
    body = gzip.compress(json.dumps([event(), event()]).encode())
    answer = api.post("/api/events", content=body, headers={"content-encoding": "gzip"})
    assert [result["status"] for result in answer.json()["results"]] == ["accepted", "accepted"]


def test_many_clients_at_once_lose_nothing(api: httpx.Client, event: Event, warehouse: Warehouse) -> None:
    requests = [
        [event() for _ in range(size)] for size in (1, 3, 1, 40, 2, 1, 7, 1)
    ] * 4  # each sent four times
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda batch: api.post("/api/events", json=batch), requests))

    accepted = 0
    for request, answer in zip(requests, answers, strict=True):
        results = answer.json()["results"]
        assert [result["job_id"] for result in results] == [one["job_id"] for one in request]
        accepted += sum(result["status"] == "accepted" for result in results)
        assert {result["status"] for result in results} <= {"accepted", "duplicate"}
    assert accepted == 56
    with warehouse.session() as session:
        assert session.table("select count(*) from telemetry.performance_metrics")[1] == [(56,)]


def test_heartbeats_count_once(api: httpx.Client) -> None:
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=1)
    beat = {
        "worker": "gpu-1",
        "state": "idle",
        "covered_from": start.isoformat(),
        "covered_to": (start + timedelta(minutes=5)).isoformat(),
    }
    first = api.post("/api/heartbeats", json=beat)
    assert first.json()["results"] == [
        {"index": 0, "worker": "gpu-1", "covered_seconds": 300.0, "status": "accepted"}
    ]
    again = api.post("/api/heartbeats", json=[beat, beat | {"state": "asleep"}])
    assert [result["status"] for result in again.json()["results"]] == ["duplicate", "rejected"]
    wrong = api.post("/api/heartbeats", json=beat | {"state": "asleep"})
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["path"] == "state"
    assert api.post("/api/heartbeats", content=b"{").json()["code"] == "not_json"


def test_the_queue_is_replaced_as_a_whole(api: httpx.Client) -> None:
    queue = {
        "waiting": [{"workflow": "wan_i2v", "tier": "draft", "segment_count": 4}],
        "running": [{"worker": "gpu-1", "workflow": "wan_i2v", "started_at": "2026-03-01T12:00:00Z"}],
    }
    assert api.put("/api/queue", json=queue).json() == {"waiting_count": 1, "running_count": 1}
    assert api.put("/api/queue", json={}).json() == {"waiting_count": 0, "running_count": 0}
    wrong = api.put("/api/queue", json={"waiting": [{"workflow": "wan_i2v", "tier": "8k"}]})
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["path"] == "waiting[0].tier"
    assert api.put("/api/queue", json=[queue]).status_code == 422
