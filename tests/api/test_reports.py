"""The overview, one workflow, one worker, quality and stages over HTTP, against numbers computed by hand."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from framehouse.warehouse import Warehouse
from framehouse.warehouse.maintain import maintain
from framehouse.warehouse.rates import Rate, set_rate
from tests.builders import store
from tests.warehouse.cells import tell

from .studio import FIRST, PATH, WEEK, at, made


def test_the_overview(studio: httpx.Client) -> None:
    told = studio.get(f"{PATH}/overview", params={**WEEK, "compare": "previous", "limit": 1}).json()
    totals = told["totals"]
    assert (totals["attempt_count"], totals["succeeded_count"], totals["failed_count"]) == (44, 43, 1)
    assert totals["gpu_hours"] == pytest.approx((28 * 10 + 14 * 20 + 36) / 3600)
    assert totals["wasted_gpu_hours"] == pytest.approx(72 / 3600)
    assert totals["segments_per_hour"] == pytest.approx(86 / 168)
    assert totals["avg_likeness_score"] == pytest.approx((28 * 0.8 + 14 * 0.9) / 42)
    assert (totals["gpu_cost"], told["currency"]) == (None, None)
    assert [point["attempt_count"] for point in told["series"]] == [6, 6, 8, 6, 6, 6, 6]
    assert told["series"][0]["succeeded_per_hour"] == pytest.approx(6 / 24)
    assert told["series"][0]["max_vram_peak_mb"] == 12000
    assert [one["workflow_name"] for one in told["vram_peaks"]] == ["slow"]
    assert (told["metric"], told["better"]) == ("avg_gpu_seconds_per_segment", "lower")
    assert [one["workflow_name"] for one in told["top"]] == ["even"]
    assert [one["workflow_name"] for one in told["bottom"]] == ["rare"]
    assert told["top"][0]["avg_time_per_frame_ms"] == 100
    assert told["top"][0]["avg_likeness_score"] == pytest.approx(0.8)
    assert "avg_lpips_score" not in told["top"][0]
    ids = {item["name"]: item["id"] for item in studio.get("/api/workflows").json()["items"]}
    assert told["top"][0]["workflow_id"] == ids["even"]
    assert told["previous_window"] == {"start": "2026-02-23T00:00:00Z", "end": "2026-03-02T00:00:00Z"}
    assert told["previous_totals"]["attempt_count"] == 1
    assert told["provenance"]["count"] == 44
    assert told["provenance"]["why_raw"] is None
    assert "attempts_by_workflow_daily" in told["provenance"]["sources"]
    assert told["provenance"]["newest_recorded_at"]


def test_who_stands_out_is_in_the_metrics_own_direction(studio: httpx.Client) -> None:
    def ends(metric: str, **more: Any) -> tuple[list[str], list[str]]:
        told = studio.get(f"{PATH}/overview", params={**WEEK, "metric": metric, **more}).json()
        return [one["workflow_name"] for one in told["top"]], [one["workflow_name"] for one in told["bottom"]]

    assert ends("avg_likeness_score") == (["slow", "even"], [])
    assert ends("avg_likeness_score", limit=1) == (["slow"], ["even"])
    assert ends("avg_lpips_score") == (["slow"], [])
    assert ends("failure_ratio", limit=1)[1] == ["rare"]
    assert ends("p90_wall_seconds", limit=1)[1] == ["slow"]
    assert ends("gpu_cost") == ([], []), "nobody's is known"
    assert ends("attempt_count", limit=1) == (["even"], ["rare"])


def test_the_overview_in_another_zone_and_of_some(studio: httpx.Client) -> None:
    """09:00 UTC is 14:45 in Kathmandu, whose days begin at 18:15 UTC."""
    asked = {**WEEK, "tz": "Asia/Kathmandu", "grain": "day"}
    told = studio.get(f"{PATH}/overview", params=asked).json()
    assert told["tz"] == "Asia/Kathmandu"
    assert [point["attempt_count"] for point in told["series"]] == [6, 6, 8, 6, 6, 6, 6, 0]
    assert (told["series"][0]["end"], told["series"][-1]["start"]) == (
        "2026-03-02T18:15:00Z", "2026-03-08T18:15:00Z",
    )  # fmt: skip

    def count(**more: Any) -> int:
        found = studio.get(f"{PATH}/overview", params={**WEEK, **more}).json()["totals"]["attempt_count"]
        assert isinstance(found, int)
        return found

    assert count(tier="draft") == 30
    assert count(tier="-") == 14
    assert count(tier=["-", "draft"]) == 44
    assert count(worker="gpu-2") == 14
    assert count(project="film", gpu_model="L40S") == 44
    assert count(project="film", outcome="failed") == 1
    assert count(workflow=["even", "rare"]) == 30


def test_costs_are_told_where_they_are_known(studio: httpx.Client, database_url: str) -> None:
    with Warehouse(database_url) as warehouse:
        set_rate(warehouse, Rate("L40S", FIRST - timedelta(days=99), 3.6, "EUR"))
    told = studio.get(f"{PATH}/overview", params=WEEK).json()
    assert told["currency"] == "EUR"
    assert told["totals"]["gpu_cost"] == pytest.approx((280 + 280 + 36 + 72) / 1000)
    assert told["totals"]["wasted_gpu_cost"] == pytest.approx(72 / 1000)
    assert told["top"][0]["gpu_cost"] == pytest.approx(280 / 1000)


def test_a_workflow(studio: httpx.Client) -> None:
    told = studio.get(f"{PATH}/workflow/slow", params=WEEK).json()
    assert told["workflow_name"] == "slow"
    assert told["summary"]["attempt_count"] == 14
    frame = told["time_per_frame"]
    assert (frame["avg"], frame["count"], frame["min"], frame["max"]) == (200, 14, 200, 200)
    assert frame["p90"] == pytest.approx(200, rel=0.01)
    [bar] = frame["bars"]
    assert bar["count"] == 14
    assert bar["low"] <= 200 < bar["high"]
    assert told["gpu_time"]["gpu_hours"] == pytest.approx(280 / 3600)
    assert [(one["name"], one["share_ratio"]) for one in told["gpu_time"]["by_worker"]] == [("gpu-2", 1.0)]
    assert [one["name"] for one in told["gpu_time"]["by_tier"]] == [None]
    quality = {one["metric"]: one for one in told["quality"]}
    assert quality.keys() == {"likeness_score", "lpips_score"}
    assert (quality["likeness_score"]["better"], quality["lpips_score"]["better"]) == ("higher", "lower")
    assert quality["lpips_score"]["max"] == pytest.approx(0.16)
    stages = {one["stage"]: one for one in told["stages"]}
    assert [one["stage"] for one in told["stages"]] == ["sample", "load", "decode"]
    assert stages["sample"]["share_ratio"] == pytest.approx(0.75)
    assert stages["sample"]["avg_ms"] == 3000
    assert (stages["decode"]["run_count"], stages["decode"]["cached_ratio"]) == (0, 1.0)
    assert told == studio.get(f"{PATH}/workflow/{told['workflow_id']}", params=WEEK).json()


def test_a_workflow_that_did_nothing(studio: httpx.Client) -> None:
    years = {"from": "2020-01-01T00:00:00Z", "to": "2020-02-01T00:00:00Z"}
    told = studio.get(f"{PATH}/workflow/slow", params=years).json()
    assert (told["time_per_frame"], told["quality"], told["stages"]) == (None, [], [])
    assert (told["summary"]["attempt_count"], told["summary"]["avg_gpu_seconds"]) == (0, None)


def test_a_worker_is_clipped_to_the_window(studio: httpx.Client) -> None:
    def beat(state: str, start: datetime, minutes: float) -> None:
        sent = {
            "worker": "gpu-1", "state": state, "covered_from": start.isoformat(),
            "covered_to": (start + timedelta(minutes=minutes)).isoformat(),
        }  # fmt: skip
        assert studio.post("/api/heartbeats", json=sent).status_code == 200

    beat("generating", FIRST - timedelta(minutes=10), 40)
    beat("idle", FIRST + timedelta(minutes=30), 90)
    beat("offline", FIRST + timedelta(hours=5), 60)
    asked = {
        "from": (FIRST + timedelta(minutes=6)).isoformat(), "to": (FIRST + timedelta(hours=5, minutes=21)).isoformat(),
        "grain": "hour",
    }  # fmt: skip
    told = studio.get(f"{PATH}/worker/gpu-1", params=asked).json()
    assert told["generating_hours"] == pytest.approx(24 / 60)
    assert told["idle_hours"] == pytest.approx(1.5)
    assert told["offline_hours"] == pytest.approx(21 / 60)
    assert told["unknown_hours"] == pytest.approx(5.25 - 0.4 - 1.5 - 0.35)
    assert told["utilisation_ratio"] == pytest.approx(0.4 / 1.9)
    generating, idle, offline, unknown = (
        [point[f"{state}_hours"] for point in told["series"]]
        for state in ("generating", "idle", "offline", "unknown")
    )
    assert generating == [pytest.approx(0.4), 0, None, None, None, 0]
    assert idle == [0.5, 1.0, None, None, None, 0]
    assert offline == [0, 0, None, None, None, pytest.approx(0.35)]
    assert unknown == pytest.approx([0, 0, 1, 1, 1, 0])
    assert sum(point["unknown_hours"] for point in told["series"]) == pytest.approx(told["unknown_hours"])
    whole = studio.get(f"{PATH}/worker/gpu-1", params=WEEK).json()
    assert [(one["workflow_name"], one["attempt_count"]) for one in whole["workflows"]] == [
        ("even", 28), ("rare", 2),
    ]  # fmt: skip
    assert whole["summary"]["attempt_count"] == 30


def test_a_worker_that_only_sent_heartbeats_rests_on_them(studio: httpx.Client, database_url: str) -> None:
    sent = {
        "worker": "gpu-9", "state": "idle", "covered_from": FIRST.isoformat(),
        "covered_to": (FIRST + timedelta(hours=2)).isoformat(),
    }  # fmt: skip
    assert studio.post("/api/heartbeats", json=sent).status_code == 200
    stored_at = studio.get(f"{PATH}/worker/gpu-9", params=WEEK).json()["provenance"]["newest_recorded_at"]
    assert abs(datetime.fromisoformat(stored_at) - datetime.now(UTC)) < timedelta(hours=1)
    with Warehouse(database_url) as warehouse:
        maintain(warehouse)
    told = studio.get(f"{PATH}/worker/gpu-9", params=WEEK).json()["provenance"]
    assert "heartbeats_by_worker_daily" in told["sources"]
    assert "attempts_by_worker_workflow_daily" in told["sources"]
    assert (told["count"], told["newest_recorded_at"], told["why_raw"]) == (0, stored_at, None)
    busy = studio.get(f"{PATH}/worker/gpu-1", params=WEEK).json()["provenance"]
    assert busy["count"] == 30
    assert busy["newest_recorded_at"] < stored_at, "no heartbeat of another worker's"


def test_every_answer_counts_attempts(studio: httpx.Client) -> None:
    """Not their scores, nor the runs of their stages."""

    def count(path: str, **more: Any) -> int:
        found = studio.get(f"{PATH}/{path}", params={**WEEK, **more}).json()["provenance"]["count"]
        assert isinstance(found, int)
        return found

    assert count("quality", workflow="slow") == 14
    assert count("stages", workflow="slow") == 14
    assert count("stages") == 44
    assert count("workflow/slow/trend", metric="avg_lpips_score") == 14
    assert count("workflow/slow/trend", metric="avg_sample_stage_ms") == 14
    assert count("comparison", workflows="even,slow", metric="sample_stage_ms") == 42
    assert count("workers/comparison", metric="sample_stage_ms") == 44


def test_the_period_before_is_among_what_was_read(studio: httpx.Client) -> None:
    """Something came there since the rollups' cells were computed."""
    asked = {"from": (FIRST + timedelta(days=7)).isoformat(), "to": (FIRST + timedelta(days=8)).isoformat()}
    own = studio.get(f"{PATH}/overview", params=asked).json()["provenance"]
    assert own["why_raw"] is None
    studio.post(
        "/api/events",
        json={
            "job_id": "late", "workflow": "even", "outcome": "succeeded", "wall_seconds": 10.0,
            "finished_at": at(6, 30),
        },
    )  # fmt: skip
    for path in ("overview", "workflow/even"):
        alone = studio.get(f"{PATH}/{path}", params=asked).json()["provenance"]
        both = studio.get(f"{PATH}/{path}", params={**asked, "compare": "previous"}).json()["provenance"]
        assert "raw" not in alone["sources"]
        assert alone["why_raw"] is None
        assert "raw" in both["sources"]
        assert "rows came" in both["why_raw"]
    trend = studio.get(f"{PATH}/workflow/even/trend", params=asked).json()["provenance"]
    assert "raw" in trend["sources"]
    assert "rows came" in trend["why_raw"]


