"""The engine-side client: what is sent, what is kept, and that nothing is lost between the two."""

import fcntl
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from framehouse.config import Settings, environment, read
from framehouse.errors import Problem
from ingest import load
from ingest.emit import Delivery, Receipt, deliver, emit, sentence, spool
from tests.ingest.listener import Listener, listening

EVENT: dict[str, Any] = {
    "job_id": "7f3a",
    "workflow": "wan_i2v_v2",
    "outcome": "succeeded",
    "finished_at": "2026-03-01T12:00:00Z",
    "wall_seconds": 81.2,
}


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listening() as listener:
        yield listener


def settings_for(home: Path, url: str = "http://127.0.0.1:1") -> Settings:
    return read({"FRAMEHOUSE_HOME": str(home), "FRAMEHOUSE_URL": url})


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_an_event_is_sent_as_one_json_object(tmp_path: Path, listener: Listener) -> None:
    receipt = emit(EVENT, settings=settings_for(tmp_path, listener.url))
    assert receipt == Receipt(Delivery.SENT)
    ((path, headers, body),) = listener.requests
    assert (path, headers["Content-Type"]) == ("/api/events", "application/json")
    assert json.loads(body) == EVENT
    assert not list(tmp_path.iterdir())


def test_a_base_path_in_the_address_stays(tmp_path: Path, listener: Listener) -> None:
    assert emit(EVENT, settings=settings_for(tmp_path, listener.url + "/farm/")).delivery is Delivery.SENT
    assert listener.requests[0][0] == "/farm/api/events"


def test_a_known_event_is_a_duplicate(tmp_path: Path, listener: Listener) -> None:
    listener.answer = {"results": [{"index": 0, "status": "duplicate"}]}
    assert emit(EVENT, settings=settings_for(tmp_path, listener.url)).delivery is Delivery.DUPLICATE


def test_a_refused_event_is_kept_apart_with_the_reasons(
    tmp_path: Path, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    error = {"path": "tier", "message": "no such tier", "expected": "draft, preview or production"}
    listener.status = 422
    listener.answer = {
        "code": "unknown_tier",
        "results": [{"status": "rejected", "code": "unknown_tier", "errors": [error]}],
    }
    settings = settings_for(tmp_path, listener.url)
    receipt = emit(EVENT, settings=settings)
    assert (receipt.delivery, receipt.code) == (Delivery.REJECTED, "unknown_tier")
    assert receipt.problems == (Problem("tier", "no such tier", "draft, preview or production"),)
    assert receipt.path == settings.spool_dir / "rejected.ndjson"
    assert lines(receipt.path) == [EVENT]
    assert not (settings.spool_dir / "events.ndjson").exists()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "tier: no such tier (draft, preview or production)" in record.getMessage()


def test_a_problem_without_results_is_a_refusal_too(tmp_path: Path, listener: Listener) -> None:
    listener.status = 422
    listener.answer = {
        "code": "bad_json",
        "errors": [{"path": "", "message": "not JSON", "expected": "JSON"}],
    }
    receipt = deliver(EVENT, settings=settings_for(tmp_path, listener.url))
    assert (receipt.delivery, receipt.code) == (Delivery.REJECTED, "bad_json")


@pytest.mark.parametrize("status", [301, 401, 404, 413, 429, 500, 502, 503])
def test_an_answer_that_does_not_judge_the_event_keeps_it(
    tmp_path: Path, listener: Listener, status: int
) -> None:
    listener.status = status
    settings = settings_for(tmp_path, listener.url)
    receipt = deliver(EVENT, settings=settings)
    assert receipt.delivery is Delivery.SPOOLED
    assert str(status) in (receipt.reason or "")
    assert lines(settings.spool_dir / "events.ndjson") == [EVENT]


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, b"<html>login</html>"),
        (200, b""),
        (200, {"ok": True}),
        (200, {"results": []}),
        (200, {"results": ["accepted"]}),
        (200, [1]),
        (422, {"detail": [{"msg": "of another service"}]}),
        (422, b"\xff\x00"),
    ],
)
def test_another_service_at_the_address_keeps_the_event(
    tmp_path: Path, listener: Listener, status: int, answer: Any
) -> None:
    listener.status, listener.answer = status, answer
    assert deliver(EVENT, settings=settings_for(tmp_path, listener.url)).delivery is Delivery.SPOOLED


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "warehouse:8700", "ftp://warehouse", "http://", "http://h:port"]
)
def test_no_connection_keeps_the_event(tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture) -> None:
    settings = settings_for(tmp_path, url)
    receipt = emit(EVENT, settings=settings)
    assert receipt.delivery is Delivery.SPOOLED
    assert lines(settings.spool_dir / "events.ndjson") == [EVENT]
    assert f"waits in {receipt.path}" in caplog.text
    assert url in caplog.text


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 200 OK\r\nX: "], ids=["silent", "dripping"])
def test_a_warehouse_that_never_finishes_its_answer_keeps_the_event(tmp_path: Path, says: bytes) -> None:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(says)
                while says and not over.wait(0.02):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return
                over.wait()

        thread = threading.Thread(target=serve)
        thread.start()
        settings = settings_for(tmp_path, f"http://127.0.0.1:{server.getsockname()[1]}")
        receipt = deliver(EVENT, settings=settings, timeout_seconds=0.4)
        over.set()
        thread.join()
    assert receipt.delivery is Delivery.SPOOLED
    assert "no answer within 0.4 s" in (receipt.reason or "")


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1, 2}, b"bytes", {("a", "b"): 1}, object], ids=repr
)
def test_an_event_that_is_no_json_is_kept_as_rejected(tmp_path: Path, listener: Listener, value: Any) -> None:
    settings = settings_for(tmp_path, listener.url)
    receipt = deliver({**EVENT, "parameters": value}, settings=settings)
    assert (receipt.delivery, receipt.code) == (Delivery.REJECTED, "invalid")
    assert not listener.requests
    (kept,) = lines(settings.spool_dir / "rejected.ndjson")
    assert kept["job_id"] == "7f3a"


