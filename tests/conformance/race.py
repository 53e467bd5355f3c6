"""The race: writers, a deleter and maintainers, each a process of its own and killed at random, while every rollup is
compared with raw rows, cell by cell, in one snapshot after another.

`python -m tests.conformance.race --seconds 600` runs it on a cluster of its own, or on FRAMEHOUSE_TEST_DATABASE_URL.
A third of the rows come days late, and half of the slow transactions roll back.
"""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import psycopg

from framehouse.errors import DefinitionError, WarehouseError
from framehouse.metrics.read import read_in
from framehouse.metrics.rollups import ROLLUPS
from framehouse.warehouse import Warehouse
from framehouse.warehouse.build import build, project_dir
from framehouse.warehouse.maintain import maintain
from framehouse.warehouse.renew import abandon
from framehouse.windows import Window
from tests.conformance import breaks
from tests.warehouse.cells import QUARTER, fill, wrong_cells

TODAY = datetime(2026, 3, 2, tzinfo=UTC)
DAYS_LATE = 5
COLUMNS = (
    "finished_at, job_id, attempt, workflow_id, tier_id, worker_id, outcome, wall_seconds, segment_count"
)
_ROW = "(%s, %s, 1, %s, null, 1, 'failed', 5, 1)"
_QUESTION = ("attempt_count", "avg_wall_seconds", "max_rtf", "p90_wall_seconds")


def places(random: Random, count: int) -> list[datetime]:
    """Quarter hours of today, and a third of them of the days before."""
    return [
        TODAY
        - (random.randrange(1, DAYS_LATE + 1) * timedelta(days=1) if random.random() < 1 / 3 else timedelta())
        + QUARTER * random.randrange(36, 44)
        for _ in range(count)
    ]


def write(warehouse: Warehouse, random: Random) -> None:
    """Attempts and heartbeats, through the writer."""
    fill(warehouse, random, places(random, 6))


def hesitate(warehouse: Warehouse, random: Random) -> None:
    """Rows by plain SQL and by COPY, left uncommitted for a while; half of the transactions roll back."""
    with psycopg.connect(warehouse.url) as connection:
        workflows = [
            row[0] for row in connection.execute("select id from studio.workflows order by id").fetchall()
        ]
        for at in places(random, 3):
            key = f"{random.getrandbits(64):x}"
            connection.execute(
                f"insert into telemetry.performance_metrics ({COLUMNS}) values {_ROW}",
                [at, key, random.choice(workflows)],
            )
            time.sleep(random.random() * 0.03)
        with (
            connection.cursor() as cursor,
            cursor.copy(f"copy telemetry.performance_metrics ({COLUMNS}) from stdin") as copy,
        ):
            for at in places(random, 3):
                copy.write_row(
                    (at, f"{random.getrandbits(64):x}", 1, workflows[0], None, 2, "succeeded", 7.5, 2)
                )
        time.sleep(random.random() * 0.1)
        if random.random() < 0.5:
            connection.rollback()


def delete(warehouse: Warehouse, random: Random) -> None:
    """Most of a bucket's rows, so that the race stays as small as it began."""
    [at] = places(random, 1)
    with psycopg.connect(warehouse.url) as connection:
        for table, time_column in (
            ("performance_metrics", "finished_at"),
            ("worker_heartbeats", "covered_from"),
        ):
            connection.execute(
                f"delete from telemetry.{table} where {time_column} >= %s and {time_column} < %s and random() < 0.7",
                [at, at + QUARTER],
            )
        if random.random() < 0.3:
            connection.rollback()
    time.sleep(0.01)


