"""What is known of raw data that was dropped stays known: renames, retries, renewals, kills and drops by hand."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import psycopg
import pytest

import migrations
from framehouse import metrics
from framehouse.errors import DefinitionError
from framehouse.warehouse import Warehouse, pool
from framehouse.warehouse.build import build, profile, project_dir
from framehouse.warehouse.maintain import Backlog, backlog, maintain
from framehouse.windows import Window
from ingest.writer import Result, Status, write_events
from tests.builders import event
from tests.conftest import TestServer
from tests.warehouse.cells import QUARTER, ask, exact, fill, is_community, wrong_cells
from tests.warehouse.history import (
    DAILY,
    FENCE,
    FINE,
    NEW_YORK,
    NOW,
    SINCE,
    START,
    history,
    live,
    names_in,
    told,
)
from tests.warehouse.kills import Kill

NOTHING = Backlog(0, 0, 0)
WHOLE = Window(START, NOW)


@pytest.fixture(scope="module")
def fenced(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A studio in New York with raw data dropped behind the fence."""
    url = server.create()
    migrations.upgrade(url)
    with Warehouse(url) as warehouse:
        live(warehouse, None, tmp_path_factory.mktemp("log"))
    yield server.freeze(url)
    server.drop(url)


@pytest.fixture
def studio(server: TestServer, fenced: str) -> Iterator[Warehouse]:
    url = server.create(template=fenced)
    with Warehouse(url) as warehouse:
        yield warehouse
    server.drop(url)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the dbt project, to be changed."""
    return Path(shutil.copytree(project_dir(), tmp_path / "project"))


def rename(project: Path, old: str, new: str, *, is_followed: bool = True) -> None:
    """Rename a model's file, and what is said of it elsewhere in the project."""
    models = project / "models"
    (models / "rollup" / f"{old}.sql").rename(models / "rollup" / f"{new}.sql")
    yml = models / "rollup" / "rollups.yml"
    yml.write_text(yml.read_text().replace(f"- name: {old}\n", f"- name: {new}\n"))
    for path in models.rglob("*.sql"):
        path.write_text(path.read_text().replace(f"ref('{old}')", f"ref('{new}')"))


def late(warehouse: Warehouse, seed: str) -> None:
    """Rows just above the fence, one below it that is refused, and what is made of them."""
    fill(warehouse, Random(seed), [FENCE, FENCE + QUARTER, FENCE + timedelta(days=4)])
    [result] = write_events(warehouse, [event(finished_at=(FENCE - QUARTER).isoformat())])
    assert (result.status, result.code) == (Status.REJECTED, "too_old")
    exact(warehouse.url, zone_name=NEW_YORK, since=SINCE)
    maintain(warehouse)
    assert backlog(warehouse) == NOTHING
    exact(warehouse.url, zone_name=NEW_YORK, since=SINCE)


def test_a_renamed_leaf_leaves_the_history_of_its_old_name(
    studio: Warehouse, project: Path, tmp_path: Path
) -> None:
    """From raw rows it knows nothing of before the fence; from a finer rollup all that that one knows."""
    before = history(studio.url)
    rename(project, "attempts_by_worker_workflow_daily", "renamed_from_raw")
    rename(project, "heartbeats_by_worker_daily", "renamed_heartbeats")
    build(studio, log_dir=tmp_path, project=project)
    old = names_in(before)
    assert history(studio.url, only=old) == before
    assert backlog(studio) == NOTHING

    known = "select complete_from::text from ops.rollups where name = %s"
    assert ask(studio.url, known + " and complete_from = %s", "renamed_from_raw", FENCE)
    assert ask(studio.url, "select min(bucket) >= %s from rollup.renamed_from_raw", FENCE)
    assert told(studio.url, "renamed_heartbeats") == told(studio.url, "heartbeats_by_worker_daily")
    assert ask(studio.url, known, "renamed_heartbeats") == ask(
        studio.url, known, "heartbeats_by_worker_daily"
    )
    late(studio, "leaf")
    assert history(studio.url, only=old) == before
    build(studio, log_dir=tmp_path)  # and back again
    assert history(studio.url, only=old) == before


