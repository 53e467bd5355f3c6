"""Rollups of attempts, three deep and with a mart above, are renewed twice over history whose raw rows are gone."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

import migrations
from framehouse import metrics
from framehouse.errors import NoAnswerError
from framehouse.warehouse import Warehouse
from framehouse.warehouse.build import build
from framehouse.warehouse.maintain import Backlog, backlog, maintain
from framehouse.windows import Window
from tests.conftest import TestServer
from tests.warehouse.cells import QUARTER, ask, exact, fill
from tests.warehouse.history import (
    ADDED,
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
    project_without,
)

TOTALS = tuple(f"attempt_totals_by_workflow_{grain}" for grain in ("fine", "hourly", "daily"))

MART = """
    select array_agg((workflow, tier, sample_count, round(avg_gpu_secs_per_segment::numeric, 6))::text
                     order by workflow, tier)
    from mart.generation_metrics"""
SINCE_WHEN = f"""
    select jsonb_object_agg(key, value::timestamptz = '{FENCE.isoformat()}')
    from ops.rollups, jsonb_each_text(parts_from) where name = %s"""


@pytest.fixture
def studio(server: TestServer, tmp_path: Path) -> Iterator[Warehouse]:
    """A studio whose rollups by workflow were built by a version that knew two parts less."""
    url = server.create()
    migrations.upgrade(url)
    with Warehouse(url) as warehouse:
        live(warehouse, project_without(tmp_path, *ADDED), tmp_path)
        yield warehouse
    server.drop(url)


def test_a_second_renewal_keeps_what_the_first_one_kept(studio: Warehouse, tmp_path: Path) -> None:
    before = history(studio.url, without=ADDED)
    old = names_in(before)
    known = ask(studio.url, MART)
    assert known
    later = Window(FENCE, NOW)
    for version, project in ((2, project_without(tmp_path, ADDED[1])), (3, None)):
        build(studio, log_dir=tmp_path, project=project, is_renewing=True)
        assert backlog(studio) == Backlog(0, 0, 0)
        assert history(studio.url, without=ADDED, only=old) == before
        assert ask(studio.url, MART) == known, "neither needs what was added"
        for name in (FINE, DAILY, *TOTALS):
            assert ask(studio.url, "select version from ops.rollups where name = %s", name) == version
            assert ask(studio.url, SINCE_WHEN, name) == dict.fromkeys(ADDED[: version - 1], True), (
                "known from the fence on"
            )
        # What the first renewal added is no more known of the time before, after the second.
        [row] = metrics.read(studio, ["cold_ratio"], window=later, where={"workflow": "a"})
        [raw] = metrics.read(studio, ["cold_ratio"], window=later, where={"workflow": "a"}, is_raw=True)
        assert row == pytest.approx(raw, rel=1e-9)
        with pytest.raises(NoAnswerError):
            metrics.read(studio, ["cold_ratio"], window=Window(START, NOW), by="workflow")
    exact(studio.url, zone_name=NEW_YORK, since=SINCE)
    assert ask(studio.url, "select count(*) from ops.retired_rollups") == 10
    fill(studio, Random("later"), [FENCE, FENCE + QUARTER * 96 * 5])
    exact(studio.url, zone_name=NEW_YORK, since=SINCE)
    maintain(studio)
    exact(studio.url, zone_name=NEW_YORK, since=SINCE)
    build(studio, log_dir=tmp_path, command=("run", "--full-refresh"))
    assert history(studio.url, without=ADDED, only=old) == before
