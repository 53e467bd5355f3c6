"""`framehouse estimate FILE`: JSON and CSV in, a table or JSON out, and clear words about what is wrong."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from framehouse.cli.estimate import read_request
from framehouse.warehouse import Warehouse
from framehouse.warehouse.rates import Rate, set_rate
from tests.estimates.test_batch import add_history

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def estimate(warehouse: Warehouse, tmp_path: Path) -> Run:
    add_history(warehouse, 12)
    add_history(warehouse, 2, tier="preview")

    def run(*arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "framehouse.cli.main", "estimate", *arguments],
            env=os.environ
            | {
                "FRAMEHOUSE_DATABASE_URL": warehouse.url,
                "FRAMEHOUSE_HOME": str(tmp_path / "home"),
                "FRAMEHOUSE_URL": "http://127.0.0.1:1",  # where nobody listens
            },
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


SCENES = [
    {"workflow": "portrait", "target_seconds": 10.0, "segment_seconds": 2.0},
    {"workflow": "portrait", "tier": "preview", "target_seconds": 4.0, "segment_seconds": 2.0},
    {"workflow": "portrait", "tier": None, "target_seconds": 4.0, "segment_seconds": 2.0},
]


def test_a_list_of_scenes_as_a_table(estimate: Run, tmp_path: Path) -> None:
    file = tmp_path / "batch.json"
    file.write_text(json.dumps(SCENES))
    done = estimate(str(file), "--workers", "2")
    assert done.returncode == 3, done.stderr
    assert "2 of 3 scenes" in done.stdout
    assert "No estimate available for 1 scene of portrait: no history; not in the totals" in done.stdout
    assert "too few samples" in done.stdout


def test_everything_known_ends_with_nought(estimate: Run) -> None:
    done = estimate("-", "--json", "--workers", "1", stdin=json.dumps({"scenes": SCENES[:1]}))
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["estimated_scenes"] == 1
    assert answer["wall_clock_hours"]["p50"] > 0
    assert answer["estimate_id"]


def test_what_was_off_lately_is_said(estimate: Run, warehouse: Warehouse) -> None:
    with psycopg.connect(warehouse.url) as connection:
        connection.execute(
            "insert into ops.estimate_alarms (workflow, tier, quantity, kind, since_at, until_at, scene_count,"
            " bias_ratio, coverage_ratio) values"
            " ('portrait', 'draft', 'disk_mb', 'bias', '2026-03-02 12:00+00', now(), 18, 0.24, 0.3)"
        )
    done = estimate("-", stdin=json.dumps(SCENES[:1]))
    said = "portrait at draft: disk predicted 24% too much over the last 18 scenes; off since 2026-03-02"
    assert f"lately off: {said}" in done.stdout
    assert "lately off" not in estimate("-", stdin=json.dumps(SCENES[1:2])).stdout


def test_csv_knows_the_default_tier_from_no_tier(estimate: Run) -> None:
    text = (
        "workflow,tier,target_seconds,segment_seconds\nportrait,,10,2\nportrait,-,10,2\nportrait,draft,10,2\n"
    )
    done = estimate("-", "--json", "--no-store", stdin=text)
    assert done.returncode == 3, done.stderr
    answer = json.loads(done.stdout)
    assert [scene["tier"] for scene in answer["scenes"]] == ["draft", None, "draft"]
    assert [scene["reason"] for scene in answer["scenes"]] == [None, "no_history", None]
    assert answer["estimate_id"] is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "scenes: List should have at least 1 item"),
        ("{", "is not JSON"),
        ('[{"workflow": "portrait"}]', "scenes[0].target_seconds: Field required"),
        ('[{"workflow": "portrait", "target_seconds": 1.0, "segment_seconds": 0.0}]', "at least 0.001"),
        (
            '[{"workflow": "portrait", "target_seconds": 1.0, "segment_seconds": 1.0, "tier": "ultra"}]',
            "draft, preview",
        ),
        ("workflow,target_seconds\nportrait,long\n", "line 2: target_seconds is 'long'"),
        ("workflow,target_seconds\n", "the file has no scenes"),
        ("workflow\nportrait,1,2\n", "line 2 has another number of columns"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(estimate: Run, text: str, said: str) -> None:
    done = estimate("-", stdin=text)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_file_and_a_missing_server(estimate: Run) -> None:
    done = estimate("/nowhere/batch.json")
    assert (done.returncode, "cannot be read" in done.stderr) == (1, True)
    done = estimate("-", "--server", stdin=json.dumps(SCENES))
    assert done.returncode == 1
    assert "no API at" in done.stderr
    assert "framehouse serve" in done.stderr


def test_parts_and_variations_for_people(estimate: Run, tmp_path: Path) -> None:
    file = tmp_path / "batch.json"
    scenes = [SCENES[0] | {"scene_type": kind} for kind in ("dialogue", "dialogue", "[action]")]
    file.write_text(json.dumps(scenes))
    done = estimate(
        str(file), "--workers", "1", "--by", "scene_type,tier", "--what-if", "tier=preview,workers=4", "--no-store"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    dialogue = next(number for number, line in enumerate(lines) if line.strip().startswith("dialogue"))
    assert "2 scenes" in lines[dialogue]
    assert lines[dialogue + 1].strip().startswith("draft")
    assert any("[action]" in line for line in lines)
    assert any("P10 - P90:" in line for line in lines)
    assert any("with one worker more" in line for line in lines)
    whole = " ".join(done.stdout.split())
    assert "if tier=preview,workers=4: GPU" in whole
    assert "; no wall clock: too few samples" in whole


def test_parameters_are_columns_with_a_dot(tmp_path: Path) -> None:
    file = tmp_path / "batch.csv"
    file.write_text(
        "workflow,target_seconds,segment_seconds,parameters.width,parameters.seed,parameters.style\n"
        "portrait,10,2,832,,noir\n"
        "portrait,10,2,,,\n"
        "portrait,10,2,0832,18446744073709551615,NaN\n"
    )
    first, second, third = read_request(str(file))["scenes"]
    assert first["parameters"] == {"width": 832, "style": "noir"}
    assert "parameters" not in second
    assert third["parameters"] == {"width": "0832", "seed": 2**64 - 1, "style": "NaN"}


def test_parts_say_what_they_cost(estimate: Run, warehouse: Warehouse) -> None:
    add_history(warehouse, 12, workflow="video", host={"gpu_model": "A100"})
    scenes = json.dumps([SCENES[0] | {"workflow": "video"}])
    assert " EUR" not in estimate("-", "--by", "workflow", "--no-store", stdin=scenes).stdout
    set_rate(warehouse, Rate("A100", datetime(2026, 1, 1, tzinfo=UTC), 3.6, "EUR"))
    done = estimate("-", "--by", "workflow", "--no-store", stdin=scenes)
    part = next(line for line in done.stdout.splitlines() if line.startswith("  video "))
    assert part.endswith(" EUR")


def test_energy_that_only_some_scenes_know_is_unknown(estimate: Run, warehouse: Warehouse) -> None:
    add_history(warehouse, 12, workflow="video", energy_joules=9000.0)
    video = SCENES[0] | {"workflow": "video"}
    assert " energy " not in estimate("-", "--no-store", stdin=json.dumps(SCENES[:1])).stdout
    assert " kWh" in estimate("-", "--no-store", stdin=json.dumps([video])).stdout
    done = estimate("-", "--no-store", stdin=json.dumps([video, SCENES[0]]))
    assert "energy     unknown" in done.stdout


def test_a_variation_says_how_many_scenes_it_leaves_out(estimate: Run) -> None:
    for scenes, said in ((SCENES[:1], "1 scene without"), (SCENES[:2], "2 scenes without")):
        done = estimate("-", "--what-if", "workflow=new", "--no-store", stdin=json.dumps(scenes))
        assert f"{said} an estimate" in " ".join(done.stdout.split())


@pytest.mark.parametrize("wrong", ["tier", "tier=", "speed=2", "workers=many", "workers=1,"])
def test_a_variation_that_says_nothing_is_refused(estimate: Run, wrong: str) -> None:
    done = estimate("-", "--what-if", wrong, stdin=json.dumps(SCENES[:1]))
    assert done.returncode == 1
    assert "give tier=NAME" in done.stderr
