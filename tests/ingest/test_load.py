"""Files of events: read whatever their form, stored once whatever breaks, and nothing is lost from the spool."""

import csv
import fcntl
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet

from framehouse.cli import load as command
from framehouse.cli.main import cli
from framehouse.config import Settings, environment
from framehouse.errors import ContractError
from framehouse.events import Event
from framehouse.warehouse import Warehouse
from framehouse.warehouse.attempts import attempts_of_job
from ingest import emit, flat
from ingest.files import BATCH_ROWS, MAX_BODY_BYTES, Place, batches
from ingest.load import check, load, load_spool, spooled
from tests.ingest.samples import (
    NOW,
    ask,
    counts,
    event,
    is_anyone_waiting,
    quarantined,
    tell,
    wait_until,
    with_field,
)  # fmt: skip

FORMATS = [
    "ndjson",
    "jsonl",
    "ndjson.gz",
    "lines.json",
    "list.json",
    "pretty.json.gz",
    "csv",
    "csv.gz",
    "parquet",
]


def flattened(value: dict[str, Any]) -> dict[str, Any]:
    """Nested fields as dotted columns."""
    return {
        (f"{name}.{key}" if isinstance(part, dict) else name): (item if isinstance(part, dict) else part)
        for name, part in value.items()
        for key, item in (part.items() if isinstance(part, dict) else [("", None)])
    }


def csv_text(events: list[dict[str, Any]]) -> str:
    rows = [flattened(value) for value in events]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_file(folder: Path, form: str, events: list[dict[str, Any]]) -> Path:
    """A file of events in one of FORMATS."""
    path = folder / f"events.{form}"
    if form == "parquet":
        parquet.write_table(pa.Table.from_pylist(events), path, row_group_size=700)
        return path
    if "csv" in form:
        text = csv_text(events)
    elif form.startswith(("list", "pretty")):
        text = json.dumps(events, indent=2 if form.startswith("pretty") else None)
    else:
        text = "".join(json.dumps(value) + "\n" for value in events)
    body = text.encode()
    path.write_bytes(gzip.compress(body) if form.endswith(".gz") else body)
    return path


def some(count: int) -> list[dict[str, Any]]:
    return [
        event(
            f"job-{i:05}",
            tier=["draft", "preview", "production"][i % 3],
            frame_count=i,
            is_cold=i % 2 == 0,
            host={"hostname": f"node-{i % 4}", "cpu_count": 8},
            input={"duration_seconds": i / 8},
            quality_scores={"likeness": 0.5},
            parameters={"steps": 20},
        )
        for i in range(count)
    ]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.mark.parametrize("form", FORMATS)
def test_every_form_says_the_same(
    warehouse: Warehouse, database_url: str, home: Path, tmp_path: Path, form: str
) -> None:
    sent = some(25)
    tally = load(warehouse, write_file(tmp_path, form, sent), home=home)
    assert (tally.read, tally.stored, tally.known, tally.refused_count) == (25, 25, 0, 0)
    assert counts(database_url) == (25, 25, 25)
    for value in sent[:3]:
        [found] = attempts_of_job(warehouse, value["job_id"])
        expected = Event.model_validate(value)
        for name in value:
            said = found[name]
            if name in {"input", "host"}:
                said = {key: item for key, item in said.items() if key in value[name]}
                assert said == value[name]
            else:
                assert said == getattr(expected, name)
    # Every form is the same body to the ledger: the same events from NDJSON are known.
    again = load(warehouse, write_file(tmp_path, "other.ndjson", sent), home=home)
    assert (again.stored, again.known) == (0, 25)