def renew(warehouse: Warehouse, random: Random) -> None:
    """A changed rollup, and what is computed from it, built beside the old ones and put in their places."""
    if random.random() < 0.3:
        abandon(warehouse)
    with psycopg.connect(warehouse.url) as connection:
        # The same change as one that was killed on its way made, or the next.
        row = connection.execute("select sum(version) from ops.rollups where renews is null").fetchone()
    assert row is not None
    with tempfile.TemporaryDirectory(prefix="framehouse-race-") as folder:
        project = Path(shutil.copytree(project_dir(), Path(folder) / "project"))
        family = random.choice(["attempt_totals_by_workflow", "attempts_by_worker", "heartbeats_by_worker"])
        for model in (project / "models" / "rollup").glob(f"{family}*.sql"):
            model.write_text(f"{model.read_text().rstrip()}\n-- {row[0]}\n")
        with suppress(DefinitionError):  # another change was on its way
            build(warehouse, log_dir=Path(folder), is_renewing=True, project=project)
    time.sleep(random.uniform(20, 60))


def keep(warehouse: Warehouse, random: Random) -> None:
    """Maintenance; two of these take turns."""
    if not maintain(warehouse):
        time.sleep(random.random() * 0.02)


ROLES: dict[str, Callable[[Warehouse, Random], None]] = {
    "write": write,
    "hesitate": hesitate,
    "delete": delete,
    "keep": keep,
    "renew": renew,
}
RARELY = {"renew": 0.2}
CAST = ("write", "write", "hesitate", "delete", "keep", "keep")


@dataclass
class Result:
    """What a race found: comparisons of one rollup, or of one answer, with raw in one snapshot."""

    comparisons: int = 0
    snapshots: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    deadlocks: int = 0
    renewed: int = 0
    wrong: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.comparisons:,} comparisons in {self.snapshots:,} snapshots, {len(self.wrong)} wrong; "
            f"{self.kills.total()} kills ({self._by_role()}), {self.renewed} rollups renewed, "
            f"{self.deadlocks} deadlocks, {len(self.failures)} failures"
        )

    def _by_role(self) -> str:
        return ", ".join(f"{role} {count}" for role, count in sorted(self.kills.items())) or "nobody"


class Actor:
    """A role in a process of its own, restarted by whoever killed it."""

    def __init__(self, url: str, role: str, seed: int, broken: str) -> None:
        self.role = role
        self._command = [sys.executable, "-m", "tests.conformance.race", role, url, str(seed), broken]
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def kill(self) -> str | None:
        """kill -9, whatever it is at; what it had died of already, if it had."""
        # A process that is still importing would be no loss: it says when it begins.
        assert self.process.stdout
        self.process.stdout.readline()
        self.process.kill()
        _, said = self.process.communicate()
        if self.process.returncode != -signal.SIGKILL:
            return f"{self.role} exited with {self.process.returncode}: {said[-2000:]}"
        self.process = self._start()
        return None

    def stop(self) -> str | None:
        """Ask it to end; what it died of, if it did not end in peace. What takes long is not waited for."""
        if self.role in RARELY and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
            return None
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=120)
        # One that has just begun may have no ears yet.
        is_peaceful = self.process.returncode in {0, -signal.SIGTERM}
        return None if is_peaceful else f"{self.role} exited with {self.process.returncode}: {said[-2000:]}"


