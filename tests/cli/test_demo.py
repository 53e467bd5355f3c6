"""The demo, whole: real ffmpeg jobs, landed, rolled up, estimated, run and scored."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg


def demo(database_url: str, home: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "framehouse.cli.main", "demo"],
        env=os.environ | {"FRAMEHOUSE_DATABASE_URL": database_url, "FRAMEHOUSE_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demo_does_the_main_job_and_a_second_run_adds_to_it(database_url: str, tmp_path: Path) -> None:
    first = demo(database_url, tmp_path / "home")
    # What it shows: averages, an interval beside an actual, and an honest absence.
    assert re.search(r"create_video_export +draft +10 ", first)
    assert re.search(r"create_video_export +preview +3 ", first)
    assert re.search(r"upload_thumb +- +6 ", first)
    assert re.search(r"create_video_export +draft .* s - .* s ", first)
    assert re.search(r"create_title_card_v1 +draft +No estimate available", first)
    with psycopg.connect(database_url) as connection:
        workflows = connection.execute(
            "select w.name, t.name, count(*) from telemetry.performance_metrics m"
            " join studio.workflows w on w.id = m.workflow_id left join studio.resolution_tiers t on t.id = m.tier_id"
            " where m.outcome = 'succeeded' and m.estimate_id is null group by 1, 2"
        ).fetchall()
        scored = connection.execute("select count(*) from mart.estimate_scores").fetchone()
        strays = connection.execute("select count(*) from ops.quarantine").fetchone()
    counts = {(name, tier): count for name, tier, count in workflows}
    assert counts["create_video_export", "draft"] == 10
    assert min(counts.values()) == 3
    assert sum(counts.values()) == 40
    assert scored == (10,)
    assert strays == (0,)
    assert not list((tmp_path / "home" / "spool").glob("*"))
    second = demo(database_url, tmp_path / "home")
    assert re.search(r"create_title_card_v1 +draft +1 ", second)
    assert re.search(r"create_title_card_v2 +draft +No estimate available", second)
    with psycopg.connect(database_url) as connection:
        total = connection.execute("select count(*) from telemetry.performance_metrics").fetchone()
    assert total == (60,)