def test_a_workflow_beside_the_period_before(studio: httpx.Client) -> None:
    told = studio.get(f"{PATH}/workflow/even", params={**WEEK, "compare": "previous"}).json()
    assert told["previous_window"] == {"start": "2026-02-23T00:00:00Z", "end": "2026-03-02T00:00:00Z"}
    assert (told["summary"]["attempt_count"], told["previous_summary"]["attempt_count"]) == (28, 1)
    assert told["previous_summary"]["avg_wall_seconds"] == 30
    alone = studio.get(f"{PATH}/workflow/even", params=WEEK).json()
    assert (alone["previous_window"], alone["previous_summary"]) == (None, None)
    assert alone["summary"] == told["summary"]


def test_what_is_to_come_is_not_unknown(studio: httpx.Client) -> None:
    now = datetime.now(UTC)
    asked = {"from": (now + timedelta(days=1)).isoformat(), "to": (now + timedelta(days=2)).isoformat()}
    assert studio.get(f"{PATH}/worker/gpu-1", params=asked).json()["unknown_hours"] == 0


@pytest.fixture
def tuned(database_url: str, app: FastAPI, client: Callable[[FastAPI], httpx.Client]) -> httpx.Client:
    """More steps raise the likeness; the seed does nothing, the sampler is no number, the crf never changes."""
    rng = np.random.default_rng(5)
    steps = rng.integers(10, 40, 300).tolist()
    with Warehouse(database_url) as warehouse:
        store(
            warehouse,
            [
                made(
                    "tuned", n % 7, n / 10,
                    quality_scores={
                        "likeness": 0.5 + one / 100 + float(rng.normal(0, 0.05)), "drift": float(rng.normal()),
                    },
                    parameters={"steps": one, "seed": int(rng.integers(2**32)), "sampler": "euler", "crf": 18,
                                "odd": 10**300, "rare" if n < 9 else "never": n},
                )
                for n, one in enumerate(steps)
            ],
        )  # fmt: skip
        maintain(warehouse)
    return client(app)