@pytest.mark.parametrize("form", ["ndjson", "ndjson.gz", "pretty.json.gz", "csv", "csv.gz", "parquet"])
def test_killed_midway_and_repeated_every_row_is_stored_once(
    warehouse: Warehouse, database_url: str, home: Path, tmp_path: Path, form: str
) -> None:
    count = 2 * BATCH_ROWS + 500
    sent = some(count)
    sent[3]["tier"] = "huge"
    path = write_file(tmp_path, form, sent)
    with blocked_at(database_url, sent[count - 100]["job_id"]):
        process = start_load(path, database_url, home)
        wait_until(lambda: process.poll() is not None or is_anyone_waiting(database_url))
        assert process.poll() is None
        process.kill()
        process.communicate()
    wait_until(lambda: not is_anyone_waiting(database_url))
    assert counts(database_url) == (2 * BATCH_ROWS - 1,) * 3
    tally = load(warehouse, path, home=home)
    assert tally.resumed_after == 2 * BATCH_ROWS
    assert (tally.read, tally.stored, tally.known, dict(tally.refused)) == (
        count,
        count - 1,
        0,
        {"unknown_tier": 1},
    )
    assert counts(database_url) == (count - 1,) * 3
    assert len(quarantined(database_url)) == 1


def test_killed_after_the_commit_but_before_the_note(
    warehouse: Warehouse, database_url: str, home: Path, tmp_path: Path
) -> None:
    path = write_file(tmp_path, "ndjson", [*some(1200), {"a": 1}])
    load(warehouse, path, home=home)
    for note in (home / "load").iterdir():
        note.unlink()
    tally = load(warehouse, path, home=home)
    assert (tally.stored, tally.known, tally.refused_count) == (0, 1200, 1)
    assert counts(database_url) == (1200, 1200, 1200)
    assert len(quarantined(database_url)) == 1


def test_ctrl_c_says_how_to_go_on(database_url: str, home: Path, tmp_path: Path) -> None:
    sent = some(BATCH_ROWS + 10)
    path = write_file(tmp_path, "ndjson", sent)
    with blocked_at(database_url, sent[-1]["job_id"]):
        process = start_load(path, database_url, home)
        wait_until(lambda: process.poll() is not None or is_anyone_waiting(database_url))
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    assert process.returncode == 130
    assert "run the same command again" in told
    assert "Traceback" not in told
    assert counts(database_url) == (BATCH_ROWS,) * 3


@contextmanager
def blocked_at(url: str, job_id: str) -> Iterator[None]:
    """Whoever stores that job waits for as long as this lasts."""
    with psycopg.connect(url) as connection:
        connection.execute("insert into ops.attempt_ledger values (%s, 1, sha256(''), now())", [job_id])
        yield
        connection.rollback()


