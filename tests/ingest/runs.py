"""Running `framehouse run` as a shell would, and reading what it told the warehouse."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from framehouse.config import environment
from framehouse.events import Event

FRAMEHOUSE = str(Path(sys.executable).with_name("framehouse"))
NOWHERE = "http://127.0.0.1:1"


class Runner:
    """`framehouse run` with a home of its own. Without a listener, nothing listens and attempts are spooled."""

    def __init__(self, home: Path, url: str = NOWHERE, **variables: str) -> None:
        self.home = home
        self.started: list[subprocess.Popen[bytes]] = []
        self.env = environment(
            FRAMEHOUSE_HOME=str(home),
            FRAMEHOUSE_URL=url,
            FRAMEHOUSE_CLOUD_METADATA="0",
            FRAMEHOUSE_METRICS=None,
            AWS_INSTANCE_TYPE=None,
            PYTHONUNBUFFERED=None,  # as people run it
        )
        self.env.update(variables)

    def argv(self, command: Sequence[Any], *options: str) -> list[Any]:
        return [FRAMEHOUSE, "run", *options, "--", *command]

    def run(self, command: Sequence[Any], *options: str, **popen: Any) -> subprocess.CompletedProcess[bytes]:
        """Run to the end, with stdout and stderr caught."""
        return subprocess.run(
            self.argv(command, *options), env=self.env, capture_output=True, check=False, timeout=120, **popen
        )

    def start(self, command: Sequence[Any], *options: str, **popen: Any) -> subprocess.Popen[bytes]:
        """Start it in a process group of its own, with stdout to read from."""
        settings: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "start_new_session": True,
        }
        process = subprocess.Popen(
            self.argv(command, *options), env=self.env, stderr=subprocess.PIPE, **(settings | popen)
        )
        self.started.append(process)
        return process

    @property
    def events(self) -> list[dict[str, Any]]:
        """The spooled attempts, each held against the contract."""
        spool = self.home / "spool" / "events.ndjson"
        lines = spool.read_bytes().splitlines() if spool.exists() else []
        return [checked(line) for line in lines]

    @property
    def event(self) -> dict[str, Any]:
        """The only attempt."""
        (event,) = self.events
        return event


@contextmanager
def running(home: Path) -> Iterator[Runner]:
    """A runner that leaves no process behind, however a test ends."""
    runner = Runner(home)
    yield runner
    for process in runner.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for file in (process.stdin, process.stdout, process.stderr):
            if file is not None and not file.closed:
                file.close()


def checked(line: bytes) -> dict[str, Any]:
    """One event, which keeps the contract."""
    event: dict[str, Any] = json.loads(line.decode("utf-8"))
    Event.model_validate(event)
    assert not {"rtf", "time_per_frame_ms"} & event.keys()
    return event


def python(code: str, *arguments: str) -> list[str]:
    """A command that runs a piece of Python, started as quickly as possible."""
    return [sys.executable, "-I", "-S", "-c", code, *arguments]
