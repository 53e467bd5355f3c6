"""What forecasts remember is what the warehouse holds: late, deleted, dropped or not yet learnt."""

import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest

from framehouse.estimates.known import Known, knowledge
from framehouse.estimates.learning import COSTS, VERSION, learn, waiting
from framehouse.estimates.scene import estimate_scene
from framehouse.estimates.wire import Estimate, NoEstimate, SceneRequest
from framehouse.events import Event
from framehouse.warehouse import Warehouse, retention
from framehouse.warehouse.maintain import maintain
from tests.builders import NOON, event, store
from tests.warehouse.cells import tell


def attempts(seconds: Iterable[float], *, start: datetime = NOON, **fields: Any) -> list[Event]:
    """One attempt a minute at the draft tier, of one segment each."""
    said: dict[str, Any] = {"tier": "draft", "segment_count": 1, "gpu_count": 1}
    return [
        event(
            **(said | fields),
            finished_at=(start + timedelta(minutes=minute)).isoformat(),
            wall_seconds=one,
            gpu_seconds=one / 2,
        )
        for minute, one in enumerate(seconds)
    ]


def known(warehouse: Warehouse, workflow: str = "portrait", tier: str | None = "draft") -> Known | None:
    with warehouse.session(is_snapshot=True) as session:
        return knowledge(session, [workflow]).by_key.get((workflow, tier))


def told(warehouse: Warehouse, **fields: Any) -> Estimate:
    asked = {"workflow": "portrait", "target_seconds": 1, "segment_seconds": 1} | fields
    found = estimate_scene(warehouse, SceneRequest.model_validate(asked))
    assert isinstance(found, Estimate), found
    return found


def scattered(count: int, level: float = 10.0, seed: int = 1) -> list[float]:
    return np.random.default_rng(seed).lognormal(math.log(level), 0.1, count).tolist()


def test_an_attempt_counts_from_its_commit_on(warehouse: Warehouse) -> None:
    for count in (1, 2, 3, 10, 40):
        now = known(warehouse)
        store(
            warehouse,
            attempts(scattered(count - (0 if now is None else now.sample_count)), workflow="portrait"),
        )
        assert told(warehouse).sample_count == count
    assert told(warehouse).wall_seconds.p50 == pytest.approx(10, rel=0.1)


def test_learning_changes_no_sample(warehouse: Warehouse) -> None:
    store(warehouse, attempts(scattered(200)))
    before = told(warehouse)
    assert waiting(warehouse) == 1
    assert learn(warehouse) == 1
    assert (waiting(warehouse), learn(warehouse)) == (0, 0)
    after = told(warehouse)
    assert after.sample_count == before.sample_count == 200
    assert after.wall_seconds.p50 == pytest.approx(before.wall_seconds.p50, rel=0.05)
    found = known(warehouse)
    assert found is not None
    assert found.record["counts"].tolist()[:3] == [128, 128, 0]


def test_what_is_not_learnt_yet_is_added_to_what_is(warehouse: Warehouse) -> None:
    store(warehouse, attempts(scattered(60)))
    learn(warehouse)
    store(warehouse, attempts(scattered(40, level=30.0), start=NOON + timedelta(days=1)))
    unlearnt = told(warehouse)
    assert unlearnt.sample_count == 100
    assert unlearnt.wall_seconds.p50 == pytest.approx(30, rel=0.15)
    learn(warehouse)
    assert told(warehouse).wall_seconds.p50 == pytest.approx(unlearnt.wall_seconds.p50, rel=0.05)


def test_late_attempts_take_their_place_and_deleted_ones_leave(
    warehouse: Warehouse, database_url: str
) -> None:
    store(warehouse, attempts(scattered(30, level=10.0), start=NOON))
    learn(warehouse)
    store(warehouse, attempts(scattered(30, level=90.0, seed=2), start=NOON - timedelta(days=2)))
    assert told(warehouse).sample_count == 60
    assert told(warehouse).wall_seconds.p50 == pytest.approx(10, rel=0.2), "the newest are still the newest"
    learn(warehouse)
    assert told(warehouse).wall_seconds.p50 == pytest.approx(10, rel=0.2)
    tell(database_url, "delete from telemetry.performance_metrics where wall_seconds < 50")
    for _ in range(2):
        assert told(warehouse).sample_count == 30
        assert told(warehouse).wall_seconds.p50 == pytest.approx(90, rel=0.2)
        learn(warehouse)
    tell(database_url, "delete from telemetry.performance_metrics")
    for _ in range(2):
        assert known(warehouse) is None
        learn(warehouse)


