"""Stored estimates beside what happened: every quantity of a scene, and the totals of whole estimates."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from framehouse.estimates.batch import estimate_batch
from framehouse.estimates.outcomes import history, stored
from framehouse.estimates.wire import BatchAnswer, BatchRequest
from framehouse.warehouse import Warehouse
from tests.builders import event, store

RECENT = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
#: What a segment takes, about: seconds and MiB; peaks are those of a whole job.
USUAL = {"gpu_seconds": 2.0, "wall_seconds": 3.0, "output_mb": 0.5, "energy_joules": 500.0}
PEAKS = {"vram_peak_mb": 9000.0, "rss_peak_mb": 2000.0}


def attempt(factor: float = 1.0, segments: int = 5, **fields: Any) -> Any:
    """A succeeded attempt that took so many times the usual."""
    took = {name: usual * segments * factor for name, usual in USUAL.items()}
    peaks = {name: usual * factor for name, usual in PEAKS.items()}
    said: dict[str, Any] = {"tier": "draft", "gpu_count": 1, "segment_count": segments}
    return event(**(said | took | peaks | fields))


def learn(warehouse: Warehouse, workflow: str = "portrait") -> None:
    store(warehouse, [attempt(1 + 0.04 * (number % 5 - 2), workflow=workflow) for number in range(20)])


def estimated(warehouse: Warehouse, count: int, *others: dict[str, Any]) -> BatchAnswer:
    """A stored estimate of so many scenes of five segments, and of others."""
    scene = {"workflow": "portrait", "target_seconds": 10.0, "segment_seconds": 2.0}
    return estimate_batch(
        warehouse, BatchRequest.model_validate({"scenes": [scene] * count + [scene | one for one in others]})
    )


def done(answer: BatchAnswer, number: int, factor: float = 1.0, **fields: Any) -> Any:
    """The attempt that made one of an estimate's scenes."""
    carried = {"estimate_id": str(answer.estimate_id), "scene_key": f"scene-{number}", "finished_at": RECENT}
    return attempt(factor, **(carried | fields))


def id_of(answer: BatchAnswer) -> UUID:
    assert answer.estimate_id is not None
    return answer.estimate_id


def test_every_quantity_is_scored(warehouse: Warehouse) -> None:
    learn(warehouse)
    answer = estimated(warehouse, 2)
    store(warehouse, [done(answer, 1), done(answer, 2, 2.0)])
    [score] = history(warehouse).scores
    assert score.scene_count == 2
    for name in ("wall", "gpu", "disk", "energy", "vram", "rss"):
        assert getattr(score, f"{name}_bias_ratio") == pytest.approx(2 / 3 - 1, abs=0.01), name
        assert getattr(score, f"{name}_mdape_ratio") == pytest.approx(0.25, abs=0.02), name
        assert getattr(score, f"{name}_coverage_ratio") == 0.5, name


def test_a_quantity_that_was_never_measured_has_no_score(warehouse: Warehouse) -> None:
    learn(warehouse)
    answer = estimated(warehouse, 1)
    store(warehouse, [done(answer, 1, energy_joules=None, vram_peak_mb=None)])
    [score] = history(warehouse).scores
    for name in ("energy", "vram"):
        assert getattr(score, f"{name}_bias_ratio") is None
        assert getattr(score, f"{name}_mdape_ratio") is None
        assert getattr(score, f"{name}_coverage_ratio") is None
    assert score.rss_coverage_ratio == 1.0


def test_a_scene_shows_what_was_predicted_and_happened(warehouse: Warehouse) -> None:
    learn(warehouse)
    answer = estimated(warehouse, 1)
    store(warehouse, [done(answer, 1), done(answer, 1, 1.1)])
    [scene] = stored(warehouse, id_of(answer)).scenes
    assert scene["energy_joules_mean"] == pytest.approx(2500.0, rel=0.01)
    assert scene["energy_joules_actual"] == pytest.approx(2.1 * 2500.0)
    # Of peaks the largest counts, not the sum.
    assert scene["vram_peak_mb_actual"] == pytest.approx(1.1 * 9000.0)
    assert scene["rss_peak_mb_p10"] < 2000.0 < scene["rss_peak_mb_p90"]
    assert scene["cost_mean"] is None