def test_a_renamed_rollup_that_others_read_is_refused_where_history_would_not_follow(
    studio: Warehouse, project: Path, tmp_path: Path
) -> None:
    before = history(studio.url)
    old = names_in(before)
    answer = list(metrics.read(studio, ["attempt_count", "gpu_hours"], window=WHOLE, by="workflow"))
    rename(project, FINE, "renamed_fine")
    for is_renewing, said in ((False, "another definition"), (True, "other rows or buckets")):
        with pytest.raises(DefinitionError, match=said) as caught:
            build(studio, log_dir=tmp_path, project=project, is_renewing=is_renewing)
        assert DAILY in str(caught.value)
        assert history(studio.url, only=old) == before
    # The new name stands, and knows what raw rows say; the old one goes on.
    assert ask(studio.url, "select complete_from = %s from ops.rollups where name = 'renamed_fine'", FENCE)
    maintain(studio)
    late(studio, "fine")
    assert ask(studio.url, "select min(bucket) >= %s from rollup.renamed_fine", FENCE)
    counted = "select sum(attempt_count)::int from rollup.{} where bucket >= %s"
    assert ask(studio.url, counted.format("renamed_fine"), FENCE) == ask(
        studio.url, counted.format(FINE), FENCE
    )
    assert history(studio.url, only=old) == before

    # Renamed together they stand beside the old ones, from the fence on.
    rename(project, DAILY, "renamed_daily")
    build(studio, log_dir=tmp_path, project=project)
    assert ask(studio.url, "select complete_from = %s from ops.rollups where name = 'renamed_daily'", FENCE)
    assert ask(studio.url, "select min(bucket) >= %s from rollup.renamed_daily", FENCE)
    assert history(studio.url, only=old) == before
    build(studio, log_dir=tmp_path)
    assert history(studio.url, only=old) == before
    [was], [now] = (
        [row for row in rows if row["workflow"] == "a"]
        for rows in (answer, list(metrics.read(studio, ["gpu_hours"], window=WHOLE, by="workflow")))
    )
    assert now["gpu_hours"] >= was["gpu_hours"]  # type: ignore[operator]


def dbt(url: str, project: Path, *command: str, **variables: object) -> bool:
    """Run dbt as an analyst does who has the project; its target is kept beside the models."""
    from dbt.cli.main import dbtRunner

    given = ["--vars", json.dumps(variables)] if variables else []
    with profile(url) as profiles:
        folders = ["--project-dir", str(project), "--profiles-dir", str(profiles)]
        quiet = ["--log-level", "none", "--log-level-file", "none", "--no-partial-parse"]
        return dbtRunner().invoke([*command, *folders, *quiet, *given]).success


