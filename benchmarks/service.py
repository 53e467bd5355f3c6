"""The service as a process of its own, as people run it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from framehouse.config import environment

_ANNOUNCED = "framehouse listens on "


@contextmanager
def service(url: str, home: Path) -> Iterator[httpx.Client]:
    """`framehouse serve --only api` on a free port over the database `url`; a client with one connection to it."""
    variables = environment(
        FRAMEHOUSE_DATABASE_URL=url, FRAMEHOUSE_HOME=str(home), FRAMEHOUSE_STUDIO_ZONE=None
    )
    command = [sys.executable, "-u", "-m", "framehouse.cli.main", "serve", "--only", "api", "--port", "0"]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as process:
        try:
            with httpx.Client(base_url=_address(process), timeout=60) as client:
                yield client
        finally:
            process.terminate()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(_ANNOUNCED):
            return line.removeprefix(_ANNOUNCED).strip()
    raise RuntimeError("the service ended before it listened; what it said stands above")