def test_quality(tuned: httpx.Client) -> None:
    told = tuned.get(f"{PATH}/quality", params={**WEEK, "workflow": "tuned"}).json()
    scores = {one["metric"]: one for one in told["scores"]}
    likeness, drift = scores["likeness_score"], scores["drift_score"]
    assert likeness["count"] == drift["count"] == 300
    assert sum(bar["count"] for bar in likeness["bars"]) == 300
    assert likeness["bars"][0]["low"] <= likeness["min"]
    assert likeness["max"] < likeness["bars"][-1]["high"]
    assert (drift["p50"], drift["nonpositive_count"] > 100) == (None, True)
    assert [point["count"] for point in likeness["points"]] == [43, 43, 43, 43, 43, 43, 42]
    pairs = {(one["parameter"], one["score"]): one for one in told["correlations"]}
    assert {parameter for parameter, _ in pairs} == {"steps", "seed", "never"}
    first = told["correlations"][0]
    assert (first["parameter"], first["score"], first["is_clear"]) == ("steps", "likeness", True)
    assert 0.7 < first["low"] < first["coefficient"] < first["high"] < 0.95
    assert not pairs["seed", "likeness"]["is_clear"]
    assert not pairs["steps", "drift"]["is_clear"]
    assert told["why_no_correlations"] is None
    assert told["provenance"]["sources"][-1] == "raw"
    assert "scores_by_workflow_daily" in told["provenance"]["sources"]
    assert told["provenance"]["why_raw"] == "no rollup keeps parameters"


