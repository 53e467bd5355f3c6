"""Alarms end to end: estimates stored, their scenes done, what is off recorded, told and closed."""

import math
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from framehouse.estimates.alarms import Alarm, note_alarms
from framehouse.estimates.batch import estimate_batch
from framehouse.estimates.outcomes import history
from framehouse.estimates.wire import BatchRequest
from framehouse.warehouse import Warehouse
from framehouse.warehouse.pool import Session
from framehouse.warehouse.statements import statement
from tests.builders import event, store

BEGIN = datetime.now(UTC) - timedelta(days=2)
#: What was predicted of each scene, in seconds: mean, P10, P50, P90.
PREDICTED = (10.2, 8.0, 10.0, 12.5)
#: What right estimates come to, again and again: four of five within P10-P90.
RIGHT = (10.0, 9.0, 13.0, 11.0, 8.5)


class Studio:
    """Jobs that finish one after the other, each an estimate of its own unless `size` says otherwise."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.count = 0

    def does(
        self, seconds: Iterable[float], *, workflow: str = "portrait", tier: str | None = "draft", size: int = 1,
        **fields: Any,
    ) -> list[Any]:  # fmt: skip
        """Scenes that took so many seconds, where ten were predicted; their jobs."""
        jobs, estimate_id = [], uuid4()
        with psycopg.connect(self.warehouse.url) as connection:
            for place, wall in enumerate(seconds):
                if place % size == 0:
                    estimate_id = uuid4()
                    connection.execute(
                        "insert into ops.estimates (id, request, answer, total_scenes, estimated_scenes)"
                        " values (%s, '{}', '{}', %s, %s)",
                        [estimate_id, size, size],
                    )
                self.count += 1
                connection.execute(
                    "insert into ops.estimate_scenes (estimate_id, scene_key, ordinal, workflow, tier,"
                    " segments_needed, sample_count, wall_seconds_mean, wall_seconds_p10, wall_seconds_p50,"
                    " wall_seconds_p90) values (%s, %s, %s, %s, %s, 4, 20, %s, %s, %s, %s)",
                    [estimate_id, f"scene-{place}", place, workflow, tier, *PREDICTED],
                )
                said = {
                    "estimate_id": str(estimate_id),
                    "scene_key": f"scene-{place}",
                    "workflow": workflow,
                    "tier": tier,
                    "wall_seconds": wall,
                    "finished_at": (BEGIN + timedelta(minutes=self.count)).isoformat(),
                }
                jobs.append(event(**(said | fields)))
        store(self.warehouse, jobs)
        return jobs

    def told(self) -> list[Alarm]:
        return list(history(self.warehouse).alarms)


@pytest.fixture
def studio(warehouse: Warehouse) -> Studio:
    return Studio(warehouse)


def slow(count: int, factor: float = 1.3) -> list[float]:
    return [factor * RIGHT[number % 5] for number in range(count)]


def right(count: int) -> list[float]:
    return slow(count, 1.0)


def kinds(found: Sequence[Alarm]) -> list[tuple[str, str, bool]]:
    return sorted((one.quantity, one.kind, one.closed_at is None) for one in found)


def marks(url: str) -> int:
    with psycopg.connect(url) as connection:
        [count] = connection.execute("select count(*) from ops.touched_scores").fetchone() or (0,)
    return int(count)


def test_right_estimates_raise_nothing(studio: Studio) -> None:
    studio.does(right(100))
    assert note_alarms(studio.warehouse) == []
    assert studio.told() == []
    assert marks(studio.warehouse.url) == 0


def test_a_shift_raises_an_alarm_that_says_so(studio: Studio) -> None:
    studio.does(right(30))
    assert note_alarms(studio.warehouse) == []
    studio.does(slow(25, 1.5))
    [alarm] = [one for one in note_alarms(studio.warehouse) if one.kind == "bias"]
    assert (alarm.workflow, alarm.tier, alarm.quantity) == ("portrait", "draft", "wall_seconds")
    assert alarm.closed_at is None
    assert 12 <= alarm.scene_count <= 30
    assert alarm.bias_ratio is not None
    assert alarm.bias_ratio == pytest.approx(10.2 / (1.5 * 10.3) - 1, abs=0.08)
    assert alarm.since_at > BEGIN + timedelta(minutes=20)
    assert alarm.until_at == BEGIN + timedelta(minutes=55)
    assert alarm.opened_at.tzinfo is UTC
    assert alarm.sentence.startswith("portrait at draft: wall time predicted 3")
    said = f"% too little over the last {alarm.scene_count} scenes; off since {alarm.since_at:%Y-%m-%d}"
    assert alarm.sentence.endswith(said)
    # Once more, nothing is new, and nothing is said twice.
    known = studio.told()
    assert note_alarms(studio.warehouse) == []
    studio.does(slow(1, 1.5))
    assert note_alarms(studio.warehouse) == []
    assert kinds(studio.told()) == kinds(known)


def test_intervals_that_hold_too_rarely_are_no_bias(studio: Studio) -> None:
    studio.does([6.0, 14.4] * 15)
    [alarm] = note_alarms(studio.warehouse)
    assert (alarm.kind, alarm.coverage_ratio) == ("coverage", 0.0)
    assert f"P10-P90 of wall time held for 0 of the last {alarm.scene_count} scenes" in alarm.sentence


def test_figures_are_of_the_newest_scenes_and_since_when_is_kept(studio: Studio) -> None:
    for _ in range(4):
        studio.does(slow(30, 1.5))
        note_alarms(studio.warehouse)
    for alarm in studio.told():
        assert alarm.since_at == BEGIN + timedelta(minutes=1)
        assert alarm.until_at == BEGIN + timedelta(minutes=120)
        assert alarm.scene_count < 100
        assert f"the last {alarm.scene_count} scenes" in alarm.sentence
        assert alarm.sentence.endswith(f"; off since {alarm.since_at:%Y-%m-%d}")


def test_an_alarm_is_closed_when_estimates_are_right_again(studio: Studio) -> None:
    studio.does(slow(30, 1.5))
    assert kinds(note_alarms(studio.warehouse)) == [
        ("wall_seconds", "bias", True),
        ("wall_seconds", "coverage", True),
    ]
    studio.does(right(10))
    assert note_alarms(studio.warehouse) == []
    studio.does(right(20))
    closed = note_alarms(studio.warehouse)
    assert kinds(closed) == [("wall_seconds", "bias", False), ("wall_seconds", "coverage", False)]
    assert all(", right again on " in one.sentence for one in closed)
    assert not any("last" in one.sentence for one in closed)
    # The scenes that raised it raise it no more; new ones do.
    studio.does(right(1))
    assert note_alarms(studio.warehouse) == []
    studio.does(slow(30, 1.5))
    assert kinds(note_alarms(studio.warehouse)) == [
        ("wall_seconds", "bias", True),
        ("wall_seconds", "coverage", True),
    ]
    assert [one.closed_at is None for one in studio.told()] == [True, True, False, False]


def test_what_is_needed_no_more_closes_its_alarm(studio: Studio) -> None:
    """The GPU time of a workflow that moves to the CPU is nothing, and is predicted to be."""
    studio.does(right(30), gpu_seconds=0.0)
    with psycopg.connect(studio.warehouse.url) as connection:
        connection.execute(
            "update ops.estimate_scenes set gpu_seconds_mean = 0, gpu_seconds_p10 = 0, gpu_seconds_p50 = 0,"
            " gpu_seconds_p90 = 0"
        )
        connection.execute(
            "insert into ops.estimate_alarms (workflow, tier, quantity, kind, since_at, until_at, scene_count,"
            " bias_ratio, coverage_ratio) values ('portrait', 'draft', 'gpu_seconds', 'bias', now(), now(), 30, -1, 0)"
        )
    assert kinds(note_alarms(studio.warehouse)) == [("gpu_seconds", "bias", False)]


def test_workflows_and_tiers_are_judged_by_their_own_scenes(studio: Studio) -> None:
    studio.does(right(30))
    studio.does(slow(30), tier="production")
    studio.does(slow(30), tier=None, workflow="audio")
    found = [one for one in note_alarms(studio.warehouse) if one.kind == "bias"]
    assert {(one.workflow, one.tier) for one in found} == {("portrait", "production"), ("audio", None)}
    assert any(one.sentence.startswith("audio: ") for one in found)
    only = history(studio.warehouse, workflow="audio").alarms
    assert {one.workflow for one in only} == {"audio"}


def test_one_batch_alone_convicts_nobody(studio: Studio) -> None:
    studio.does(slow(20, 2.0), size=20)
    assert note_alarms(studio.warehouse) == []
    studio.does(slow(40, 2.0), size=20)
    assert ("wall_seconds", "bias", True) in kinds(note_alarms(studio.warehouse))


def test_scenes_that_are_half_done_do_not_count(studio: Studio) -> None:
    """A scene of several jobs takes less than predicted until the last of them is done."""
    halves = studio.does(slow(30, 0.5), segment_count=2)
    assert note_alarms(studio.warehouse) == []
    store(studio.warehouse, [job.model_copy(update={"job_id": uuid4().hex}) for job in halves])
    assert note_alarms(studio.warehouse) == []
    # Nothing but how many segments they made tells them from scenes that took half the time.
    studio.does(slow(30, 0.5), workflow="other")
    assert ("wall_seconds", "bias", True) in kinds(note_alarms(studio.warehouse))


def test_a_late_attempt_is_looked_at_too(studio: Studio) -> None:
    jobs = studio.does(right(30))
    assert note_alarms(studio.warehouse) == []
    store(studio.warehouse, [job.model_copy(update={"job_id": uuid4().hex}) for job in jobs])
    assert ("wall_seconds", "bias", True) in kinds(note_alarms(studio.warehouse))


def test_outcomes_of_no_stored_scene_leave_no_mark(warehouse: Warehouse) -> None:
    store(warehouse, [event(estimate_id=str(uuid4()), scene_key="a")])
    assert marks(warehouse.url) == 0


def test_one_records_at_a_time(studio: Studio) -> None:
    studio.does(slow(30))
    with psycopg.connect(studio.warehouse.url) as other:
        other.execute("select pg_advisory_xact_lock(hashtext('framehouse.alarms'))")
        assert note_alarms(studio.warehouse) == []
    assert marks(studio.warehouse.url) > 0
    assert len(note_alarms(studio.warehouse)) == 2


def test_a_look_that_dies_has_done_nothing(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    studio.does(slow(30))
    usual = Session.run

    def dying(self: Session, name: str, params: Any = None) -> int:
        if name == "alarms.delete_marks":
            raise KeyboardInterrupt
        return usual(self, name, params)

    monkeypatch.setattr(Session, "run", dying)
    with pytest.raises(KeyboardInterrupt):
        note_alarms(studio.warehouse)
    monkeypatch.undo()
    assert studio.told() == []
    assert len(note_alarms(studio.warehouse)) == 2


@pytest.mark.parametrize("tier", ["draft", None])
def test_a_look_reads_the_newest_scenes_and_not_all(warehouse: Warehouse, tier: str | None) -> None:
    """How many are done the planner can only guess: it must not take them for so few that it looks at all."""
    key = {"workflow": "portrait", "tier": tier}
    with psycopg.connect(warehouse.url) as connection:
        connection.execute(
            "insert into ops.estimates (id, request, answer, total_scenes, estimated_scenes)"
            " select md5(n::text)::uuid, '{}', '{}', 20, 20 from generate_series(1, 1000) as n"
        )
        connection.execute(
            "insert into ops.estimate_scenes (estimate_id, scene_key, ordinal, workflow, tier, segments_needed,"
            " sample_count, wall_seconds_mean, wall_seconds_p10)"
            " select estimates.id, n, n, %(workflow)s, %(tier)s, 4, 20, 10, 8"
            " from ops.estimates, generate_series(1, 20) as n",
            key,
        )
        connection.execute(
            "insert into ops.estimate_outcomes (estimate_id, scene_key, attempt_count, wall_seconds, segment_count,"
            " finished_at, workflow, tier)"
            " select estimate_id, scene_key, 1, 10, 4, now() - random() * interval '90 days', workflow, tier"
            " from ops.estimate_scenes"
        )
        connection.execute("analyze ops.estimate_scenes, ops.estimate_outcomes")
        rows = connection.execute("explain " + statement("alarms.scenes"), key | {"limit": 1000}).fetchall()
    plan = "\n".join(line for (line,) in rows)
    assert "Backward using estimate_outcomes_by_workflow" in plan
    assert "Seq Scan" not in plan


def test_a_batch_is_told_what_is_off_of_its_own(studio: Studio) -> None:
    studio.does(slow(30))
    studio.does(slow(30), tier="production")
    studio.does(slow(30), workflow="other")
    note_alarms(studio.warehouse)
    scene = {"workflow": "portrait", "target_seconds": 2.0, "segment_seconds": 2.0}
    answer = estimate_batch(
        studio.warehouse, BatchRequest.model_validate({"scenes": [scene], "store": False})
    )
    assert [(one.workflow, one.tier, one.kind) for one in answer.alarms] == [
        ("portrait", "draft", "bias"),
        ("portrait", "draft", "coverage"),
    ]
    studio.does(right(30))
    note_alarms(studio.warehouse)
    again = estimate_batch(studio.warehouse, BatchRequest.model_validate({"scenes": [scene], "store": False}))
    assert again.alarms == ()


def test_maintenance_records_what_is_off(studio: Studio, tmp_path: Path) -> None:
    studio.does(slow(30))
    done = subprocess.run(
        [sys.executable, "-m", "framehouse.cli.main", "maintain"],
        env=os.environ
        | {"FRAMEHOUSE_DATABASE_URL": studio.warehouse.url, "FRAMEHOUSE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [one.sentence in done.stdout for one in studio.told()] == [True, True]


def test_services_may_mark_and_only_owners_record(warehouse: Warehouse) -> None:
    with psycopg.connect(warehouse.url, autocommit=True) as connection:
        connection.execute("set role framehouse_ingest")
        connection.execute("insert into ops.touched_scores (workflow) values ('portrait')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("delete from ops.estimate_alarms")


def test_the_numbers_here_are_right_estimates() -> None:
    """What this page calls right is: four of five within P10-P90, and a total within a twentieth."""
    within = [PREDICTED[1] <= one <= PREDICTED[3] for one in RIGHT]
    assert sum(within) == 4
    assert abs(math.log(sum(RIGHT) / 5 / PREDICTED[0])) < math.log(1.05)