def start_load(path: Path, url: str, home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from framehouse.cli.main import cli; cli()", "load", str(path)],
        env=environment(FRAMEHOUSE_DATABASE_URL=url, FRAMEHOUSE_HOME=str(home)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_file_is_read_again_only_where_it_must(
    warehouse: Warehouse, database_url: str, home: Path, tmp_path: Path
) -> None:
    path = write_file(tmp_path, "ndjson", some(3))
    assert load(warehouse, path, home=home).stored == 3
    assert load(warehouse, path, home=home).was_done
    assert load(warehouse, path, home=home, is_again=True).known == 3
    with path.open("a") as file:
        file.write(json.dumps(event("one more")) + "\n")
    grown = load(warehouse, path, home=home)
    assert (grown.was_done, grown.stored, grown.known) == (False, 1, 3)


def test_a_note_of_another_database_does_not_count(
    warehouse: Warehouse, database_url: str, home: Path, tmp_path: Path
) -> None:
    path = write_file(tmp_path, "ndjson", some(3))
    load(warehouse, path, home=home)
    # The same database made anew: the studio's first build is another one.
    tell(
        database_url,
        "delete from telemetry.performance_metrics",
        "delete from ops.attempt_ledger",
        "update ops.studio_settings set created_at = created_at + interval '1 microsecond'",
    )
    assert load(warehouse, path, home=home).stored == 3


@pytest.mark.parametrize("damage", [b"", b"{", b"null", b'{"place": 3}', b"\xff"])
def test_a_damaged_note_costs_time_alone(
    warehouse: Warehouse, database_url: str, home: Path, tmp_path: Path, damage: bytes
) -> None:
    path = write_file(tmp_path, "ndjson", some(3))
    load(warehouse, path, home=home)
    [note] = (home / "load").iterdir()
    note.write_bytes(damage)
    assert load(warehouse, path, home=home).known == 3
    assert counts(database_url) == (3, 3, 3)


def test_lines_that_are_no_json_go_to_quarantine_and_the_rest_goes_on(
    warehouse: Warehouse, database_url: str, home: Path, tmp_path: Path
) -> None:
    bad = [b"no json", b'{"job_id": "cut', b"\xff\xfe", with_field("nan", '"gpu_seconds": NaN'), b"17"]
    good = [json.dumps(value).encode() for value in some(4)]
    lines = [
        b"\xef\xbb\xbf" + good[0],
        bad[0],
        b"",
        good[1],
        bad[1],
        bad[2],
        b"   ",
        good[2] + b"\r",
        *bad[3:],
        good[3],
    ]
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"\n".join(lines))
    tally = load(warehouse, path, home=home)
    assert (tally.read, tally.stored, dict(tally.refused)) == (9, 4, {"not_json": 3, "invalid": 2})
    assert tally.examples["not_json"].startswith("line 2: ")
    assert tally.examples["invalid"].startswith("line 9: gpu_seconds: ")
    assert [body for _, _, body in quarantined(database_url)] == bad
    assert {origin for origin, _, _ in quarantined(database_url)} == {"load:events.ndjson"}


def test_a_line_that_is_too_long_is_stepped_over(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    longest = b'{"a": "' + b"x" * (MAX_BODY_BYTES - 10) + b'"}'
    lines = [b'{"b": 1}', b"x" * (3 * MAX_BODY_BYTES), longest, b'{"c": 2}', b"y" * (MAX_BODY_BYTES + 1)]
    path.write_bytes(b"\n".join(lines))
    tally = check(path)
    assert dict(tally.refused) == {"invalid": 3, "too_large": 2}
    assert (
        tally.examples["too_large"]
        == f"line 2: the line has {3 * MAX_BODY_BYTES + 1:,} bytes (at most 8 MiB)"
    )


@pytest.mark.parametrize("form", FORMATS)
def test_reading_from_any_place_gives_the_rest(tmp_path: Path, form: str) -> None:
    path = write_file(tmp_path, form, some(50))
    whole = list(batches(path, size=7))
    values = [element.value for batch in whole for element in batch.elements]
    numbers = [number for batch in whole for number in batch.numbers]
    assert [value["job_id"] for value in values] == [f"job-{i:05}" for i in range(50)]
    if form != "list.json":  # there all events stand on one line
        assert numbers == list(range(1, 51))
    assert whole[-1].done == whole[-1].total
    for stop in range(len(whole)):
        rest = [
            element.value for batch in batches(path, whole[stop].end, size=11) for element in batch.elements
        ]
        assert rest == values[sum(len(batch.elements) for batch in whole[: stop + 1]) :]
    assert list(batches(path, whole[-1].end)) == []


@pytest.mark.parametrize("form", ["csv", "csv.gz", "ndjson", "ndjson.gz"])
def test_an_empty_file_has_no_events(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"events.{form}"
    path.write_bytes(gzip.compress(b"") if form.endswith(".gz") else b"")
    assert check(path).read == 0


def cell(column: str, text: str) -> Any:
    return flat.from_text(column, text)


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ("job_id", "17", "17"),
        ("job_id", "true", "true"),
        ("frame_count", "81", 81),
        ("frame_count", "81.0", 81),
        ("frame_count", "81.5", "81.5"),
        ("frame_count", "1_000", "1_000"),
        ("frame_count", "", ""),
        ("wall_seconds", "12", 12.0),
        ("wall_seconds", "1e3", 1000.0),
        ("wall_seconds", ".5", 0.5),
        ("wall_seconds", "nan", "nan"),
        ("wall_seconds", "1,5", "1,5"),
        ("wall_seconds", "1_0", "1_0"),
        ("wall_seconds", "\u0661", "\u0661"),
        ("is_cold", "TRUE", True),
        ("is_cold", "0", False),
        ("is_cold", "maybe", "maybe"),
        ("input.duration_seconds", "3.5", 3.5),
        ("input.width", "640", 640),
        ("host.hostname", "5", "5"),
        ("host.cpu_count", "5", 5),
        ("quality_scores.likeness", "0.9", 0.9),
        ("quality_scores", '{"likeness": 0.9}', {"likeness": 0.9}),
        ("quality_scores", "0.9}", "0.9}"),
        ("pipeline_stages", '[{"name": "a", "duration_ms": 3}]', [{"name": "a", "duration_ms": 3}]),
        ("commands", '["ls"]', ["ls"]),
        ("parameters.steps", "20", 20),
        ("parameters.cfg", "7.5", 7.5),
        ("parameters.sampler", "euler", "euler"),
        ("parameters.seed", "007", "007"),
        ("parameters.tiled", "true", True),
        ("parameters.loras", '["a"]', ["a"]),
        ("schema_version", "1", 1),
    ],
)
def test_a_csv_cell_becomes_its_fields_type(column: str, text: str, value: Any) -> None:
    assert (cell(column, text), type(cell(column, text))) == (value, type(value))


def test_the_fields_of_the_contract_are_columns() -> None:
    for name in Event.model_fields:
        assert flat.kind_of(name) is not None
    unknown = [
        "",
        "rtf",
        "input.",
        "input.rtf",
        "job_id.x",
        "quality_scores.",
        "parameters.",
        "x.y",
        "Job_Id",
    ]
    assert [flat.kind_of(name) for name in unknown] == [None] * len(unknown)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_spreadsheets_csv(warehouse: Warehouse, home: Path, tmp_path: Path, separator: str) -> None:
    path = tmp_path / "sheet.csv"
    rows = [
        ["job_id", "workflow ", "outcome", "finished_at", "wall_seconds", "error_message", "parameters.note"]
    ]
    rows += [["a", "w", "failed", NOW.isoformat(), "3", 'two\nlines, "quoted"; \tand more', ""]]
    rows += [
        [],
        ["b", "w", "succeeded", NOW.isoformat(), "3", "", "x"],
        ["c", "w"],
        ["d", "w", "succeeded", "", "3", "", ""],
    ]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator).writerows(rows)
    path.write_bytes(b"\xef\xbb\xbf" + text.getvalue().encode())
    tally = load(warehouse, path, home=home)
    assert (tally.read, tally.stored, dict(tally.refused)) == (4, 2, {"invalid": 2})
    assert tally.examples["invalid"] == "row 4: the row has 2 cells (7, as the header has)"
    [first] = attempts_of_job(warehouse, "a")
    assert (first["error_message"], first["parameters"]) == ('two\nlines, "quoted"; \tand more', None)