def test_an_endless_event_is_kept_as_text(tmp_path: Path) -> None:
    event = dict(EVENT)
    event["parameters"] = event
    receipt = deliver(event, settings=settings_for(tmp_path))
    assert receipt.delivery is Delivery.REJECTED
    assert receipt.path is not None
    assert "7f3a" in lines(receipt.path)[0]


def test_any_text_makes_one_line_of_ascii(tmp_path: Path) -> None:
    text = "line\nbreak\u2028 \x00 \ud800 é 漢 😀"
    path = spool({**EVENT, "worker": text}, settings=settings_for(tmp_path))
    raw = path.read_bytes()
    assert raw.isascii()
    assert raw.count(b"\n") == 1
    assert lines(path)[0]["worker"] == text


def test_a_disk_that_cannot_be_written_loses_the_event_but_not_the_job(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "spool").write_text("a file where the folder should be")
    receipt = emit(EVENT, settings=settings_for(tmp_path))
    assert receipt.delivery is Delivery.LOST
    assert "cannot be written" in caplog.text
    with pytest.raises(OSError, match="spool"):
        spool(EVENT, settings=settings_for(tmp_path))


def test_a_line_that_a_crash_cut_short_does_not_swallow_the_next(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    path = spool(EVENT, settings=settings)
    with path.open("ab") as file:
        file.write(b'{"job_id": "to')
    spool(EVENT, settings=settings)
    first, torn, last = path.read_bytes().splitlines()
    assert torn == b'{"job_id": "to'
    assert json.loads(first) == json.loads(last) == EVENT


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    path = spool(EVENT, settings=settings)
    before = path.read_bytes()
    code = (
        "import resource, signal, sys, pathlib\n"
        "from framehouse.config import read\n"
        "from ingest.emit import deliver\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))\n"
        "settings = read({'FRAMEHOUSE_HOME': sys.argv[1], 'FRAMEHOUSE_URL': 'http://127.0.0.1:1'})\n"
        "print(deliver({'job_id': 'x' * 500}, settings=settings).delivery)\n"
    )
    limit = str(len(before) + 100)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), limit], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "lost"
    assert path.read_bytes() == before


def test_the_loader_may_take_the_file_away_while_a_writer_waits_for_it(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    path = spool(EVENT, settings=settings)
    taken = path.with_name("events-000001.ndjson")
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        writer = threading.Thread(
            target=spool, args=({**EVENT, "job_id": "late"},), kwargs={"settings": settings}
        )
        writer.start()
        while _open_count(path) < 2:
            time.sleep(0.002)
        path.rename(taken)
    writer.join()
    assert [event["job_id"] for event in lines(taken)] == ["7f3a"]
    assert [event["job_id"] for event in lines(path)] == ["late"]


def _open_count(path: Path) -> int:
    """How often this process has a file open."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            found += link.readlink() == path
        except OSError:  # closed meanwhile
            continue
    return found


def test_a_lock_that_is_never_given_back_does_not_hold_up_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.emit._LOCK_PATIENCE_SECONDS", 0.1)
    settings = settings_for(tmp_path)
    path = spool(EVENT, settings=settings)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        receipt = deliver(EVENT, settings=settings)
    assert receipt.delivery is Delivery.LOST
    assert "another process keeps it locked" in (receipt.reason or "")
    assert lines(path) == [EVENT]


def test_eight_writers_and_a_loader_lose_and_tear_nothing(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from framehouse.config import read\n"
        "from ingest.emit import spool\n"
        "settings = read({'FRAMEHOUSE_HOME': sys.argv[1]})\n"
        "for number in range(100):\n"
        "    spool({'job_id': f'{sys.argv[2]}-{number}', 'parameters': {'prompt': 'é' * 2000}}, settings=settings)\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(number)], env=environment())
        for number in range(8)
    ]
    spool_dir = tmp_path / "spool"
    rounds = 0
    while any(writer.poll() is None for writer in writers):
        rounds += load._take(spool_dir) is not None
        time.sleep(0.002)
    load._take(spool_dir)
    assert [writer.returncode for writer in writers] == [0] * 8
    taken = sorted(spool_dir.glob("events-*.ndjson"))
    assert len(taken) >= 1
    assert rounds >= 1
    found = [event["job_id"] for path in taken for event in lines(path)]
    assert sorted(found) == sorted(f"{writer}-{number}" for writer in range(8) for number in range(100))
    for writer in range(8):  # the order of a writer's events stays
        mine = [int(job.split("-")[1]) for job in found if job.startswith(f"{writer}-")]
        assert mine == sorted(mine)


def test_the_client_needs_the_standard_library_alone() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "import ingest.emit\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment()
    )
    # zoneinfo reads the interpreter's own build data, whose module is named after the platform.
    found = [name for name in done.stdout.strip(" []\n").split(", ") if "_sysconfigdata" not in name]
    assert found == ["'framehouse'", "'ingest'"]


def test_sentences_say_what_to_do(tmp_path: Path) -> None:
    waiting = Receipt(Delivery.SPOOLED, tmp_path / "events.ndjson", "no route")
    assert (
        sentence(waiting) == f"the attempt waits in {tmp_path}/events.ndjson for `framehouse load`: no route"
    )
    assert os.fspath(tmp_path) in sentence(
        Receipt(Delivery.REJECTED, tmp_path / "rejected.ndjson", "HTTP 422, invalid")
    )
