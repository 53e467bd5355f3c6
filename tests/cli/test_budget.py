"""`framehouse budget list | set | archive | crossings`, and `framehouse estimate --submit`."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from framehouse.cli.maintain import Keeper
from framehouse.errors import BudgetExceededError
from framehouse.estimates.batch import estimate_batch
from framehouse.estimates.submission import crossings, submit
from framehouse.estimates.wire import BatchRequest
from framehouse.warehouse import Warehouse
from tests.builders import event, store
from tests.cli.conftest import Command

SCENE = {"workflow": "portrait", "target_seconds": 2.0, "segment_seconds": 2.0}


def add_history(warehouse: Warehouse) -> None:
    """A segment takes one GPU hour."""
    store(
        warehouse,
        [event(tier="draft", segment_count=1, gpu_count=1, gpu_seconds=3600.0) for _ in range(10)],
    )


def test_budgets_from_the_first_to_the_last(warehouse: Warehouse, command: Command) -> None:
    url = warehouse.url
    assert "there are no budgets" in command(url, "budget", "list").output
    done = command(url, "budget", "set", "film hours", "2", "gpu_hours", "--project", "film")
    assert "film hours: 2.00 gpu_hours a month for film" in done.output
    done = command(
        url, "budget", "set", "shoot", "30", "cost", "--from", "2026-07-01", "--to", "2026-07-15",
        "--block", "never",
    )  # fmt: skip
    assert "shoot: 30.00 cost once for the whole studio" in done.output
    store(warehouse, [event(finished_at=datetime.now(UTC).isoformat(), project="film", gpu_seconds=6300.0)])
    shown = command(url, "budget", "list").output
    assert "1.75" in shown
    assert "warn" in shown
    listed = {
        one["budget"]["name"]: one for one in json.loads(command(url, "budget", "list", "--json").output)
    }
    assert (listed["shoot"]["starts_at"], listed["shoot"]["budget"]["block_ratio"]) == (
        "2026-07-01T00:00:00Z",
        None,
    )
    assert listed["film hours"]["remaining"] == 0.25
    command(url, "budget", "set", "film hours", "4", "gpu_hours", "--project", "film", "--warn", "0.9")
    assert json.loads(command(url, "budget", "list", "--json").output)[0]["remaining"] == 2.25
    assert command(url, "budget", "archive", "film hours").exit_code == 0
    assert "film hours" not in command(url, "budget", "list").output
    assert "archived" in command(url, "budget", "list", "--all").output
    gone = command(url, "budget", "archive", "film minutes")
    assert (gone.exit_code, "there is no budget 'film minutes'" in gone.output) == (1, True)


def test_crossings_are_listed(warehouse: Warehouse, command: Command) -> None:
    assert "no budget has crossed a level" in command(warehouse.url, "budget", "crossings").output
    add_history(warehouse)
    command(warehouse.url, "budget", "set", "film hours", "2", "gpu_hours", "--project", "film")
    for scenes in (2, 1):
        batch = BatchRequest.model_validate({"scenes": [SCENE] * scenes, "project": "film"})
        answer = estimate_batch(warehouse, batch)
        assert answer.estimate_id is not None
        if scenes == 2:
            submit(warehouse, answer.estimate_id)
        else:
            with pytest.raises(BudgetExceededError):
                submit(warehouse, answer.estimate_id)
    said = command(warehouse.url, "budget", "crossings").output
    assert f"film hours: refused by estimate {answer.estimate_id}" in said
    assert "film hours: warn level crossed by estimate" in said
    lines = command(warehouse.url, "budget", "crossings", "--json").output.splitlines()
    assert [json.loads(line)["is_refused"] for line in lines] == [True, False]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("x", "-1", "cost"), "this is no budget"),
        (("x", "nan", "cost"), "this is no budget"),
        (("x", "much", "cost"), "not a valid float"),
        (("x", "1", "gpu_minutes"), "gpu_hours"),
        (("x", "1", "cost", "--from", "July", "--to", "2026-07-15"), "'July' is no day"),
        (("x", "1", "cost", "--from", "2026-07-15"), "ends_at"),
        (("x", "1", "cost", "--period", "week", "--to", "2026-07-15"), "give --period, or --from and --to"),
        (("x", "1", "cost", "--block", "no"), "'no' is no share"),
        (("x", "1", "cost", "--block", "0.1"), "block_ratio"),
        (("x\ny", "1", "cost"), "name must be"),
    ],
)
def test_what_is_no_budget_is_refused(
    warehouse: Warehouse, command: Command, words: tuple[str, ...], says: str
) -> None:
    done = command(warehouse.url, "budget", "set", *words)
    assert done.exit_code != 0
    assert says in done.output
    assert "there are no budgets" in command(warehouse.url, "budget", "list").output


def test_an_estimate_is_submitted_until_a_budget_is_spent(
    warehouse: Warehouse, command: Command, tmp_path: Path
) -> None:
    add_history(warehouse)
    command(warehouse.url, "budget", "set", "film hours", "2", "gpu_hours", "--project", "film")

    def estimate(*options: str, scenes: int = 1, **fields: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "framehouse.cli.main", "estimate", "-", *options],
            env=os.environ
            | {"FRAMEHOUSE_DATABASE_URL": warehouse.url, "FRAMEHOUSE_HOME": str(tmp_path / "home")},
            input=json.dumps({"scenes": [SCENE] * scenes} | fields),
            capture_output=True,
            text=True,
            check=False,
        )

    told = estimate("--project", "film", scenes=3)
    assert told.returncode == 0, told.stderr
    assert "film hours: 0.00 spent, 0.00 committed, 3.00 asked for, of 2.00 gpu_hours: block" in told.stdout
    done = estimate("--project", "film", "--submit", scenes=2)
    assert done.returncode == 0, done.stderr
    assert "submitted for film" in done.stdout
    assert "warning: budget 'film hours'" in done.stderr
    refused = estimate("--submit", "--json", project="film")
    assert refused.returncode == 4
    assert json.loads(refused.stdout)["submission"] is None
    assert "not submitted: budget 'film hours'" in refused.stderr
    assert "there is room for at most 0.00 gpu_hours more" in refused.stderr
    assert estimate("--submit").returncode == 0, "which is no project's"
    assert estimate("--submit", "--no-store").returncode == 2
    assert "nothing to submit" in estimate("--submit", store=False).stderr


def test_maintenance_records_what_is_spent_above_a_level(warehouse: Warehouse, command: Command) -> None:
    command(warehouse.url, "budget", "set", "film hours", "2", "gpu_hours", "--project", "film")
    store(warehouse, [event(finished_at=datetime.now(UTC).isoformat(), project="film", gpu_seconds=9000.0)])
    keeper = Keeper(lambda: warehouse.url, 0.1)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(keeper.run)
        try:
            until = time.monotonic() + 30
            while not crossings(warehouse) and time.monotonic() < until:
                time.sleep(0.05)
        finally:
            keeper.stop()
            running.result()
    assert {(one.level, one.estimate_id) for one in crossings(warehouse)} == {("warn", None), ("block", None)}