@pytest.mark.parametrize("more", [{"outcome": "succeeded"}, {"gpu_model": "L40S"}])
def test_quality_of_what_correlations_cannot_keep_apart(tuned: httpx.Client, more: dict[str, str]) -> None:
    told = tuned.get(f"{PATH}/quality", params={**WEEK, "workflow": "tuned", **more}).json()
    assert told["scores"][0]["count"] == 300
    assert told["correlations"] is None
    assert next(iter(more)) in told["why_no_correlations"]


def test_quality_without_raw_rows_says_why(tuned: httpx.Client, database_url: str) -> None:
    tell(database_url, "update ops.retention set raw_from = %s", FIRST + timedelta(days=3))
    told = tuned.get(f"{PATH}/quality", params={**WEEK, "workflow": "tuned"}).json()
    assert told["correlations"] is None
    assert "was dropped" in told["why_no_correlations"]
    assert told["scores"][0]["count"] == 300
    assert "raw" not in told["provenance"]["sources"]


def test_stages_come_in_pages(studio: httpx.Client) -> None:
    whole = studio.get(f"{PATH}/stages", params=WEEK).json()
    named = [(one["workflow"], one["stage"]) for one in whole["items"]]
    assert named[:2] == [("even", "sample"), ("slow", "sample")]
    assert len(named) == 6
    assert whole["next_cursor"] is None
    assert whole["provenance"]["count"] == 44, "also the one that failed and the one without stages"
    found, cursor = [], None
    while True:
        asked = {**WEEK, "limit": 4} | ({"cursor": cursor} if cursor else {})
        page = studio.get(f"{PATH}/stages", params=asked).json()
        found += page["items"]
        if (cursor := page["next_cursor"]) is None:
            break
    assert found == whole["items"]
    only = studio.get(f"{PATH}/stages", params={**WEEK, "workflow": "slow", "tier": "-"}).json()["items"]
    assert {one["workflow"] for one in only} == {"slow"}