def test_csv_that_is_not_utf8_costs_its_rows_alone(
    warehouse: Warehouse, database_url: str, home: Path, tmp_path: Path
) -> None:
    good = csv_text([event("a"), event("b", workflow="w")]).encode()
    path = tmp_path / "latin.csv"
    path.write_bytes(good.replace(b"wan_i2v", b"w\xe4n"))
    tally = load(warehouse, path, home=home)
    assert (tally.stored, dict(tally.refused)) == (1, {"invalid": 1})
    assert json.loads(quarantined(database_url)[0][2])["workflow"] == "w\udce4n"


def test_parquet_of_other_programs(
    warehouse: Warehouse, database_url: str, home: Path, tmp_path: Path
) -> None:
    at = datetime(2026, 11, 1, 12, 0, 0, 123457, UTC)
    east = timezone(timedelta(hours=2))
    count = 3
    table = pa.table(
        {
            "job_id": pa.array(["a", "b", "c"]).dictionary_encode(),
            "workflow": ["w"] * count,
            "outcome": ["succeeded"] * count,
            "finished_at": pa.array([at] * count, pa.timestamp("ns", "UTC")),
            "started_at": pa.array([at.astimezone(east), None, at], pa.timestamp("ms", "Europe/Kyiv")),
            "wall_seconds": pa.array([1, 2, 3], pa.int64()),
            "frame_count": pa.array([24.0, None, 48.0], pa.float64()),
            "gpu_seconds": pa.array([Decimal("1.5"), None, Decimal(2)], pa.decimal128(10, 2)),
            "attempt": pa.array([2, None, 1], pa.int16()),
            "quality_scores": pa.array([[("likeness", 0.5)], None, []], pa.map_(pa.string(), pa.float64())),
            "input": [
                {"duration_seconds": 3.0, "width": None},
                None,
                {"duration_seconds": None, "width": 64},
            ],
            "parameters": ['{"steps": 20}', None, "{}"],
            "host.cpu_count": [4, None, 8],
            "pipeline_stages": [[{"name": "x", "duration_ms": 1.0, "node": None}], None, []],
        }
    )
    path = tmp_path / "farm.parquet"
    parquet.write_table(table, path)
    tally = load(warehouse, path, home=home)
    assert (tally.stored, tally.examples) == (3, {})
    [a] = attempts_of_job(warehouse, "a")
    assert (a["finished_at"], a["attempt"], a["frame_count"], a["gpu_seconds"]) == (at, 2, 24, 1.5)
    assert (a["quality_scores"], a["input"]["duration_seconds"], a["parameters"]) == (
        {"likeness": 0.5},
        3.0,
        {"steps": 20},
    )
    assert (a["host"]["cpu_count"], a["pipeline_stages"]) == (4, [{"name": "x", "duration_ms": 1.0}])
    [b] = attempts_of_job(warehouse, "b")
    assert (b["attempt"], b["frame_count"], b["input"], b["host"], b["parameters"]) == (
        1,
        None,
        None,
        None,
        None,
    )


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_columns_that_the_contract_does_not_know_are_named_before_anything_is_stored(
    warehouse: Warehouse, database_url: str, home: Path, tmp_path: Path, form: str
) -> None:
    path = write_file(tmp_path, form, [event("a") | {"wall_second": 3.0, "input.codec": "x"}])
    with pytest.raises(ContractError, match="did you mean wall_seconds") as refusal:
        load(warehouse, path, home=home)
    assert [problem.path for problem in refusal.value.problems] == ["wall_second", "input.codec"]
    assert (counts(database_url), quarantined(database_url)) == ((0, 0, 0), [])


