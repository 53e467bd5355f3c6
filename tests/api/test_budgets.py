"""Budgets and submissions over HTTP."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from framehouse.cli.client import post
from framehouse.errors import BudgetExceededError

from .conftest import Event

BUDGET = {"name": "film hours", "project": "film", "quantity": "gpu_hours", "amount": 2}
SCENE = {"workflow": "wan_i2v", "tier": "draft", "target_seconds": 10, "segment_seconds": 5}


@pytest.fixture
def film(api: httpx.Client, event: Event) -> httpx.Client:
    """A service that knows what a segment takes: half a GPU hour."""
    done = {"tier": "draft", "segment_count": 2, "gpu_count": 1, "gpu_seconds": 3600.0}
    assert api.post("/api/events", json=[event(**done) for _ in range(12)]).is_success
    return api


def estimate(api: httpx.Client, scenes: int = 1, **fields: Any) -> dict[str, Any]:
    answer = api.post("/api/estimates", json={"scenes": [SCENE] * scenes, "project": "film"} | fields)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def submit(api: httpx.Client, estimate_id: str, **body: Any) -> httpx.Response:
    return api.post(f"/api/estimates/{estimate_id}/submission", json=body)


def test_a_budget_from_the_first_to_the_last(api: httpx.Client) -> None:
    answer = api.post("/api/budgets", json=BUDGET)
    assert answer.status_code == 201
    made = answer.json()
    assert (made["period"], made["warn_ratio"], made["block_ratio"], made["archived_at"]) == (
        "month",
        0.8,
        1.0,
        None,
    )
    assert made["created_at"].endswith("Z")
    path = f"/api/budgets/{made['id']}"
    shown = api.get(path).json()
    assert (shown["budget"], shown["spent"], shown["level"], shown["remaining"]) == (made, 0, "ok", 2)
    assert api.get("/api/budgets").json() == {"items": [shown]}
    once = {"period": "once", "starts_at": "2026-03-01T01:00:00+01:00", "ends_at": "2026-04-01T00:00:00Z"}
    changed = api.put(path, json=BUDGET | once | {"block_ratio": None}).json()
    assert (changed["starts_at"], changed["block_ratio"]) == ("2026-03-01T00:00:00Z", None)
    assert api.get(path).json()["starts_at"] == "2026-03-01T00:00:00Z"
    assert api.delete(path).json()["archived_at"] is not None
    assert api.get("/api/budgets").json() == {"items": []}
    assert len(api.get("/api/budgets?include_archived=true").json()["items"]) == 1
    assert api.put(path, json=BUDGET).json()["archived_at"] is None
    taken = api.post("/api/budgets", json=BUDGET)
    assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")
    for answer in (
        api.get("/api/budgets/99"),
        api.put("/api/budgets/99", json=BUDGET),
        api.delete("/api/budgets/99"),
    ):
        assert answer.status_code == 404  # fmt: skip


def test_a_wrong_budget_is_refused_by_field(api: httpx.Client) -> None:
    for change, path in [
        ({"name": " "}, "name"),
        ({"project": ""}, "project"),
        ({"quantity": "gpu_seconds"}, "quantity"),
        ({"amount": 0}, "amount"),
        ({"amount": "2"}, "amount"),
        ({"period": "fortnight"}, "period"),
        ({"period": "once", "starts_at": "2026-03-01T00:00:00Z"}, "ends_at"),
        ({"ends_at": "2026-03-01T00:00:00Z"}, "ends_at"),
        ({"starts_at": "2026-03-01"}, "starts_at"),
        ({"warn_ratio": -1}, "warn_ratio"),
        ({"block_ratio": 0.5}, "block_ratio"),
        ({"limit": 1}, "limit"),
    ]:
        answer = api.post("/api/budgets", json=BUDGET | change)
        assert answer.status_code == 422, change
        assert [error["path"] for error in answer.json()["errors"]] == [path]
    for query in ("archived=true", "include_archived=x"):
        assert api.get(f"/api/budgets?{query}").status_code == 422
    for number in ("0", "x", str(2**31)):
        assert api.get(f"/api/budgets/{number}").status_code == 422


def test_an_estimate_tells_and_a_submission_decides(film: httpx.Client) -> None:
    [money] = [film.post("/api/budgets", json=body).json() for body in [BUDGET]]
    small = estimate(film)
    [told] = small["budgets"]
    assert (told["budget"]["id"], told["asked"], told["level"]) == (money["id"], pytest.approx(1), "ok")
    large = estimate(film, 3)
    assert large["budgets"][0]["level"] == "block", "which is told, and the estimate given"

    first = submit(film, small["estimate_id"])
    assert first.status_code == 201
    assert (first.json()["is_new"], first.json()["warnings"]) == (True, [])
    assert first.json()["commitment"]["project"] == "film"
    again = film.post(f"/api/estimates/{small['estimate_id']}/submission")
    assert again.status_code == 200
    assert again.json()["commitment"] == first.json()["commitment"]
    assert film.get(f"/api/budgets/{money['id']}").json()["committed"] == pytest.approx(1)
    other = submit(film, small["estimate_id"], project="series")
    assert (other.status_code, other.json()["code"]) == (409, "already_submitted")
    assert other.json()["errors"][0]["path"] == "project"

    refused = submit(film, large["estimate_id"])
    assert (refused.status_code, refused.json()["code"]) == (409, "budget_exceeded")
    assert "1.00 committed, 3.00 asked for, of 2.00 gpu_hours" in refused.json()["detail"]
    assert refused.json()["errors"][0]["expected"] == "at most 1.00 gpu_hours more"
    assert submit(film, large["estimate_id"], project="series").status_code == 201

    withdrawn = film.delete(f"/api/estimates/{small['estimate_id']}/submission")
    assert withdrawn.json()["released_at"].endswith("Z")
    assert film.get(f"/api/budgets/{money['id']}").json()["committed"] == 0
    warned = submit(film, estimate(film, 2)["estimate_id"])
    assert warned.status_code == 201
    crossed, uncertain = warned.json()["warnings"]
    assert "warn level crossed" in crossed
    assert "the P90 would cross the block level" in uncertain


def test_crossings_are_listed_page_by_page(film: httpx.Client) -> None:
    made = film.post("/api/budgets", json=BUDGET).json()
    assert film.get("/api/budgets/crossings").json() == {"items": [], "next_cursor": None}
    too_large = estimate(film, 5)["estimate_id"]
    for _ in range(3):
        assert submit(film, too_large).status_code == 409
    assert submit(film, estimate(film, 2)["estimate_id"]).status_code == 201
    seen: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = film.get("/api/budgets/crossings", params={"limit": 3, "budget": made["id"], **cursor}).json()
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert [(one["level"], one["is_refused"]) for one in seen] == [("warn", False), *[("block", True)] * 3]
    assert film.get("/api/budgets/crossings", params={"budget": made["id"] + 1}).json()["items"] == []
    for query in ("cursor=x", "budget=0", "level=warn"):
        assert film.get(f"/api/budgets/crossings?{query}").status_code == 422, query


def test_what_cannot_be_submitted_is_said(film: httpx.Client) -> None:
    assert submit(film, str(uuid4())).status_code == 404
    assert film.delete(f"/api/estimates/{uuid4()}/submission").status_code == 404
    assert submit(film, "x").status_code == 422
    known = estimate(film)["estimate_id"]
    assert film.delete(f"/api/estimates/{known}/submission").status_code == 404
    for body in ({"project": " "}, {"project": 1}, {"budget": 1}):
        assert submit(film, known, **body).status_code == 422, body
    assert film.post(f"/api/estimates/{known}/submission", content=b"[]").status_code == 422


def test_a_client_over_http_hears_what_blocks_it(film: httpx.Client) -> None:
    film.post("/api/budgets", json=BUDGET)
    path = f"{film.base_url}/api/estimates/{estimate(film, 3)['estimate_id']}/submission"
    with pytest.raises(BudgetExceededError, match=r"3\.00 asked for") as caught:
        post(path, {})
    assert caught.value.problems[0].expected == "at most 2.00 gpu_hours more"