def test_attempts_outlive_their_raw_rows(warehouse: Warehouse) -> None:
    start = datetime.now(UTC) - timedelta(days=200)
    store(warehouse, attempts(scattered(50), start=start))
    store(warehouse, attempts(scattered(5, level=10.0), start=datetime.now(UTC) - timedelta(hours=1)))
    maintain(warehouse)
    learn(warehouse)
    before = told(warehouse)
    planned = retention.preview(warehouse, proposed=timedelta(days=90))
    assert planned.dropped
    retention.drop(warehouse, planned)
    assert told(warehouse) == before
    store(warehouse, attempts(scattered(2), start=datetime.now(UTC) - timedelta(minutes=10)))
    found = known(warehouse)
    assert found is not None
    assert (found.sample_count, found.record["counts"][0]) == (57, 57)


def test_learning_in_steps_or_at_once_remembers_the_same(warehouse: Warehouse) -> None:
    steps = [attempts(scattered(25, seed=n), start=NOON + timedelta(hours=n), workflow="a") for n in range(8)]
    for step in steps:
        store(warehouse, step)
        learn(warehouse)
    once = [
        event.model_copy(update={"workflow": "b", "job_id": event.job_id + "b"}) for s in steps for event in s
    ]
    store(warehouse, once)
    learn(warehouse)
    found = [known(warehouse, name) for name in ("a", "b")]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].sample_count == found[1].sample_count == 200
    medians = [told(warehouse, workflow=name).wall_seconds.p50 for name in ("a", "b")]
    assert medians[0] == pytest.approx(medians[1], rel=0.05)


def test_what_another_version_left_behind_is_learnt_anew(warehouse: Warehouse, database_url: str) -> None:
    store(warehouse, attempts(scattered(20)))
    learn(warehouse)
    before = told(warehouse)
    tell(database_url, "update ops.forecasts set version = version + 1, outlook = '', samples = 'x'")
    tell(database_url, "update ops.forecasts_shared set version = version + 1, totals = '', memory = ''")
    assert told(warehouse).wall_seconds.p50 == pytest.approx(before.wall_seconds.p50, rel=0.05)
    assert waiting(warehouse) == 1
    learn(warehouse)
    assert waiting(warehouse) == 0
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select distinct version from ops.forecasts").fetchall() == [(VERSION,)]
    assert told(warehouse).wall_seconds.p50 == pytest.approx(before.wall_seconds.p50, rel=0.05)


def test_learners_and_writers_at_once_forget_nothing(warehouse: Warehouse) -> None:
    def write(number: int) -> None:
        for step in range(6):
            store(
                warehouse, attempts(scattered(7, seed=step), start=NOON + timedelta(hours=10 * number + step))
            )

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, number) for number in range(2)]
        learners = [pool.submit(lambda: [learn(warehouse) for _ in range(5)]) for _ in range(2)]
        for one in (*writers, *learners):
            one.result()
    learn(warehouse)
    assert waiting(warehouse) == 0
    found = known(warehouse)
    assert found is not None
    assert (found.sample_count, found.record["counts"][0]) == (84, 84)


def test_failures_are_no_samples_and_say_how_often_a_job_runs_again(warehouse: Warehouse) -> None:
    store(warehouse, attempts(scattered(30)))
    store(warehouse, attempts([5.0] * 10, outcome="failed", start=NOON + timedelta(minutes=5)))
    store(warehouse, attempts([5.0] * 9, outcome="failed", workflow="doomed"))
    learn(warehouse)
    found = known(warehouse)
    assert found is not None
    assert found.sample_count == 30
    assert float(found.record["retry_ratio"]) == pytest.approx(0.25)
    assert float(found.record["failed_ratio"]) == pytest.approx(0.5, rel=0.05)
    assert known(warehouse, "doomed") is None
    asked = SceneRequest(workflow="doomed", target_seconds=1, segment_seconds=1)
    assert isinstance(estimate_scene(warehouse, asked), NoEstimate)


