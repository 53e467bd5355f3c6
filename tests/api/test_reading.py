"""Reading attempts and quarantined bodies back."""

import json
from urllib.parse import quote

import httpx

from .conftest import Event


def test_attempts_are_found_by_what_they_are(api: httpx.Client, event: Event) -> None:
    sent = [
        event(workflow="a", worker="gpu-1", tier="draft"),
        event(workflow="a", worker="gpu-2", outcome="failed", error_code="oom"),
        event(workflow="b", worker="gpu-1"),
    ]
    api.post("/api/events", json=sent)
    for query, found in (
        ({}, [2, 1, 0]),
        ({"workflow": "a"}, [1, 0]),
        ({"worker": "gpu-1"}, [2, 0]),
        ({"tier": "draft"}, [0]),
        ({"outcome": "failed"}, [1]),
        ({"workflow": "b", "outcome": "failed"}, []),
        ({"from": sent[1]["finished_at"]}, [2, 1]),
        ({"to": sent[1]["finished_at"]}, [0]),
    ):
        items = api.get("/api/attempts", params=query).json()["items"]
        assert [item["job_id"] for item in items] == [sent[i]["job_id"] for i in found], query


def test_pages_of_attempts_are_whole(api: httpx.Client, event: Event) -> None:
    same = event()["finished_at"]
    sent = [event(finished_at=same) for _ in range(7)]
    api.post("/api/events", json=sent)
    seen, cursor = [], None
    while True:
        page = api.get("/api/attempts", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        seen += [item["job_id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(seen) == sorted(one["job_id"] for one in sent)


def test_a_job_may_have_any_name(api: httpx.Client, event: Event) -> None:
    for name in ("render/42 final", "ä ö", "a?b#c", "100%", "a..b", "x/attempts"):
        assert api.post("/api/events", json=[event(job_id=name), event(job_id=name, attempt=2)]).is_success
        manifest = api.get(f"/api/jobs/{quote(name, safe='')}/attempts").json()
        assert manifest["job_id"] == name
        assert [attempt["attempt"] for attempt in manifest["attempts"]] == [1, 2]


def test_quarantine_is_shown_mended_and_settled(api: httpx.Client, event: Event) -> None:
    good = event()
    api.post("/api/events", json=[good, good | {"job_id": "x", "wall_seconds": -1}, 5])
    rows = api.get("/api/quarantine").json()["items"]
    assert [row["code"] for row in rows] == ["invalid", "invalid"]
    first = rows[0]
    shown = api.get(f"/api/quarantine/{first['id']}").json()
    assert json.loads(shown["body_text"])["job_id"] == "x"
    assert shown["errors"][0]["path"] == "wall_seconds"

    again = api.post(f"/api/quarantine/{first['id']}/replay")
    assert again.status_code == 422
    assert again.json()["results"][0]["code"] == "invalid"
    assert len(api.get("/api/quarantine").json()["items"]) == 2

    mended = api.post(f"/api/quarantine/{first['id']}/replay", json=good | {"job_id": "x", "wall_seconds": 1})
    assert mended.json()["status"] == "accepted"
    assert mended.json()["results"] == [{"index": 0, "job_id": "x", "attempt": 1, "status": "accepted"}]
    left = api.get("/api/quarantine").json()["items"]
    assert [row["id"] for row in left] == [rows[1]["id"]]
    all_rows = api.get("/api/quarantine", params={"include_replayed": True, "limit": 1}).json()
    assert all_rows["items"][0]["replay_status"] == "accepted"
    rest = api.get(
        "/api/quarantine", params={"include_replayed": True, "cursor": all_rows["next_cursor"]}
    ).json()
    assert [row["id"] for row in rest["items"]] == [rows[1]["id"]]
    assert rest["next_cursor"] is None


def test_a_replay_says_what_is_wrong_with_the_mended_body(api: httpx.Client, event: Event) -> None:
    api.post("/api/events", json=5)
    [row] = api.get("/api/quarantine").json()["items"]
    path = f"/api/quarantine/{row['id']}/replay"
    assert api.post(path, content=b"{").json()["code"] == "not_json"
    known = event()
    api.post("/api/events", json=known)
    assert api.post(path, json=known | {"wall_seconds": 7.0}).status_code == 409
    assert api.post(path, json=known).json()["status"] == "duplicate"
    assert api.post("/api/quarantine/999/replay").status_code == 404


def test_refused_heartbeats_go_back_through_their_own_door(api: httpx.Client) -> None:
    api.post("/api/heartbeats", json={"worker": "gpu-1"})
    [row] = api.get("/api/quarantine").json()["items"]
    beat = {
        "worker": "gpu-1",
        "state": "idle",
        "covered_from": "2026-03-01T12:00:00Z",
        "covered_to": "2026-03-01T12:05:00Z",
    }
    answer = api.post(f"/api/quarantine/{row['id']}/replay", json=beat)
    assert answer.json()["results"] == [
        {"index": 0, "worker": "gpu-1", "covered_seconds": 300.0, "status": "accepted"}
    ]
