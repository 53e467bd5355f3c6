"""Estimates over HTTP: asked, stored, scored."""

from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from .conftest import Event

SCENE = {"workflow": "wan_i2v", "tier": "draft", "target_seconds": 20, "segment_seconds": 5}


@pytest.fixture
def known(api: httpx.Client, event: Event) -> httpx.Client:
    """The service with twelve samples of one workflow at one tier."""
    sent = [
        event(
            tier="draft",
            segment_count=2,
            gpu_count=1,
            gpu_seconds=20.0 + n * 5 % 12,
            wall_seconds=22.0 + n * 5 % 12,
            output_mb=8.0,
        )
        for n in range(12)
    ]
    assert api.post("/api/events", json=sent).is_success
    return api


def test_a_batch_is_estimated_stored_and_scored(known: httpx.Client, event: Event) -> None:
    scenes = [SCENE | {"scene_key": "a"}, SCENE | {"workflow": "new", "scene_key": "b"}]
    answer = known.post("/api/estimates", json={"scenes": scenes, "pool": {"worker_count": 2}}).json()
    assert answer["total_scenes"] == 2
    assert answer["estimated_scenes"] == 1
    assert answer["confidence"] == "high"
    assert answer["scenes"][0]["segments_needed"] == 4
    assert answer["scenes"][0]["estimate"]["gpu_seconds"]["mean"] == pytest.approx(4 * 25.5 / 2, rel=0.05)
    assert answer["scenes"][1]["estimate"] is None
    assert answer["scenes"][1]["reason"] == "no_history"
    assert answer["wall_clock_hours"]["p50"] <= answer["wall_clock_hours"]["p90"]

    estimate_id = answer["estimate_id"]
    done = event(
        tier="draft", estimate_id=estimate_id, scene_key="a", wall_seconds=50.0, gpu_seconds=48.0, gpu_count=1
    )
    assert known.post("/api/events", json=done).is_success
    stored = known.get(f"/api/estimates/{estimate_id}").json()
    assert UUID(stored["estimate_id"]) == UUID(estimate_id)
    assert [scene["wall_seconds_actual"] for scene in stored["scenes"]] == [50.0, None]
    total = stored["totals"]["wall_hours"]
    assert total["actual"] == pytest.approx(50.0 / 3600)
    assert total["mean"] == answer["total_wall_hours"]
    assert total["is_within"] == (total["p10"] <= total["actual"] <= total["p90"])
    assert stored["totals"]["disk_gb"]["actual"] is None
    history = known.get("/api/estimates/history", params={"workflow": "wan_i2v", "tz": "Asia/Kolkata"}).json()
    [cell] = history["calibration"]
    assert cell["sample_count"] == 13
    [score] = history["scores"]
    assert score["scene_count"] == 1
    assert score["bucket"].endswith("Z")
    assert score["wall_bias_ratio"] == pytest.approx(4 * 27.5 / 2 / 50 - 1, abs=0.05)
    assert [one["quantity"] for one in history["totals"]] == ["gpu_hours", "wall_hours"]
    assert history["totals"][1]["bias_ratio"] == pytest.approx(score["wall_bias_ratio"])
    assert history["alarms"] == answer["alarms"] == []


def test_what_is_off_is_told_with_estimates_and_their_history(known: httpx.Client, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into ops.estimate_alarms (workflow, tier, quantity, kind, opened_at, closed_at, since_at, until_at,"
            " scene_count, bias_ratio, coverage_ratio) values"
            " ('wan_i2v', 'draft', 'gpu_seconds', 'coverage', now() - interval '9 days', now() - interval '1 day',"
            " '2026-03-01 12:00+00', '2026-03-09 12:00+00', 25, null, 0.4),"
            " ('wan_i2v', 'draft', 'wall_seconds', 'bias', now() - interval '1 hour', null,"
            " '2026-03-02 12:00+00', '2026-03-09 12:00+00', 18, -0.24, 0.3)"
        )
    history = known.get("/api/estimates/history").json()
    assert [(one["kind"], one["closed_at"] is None) for one in history["alarms"]] == [
        ("bias", True),
        ("coverage", False),
    ]
    assert history["alarms"][0]["since_at"] == "2026-03-02T12:00:00Z"
    assert (
        "held for 10 of 25 scenes, where eight in ten should; off since 2026-03-01, right"
        in history["alarms"][1]["sentence"]
    )
    [alarm] = known.post("/api/estimates", json={"scenes": [SCENE], "store": False}).json()["alarms"]
    assert alarm == history["alarms"][0]
    assert alarm["sentence"] == (
        "wan_i2v at draft: wall time predicted 24% too little over the last 18 scenes; off since 2026-03-02"
    )
    other = known.get("/api/estimates/history", params={"workflow": "other"}).json()
    assert other["alarms"] == []


def test_what_is_not_stored_cannot_be_read(known: httpx.Client) -> None:
    answer = known.post("/api/estimates", json={"scenes": [SCENE], "store": False})
    assert answer.json()["estimate_id"] is None
    assert answer.json()["wall_clock_hours"] is None
    assert answer.json()["wall_clock_reason"] == "pool_unknown"
    assert known.get(f"/api/estimates/{uuid4()}").status_code == 404


def test_a_wrong_request_is_refused_by_field(api: httpx.Client) -> None:
    for request, path in (
        ({}, "scenes"),
        ({"scenes": []}, "scenes"),
        ({"scenes": [SCENE | {"target_seconds": 0}]}, "scenes[0].target_seconds"),
        ({"scenes": [SCENE, SCENE | {"segment_seconds": "5"}]}, "scenes[1].segment_seconds"),
        ({"scenes": [SCENE | {"tier": "8k"}]}, "scenes[0].tier"),
        ({"scenes": [SCENE | {"scenes": 1}]}, "scenes[0].scenes"),
        ({"scenes": [SCENE], "pool": {"worker_count": 0}}, "pool.worker_count"),
        ({"scenes": [SCENE], "store": 1}, "store"),
    ):
        answer = api.post("/api/estimates", json=request)
        assert answer.status_code == 422, request
        assert [error["path"] for error in answer.json()["errors"]] == [path], request


def test_a_wrong_question_about_history_is_refused(api: httpx.Client) -> None:
    for query in (
        "from=x", "tz=Mars/Olympus", "tz=CET", "tz=right/Asia/Tokyo", "tz=%00", "grain=15min", "workflow=%00",
        "tz=../etc/passwd",
    ):  # fmt: skip
        answer = api.get(f"/api/estimates/history?{query}")
        assert answer.status_code == 422, query
        assert answer.json()["errors"][0]["path"] == query.partition("=")[0]
    turned = api.get("/api/estimates/history?from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z")
    assert turned.status_code == 422
    assert api.get("/api/estimates/not-an-id").status_code == 422