def test_totals_are_scored_once_every_estimated_scene_is_done(warehouse: Warehouse) -> None:
    learn(warehouse)
    answer = estimated(warehouse, 3, {"workflow": "new"})
    assert (answer.total_scenes, answer.estimated_scenes) == (4, 3)
    store(warehouse, [done(answer, 1), done(answer, 2)])
    # A scene that nobody could estimate is no part of the totals.
    store(warehouse, [done(answer, 4, workflow="new")])
    totals = stored(warehouse, id_of(answer)).totals
    assert list(totals) == ["gpu_hours", "wall_hours", "disk_gb", "energy_kwh"]
    assert totals["wall_hours"].mean == answer.total_wall_hours
    assert (totals["wall_hours"].actual, totals["wall_hours"].is_within) == (None, None)
    assert history(warehouse).totals == ()
    store(warehouse, [done(answer, 3)])
    totals = stored(warehouse, id_of(answer)).totals
    actual = {
        "gpu_hours": 3 * 10.0 / 3600,
        "wall_hours": 3 * 15.0 / 3600,
        "disk_gb": 3 * 2.5 / 1024,
        "energy_kwh": 3 * 2500.0 / 3.6e6,
    }
    assert {name: one.actual for name, one in totals.items()} == pytest.approx(actual)
    assert all(one.is_within for one in totals.values())
    assert [(one.quantity, one.estimate_count) for one in history(warehouse).totals] == [
        (name, 1) for name in actual
    ]


def test_a_scene_of_several_jobs_is_scored_when_all_its_segments_are_made(warehouse: Warehouse) -> None:
    learn(warehouse)
    answer = estimated(warehouse, 1)
    for made in range(1, 6):
        store(warehouse, [done(answer, 1, segments=1, job_id=f"part-{made}")])
        [scene] = stored(warehouse, id_of(answer)).scenes
        assert scene["gpu_seconds_actual"] == pytest.approx(2.0 * made)
        assert scene["is_done"] is (made == 5)
        assert len(history(warehouse).scores) == (made == 5)
        assert (stored(warehouse, id_of(answer)).totals["gpu_hours"].actual is None) is (made < 5)
    [score] = history(warehouse).scores
    assert score.gpu_bias_ratio == pytest.approx(0.0, abs=0.01)


def test_a_job_that_does_not_say_what_it_made_made_all(warehouse: Warehouse) -> None:
    learn(warehouse)
    answer = estimated(warehouse, 1)
    store(warehouse, [done(answer, 1, segment_count=None)])
    [scene] = stored(warehouse, id_of(answer)).scenes
    assert scene["is_done"] is True


def test_totals_that_lack_a_part_are_unknown(warehouse: Warehouse) -> None:
    learn(warehouse)
    answer = estimated(warehouse, 2)
    store(warehouse, [done(answer, 1, energy_joules=None), done(answer, 2)])
    totals = stored(warehouse, id_of(answer)).totals
    assert totals["energy_kwh"].mean is not None
    assert (totals["energy_kwh"].actual, totals["energy_kwh"].is_within) == (None, None)
    assert "energy_kwh" not in [one.quantity for one in history(warehouse).totals]


def told(warehouse: Warehouse, actual: float, **said: float | None) -> None:
    """A stored estimate of one scene of `portrait` that took so many hours, with this distribution of its total."""
    estimate_id = uuid4()
    answer = json.dumps({"totals": {"wall_hours": said}})
    with psycopg.connect(warehouse.url) as connection:
        connection.execute(
            "insert into ops.estimates (id, request, answer, total_scenes, estimated_scenes)"
            " values (%s, '{}', %s, 1, 1)",
            [estimate_id, answer],
        )
        connection.execute(
            "insert into ops.estimate_scenes (estimate_id, scene_key, ordinal, workflow, segments_needed,"
            " sample_count, wall_seconds_mean) values (%s, 'scene-1', 1, 'portrait', 1, 3, 1.0)",
            [estimate_id],
        )
    carried = {"estimate_id": str(estimate_id), "scene_key": "scene-1", "finished_at": RECENT}
    store(warehouse, [event(**carried, wall_seconds=actual * 3600)])


def test_the_history_of_totals_has_bias_error_and_coverage(warehouse: Warehouse) -> None:
    told(warehouse, 1.0, mean=1.0, p10=0.9, p50=1.0, p90=1.1)
    told(warehouse, 2.0, mean=1.0, p10=0.9, p50=1.0, p90=1.1)
    told(warehouse, 1.0, mean=2.0, p10=None, p50=None, p90=None)
    [score] = history(warehouse).totals
    assert (score.quantity, score.estimate_count) == ("wall_hours", 3)
    assert score.bias_ratio == pytest.approx(4 / 4 - 1)
    assert score.mdape_ratio == pytest.approx(0.25)
    assert score.coverage_ratio == 0.5
    assert history(warehouse, workflow="portrait").totals == (score,)
    assert history(warehouse, workflow="other").totals == ()


def test_the_history_of_one_workflow_has_estimates_that_are_all_its_own(warehouse: Warehouse) -> None:
    learn(warehouse)
    learn(warehouse, "other")
    answer = estimated(warehouse, 1, {"workflow": "other"})
    store(warehouse, [done(answer, 1), done(answer, 2, workflow="other")])
    assert history(warehouse).totals != ()
    assert history(warehouse, workflow="portrait").totals == ()
