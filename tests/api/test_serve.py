"""`framehouse serve`, maintain, migrate and build as a person runs them."""

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from framehouse.warehouse import Warehouse
from framehouse.warehouse.maintain import backlog

from .conftest import Event
from .streams import heard

PATIENCE_SECONDS = 300


class Program:
    """A running `framehouse` command, and what it has printed so far."""

    def __init__(self, arguments: list[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "framehouse.cli.main", *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def until(self, pattern: str) -> re.Match[str]:
        """Read on until a line matches."""
        while True:
            line = self._lines.get(timeout=PATIENCE_SECONDS)
            assert line is not None, f"it ended without {pattern!r}: {self.text}"
            self.said.append(line)
            if found := re.search(pattern, line):
                return found

    def end(self, number: int | None = signal.SIGTERM) -> int:
        """Send a signal (or None), wait for the end; the exit code."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join()
        while (line := self._lines.get_nowait()) is not None:
            self.said.append(line)
        return code

    @property
    def text(self) -> str:
        return "".join(self.said)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


Run = Callable[..., Program]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts `framehouse` commands with a home of their own; what still runs at the end is killed."""
    started: list[Program] = []

    def start(*arguments: str, url: str) -> Program:
        env = {name: value for name, value in os.environ.items() if not name.startswith("FRAMEHOUSE_")}
        env |= {
            "FRAMEHOUSE_HOME": str(tmp_path / "home"),
            "FRAMEHOUSE_DATABASE_URL": url,
            "TMPDIR": str(tmp_path),
        }
        started.append(Program(list(arguments), env))
        return started[-1]

    yield start
    for program in started:
        program.close()


def address(program: Program) -> str:
    """Where a service says that it listens."""
    return program.until(r"listens on (http://\S+)")[1]


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_serve_takes_maintains_and_stops(
    run: Run, database_url: str, warehouse: Warehouse, event: Event
) -> None:
    service = run("serve", "--port", "0", "--maintain-every", "0.1", url=database_url)
    base = address(service)
    assert base.startswith("http://127.0.0.1:")
    assert service.until(r"docs\s+(\S+)")[1] == f"{base}/docs"
    assert httpx.get(f"{base}/readyz").status_code == 200
    assert httpx.post(f"{base}/api/events", json=[event() for _ in range(20)]).status_code == 200
    until(lambda: backlog(warehouse).total == 0)
    service.until("recomputed .* buckets")
    assert service.end() == 0
    assert "framehouse stopped" in service.text
    assert "Traceback" not in service.text
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{base}/healthz")


def test_maintenance_survives_the_loss_of_its_connections(
    run: Run, database_url: str, warehouse: Warehouse, event: Event
) -> None:
    service = run("serve", "--port", "0", "--maintain-every", "0.1", url=database_url)
    base = address(service)
    for _ in range(3):
        assert httpx.post(f"{base}/api/events", json=event()).status_code == 200
        until(lambda: backlog(warehouse).total == 0)
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and application_name like 'framehouse %'"
            )
    assert service.end(signal.SIGINT) == 0


def test_what_is_acknowledged_while_stopping_is_stored(
    run: Run, database_url: str, warehouse: Warehouse, event: Event
) -> None:
    service = run("serve", "--port", "0", url=database_url)
    base = address(service)
    events = [event() for _ in range(3000)]
    acknowledged: list[str] = []
    begun = threading.Event()

    def send() -> None:
        with httpx.Client(base_url=base) as client:
            for sent in events:
                try:
                    answer = client.post("/api/events", json=sent)
                except httpx.TransportError:
                    return
                if answer.status_code != 200:
                    return
                acknowledged.append(sent["job_id"])
                if len(acknowledged) == 50:
                    begun.set()

    sender = threading.Thread(target=send)
    sender.start()
    assert begun.wait(PATIENCE_SECONDS)
    assert service.end() == 0
    sender.join()
    assert 50 <= len(acknowledged) < len(events)
    with warehouse.session() as session:
        stored = {row[0] for row in session.table("select job_id from telemetry.performance_metrics")[1]}
    assert set(acknowledged) <= stored


def test_a_client_that_hangs_does_not_keep_it_from_stopping(run: Run, database_url: str) -> None:
    service = run("serve", "--port", "0", url=database_url)
    there = urlsplit(address(service))
    head = b"POST /api/events HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    with socket.create_connection((str(there.hostname), there.port or 0)) as hanging:
        hanging.sendall(head)
        assert httpx.get(f"http://{there.netloc}/healthz").status_code == 200
        assert service.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_open_streams_end_when_it_stops(run: Run, database_url: str, event: Event, number: int) -> None:
    service = run("serve", "--port", "0", url=database_url)
    base = address(service)
    with heard(base) as one, heard(base, kind="queue") as other:
        assert httpx.post(f"{base}/api/events", json=event()).status_code == 200
        one.next()
        assert service.end(number) == 0
        assert [line for stream in (one, other) for line in stream.rest() if line] == []
    # uvicorn says so when it has waited in vain for somebody to leave.
    assert "graceful shutdown exceeded" not in service.text
    assert "Traceback" not in service.text


def test_a_port_in_use_is_one_sentence(run: Run, database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = run("serve", "--port", str(port), url=database_url)
        assert program.end(None) == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in program.text
    assert "--port" in program.text
    assert "Traceback" not in program.text


def test_each_part_runs_alone(run: Run, database_url: str, warehouse: Warehouse, event: Event) -> None:
    ingest = run("serve", "--only", "ingest", "--port", "0", url=database_url)
    base = address(ingest)
    assert httpx.post(f"{base}/api/events", json=event()).status_code == 200
    assert httpx.get(f"{base}/api/workflows").status_code == 404
    api = run("serve", "--only", "api", "--port", "0", "--access-log", url=database_url)
    assert httpx.get(f"{address(api)}/api/workflows").json()["items"][0]["name"] == "wan_i2v"
    api.until('"GET /api/workflows HTTP/1.1" 200')
    assert backlog(warehouse).total > 0

    maintenance = run("serve", "--only", "maintenance", "--maintain-every", "0.1", url=database_url)
    maintenance.until("recomputed")
    until(lambda: backlog(warehouse).total == 0)
    assert [program.end() for program in (ingest, api, maintenance)] == [0, 0, 0]


def test_serve_makes_what_is_missing(run: Run, empty_database_url: str, event: Event) -> None:
    service = run("serve", "--port", "0", url=empty_database_url)
    base = address(service)
    assert httpx.get(f"{base}/readyz").status_code == 200
    assert httpx.post(f"{base}/api/events", json=event()).status_code == 200
    assert service.end() == 0


def test_migrate_build_and_maintain(run: Run, empty_database_url: str) -> None:
    check = run("migrate", "--check", url=empty_database_url)
    assert check.end(None) == 1
    assert "missing: 0001" in check.text
    assert run("migrate", url=empty_database_url).end(None) == 0
    again = run("migrate", url=empty_database_url)
    assert again.end(None) == 0
    assert "up to date" in again.text
    assert run("build", "--test", url=empty_database_url).end(None) == 0
    once = run("maintain", url=empty_database_url)
    assert once.end(None) == 0
    assert "nothing waits" in once.text
    keeping = run("maintain", "--every", "0.1", url=empty_database_url)
    with Warehouse(empty_database_url) as warehouse:
        with warehouse.session() as session:
            session.run_text(
                "insert into ops.touched_buckets (source, bucket) values ('attempts', '2026-01-01')"
            )
        until(lambda: backlog(warehouse).total == 0)
    assert keeping.end() == 0