def test_cold_starts_are_apart(warehouse: Warehouse) -> None:
    """They cost thirty seconds more: the median of a job is a warm one's, the mean knows how often they come."""
    warm = scattered(100)
    cold = [one + 30 if number % 10 == 0 else one for number, one in enumerate(warm)]
    told_cold = [number % 10 == 0 for number in range(100)]
    store(
        warehouse,
        [
            event(
                tier="draft", segment_count=1, wall_seconds=one, is_cold=is_cold,
                finished_at=(NOON + timedelta(minutes=n)).isoformat(),
            )
            for n, (one, is_cold) in enumerate(zip(cold, told_cold, strict=True))
        ],
    )  # fmt: skip
    learn(warehouse)
    wall = told(warehouse).wall_seconds
    assert wall.p50 == pytest.approx(10, rel=0.1)
    assert wall.mean == pytest.approx(13, rel=0.1)
    three = told(warehouse, target_seconds=3).wall_seconds
    assert three.mean == pytest.approx(33, rel=0.1), "a model is loaded once, however long the job is"
    found = known(warehouse)
    assert found is not None
    assert float(found.record["cold_ratio"][0]) == pytest.approx(0.1, abs=0.03)
    assert float(found.record["cold_extra"][0]) == pytest.approx(30, rel=0.1)


def test_memory_and_disk_are_forecast_too(warehouse: Warehouse) -> None:
    store(
        warehouse,
        attempts(
            scattered(20),
            vram_peak_mb=8000.0,
            vram_method="nvml",
            rss_peak_mb=2000.0,
            output_mb=12.0,
            energy_joules=900.0,
        ),
    )
    found = told(warehouse, target_seconds=1)
    for cost, expected in (
        (found.vram_peak_mb, 8000),
        (found.rss_peak_mb, 2000),
        (found.disk_mb, 12),
        (found.energy_joules, 900),
    ):
        assert cost is not None
        assert cost.p50 == pytest.approx(expected, rel=0.01)
    assert len(COSTS) == 6


def test_an_attempt_that_was_deleted_and_sent_anew_is_learnt_anew(
    warehouse: Warehouse, database_url: str
) -> None:
    first = attempts(scattered(20))
    store(warehouse, first)
    learn(warehouse)
    tell(database_url, "delete from telemetry.performance_metrics")
    tell(database_url, "delete from ops.attempt_ledger")
    store(warehouse, [one.model_copy(update={"wall_seconds": one.wall_seconds * 100}) for one in first])
    for _ in range(2):
        assert told(warehouse).wall_seconds.p50 == pytest.approx(1000, rel=0.1)
        learn(warehouse)


def test_models_that_no_remembered_attempt_names_are_forgotten(warehouse: Warehouse) -> None:
    for number in range(3):
        start = NOON + timedelta(days=number)
        store(warehouse, attempts(scattered(128), start=start, host={"gpu_model": f"model {number}"}))
        learn(warehouse)
    store(warehouse, attempts(scattered(1), start=NOON + timedelta(days=9), host={"gpu_model": "last"}))
    found = known(warehouse)
    assert found is not None
    assert [name for name, _ in found.gpu_models] == ["model 2", "last"]
    assert sum(ratio for _, ratio in found.gpu_models) == pytest.approx(1)


def test_canceled_attempts_do_not_say_how_long_failed_ones_run(warehouse: Warehouse) -> None:
    store(warehouse, attempts(scattered(30)))
    store(warehouse, attempts([5.0] * 2, outcome="failed"))
    store(warehouse, attempts([900.0] * 9, outcome="canceled"))
    found = known(warehouse)
    assert found is not None
    assert float(found.record["failed_ratio"]) == 1.0
    assert float(found.record["retry_ratio"]) == pytest.approx(2 / 32)


def test_attempts_that_were_dropped_before_anybody_learnt_are_no_history_that_never_was(
    warehouse: Warehouse, database_url: str
) -> None:
    store(warehouse, attempts(scattered(50), start=datetime.now(UTC) - timedelta(days=200)))
    maintain(warehouse)
    planned = retention.preview(warehouse, proposed=timedelta(days=90))
    retention.drop(warehouse, planned)
    asked = SceneRequest(workflow="portrait", target_seconds=1, segment_seconds=1)
    for _ in range(2):
        found = estimate_scene(warehouse, asked)
        assert isinstance(found, NoEstimate)
        assert found.reason == "raw_dropped"
        learn(warehouse)
    store(warehouse, attempts(scattered(1), start=datetime.now(UTC) - timedelta(minutes=9)))
    one = told(warehouse)
    assert (one.sample_count, one.confidence, one.interval_reason) == (51, "low", "too_few_samples")
