"""Estimates end to end: events in, a batch estimated, stored, and scored when its jobs finish."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

import framehouse
from framehouse.errors import ContractError, NotFoundError
from framehouse.estimates.batch import estimate_batch
from framehouse.estimates.outcomes import history, stored
from framehouse.estimates.scene import Works, estimate_scene, works_of
from framehouse.estimates.wire import BatchRequest, Estimate, NoEstimate, SceneRequest, batch_request
from framehouse.warehouse import Warehouse
from framehouse.warehouse.maintain import maintain
from ingest.body import elements
from ingest.heartbeats import write_heartbeats
from ingest.queue import put_queue
from tests.builders import event, store


def scene(**fields: Any) -> dict[str, Any]:
    return {"workflow": "portrait", "target_seconds": 10.0, "segment_seconds": 2.0} | fields


def batch(*scenes: dict[str, Any], **fields: Any) -> BatchRequest:
    return BatchRequest.model_validate({"scenes": list(scenes)} | fields)


def add_history(warehouse: Warehouse, count: int, **fields: Any) -> None:
    """Succeeded attempts of about two GPU seconds and three wall seconds a segment."""
    said: dict[str, Any] = {"tier": "draft", "gpu_count": 1}
    store(
        warehouse,
        [
            event(
                **(said | fields),
                segment_count=1 + number % 3,
                gpu_seconds=(2.0 + 0.1 * (number % 5 - 2)) * (1 + number % 3),
                wall_seconds=(3.0 + 0.1 * (number % 5 - 2)) * (1 + number % 3),
                output_mb=0.5 * (1 + number % 3),
            )
            for number in range(count)
        ],
    )


def test_one_scene(warehouse: Warehouse) -> None:
    add_history(warehouse, 15)
    answer = estimate_scene(warehouse, SceneRequest.model_validate(scene()))
    assert isinstance(answer, Estimate)
    assert answer.segments_needed == 5
    assert answer.gpu_seconds is not None
    assert answer.gpu_seconds.mean == pytest.approx(10.0, rel=0.05)
    assert answer.wall_seconds.mean == pytest.approx(15.0, rel=0.05)
    assert answer.wall_seconds.p10 is not None
    assert answer.wall_seconds.p90 is not None
    assert answer.wall_seconds.p10 < 15.0 < answer.wall_seconds.p90
    assert answer.disk_mb is not None
    assert answer.disk_mb.mean == pytest.approx(2.5)
    assert (answer.confidence, answer.sample_count, answer.interval_reason) == ("high", 15, None)


def test_notebooks_give_scenes_as_they_are(warehouse: Warehouse, database_url: str) -> None:
    add_history(warehouse, 15)
    with framehouse.connect(database_url) as analyst:
        [one] = analyst.estimate([scene()]).scenes
        [other] = analyst.estimate({"scenes": [scene()], "store": False}).scenes
        assert one.estimate is not None
        assert one.estimate == other.estimate
        with pytest.raises(ContractError) as raised:
            analyst.estimate([scene(target_seconds=-1)])
    assert [problem.path for problem in raised.value.problems] == ["scenes[0].target_seconds"]


def test_scenes_are_a_list_or_a_tuple() -> None:
    assert batch_request((scene(), scene())) == batch_request([scene(), scene()])


def test_pixels_that_come_to_nothing_are_no_amount_of_work() -> None:
    tiny = scene(frame_count=100, parameters={"width": 1e-200, "height": 1e-200})
    assert works_of(SceneRequest.model_validate(tiny)) == Works(5, 100)


@pytest.mark.parametrize(
    ("target", "segment", "needed"),
    [(10.0, 2.0, 5), (10.1, 2.0, 6), (0.3, 0.1, 3), (1e-3, 5.0, 1), (7.0, 7.0, 1)],
)
def test_segments_round_up(warehouse: Warehouse, target: float, segment: float, needed: int) -> None:
    add_history(warehouse, 3)
    answer = estimate_scene(
        warehouse, SceneRequest.model_validate(scene(target_seconds=target, segment_seconds=segment))
    )
    assert isinstance(answer, Estimate)
    assert answer.segments_needed == needed


@pytest.mark.parametrize(
    ("count", "confidence"), [(1, "low"), (2, "low"), (3, "medium"), (9, "medium"), (10, "high")]
)
def test_confidence_by_samples(warehouse: Warehouse, count: int, confidence: str) -> None:
    add_history(warehouse, count)
    answer = estimate_scene(warehouse, SceneRequest.model_validate(scene()))
    assert isinstance(answer, Estimate)
    assert answer.confidence == confidence
    assert (answer.interval_reason == "too_few_samples") == (count < 3)
    assert (answer.wall_seconds.p90 is None) == (count < 3)


def test_nothing_is_guessed_from_another_tier_or_from_failures(warehouse: Warehouse) -> None:
    add_history(warehouse, 12)
    store(
        warehouse,
        [event(workflow="doomed", tier="draft", outcome="failed", segment_count=1) for _ in range(5)],
    )
    for asked in (
        scene(tier="production"),
        scene(tier=None),
        scene(workflow="doomed"),
        scene(workflow="unheard of"),
    ):
        answer = estimate_scene(warehouse, SceneRequest.model_validate(asked))
        assert isinstance(answer, NoEstimate)
        assert answer.reason == "no_history"
        assert answer.message.startswith("No estimate available")


def test_a_tier_left_out_is_the_default_and_null_is_none(warehouse: Warehouse) -> None:
    add_history(warehouse, 3, tier=None, workflow="audio")
    assert isinstance(
        estimate_scene(warehouse, SceneRequest.model_validate(scene(workflow="audio"))), NoEstimate
    )
    answer = estimate_scene(warehouse, SceneRequest.model_validate(scene(workflow="audio", tier=None)))
    assert isinstance(answer, Estimate)


def test_history_without_segments_says_so(warehouse: Warehouse) -> None:
    store(warehouse, [event(tier="draft") for _ in range(4)])
    answer = estimate_scene(warehouse, SceneRequest.model_validate(scene()))
    assert isinstance(answer, NoEstimate)
    assert answer.reason == "no_segment_counts"


def test_cpu_jobs_have_no_gpu_time_and_say_nought(warehouse: Warehouse) -> None:
    store(warehouse, [event(tier="draft", gpu_count=0, segment_count=2, wall_seconds=4.0) for _ in range(4)])
    answer = estimate_scene(warehouse, SceneRequest.model_validate(scene()))
    assert isinstance(answer, Estimate)
    assert answer.gpu_seconds is not None
    assert answer.gpu_seconds.p90 == 0.0
    assert answer.wall_seconds.mean == pytest.approx(10.0, rel=0.05)
    assert answer.disk_mb is None  # never measured: unknown, not nothing


def test_totals_are_of_the_estimated_scenes_and_unknown_ones_are_listed(warehouse: Warehouse) -> None:
    add_history(warehouse, 20)
    add_history(warehouse, 20, tier="production")
    answer = estimate_batch(
        warehouse,
        batch(
            scene(scene_type="dialogue", character="Ada"),
            scene(scene_type="dialogue"),
            scene(scene_type="action", tier="production"),
            scene(workflow="new", target_seconds=4.0),
            scene(workflow="new", target_seconds=6.0),
        ),
    )
    assert (answer.total_scenes, answer.estimated_scenes) == (5, 3)
    assert answer.total_gpu_hours == pytest.approx(3 * 5 * 2.0 / 3600, rel=0.02)
    assert answer.total_disk_gb == pytest.approx(3 * 5 * 0.5 / 1024)
    [unknown] = answer.unknown
    assert (unknown.workflow, unknown.tier, unknown.scene_count, unknown.segments_needed) == (
        "new",
        "draft",
        2,
        5,
    )
    assert unknown.reason == "no_history"
    assert answer.wall_clock_hours is None
    assert answer.wall_clock_reason == "pool_unknown"
    for shares in (answer.by_scene_type, answer.by_character, answer.by_tier, answer.by_workflow):
        assert sum(share.scene_count for share in shares) == 5
        assert sum(share.gpu_hours or 0 for share in shares) == pytest.approx(answer.total_gpu_hours)
    assert [(s.name, s.scene_count) for s in answer.by_tier] == [("draft", 4), ("production", 1)]
    assert [(s.name, s.gpu_hours is None) for s in answer.by_workflow] == [("new", True), ("portrait", False)]


def test_nothing_known_totals_nothing_rather_than_nought(warehouse: Warehouse) -> None:
    answer = estimate_batch(warehouse, batch(scene(), pool={"worker_count": 2}))
    assert answer.total_gpu_hours is None
    assert answer.total_disk_gb is None
    assert answer.confidence is None
    assert answer.wall_clock_reason == "nothing_estimated"


def test_the_pool_and_the_queue_set_the_wall_clock(warehouse: Warehouse) -> None:
    add_history(warehouse, 30)
    scenes = [scene() for _ in range(12)]
    one = estimate_batch(warehouse, batch(*scenes, pool={"worker_count": 1})).wall_clock_hours
    four = estimate_batch(warehouse, batch(*scenes, pool={"workers": ["a", "b", "c", "d"]})).wall_clock_hours
    queue = {"waiting": [{"workflow": "portrait", "tier": "draft", "segment_count": 5}] * 12}
    behind = estimate_batch(warehouse, batch(*scenes, pool={"worker_count": 1}, queue=queue)).wall_clock_hours
    assert one is not None
    assert four is not None
    assert behind is not None
    assert one.p50 == pytest.approx(12 * 15.0 / 3600, rel=0.05)
    assert four.p50 == pytest.approx(3 * 15.0 / 3600, rel=0.1)
    assert behind.p50 == pytest.approx(24 * 15.0 / 3600, rel=0.05)


def test_a_queue_with_unknown_work_leaves_no_wall_clock(warehouse: Warehouse) -> None:
    add_history(warehouse, 30)
    queue = {"waiting": [{"workflow": "mystery", "tier": "draft"}]}
    answer = estimate_batch(warehouse, batch(scene(), pool={"worker_count": 1}, queue=queue))
    assert (answer.wall_clock_hours, answer.wall_clock_reason) == (None, "queue_unknown_history")
    assert answer.total_gpu_hours is not None


def test_a_queue_names_tiers_that_exist(warehouse: Warehouse) -> None:
    queue = {
        "waiting": [{"workflow": "portrait"}, {"workflow": "portrait", "tier": "8k"}],
        "running": [
            {"worker": "a", "workflow": "portrait", "tier": "4k", "started_at": "2026-01-01T12:00:00Z"}
        ],
    }
    with pytest.raises(ContractError) as refusal:
        estimate_batch(warehouse, batch(scene(), queue=queue))
    assert [p.path for p in refusal.value.problems] == ["queue.waiting[1].tier", "queue.running[0].tier"]


def test_a_queue_told_long_ago_leaves_no_wall_clock(warehouse: Warehouse, database_url: str) -> None:
    add_history(warehouse, 30)
    put_queue(warehouse, {"waiting": [], "running": []})
    request = batch(scene(), pool={"worker_count": 1})
    assert estimate_batch(warehouse, request).wall_clock_hours is not None
    age(database_url, "16 minutes")
    answer = estimate_batch(warehouse, request)
    assert (answer.wall_clock_hours, answer.wall_clock_reason) == (None, "queue_outdated")
    put_queue(warehouse, {"waiting": [], "running": []})
    assert estimate_batch(warehouse, request).wall_clock_hours is not None


def age(database_url: str, by: str) -> None:
    """Let the stored queue have been told that much earlier."""
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table studio.queue disable trigger user")
        connection.execute("update studio.queue set updated_at = updated_at - %s::interval", [by])
        connection.execute("alter table studio.queue enable trigger user")


def test_the_live_pool_and_queue_are_used(warehouse: Warehouse) -> None:
    add_history(warehouse, 30)
    now = datetime.now(UTC)
    beats = ",".join(
        f'{{"worker": "{worker}", "state": "{state}", "covered_from": "{(now - timedelta(minutes=2)).isoformat()}",'
        f' "covered_to": "{now.isoformat()}"}}'
        for worker, state in (("a", "generating"), ("b", "idle"), ("c", "offline"))
    )
    write_heartbeats(warehouse, elements(f"[{beats}]".encode()))
    put_queue(warehouse, {"waiting": [{"workflow": "portrait", "tier": "draft"}], "running": []})
    answer = estimate_batch(warehouse, batch(scene()))
    assert (answer.worker_count, answer.queue_depth) == (2, 1)
    assert answer.wall_clock_hours is not None


def test_stored_estimates_are_scored_when_their_jobs_finish(warehouse: Warehouse) -> None:
    add_history(warehouse, 20)
    answer = estimate_batch(
        warehouse, batch(scene(scene_key="shot-1"), scene(scene_key="shot-2"), scene(workflow="new"))
    )
    assert answer.estimate_id is not None
    known = {"estimate_id": str(answer.estimate_id), "tier": "draft", "segment_count": 5, "gpu_count": 1}
    store(
        warehouse,
        [
            event(**known, scene_key="shot-1", wall_seconds=15.5, gpu_seconds=10.5, output_mb=2.5),
            event(
                **known,
                scene_key="shot-2",
                wall_seconds=9.0,
                gpu_seconds=6.0,
                output_mb=1.5,
                outcome="failed",
            ),
            event(**known, scene_key="shot-2", wall_seconds=8.0, gpu_seconds=5.0, output_mb=1.0),
            event(**known, scene_key="shot-2", wall_seconds=7.0, gpu_seconds=5.0, output_mb=1.0),
        ],
    )
    scenes = {row["scene_key"]: row for row in stored(warehouse, answer.estimate_id).scenes}
    assert list(scenes) == ["shot-1", "shot-2", "scene-3"]
    assert scenes["shot-1"]["wall_seconds_actual"] == 15.5
    # Actual is the sum over succeeded attempts: the failed one is waste, not cost.
    assert (scenes["shot-2"]["wall_seconds_actual"], scenes["shot-2"]["attempt_count"]) == (15.0, 2)
    assert (scenes["scene-3"]["reason"], scenes["scene-3"]["wall_seconds_actual"]) == ("no_history", None)


def test_scores_by_workflow_and_time(warehouse: Warehouse) -> None:
    add_history(warehouse, 20)
    answer = estimate_batch(warehouse, batch(scene(), scene()))
    recent = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    for number, wall in ((1, 15.0), (2, 60.0)):
        store(
            warehouse,
            [
                event(
                    estimate_id=str(answer.estimate_id), scene_key=f"scene-{number}", tier="draft", segment_count=5,
                    wall_seconds=wall, finished_at=recent,
                )
            ],
        )  # fmt: skip
    [score] = history(warehouse).scores
    assert (score.workflow, score.tier, score.scene_count) == ("portrait", "draft", 2)
    assert score.wall_coverage_ratio == 0.5
    assert score.wall_bias_ratio == pytest.approx(30.0 / 75.0 - 1, abs=0.01)
    assert score.wall_mdape_ratio == pytest.approx((0.0 + 0.75) / 2, abs=0.02)
    assert score.gpu_bias_ratio is None


def test_calibration_is_the_mart(warehouse: Warehouse) -> None:
    add_history(warehouse, 6)
    maintain(warehouse)
    [row] = history(warehouse, workflow="portrait").calibration
    assert (row.workflow, row.tier, row.sample_count) == ("portrait", "draft", 6)
    assert row.avg_gpu_secs_per_segment == pytest.approx(2.0, rel=0.05)
    assert row.avg_disk_mb_per_segment == pytest.approx(0.5)
    assert history(warehouse, workflow="other").calibration == ()


def test_an_estimate_that_is_not_stored_leaves_nothing(warehouse: Warehouse) -> None:
    answer = estimate_batch(warehouse, batch(scene(), store=False))
    assert answer.estimate_id is None
    with pytest.raises(NotFoundError):
        stored(warehouse, uuid4())


def test_bad_batches_are_refused_with_the_path(warehouse: Warehouse) -> None:
    with pytest.raises(ContractError) as caught:
        estimate_batch(warehouse, batch(scene(), scene(tier="ultra")))
    assert [p.path for p in caught.value.problems] == ["scenes[1].tier"]
    assert caught.value.problems[0].expected == "null or one of: draft, preview, production"
    with pytest.raises(ContractError) as caught:
        estimate_batch(warehouse, batch(scene(scene_key="a"), scene(scene_key="a")))
    assert [p.path for p in caught.value.problems] == ["scenes[0].scene_key", "scenes[1].scene_key"]
