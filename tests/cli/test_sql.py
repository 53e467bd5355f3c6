"""`framehouse sql`: an answer in every format, what answered on standard error, and clear words about what is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.ipc
import pyarrow.parquet
import pytest

from framehouse.warehouse import Warehouse
from framehouse.warehouse.maintain import maintain
from tests.builders import event, store
from tests.warehouse.cells import ask

Run = Callable[..., "subprocess.CompletedProcess[str]"]
COUNT = "select workflow_id, count(*), avg(wall_seconds) from performance_metrics group by 1"


def _environment(warehouse: Warehouse, folder: Path) -> dict[str, str]:
    return os.environ | {"FRAMEHOUSE_DATABASE_URL": warehouse.url, "FRAMEHOUSE_HOME": str(folder / "home")}


_PROGRAM = [sys.executable, "-m", "framehouse.cli.main", "sql"]


@pytest.fixture
def run(warehouse: Warehouse, tmp_path: Path) -> Run:
    store(warehouse, [event(workflow=name) for name in "aab"])
    maintain(warehouse)

    def run(*arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*_PROGRAM, *arguments],
            env=_environment(warehouse, tmp_path),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_every_format_says_the_same(run: Run, tmp_path: Path) -> None:
    done = run(COUNT)
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines()][0::2][:1] == [["workflow_id", "count", "avg"]]
    assert done.stderr == "from attempt_totals_by_workflow_daily\n"
    expected = {(1, 2, 10.0), (2, 1, 10.0)}
    rows = json.loads(run("--format", "json", COUNT).stdout)
    assert {tuple(row.values()) for row in rows} == expected
    lines = run("--format", "csv", "-", stdin=COUNT).stdout.splitlines()
    assert (lines[0], set(lines[1:])) == ("workflow_id,count,avg", {"1,2,10.0", "2,1,10.0"})
    for ending, read in (
        ("parquet", pyarrow.parquet.read_table),
        ("arrow", lambda path: pyarrow.ipc.open_file(path).read_all()),
    ):
        file = tmp_path / f"answer.{ending}"
        done = run("--output", str(file), COUNT)
        assert f"2 rows in {file}" in done.stderr
        assert {tuple(row.values()) for row in read(file).to_pylist()} == expected
    query = tmp_path / "report.sql"
    query.write_text(COUNT)
    query.write_text(f"-- a report\n{COUNT};\n-- its end\n")
    assert run("--file", str(query), "--format", "csv").stdout.splitlines()[0] == "workflow_id,count,avg"


def test_it_says_what_answered_and_why(run: Run) -> None:
    done = run("--raw", COUNT)
    assert done.stderr == "from raw rows: asked for\n"
    done = run("--why", COUNT)
    assert done.returncode == 0
    assert "attempt_totals_by_workflow_daily" in done.stdout
    assert "attempt_count" in done.stdout
    done = run("--why", "select count(distinct job_id) from performance_metrics")
    assert "raw rows: count(distinct job_id) needs every row" in done.stdout
    assert "reads no raw facts" in run("--why", "select 1").stdout


def test_a_table_is_cut_and_moves_no_cursor(run: Run) -> None:
    done = run("--rows", "2", "select chr(27) || '[31m' as x from generate_series(1, 3)")
    assert "2 of 3 rows" in done.stderr
    assert "\x1b" not in done.stdout
    assert "[31m" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give a query"),
        (("select 1", "--file", "x"), "give a query"),
        (("--file", "/nowhere/x.sql"), "cannot be read"),
        (("--output", "/nowhere/x.csv", "select 1"), "cannot be written"),
        (("delete from studio.workers",), "DELETE is not for reading"),
        (("select 1; select 2",), "several statements"),
        (("select * frm x",), "line 1, column 10: syntax error"),
        (("select nope from performance_metrics",), 'column "nope" does not exist'),
        (("select pg_sleep(1)",), "may do more than read"),
        (
            ("--timeout", "0.05", "select count(*) from generate_series(1, 1000000000000)"),
            "longer than it may",
        ),
        (("--why", "--timeout", "0.05", "select factorial(30000)"), "longer than it may"),
        (("select '\udcff'",), "cannot be sent"),  # a byte that is no UTF-8
    ],
)
def test_what_is_wrong_is_said(run: Run, arguments: tuple[str, ...], said: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_it_on_the_server_too(warehouse: Warehouse, tmp_path: Path) -> None:
    text = "select count(*) from generate_series(1, 1000000000000)"
    busy = f"select count(*) from pg_stat_activity where state = 'active' and query = '{text}'"
    with subprocess.Popen(
        [*_PROGRAM, text],
        env=_environment(warehouse, tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        _until(lambda: ask(warehouse.url, busy) == 1)
        running.send_signal(signal.SIGINT)
        assert running.wait(60) != 0
    _until(lambda: ask(warehouse.url, busy) == 0)


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)
