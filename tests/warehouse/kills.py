"""Work in a process of its own that is killed for certain: at a statement, or some time after it came to the database.

Python and dbt are loaded once, and each piece of work is a fork of that: it starts within milliseconds, so that a kill
does not meet a process that is still importing.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol

from framehouse.warehouse.build import project_dir
from tests.warehouse.cells import ask

_WORK = """
import json, os, signal, sys
from datetime import datetime
from pathlib import Path
import dbt.cli.main
from framehouse.warehouse import Warehouse, pool, retention
from framehouse.warehouse.build import build

def work(given):
    if given["job"] == "drop":
        with Warehouse(given["url"], name="framehouse drop") as warehouse:
            planned = retention.preview(warehouse, now=datetime.fromisoformat(given["now"]))
            retention.drop(warehouse, planned)
    else:
        with Warehouse(given["url"]) as warehouse:
            build(warehouse, log_dir=Path(given["folder"]), project=Path(given["project"]),
                  studio_zone=given["zone"], is_renewing=given["job"] == "renew")

def deadly(name, whole=pool.statement):
    if name == given["at"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(name)

for line in sys.stdin:
    given = json.loads(line)
    pid = os.fork()
    if pid == 0:
        pool.statement = deadly
        work(given)
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Kill(Protocol):
    """Start a job (build, renew or drop) and kill it, `after` some seconds or `at` a statement it is about to run.

    Whether it was killed: one that was through before was not.
    """

    def __call__(
        self,
        job: str,
        url: str,
        folder: Path,
        *,
        after: float = 0.0,
        at: str = "",
        project: Path | None = None,
        zone: str = "UTC",
        now: datetime | None = None,
    ) -> bool: ...


@contextmanager
def killing() -> Iterator[Kill]:
    """The process that forks the others."""
    with subprocess.Popen(
        [sys.executable, "-c", _WORK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},  # of what killed processes leave
    ) as starter:
        given, said = starter.stdin, starter.stdout
        assert given
        assert said

        def kill(
            job: str,
            url: str,
            folder: Path,
            *,
            after: float = 0.0,
            at: str = "",
            project: Path | None = None,
            zone: str = "UTC",
            now: datetime | None = None,
        ) -> bool:
            order = {"job": job, "url": url, "folder": str(folder), "at": at, "zone": zone}
            order |= {"project": str(project or project_dir()), "now": now.isoformat() if now else ""}
            since = ask(url, "select clock_timestamp()")
            print(json.dumps(order), file=given, flush=True)
            pid = int(said.readline())
            if not at:
                name = "framehouse drop" if job == "drop" else "framehouse build"
                _await_connection(url, name, since, pid)
                time.sleep(after)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            status = int(said.readline())
            assert status in {0, -signal.SIGKILL}, f"it failed by itself: {status}"
            return status == -signal.SIGKILL

        yield kill


def _await_connection(url: str, name: str, since: object, pid: int) -> None:
    deadline = time.monotonic() + 60
    with suppress(ProcessLookupError):  # it was as quick as that
        while not ask(url, "select count(*) from pg_stat_activity where datname = current_database() and "
                           "application_name = %s and backend_start > %s", name, since):  # fmt: skip
            assert time.monotonic() < deadline
            os.kill(pid, 0)
            time.sleep(0.005)