@pytest.mark.parametrize("cursor", ["x", "-1", "LTE", "é", "OTk5OTk5OTk5OTk5"])
def test_a_cursor_that_no_page_gave(studio: httpx.Client, cursor: str) -> None:
    answer = studio.get(f"{PATH}/stages", params={**WEEK, "cursor": cursor})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == "cursor"


@pytest.mark.parametrize(
    ("path", "buckets"),
    [("overview", "series"), ("worker/gpu-1", "series"), ("workflow/even/trend", "points")],
)
def test_a_window_of_no_length_has_no_buckets(studio: httpx.Client, path: str, buckets: str) -> None:
    noon = (FIRST + timedelta(days=2, hours=12)).isoformat()
    answer = studio.get(f"{PATH}/{path}", params={"from": noon, "to": noon})
    assert answer.status_code == 200
    assert answer.json()[buckets] == []


@pytest.mark.parametrize(
    ("path", "more", "status"),
    [
        ("overview", {"metric": "avg_wall_second"}, 422),
        ("overview", {"metric": "avg_score"}, 422),
        ("overview", {"limit": 0}, 422),
        ("overview", {"grain": "year"}, 422),
        ("overview", {"grain": "15min", "from": "2025-01-01T00:00:00Z"}, 422),
        ("overview", {"tz": "Mars/Olympus"}, 422),
        ("overview", {"tz": "CET"}, 422),
        ("overview", {"tier": "4k"}, 404),
        ("overview", {"outcome": "won"}, 422),
        ("overview", {"compare": "last"}, 422),
        ("workflow/nobody", {}, 404),
        ("worker/nobody", {}, 404),
        ("quality", {}, 422),
        ("quality", {"workflow": "nobody"}, 404),
        ("quality", {"workflow": ["slow", "even"]}, 422),
        ("quality", {"workflow": "slow", "compare": "previous"}, 422),
        ("workflow/slow", {"workflow": "even"}, 422),
        ("workflow/slow", {"workflow": ["slow", "even"]}, 422),
        ("workflow/slow/trend", {"workflow": "even"}, 422),
        ("worker/gpu-1", {"worker": "gpu-2"}, 422),
        ("workers/comparison", {"metric": "likeness_score"}, 422),
        ("workers/comparison", {"metric": "rtf"}, 422),
        ("overview", {"to": "2026-01-01T00:00:00Z"}, 422),
    ],
)
def test_what_cannot_be_asked(studio: httpx.Client, path: str, more: dict[str, Any], status: int) -> None:
    answer = studio.get(f"{PATH}/{path}", params={**WEEK, **more})
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]


def test_a_comparison_sets_speed_against_quality(
    database_url: str, app: FastAPI, client: Callable[[FastAPI], httpx.Client]
) -> None:
    rng = np.random.default_rng(3)
    with Warehouse(database_url) as warehouse:
        store(
            warehouse,
            [
                made(
                    workflow, day, n, wall_seconds=float(wall * rng.lognormal(0, 0.05)),
                    quality_scores={"likeness": float(likeness * rng.lognormal(0, 0.03)), "zero": 0.0},
                )
                for day in range(7) for n in range(20)
                for workflow, wall, likeness in (("a", 10, 0.7), ("b", 12, 0.8))
            ],
        )  # fmt: skip
        maintain(warehouse)
    told = (
        client(app)
        .get(
            f"{PATH}/comparison",
            params={
                **WEEK,
                "workflows": "a,b",
                "metric": ["wall_seconds_per_segment", "likeness_score", "zero_score"],
            },
        )
        .json()
    )
    speed, likeness, zero = told["differences"]
    assert (speed["is_clear"], speed["is_better"]) == (True, False)
    assert (likeness["is_clear"], likeness["is_better"]) == (True, True)
    assert likeness["low_pct"] < 100 * (0.8 / 0.7 - 1) < likeness["high_pct"]
    assert (zero["difference_pct"], zero["reason"]) == (None, "not_positive")
    [sentence] = told["sentences"]
    assert "slower than a" in sentence
    assert "but scores 14 % higher on likeness (" in sentence
    every = client(app).get(f"{PATH}/comparison", params={**WEEK, "workflows": "a,b"}).json()
    assert {one["metric"] for one in every["differences"]} >= {"likeness_score", "wall_seconds_per_segment"}
    assert every["provenance"]["count"] == 280