def test_a_column_that_stands_twice(tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("job_id,workflow,job_id\na,b,c\n")
    with pytest.raises(ContractError, match="twice"):
        check(path)


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("events.txt", b"{}", "does not say what is in it"),
        ("events.parquet.gz", b"", "does not say what is in it"),
        ("events.parquet", b"PAR1 no", "no sound Parquet"),
        ("events.ndjson.gz", b"{}", "no sound gzip"),
        ("events.ndjson.gz", gzip.compress(b"{}\n" * 5000, mtime=0)[:-9], "no sound gzip"),
        ("events.json", b'[{"a": 1},\n{"b": 2}', "not JSON"),
        ("events.csv", b'job_id,workflow\na,"' + b"x" * (MAX_BODY_BYTES + 1), "no CSV after row 0"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(tmp_path: Path, name: str, body: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(body)
    with pytest.raises(ContractError, match=words):
        check(path)


def test_what_stands_before_the_damage_is_stored(
    warehouse: Warehouse, database_url: str, home: Path, tmp_path: Path
) -> None:
    path = tmp_path / "events.ndjson.gz"
    lines = "".join(
        json.dumps(value | {"parameters": {"x": os.urandom(64).hex()}}) + "\n" for value in some(3000)
    )
    path.write_bytes(gzip.compress(lines.encode())[:-1000])
    with pytest.raises(ContractError, match="no sound gzip"):
        load(warehouse, path, home=home)
    assert counts(database_url) == (2 * BATCH_ROWS,) * 3


def test_there_is_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="there is no file"):
        check(tmp_path / "no.csv")
    with pytest.raises(ContractError, match="there is no file"):
        list(batches(tmp_path, Place()) if tmp_path.suffix else batches(tmp_path / "no.json"))


def test_the_spool_is_emptied_once_everything_is_acknowledged(
    warehouse: Warehouse, database_url: str, settings: Settings
) -> None:
    assert load_spool(warehouse, settings.spool_dir, home=settings.home) == []
    for i in range(3):
        emit.spool(event(f"job-{i}"), settings=settings)
    with (settings.spool_dir / "events.ndjson").open("ab") as file:
        file.write(b'{"job_id": "torn')
    emit.spool(event("job-3", tier="huge"), settings=settings)
    [tally] = load_spool(warehouse, settings.spool_dir, home=settings.home)
    assert (tally.stored, dict(tally.refused)) == (3, {"not_json": 1, "unknown_tier": 1})
    assert counts(database_url) == (3, 3, 3)
    assert [code for _, code, _ in quarantined(database_url)] == ["not_json", "unknown_tier"]
    assert list(settings.spool_dir.iterdir()) == []
    assert list((settings.home / "load").iterdir()) == []


def test_a_spool_that_could_not_be_loaded_waits(
    warehouse: Warehouse, database_url: str, settings: Settings
) -> None:
    emit.spool(event("a"), settings=settings)
    tell(database_url, "alter table ops.attempt_ledger rename to elsewhere")
    with pytest.raises(Exception, match="attempt_ledger"):
        load_spool(warehouse, settings.spool_dir, home=settings.home)
    emit.spool(event("b"), settings=settings)
    assert [path.name for path in spooled(settings.spool_dir)] == ["events-000001.ndjson", "events.ndjson"]
    tell(database_url, "alter table ops.elsewhere rename to attempt_ledger")
    assert [tally.stored for tally in load_spool(warehouse, settings.spool_dir, home=settings.home)] == [1, 1]
    assert list(settings.spool_dir.iterdir()) == []
    assert counts(database_url) == (2, 2, 2)


def test_a_load_waits_for_a_writer_in_the_middle_of_a_line(
    warehouse: Warehouse, database_url: str, settings: Settings
) -> None:
    emit.spool(event("a"), settings=settings)
    path = settings.spool_dir / "events.ndjson"
    with path.open("ab") as writing, ThreadPoolExecutor(1) as pool:
        fcntl.flock(writing, fcntl.LOCK_EX)  # as a writer does before it appends
        inode = f":{os.fstat(writing.fileno()).st_ino} "
        pending = pool.submit(load_spool, warehouse, settings.spool_dir, home=settings.home)
        wait_until(
            lambda: (
                pending.done()
                or any(
                    "->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines()
                )
            )
        )
        writing.write(json.dumps(event("b")).encode() + b"\n")
        writing.flush()
        fcntl.flock(writing, fcntl.LOCK_UN)
        assert [tally.stored for tally in pending.result()] == [2]
    assert counts(database_url) == (2, 2, 2)


def test_nothing_is_lost_while_others_spool_and_load(
    warehouse: Warehouse, database_url: str, settings: Settings
) -> None:
    def in_threads(*works: Callable[[], None]) -> None:
        threads = [threading.Thread(target=work) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    is_over = threading.Event()

    def produce(name: str) -> None:
        for i in range(40):
            emit.spool(event(f"{name}-{i}"), settings=settings)

    def consume() -> None:
        while not is_over.is_set():
            load_spool(warehouse, settings.spool_dir, home=settings.home)

    def produce_all() -> None:
        in_threads(*(lambda name=name: produce(name) for name in "abc"))  # type: ignore[misc]
        is_over.set()

    in_threads(produce_all, consume, consume)
    load_spool(warehouse, settings.spool_dir, home=settings.home)
    assert counts(database_url) == (120, 120, 120)
    assert quarantined(database_url) == []
    assert list(settings.spool_dir.iterdir()) == []


def test_a_file_that_another_takes_first_is_left_to_it(
    warehouse: Warehouse, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    emit.spool(event("a"), settings=settings)
    path, taken = settings.spool_dir / "events.ndjson", settings.home / "taken.ndjson"
    open_file = Path.open

    def open_late(self: Path, *arguments: Any, **named: Any) -> Any:
        if self == path:
            path.rename(taken)
        return open_file(self, *arguments, **named)

    monkeypatch.setattr(Path, "open", open_late)
    assert load_spool(warehouse, settings.spool_dir, home=settings.home) == []
    assert taken.exists()


Run = Callable[..., Result]


@pytest.fixture
def run(settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`framehouse load ...` on the test's database and home."""
    chosen = replace(settings, database_url=database_url)
    monkeypatch.setattr(command, "settings", lambda: chosen)
    return lambda *arguments: CliRunner().invoke(cli, ["load", *map(str, arguments)])


def test_the_command_sums_up(run: Run, database_url: str, tmp_path: Path) -> None:
    good = write_file(tmp_path, "csv", some(3))
    bad = write_file(tmp_path, "ndjson", [event("x", tier="huge"), *some(5), {"a": 1}])
    first = run(good)
    assert (first.exit_code, first.stdout) == (
        0,
        "events.csv: 3 read, 3 stored, 0 already known, 0 refused\n",
    )
    second = run(good, bad)
    assert second.exit_code == command.SOME_REFUSED
    lines = second.stdout.splitlines()
    assert "was loaded before" in lines[0]
    assert lines[1] == "events.ndjson: 7 read, 2 stored, 3 already known, 2 refused"
    assert {line.split()[1] for line in lines[2:4]} == {"unknown_tier", "invalid"}
    assert lines[4] == "2 refused, see framehouse quarantine list"
    third = run("--again", bad)
    assert (third.exit_code, len(quarantined(database_url))) == (2, 2)


def test_the_command_checks_without_a_database(
    run: Run, database_url: str, tmp_path: Path, settings: Settings
) -> None:
    bad = write_file(tmp_path, "ndjson", [*some(5), {"a": 1}])
    checked = run("--dry-run", bad)
    assert (checked.exit_code, checked.stdout.splitlines()[0]) == (
        2,
        "events.ndjson: 6 read, 5 sound, 1 refused",
    )
    assert (counts(database_url), quarantined(database_url)) == ((0, 0, 0), [])
    emit.spool(event("a"), settings=settings)
    assert run("--dry-run").stdout == "events.ndjson: 1 read, 1 sound, 0 refused\n"
    assert [path.name for path in spooled(settings.spool_dir)] == ["events.ndjson"]


def test_the_command_loads_the_spool(run: Run, database_url: str, settings: Settings) -> None:
    assert run().stdout == "nothing waits in the spool\n"
    emit.spool(event("a"), settings=settings)
    assert run().stdout == "events-000001.ndjson: 1 read, 1 stored, 0 already known, 0 refused\n"
    assert counts(database_url) == (1, 1, 1)


def test_the_command_refuses_a_wrong_path_before_it_begins(
    run: Run, database_url: str, tmp_path: Path
) -> None:
    good = write_file(tmp_path, "csv", some(3))
    refused = run(good, tmp_path / "no.ndjson")
    assert refused.exit_code == 1
    assert "there is no file" in refused.stderr
    assert counts(database_url) == (0, 0, 0)
    assert ask(database_url, "select count(*) from ops.quarantine") == 0
