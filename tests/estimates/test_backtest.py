"""Replaying files of attempts: what is read, what is refused, and how good forecasts are on real ones."""

import csv
import gzip
import json
import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from framehouse.cli.main import cli
from framehouse.errors import ConfigError, ContractError
from framehouse.estimates.backtest import Attempt, backtest, pinball
from framehouse.estimates.trace import Columns, read_trace

DATA = Path(__file__).parents[3] / "shared" / "data"
STABLE_DIFFUSION = (
    "sd_benchmark_2023.csv.gz", "--key", "gpu,batch_size", "--time", "ts", "--cost", "20 * batch_size / it_per_s",
)  # fmt: skip
X264 = ("x264_hardware_runs.csv.gz", "--key", "video,configurationID", "--order", "random", "--cost", "etime")


def asked(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["backtest", *map(str, arguments)])


def unwrapped(done: Result) -> str:
    return " ".join(done.stdout.split())


def figures(*arguments: object) -> dict[str, Any]:
    done = asked(*arguments, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("trace", [STABLE_DIFFUSION, X264], ids=["stable diffusion", "x264"])
def test_forecasts_of_real_attempts_beat_means_and_hold(trace: tuple[str, ...]) -> None:
    if not (DATA / trace[0]).exists():
        pytest.skip(f"there is no {trace[0]} here")
    found = figures(DATA / trace[0], *trace[1:])
    ours, mean, weighted, median = found["scores"]
    assert [one["name"] for one in found["scores"]] == ["framehouse", "mean", "weighted mean", "median"]
    for other in (mean, weighted, median):
        assert ours["mdape_ratio"] < other["mdape_ratio"]
        assert ours["p90_loss"] < other["p90_loss"]
    assert 0.78 <= ours["coverage_ratio"] <= 0.82
    assert found["answered_ratio"] > 0.95


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    return [
        {
            "workflow": "portrait", "tier": ("draft", "")[n % 2], "worker": f"gpu-{n % 3}", "outcome": "succeeded",
            "finished_at": f"2026-03-{1 + n // 10:02}T{n % 10:02}:00:00Z", "segment_count": 1 + n % 4,
            "wall_seconds": round(float((1 + n % 4) * rng.lognormal(3, 0.1)), 3),
        }
        for n in range(200)
    ]  # fmt: skip


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows in a file of the kind that its name says."""
    name = path.name.lower()
    kind = name.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)
        return path
    with gzip.open(path, "wt") if name.endswith(".gz") else path.open("w") as file:
        if kind == "csv":
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        elif kind == "json":
            json.dump(rows, file)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


@pytest.mark.parametrize(
    "name", ["a.csv", "a.csv.gz", "a.CSV.GZ", "a.ndjson", "a.jsonl.gz", "a.json", "a.parquet"]
)
def test_every_kind_of_file_says_the_same(tmp_path: Path, rows: list[dict[str, Any]], name: str) -> None:
    found = figures(write(tmp_path / name, rows))
    assert found == figures(write(tmp_path / "same.ndjson", rows))
    assert (found["attempt_count"], found["answered_count"]) == (200, 198)
    assert found["scores"][0]["mdape_ratio"] < 0.1


def test_nested_fields_of_events_are_work(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    events = []
    for n in range(100):
        seconds = float(rng.uniform(5, 500))
        events.append({
            "workflow": "proxy", "tier": None, "outcome": "succeeded", "finished_at": f"2026-03-01T00:00:{n:02}Z",
            "input": {"duration_seconds": seconds}, "wall_seconds": seconds / 10 * rng.lognormal(0, 0.05),
        })  # fmt: skip
    found = figures(write(tmp_path / "events.ndjson", events[:60]))
    assert found["scores"][0]["mdape_ratio"] < 0.1 < found["scores"][1]["mdape_ratio"]


@pytest.mark.parametrize("name", ["a.csv", "a.ndjson", "a.parquet"])
def test_cold_starts_are_apart(tmp_path: Path, rows: list[dict[str, Any]], name: str) -> None:
    """That a model was loaded explains what those attempts cost; who is not told so has them among the others."""
    rng = np.random.default_rng(3)
    for row in rows:
        row["is_cold"] = bool(rng.random() < 0.3)
        row["wall_seconds"] += 200.0 * row["is_cold"]
    told = figures(write(tmp_path / name, rows))["scores"][0]
    silent = figures(write(tmp_path / name, [row | {"is_cold": None} for row in rows]))["scores"][0]
    assert told["p90_loss"] < 0.8 * silent["p90_loss"]
    attempts = read_trace(write(tmp_path / name, rows), Columns()).attempts
    assert [attempt.is_cold for attempt in attempts] == [row["is_cold"] for row in rows]


@pytest.mark.parametrize("words", [("t", "f"), ("1", "0"), ("1.0", "0.0"), ("yes", "no"), ("TRUE", "FALSE")])
def test_cold_starts_are_told_in_many_words(
    tmp_path: Path, rows: list[dict[str, Any]], words: tuple[str, str]
) -> None:
    """`copy ... to ... csv` writes t and f, a data frame with gaps 1.0 and 0.0."""
    told = [row | {"is_cold": (*words, "")[n % 3]} for n, row in enumerate(rows)]
    found = read_trace(write(tmp_path / "a.csv", told), Columns()).attempts
    assert [one.is_cold for one in found[:3]] == [True, False, None]


def test_a_file_without_times_keeps_its_order_and_that_is_told(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    path = write(tmp_path / "a.csv", [{k: v for k, v in row.items() if k != "finished_at"} for row in rows])
    assert "There is no column finished_at" in asked(path).stderr
    assert "finished_at" not in asked(path, "--order", "file").stderr
    assert asked(path, "--time", "ended").exit_code == 1


def test_what_failed_or_has_no_cost_is_left_out_and_told(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    rows[0]["outcome"] = "failed"
    rows[1]["wall_seconds"] = None
    done = asked(write(tmp_path / "a.csv", rows))
    assert done.exit_code == 0, done.output
    assert "Left out: 1 that did not succeed, 1 without a finite wall_seconds of 0 or more." in unwrapped(
        done
    )
    assert "198 attempts" in done.stdout
    figures_alone = asked(tmp_path / "a.csv", "--json")
    assert json.loads(figures_alone.stdout)["attempt_count"] == 198
    assert "Left out: 1 that did not succeed, 1 without" in figures_alone.stderr


def test_the_order_is_that_of_time_or_of_chance(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    path = write(tmp_path / "a.csv", rows)
    backwards = write(tmp_path / "b.csv", rows[::-1])
    assert figures(path) == figures(backwards)
    assert figures(path, "--order", "file") == figures(path)
    assert figures(backwards, "--order", "file") != figures(path)
    assert figures(path, "--order", "random", "--seed", 3) == figures(path, "--order", "random", "--seed", 3)
    assert figures(path, "--order", "random", "--seed", 3) != figures(path, "--order", "random", "--seed", 4)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--cost", "minutes"), "has no column 'minutes'"),
        (("--cost", "wall_seconds +"), "no arithmetic"),
        (("--cost", "__import__('os')"), "no arithmetic"),
        (("--cost", "workflow"), "holds no numbers"),
        (("--cost", "9" * 400), "no arithmetic"),
        (("--cost", "9" * 5000), "no arithmetic"),
        (("--cost", "True"), "no arithmetic"),
        (("--cost", "segment_count\udcff"), "no arithmetic"),
        (("--cost", "+".join(["segment_count"] * 1200)), "too long"),
        (("--cost", "-" * 5000 + "segment_count"), "too long"),
        (("--cost", "finished_at"), "holds no numbers"),
        (("--cost", "is_cold"), "holds no numbers"),
        (("--key", ""), "at least one column"),
        (("--key", " ,"), "at least one column"),
        (("--key", "scene"), "has no column 'scene'"),
        (("--worker", "host"), "has no column 'host'"),
        (("--time", "ended"), "has no column 'ended'"),
        (("--work", "pixels=width"), "not NAME=EXPRESSION"),
    ],
)
def test_what_cannot_be_meant_is_said(
    tmp_path: Path, rows: list[dict[str, Any]], arguments: tuple[str, ...], told: str
) -> None:
    path = write(tmp_path / "a.csv", [row | {"is_cold": n % 9 == 0} for n, row in enumerate(rows)])
    done = asked(path, *arguments)
    assert done.exit_code == 1
    assert not done.exception or isinstance(done.exception, SystemExit), done.exception
    assert told in done.output
    assert "try:" in done.output


def test_a_column_of_any_name_is_a_cost(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    rows[3]["wall_seconds"] = -1.0
    path = write(tmp_path / "a.csv", [row | {"Wall time [/s]": row["wall_seconds"]} for row in rows])
    assert figures(path, "--cost", "Wall time [/s]") == figures(path)
    shown = unwrapped(asked(path, "--cost", "Wall time [/s]"))
    assert "Wall time [/s], 199 attempts" in shown
    assert "without a finite Wall time [/s]" in shown
    assert figures(path, "--cost", " wall_seconds * 1", "--work", "segments= segment_count") == figures(path)


def test_a_workflow_is_not_left_out_of_what_has_a_history(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    """All workflows of a tier would be one history."""
    path = write(tmp_path / "a.csv", [{k: v for k, v in row.items() if k != "workflow"} for row in rows])
    assert "has no column 'workflow'" in asked(path).output.replace("\n", "")
    assert figures(path, "--key", "tier")["answered_count"] == 198


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    torn = tmp_path / "torn.ndjson"
    torn.write_text('{"workflow": ')
    other = tmp_path / "a.xlsx"
    other.write_text("")
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    latin = tmp_path / "latin.csv"
    latin.write_text("workflow,wall_seconds,größe\na,1,2\n", "latin-1")
    for path in (torn, other, empty, latin, tmp_path / "missing.csv", tmp_path / "missing.csv.gz"):
        done = asked(path)
        assert done.exit_code == 1, path
        assert str(path) in done.output


def test_the_losses_are_those_of_the_books() -> None:
    """By hand: of 1, 2, 3 the mean is 2, and 4 is twice that."""
    found = backtest([Attempt("a", cost, {}) for cost in (1.0, 2.0, 3.0, 4.0)])
    _, mean, weighted, median = found.scores
    # Forecasts 1, 1.5, 2 for 2, 3, 4: each is half of what came.
    assert mean.mdape_ratio == pytest.approx(0.5)
    assert mean.bias_ratio == pytest.approx(4.5 / 9 - 1)
    # The last alone has an interval: 2 + 1.28155 * 1 of a deviation of 1.
    assert mean.p90_loss == pytest.approx(0.9 * (4 - 3.2815515655))
    assert mean.coverage_ratio == 0
    assert weighted.mdape_ratio == pytest.approx((3 - 1.1) / 3)
    assert median.p90_loss == pytest.approx(0.9 * (4 - 2.8))
    assert pinball(0.9, 10, 12) == pytest.approx(0.2)


def test_fields_that_the_first_event_leaves_out_count(tmp_path: Path) -> None:
    events = [
        {
            "workflow": "a",
            "outcome": "succeeded",
            "finished_at": f"2026-03-01T00:00:{n:02}Z",
            "wall_seconds": cost,
        }
        | ({"tier": "draft", "segment_count": segments, "worker": "w"} if n else {})
        for n, (cost, segments) in enumerate((10.0 * k, k) for k in (1, 3, 5, 2, 4, 6, 1, 2, 3, 4, 5, 6) * 3)
    ]
    found = figures(write(tmp_path / "events.ndjson", events))
    assert found["answered_count"] == len(events) - 2, "one history without a tier, one with"
    assert found["scores"][0]["mdape_ratio"] < 0.01


@pytest.mark.parametrize(
    "seeds", [(1, 2**64 - 1), (2**53 + 1, 2.5), (1, "random"), ([1, "a"], None), ({"first": 1}, 3), (True, 1)]
)
def test_parameters_may_be_anything(
    tmp_path: Path, rows: list[dict[str, Any]], seeds: tuple[Any, Any]
) -> None:
    events = [row | {"parameters": {"seed": seeds[n % 2]}} for n, row in enumerate(rows)]
    assert figures(write(tmp_path / "a.ndjson", events)) == figures(write(tmp_path / "b.ndjson", rows))


def test_times_of_any_offset_are_in_order(tmp_path: Path) -> None:
    """A cost that grows is foreseen as the one before, which is another one where the order is that of the text."""
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    zones = (timezone(timedelta(hours=2)), UTC, timezone(timedelta(hours=-7)))
    rows = [
        {"workflow": "a", "tier": "", "outcome": "succeeded", "wall_seconds": 2.0**n,
         "finished_at": (noon + timedelta(minutes=n)).astimezone(zones[n % 3]).isoformat()}
        for n in range(12)
    ]  # fmt: skip
    found = read_trace(write(tmp_path / "a.ndjson", rows[::-1]), Columns())
    assert [attempt.cost for attempt in found.attempts] == [2.0**n for n in range(12)]


@pytest.mark.parametrize("bad", ["2026-1", "", None, "soon"])
@pytest.mark.parametrize("name", ["a.csv", "a.ndjson", "a.parquet"])
def test_times_that_are_none_are_refused(
    tmp_path: Path, rows: list[dict[str, Any]], name: str, bad: str | None
) -> None:
    """As text, one of them would put month 10 before month 2."""
    rows[7]["finished_at"] = bad
    path = write(tmp_path / name, rows)
    with pytest.raises(
        ContractError, match=repr(bad) if bad else "attempts without finished_at: 1"
    ) as refused:
        read_trace(path, Columns())
    assert "finished_at" in str(refused.value)
    assert all(way in (refused.value.hint or "") for way in ("--time", "--order file", "--order random"))
    assert asked(path, "--order", "file").exit_code == 0
    rows[7]["outcome"] = "failed"
    assert asked(write(tmp_path / name, rows)).exit_code == 0, "what is not replayed needs no time"


def test_numbers_are_times(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    numbered = [row | {"finished_at": 9.5 + n} for n, row in enumerate(rows)]
    path = write(tmp_path / "a.parquet", numbered[::-1])
    assert [one.cost for one in read_trace(path, Columns()).attempts] == [row["wall_seconds"] for row in rows]
    numbered[3]["finished_at"] = math.nan
    assert "attempts without finished_at: 1" in asked(write(path, numbered)).output


def test_a_history_is_per_segment_or_per_job_as_a_whole() -> None:
    """Costs per segment among costs per job would be means of both."""
    some = [Attempt("a", 100.0, {"segments": 9.0} if n % 2 else {}) for n in range(100)]
    for score in backtest(some).scores[1:]:
        assert score.bias_ratio == pytest.approx(0), score.name
        assert score.mdape_ratio == pytest.approx(0), score.name
    all_of_another = [Attempt("b", 7.0 * n, {"segments": float(n)}) for n in range(1, 50)]
    for score in backtest(some + all_of_another).scores[1:]:
        assert score.bias_ratio == pytest.approx(0), score.name


def test_means_per_segment_are_sums_over_sums() -> None:
    """Of short jobs with much to set up and long ones, a mean of their costs per segment would be far too high."""
    rng = np.random.default_rng(4)
    segments = rng.integers(1, 200, 2000)
    found = backtest([Attempt("a", 60 + 2.0 * n, {"segments": float(n)}) for n in segments])
    _, mean, weighted, _ = found.scores
    assert mean.bias_ratio == pytest.approx(0, abs=0.03)
    assert weighted.bias_ratio == pytest.approx(0, abs=0.1)


def test_baselines_per_segment_are_those_of_the_books() -> None:
    """By hand: 30 s for 1 segment, 20 s for 2 and 30 s for 3 are 80 s for 6."""
    costs, segments = (30.0, 20.0, 30.0, 40.0), (1.0, 2.0, 3.0, 4.0)
    found = backtest([Attempt("a", cost, {"segments": n}) for cost, n in zip(costs, segments, strict=True)])
    _, mean, weighted, median = found.scores
    firsts = 30 / 1 * 2 + 50 / 3 * 3
    assert mean.bias_ratio == pytest.approx((firsts + 80 / 6 * 4) / 90 - 1)
    # 30 s, 29 s and 29.1 s of 1, 1.1 and 1.29 segments
    assert weighted.bias_ratio == pytest.approx((60 + 29 / 1.1 * 3 + 29.1 / 1.29 * 4) / 90 - 1)
    assert median.bias_ratio == pytest.approx((60 + 20 * 3 + 10 * 4) / 90 - 1)
    # The costs per segment are 30, 10 and 10: a deviation of 11.547 about 80 s of 6.
    assert mean.p90_loss == pytest.approx(0.1 * ((80 / 6 + 1.2815515655 * 11.5470053838) * 4 - 40))


@pytest.mark.parametrize("name", ["a.csv", "a.ndjson", "a.parquet"])
def test_attempts_that_stand_twice_are_replayed_once(
    tmp_path: Path, rows: list[dict[str, Any]], name: str
) -> None:
    once = [row | {"job_id": f"job-{n // 2}", "attempt": 1 + n % 2} for n, row in enumerate(rows)]
    path = write(tmp_path / name, once)
    alone = figures(path)
    assert alone["attempt_count"] == 200
    twice = write(path, [row | {"wall_seconds": row["wall_seconds"] + k} for row in once for k in (0.0, 9.0)])
    assert figures(twice) == alone, "the first one counts"
    assert "Left out: 200 that stand twice." in asked(twice).stdout
    nameless = write(path, [row | {"job_id": None if n else "x"} for n, row in enumerate(once + once)])
    assert figures(nameless)["attempt_count"] == 400
    once[3] |= {"outcome": "failed"}
    once[5] |= {"wall_seconds": -1.0}
    left = "Left out: 200 that stand twice, 1 that did not succeed, 1 without a finite wall_seconds of 0 or more."
    assert left in unwrapped(asked(write(path, once + once)))


@pytest.mark.parametrize("cost", [-5.0, math.nan, math.inf, pytest.param(10**400, id="endless")])
def test_what_is_no_cost_is_told_as_that(tmp_path: Path, rows: list[dict[str, Any]], cost: float) -> None:
    rows[1]["wall_seconds"] = cost
    done = asked(write(tmp_path / "a.ndjson", rows))
    assert "Left out: 1 without a finite wall_seconds of 0 or more." in done.stdout


def test_nothing_to_forecast_has_no_table(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    failed = asked(write(tmp_path / "a.ndjson", [row | {"outcome": "failed"} for row in rows]))
    assert failed.exit_code == 0
    assert "there is nothing to forecast" in failed.stdout
    assert "Left out: 200 that did not succeed." in failed.stdout
    first_ones = asked(write(tmp_path / "a.ndjson", rows[:1]))
    assert "0.0% of the attempts had a history" in first_ones.stdout
    assert "unknown" not in failed.stdout + first_ones.stdout


@pytest.mark.parametrize(
    ("name", "text"), [("a.ndjson", ""), ("a.json", "[]"), ("a.csv", "workflow,wall_seconds\n")]
)
def test_files_without_attempts(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    done = asked(path)
    assert done.exit_code == 1
    assert f"{path} holds no attempts" in done.output.replace("\n", "")
    assert "try: " in done.output


def test_batches_are_counted(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    later = [row | {"finished_at": row["finished_at"].replace("-03-", "-04-")} for row in rows]
    assert "1 batch of 200, " in asked(write(tmp_path / "a.ndjson", rows + later)).stdout
    much_later = [row | {"finished_at": row["finished_at"].replace("-03-", "-05-")} for row in rows]
    assert "2 batches of 200, " in asked(write(tmp_path / "a.ndjson", rows + later + much_later)).stdout


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.ndjson", '{"workflow": "a"}\n\n123\n', "line 3"),
        ("a.ndjson", "null", "line 1"),
        ("a.ndjson", '"abc"', "line 1"),
        ("a.json", "[[1, 2]]", "record 1"),
        ("a.json", '[{"workflow": "a"}, null]', "record 2"),
        ("a.ndjson", '{"workflow": "a"}\n{"workflow": ', "line 2"),
        ("a.json", "[" * 100_000, "cannot be read"),
        ("a.csv", "workflow,wall_seconds,wall_seconds\na,1,2\n", "column 'wall_seconds' more than once"),
    ],
)
def test_files_that_hold_no_records(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises((ConfigError, ContractError), match=told) as refused:
        read_trace(tmp_path / name, Columns())
    assert str(tmp_path / name) in str(refused.value)
    assert refused.value.hint


def test_a_torn_archive_is_refused(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    path = write(tmp_path / "a.ndjson.gz", rows)
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes(200) + whole[300:])
    with pytest.raises(ConfigError, match="cannot be read"):
        read_trace(path, Columns())


def test_lines_end_where_json_says_so(tmp_path: Path) -> None:
    """Not at the other breaks of Unicode, which may stand in a text."""
    path = tmp_path / "a.ndjson"
    path.write_text(
        '{"workflow": "a\u2028b", "wall_seconds": 1}\r\n{"workflow": "c", "wall_seconds": 2}', "utf-8"
    )
    assert [one.key for one in read_trace(path, Columns()).attempts] == ["a\u2028b", "c"]


def test_endless_work_is_unknown(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    columns = Columns(works={"segments": "segment_count / (segment_count - 2)"})
    found = read_trace(write(tmp_path / "a.csv", rows), columns).attempts
    assert [dict(one.works) for one in found[:4]] == [{}, {}, {"segments": 3}, {"segments": 2}]