def race(
    url: str,
    seconds: float,
    *,
    seed: int = 1,
    kill_every: float = 5.0,
    cast: Sequence[str] = CAST,
    broken: str = "",
    until_wrong: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Result:
    """Run the race on a built database; `broken` names a rule of the protocol to break, `until_wrong` ends at the first
    wrong cell."""
    random, result = Random(seed), Result()
    before = _deadlocks(url)
    with Warehouse(url, name="race") as warehouse:
        fill(warehouse, random, places(random, 20))  # so that workflows have names
    breaks.apply(url, broken)
    actors = [Actor(url, role, seed * 100 + n, broken) for n, role in enumerate(cast)]
    doomed: list[Actor] = []
    began = told = time.monotonic()
    next_kill = began + kill_every
    try:
        with Warehouse(url, name="race") as warehouse, breaks.broken(broken):
            while (now := time.monotonic()) < began + seconds and not (until_wrong and result.wrong):
                _compare(warehouse, random, result)
                for actor in actors:
                    if actor.process.poll() is not None:
                        result.failures.append(str(actor.stop()))
                        raise _OverError
                if now >= next_kill:
                    # Each role in its turn, so that a short race kills all of them; what takes long more rarely, so
                    # that it also comes to its end.
                    doomed = doomed or [
                        actor
                        for actor in random.sample(actors, len(actors))
                        if random.random() < RARELY.get(actor.role, 1)
                    ]
                    actor = min(doomed, key=lambda actor: result.kills[actor.role])
                    doomed.remove(actor)
                    if said := actor.kill():
                        result.failures.append(said)
                        raise _OverError
                    result.kills[actor.role] += 1
                    next_kill = now + random.uniform(0.3, 1.7) * kill_every
                if now >= told + 30:
                    told = now
                    tell(f"{now - began:.0f} s: {result}")
    except _OverError:
        pass
    finally:
        result.failures += [said for actor in actors if (said := actor.stop())]
        result.deadlocks = _deadlocks(url) - before
        result.renewed = _number(url, "select count(*) from ops.retired_rollups")
    return result


class _OverError(Exception):
    """A role died by itself."""


def _compare(warehouse: Warehouse, random: Random, result: Result) -> None:
    with warehouse.session(is_snapshot=True) as session:
        connection = session._connection
        result.wrong += wrong_cells(connection)
        days = timedelta(days=random.randrange(1, DAYS_LATE + 2))
        window = Window(TODAY + timedelta(days=1) - days, TODAY + timedelta(days=1))
        by = random.choice([(), "workflow", ("workflow", "tier")])
        answers = [
            read_in(session, _QUESTION, window=window, by=by, is_raw=is_raw) for is_raw in (False, True)
        ]
    if not _same(answers[0].rows, answers[1].rows):
        result.wrong.append(f"metrics.read {window} by {by}: {answers[0].rows} instead of {answers[1].rows}")
    result.comparisons += len(ROLLUPS) + 1
    result.snapshots += 1


def _same(ours: tuple[tuple[object, ...], ...], raw: tuple[tuple[object, ...], ...]) -> bool:
    def close(a: object, b: object) -> bool:
        if isinstance(a, float) and isinstance(b, float):
            return abs(a - b) <= 1e-9 * (1 + abs(b))
        return a == b

    return len(ours) == len(raw) and all(
        len(a) == len(b) and all(map(close, a, b)) for a, b in zip(ours, raw, strict=True)
    )


def _deadlocks(url: str) -> int:
    return _number(url, "select deadlocks from pg_stat_database where datname = current_database()")


def _number(url: str, text: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(text).fetchone()
    assert row is not None
    return int(row[0])


def act(role: str, url: str, seed: int, broken: str) -> None:
    """A role's process: over and over until SIGTERM."""
    over = False

    def stop(number: int, frame: object) -> None:
        nonlocal over
        over = True

    signal.signal(signal.SIGTERM, stop)
    random = Random(f"{seed} {time.time_ns()}")
    with breaks.broken(broken), Warehouse(url, max_size=2, name=f"race {role}") as warehouse:
        print("at it", flush=True)  # noqa: T201 - to whoever may kill it now
        while not over:
            # A careless protocol may well fail on its own data; what counts is what readers see meanwhile.
            is_silent = broken and not breaks.BREAKS[broken].is_loud
            with suppress(*((WarehouseError, psycopg.Error) if is_silent else ())):
                ROLES[role](warehouse, random)


def main() -> None:
    """A role's process, or the race itself."""
    if sys.argv[1:] and sys.argv[1] in ROLES:
        role, url, seed, broken = sys.argv[1:]
        act(role, url, int(seed), broken)
        return
    from tests.conformance.alone import run

    run()


if __name__ == "__main__":
    main()
