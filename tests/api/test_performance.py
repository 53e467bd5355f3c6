"""Comparisons, trends and rankings over HTTP: what they say, what they rest on, and what cannot be asked."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from framehouse.warehouse import Warehouse
from framehouse.warehouse.maintain import maintain
from tests.builders import event, store

FIRST = datetime(2026, 3, 2, tzinfo=UTC)
WEEKS = {"from": FIRST.isoformat(), "to": (FIRST + timedelta(days=20)).isoformat()}
SECONDS = {"metric": "wall_seconds_per_segment"}


@pytest.fixture
def studio(database_url: str, app: FastAPI, client: Callable[[FastAPI], httpx.Client]) -> httpx.Client:
    """b takes a fifth more than a, on either worker, of which one takes half as long again; from the tenth day on a
    takes a third more."""
    rng = np.random.default_rng(2)
    with Warehouse(database_url) as warehouse:
        store(warehouse, [
            event(
                workflow=workflow, tier="draft", worker=worker, segment_count=1,
                finished_at=(FIRST + timedelta(days=day, hours=9, minutes=n)).isoformat(),
                wall_seconds=float(base * slower * (4 / 3 if day >= 10 and workflow == "a" else 1)
                                   * rng.lognormal(0, 0.1)),
            )
            for day in range(20) for n in range(4)
            for workflow, base in (("a", 10), ("b", 12)) for worker, slower in (("gpu-1", 1.0), ("gpu-2", 1.5))
        ])  # fmt: skip
        maintain(warehouse)
    return client(app)


def test_two_workflows(studio: httpx.Client) -> None:
    until = (FIRST + timedelta(days=10)).isoformat()
    told = studio.get(
        "/api/performance/comparison", params={"workflows": "a,b", **WEEKS, "to": until, **SECONDS}
    ).json()
    [difference] = told["differences"]
    assert (difference["first"], difference["second"]) == ("a", "b")
    assert difference["low_pct"] < 20 < difference["high_pct"]
    assert (difference["is_clear"], difference["is_better"]) == (True, False)
    assert (difference["first_count"], difference["second_count"]) == (80, 80)
    assert difference["adjusted_for"] == ["tier", "worker"]
    assert told["sentences"][0].startswith(f"b is {difference['difference_pct']:.0f} % slower than a (")
    assert told["provenance"]["count"] == 160
    by_day = {"attempts_by_workflow_daily", "attempts_by_worker_workflow_daily"}
    assert set(told["provenance"]["sources"]) == by_day
    assert told["changes"] == []


def test_ids_are_as_good_as_names(studio: httpx.Client) -> None:
    ids = [item["id"] for item in studio.get("/api/workflows").json()["items"]]
    named = studio.get("/api/performance/comparison", params={"workflows": ["a", "b"], **WEEKS, **SECONDS})
    numbered = studio.get("/api/performance/comparison", params={"workflows": ids, **WEEKS, **SECONDS})
    assert named.json() == numbered.json()


def test_a_name_may_hold_a_comma(studio: httpx.Client, database_url: str) -> None:
    with Warehouse(database_url) as warehouse:
        store(warehouse, [event(workflow="c,d", segment_count=1, finished_at=WEEKS["from"])])

    def labels(*workflows: str) -> list[str]:
        answer = studio.get(
            "/api/performance/comparison", params={"workflows": workflows, **WEEKS, **SECONDS}
        )
        return [side["label"] for side in answer.json()["sides"]]

    assert labels("c,d", "a") == ["c,d", "a"]
    assert labels("a,b", "c,d") == ["a", "b", "c,d"]
    assert labels("a, b ,", "b") == ["a", "b"]


def test_one_workflow_and_the_period_before(studio: httpx.Client) -> None:
    later = {"from": (FIRST + timedelta(days=10)).isoformat(), "to": WEEKS["to"]}
    told = studio.get(
        "/api/performance/comparison", params={"workflows": "a", "compare": "previous", **later, **SECONDS}
    ).json()
    assert [side["label"] for side in told["sides"]] == ["the period before", "this period"]
    assert told["sides"][0]["window"] == {"start": "2026-03-02T00:00:00Z", "end": "2026-03-12T00:00:00Z"}
    [difference] = told["differences"]
    assert difference["low_pct"] < 33.4 < difference["high_pct"]
    [change] = told["changes"]
    day = change["at"][:10]
    assert re.fullmatch(
        rf"a from {day} on is \d+ % slower than before \(\d+-\d+ %, n = \d+\)\.", change["sentence"]
    )
    assert change["before_count"] > 0 < change["after_count"]
    assert change["at"] == "2026-03-12T00:00:00Z"
    assert change["difference_pct"] == pytest.approx(difference["difference_pct"])
    assert told["provenance"]["count"] == 160
    by_day = {"attempts_by_worker_workflow_daily", "attempts_by_workflow_daily"}
    assert set(told["provenance"]["sources"]) == by_day


def test_a_trend_with_the_period_before(studio: httpx.Client) -> None:
    later = {"from": (FIRST + timedelta(days=10)).isoformat(), "to": WEEKS["to"]}
    told = studio.get(
        "/api/performance/workflow/a/trend", params={"metric": "avg_wall_seconds", **later, "moving": 3}
    ).json()
    assert len(told["points"]) == 10
    assert told["unit"] == "s"
    assert told["change_ratio"] == pytest.approx(1 / 3, abs=0.06)
    assert {point["count"] for point in told["points"]} == {8}
    last = told["points"][-3:]
    assert last[-1]["moving_average"] == pytest.approx(sum(point["value"] for point in last) / 3)
    assert told["provenance"]["count"] == 80
    hourly = studio.get(
        "/api/performance/workflow/a/trend",
        params={"metric": "succeeded_per_hour", **WEEKS, "grain": "week", "tz": "Asia/Kathmandu"},
    ).json()
    assert [point["start"] for point in hourly["points"]][1] == "2026-03-08T18:15:00Z"
    assert hourly["value"] == pytest.approx(160 / 480)


def test_workers_are_ranked(studio: httpx.Client) -> None:
    told = studio.get("/api/performance/workers/comparison", params=WEEKS).json()
    assert [(one["worker"], one["rank"]) for one in told["workers"]] == [("gpu-1", 1), ("gpu-2", 2)]
    fast, slow = ((100 + one["difference_pct"]) / 100 for one in told["workers"])
    assert slow / fast == pytest.approx(1.5, rel=0.05)
    alone = studio.get("/api/performance/workers/comparison", params={**WEEKS, "workflow": "b"}).json()
    assert alone["provenance"]["count"] == 160


@pytest.mark.parametrize(
    ("path", "params", "status", "words"),
    [
        ("comparison", {"workflows": "a"}, 422, "alone"),
        ("comparison", {"workflows": "a,b", "compare": "previous"}, 422, "one period"),
        ("comparison", {"workflows": "a,nobody"}, 404, "nobody"),
        ("comparison", {"workflows": "a,b", "metric": "attempt_count"}, 422, "cannot be compared"),
        ("comparison", {"workflows": "a,b", "tier": "huge"}, 404, "huge"),
        ("comparison", {"workflows": ","}, 422, "alone"),
        ("workflow/a/trend", {"metric": "priced_gpu_ratio"}, 422, "no trend"),
        ("workflow/a/trend", {"metric": "avg_wall_second"}, 422, "no metric"),
        ("workflow/a/trend", {"metric": "attempt_count", "grain": "15min", "from": "2020-01-01T00:00:00Z"}, 422,
         "more than 10,000"),
        ("workflow/nobody/trend", {"metric": "attempt_count"}, 404, "nobody"),
        ("workers/comparison", {"metric": "attempt_count"}, 422, "cannot be compared"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_said(
    studio: httpx.Client, path: str, params: dict[str, str], status: int, words: str
) -> None:
    told = studio.get(f"/api/performance/{path}", params=WEEKS | params)
    assert told.status_code == status, told.text
    assert words in told.text