@pytest.mark.parametrize("more", [(), ("--full-refresh",)])
def test_a_retry_goes_on_where_a_run_failed_and_changes_no_history(
    studio: Warehouse, project: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    before = history(studio.url)
    old = names_in(before)
    models = project / "models"
    added = (models / "rollup" / f"{DAILY}.sql").read_text()
    (models / "rollup" / "an_added_daily.sql").write_text(added)
    (models / "rollup" / "broken_daily.sql").write_text(added.replace("max(newest", "max(no_newest"))
    (models / "mart" / "of_broken.sql").write_text(
        "{{ config(contract={'enforced': false}) }} select sum(attempt_count) from {{ ref('broken_daily') }}"
    )
    calendar = {"studio_zone": NEW_YORK}
    assert not dbt(studio.url, project, "run", *more, **calendar)
    built = "select count(*) from ops.rollups where name = %s"
    assert ask(studio.url, built, "an_added_daily") == 1
    assert ask(studio.url, built, "broken_daily") == 0
    assert history(studio.url, only=old) == before
    assert not dbt(studio.url, project, "retry"), "it is still broken"
    assert history(studio.url, only=old) == before

    (models / "rollup" / "broken_daily.sql").write_text(added)
    assert dbt(studio.url, project, "retry")
    assert history(studio.url, only=old) == before
    for name in ("an_added_daily", "broken_daily"):
        assert told(studio.url, name) == told(studio.url, DAILY)
    late(studio, "retry")
    build(studio, log_dir=tmp_path, command=("run", "--full-refresh"))
    assert history(studio.url, only=old) == before


def test_a_first_build_killed_again_and_again_is_exact(
    empty_database_url: str, tmp_path: Path, kill: Kill
) -> None:
    migrations.upgrade(empty_database_url)
    random, kills = Random("first"), 0
    with Warehouse(empty_database_url) as warehouse:
        fill(warehouse, random, [START + QUARTER * random.randrange(9 * 96) for _ in range(60)])
        for n in range(4):
            kills += kill(
                "build", empty_database_url, tmp_path, after=(n + random.random()) * 0.4, zone=NEW_YORK
            )
            with psycopg.connect(empty_database_url) as connection:
                connection.execute("set transaction isolation level repeatable read read only")
                names = {row[0] for row in connection.execute("select name from ops.rollups")}
                assert wrong_cells(connection, zone_name=NEW_YORK, only=names) == []
        assert kills >= 3
        finish(warehouse, project_dir(), tmp_path)
    exact(empty_database_url, zone_name=NEW_YORK)


def finish(warehouse: Warehouse, project: Path, folder: Path) -> None:
    """Build, and wait for what the server still does for somebody who was killed."""
    build(warehouse, log_dir=folder, studio_zone=NEW_YORK, project=project)
    deadline = time.monotonic() + 60
    while backlog(warehouse) != NOTHING:
        assert time.monotonic() < deadline
        if not maintain(warehouse):
            time.sleep(0.05)


def test_a_build_killed_again_and_again_changes_no_history(
    studio: Warehouse, project: Path, tmp_path: Path, kill: Kill
) -> None:
    """One that adds rollups, and then one that has nothing to do."""
    random, kills = Random("again"), 0
    before = history(studio.url)
    old = names_in(before)
    models = project / "models" / "rollup"
    for name in (FINE, DAILY, "heartbeats_by_worker_daily"):
        (models / f"added_{name}.sql").write_text((models / f"{name}.sql").read_text())
    for n in range(4):
        kills += kill(
            "build", studio.url, tmp_path, after=(n + random.random()) * 0.4, project=project, zone=NEW_YORK
        )
        assert history(studio.url, only=old) == before
    finish(studio, project, tmp_path)
    for name in (DAILY, "heartbeats_by_worker_daily"):
        assert told(studio.url, f"added_{name}") == told(studio.url, name)
    for _ in range(2):
        kills += kill(
            "build", studio.url, tmp_path, after=random.random() * 0.8, project=project, zone=NEW_YORK
        )
        assert history(studio.url, only=old) == before
    assert kills >= 4
    late(studio, "killed")
    finish(studio, project, tmp_path)
    assert history(studio.url, only=old) == before


def test_a_drop_by_hand_under_a_warm_writer_loses_nothing(
    studio: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XX000 for real: the writer waits for a chunk that is gone when its turn comes. Retention never does that."""
    at = datetime(2026, 1, 13, tzinfo=UTC)
    around = (at + timedelta(days=7), at - timedelta(days=7))
    met: list[str | None] = []
    whole = pool.is_retryable

    def noticed(error: BaseException) -> bool:
        met.append(getattr(error, "sqlstate", None))
        return whole(error)

    monkeypatch.setattr("ingest.verdict.is_retryable", noticed)
    results: list[Result] = []
    warm = [event(finished_at=(at + QUARTER * n).isoformat()) for n in range(8)]
    for one in warm:  # so often that its statements are prepared and their plans kept
        assert write_events(studio, [one])[0].status is Status.ACCEPTED
    maintain(studio)
    known = int(str(ask(studio.url, f"select sum(attempt_count) from rollup.{FINE}")))
    last = event(finished_at=(at + QUARTER * 20).isoformat())
    with psycopg.connect(studio.url) as by_hand:
        dropped = by_hand.execute(
            "select drop_chunks('telemetry.performance_metrics', older_than => %s::timestamptz,"
            " newer_than => %s::timestamptz)", around).fetchall()  # fmt: skip
        assert dropped
        writer = threading.Thread(target=lambda: results.extend(write_events(studio, [last])))
        writer.start()
        deadline = time.monotonic() + 60
        while not ask(studio.url, "select count(*) from pg_locks where not granted and database = "
                                  "(select oid from pg_database where datname = current_database())"):  # fmt: skip
            assert time.monotonic() < deadline, "the writer never came to the chunk"
            time.sleep(0.01)
        by_hand.commit()
    writer.join()
    assert [result.status for result in results] == [Status.ACCEPTED]
    # Newer TimescaleDB (2.29) notices by itself and makes the chunk again.
    assert met == ([] if is_community(studio.url) else ["XX000"])
    assert (
        ask(studio.url, "select count(*) from telemetry.performance_metrics where job_id = %s", last.job_id)
        == 1
    )
    maintain(studio)
    assert ask(studio.url, f"select sum(attempt_count) from rollup.{FINE}") == known + 1
    [again] = write_events(studio, [last])
    assert again.status is Status.DUPLICATE
