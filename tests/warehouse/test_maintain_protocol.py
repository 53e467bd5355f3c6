"""Writers, a deleter and maintenance race, and every rollup is right in every snapshot."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random

import psycopg
import pytest

from framehouse.warehouse import Warehouse, pool
from framehouse.warehouse.maintain import Backlog, backlog, maintain
from tests.warehouse.cells import QUARTER, exact, fill, wrong_cells

NOTHING = Backlog(0, 0, 0)
TODAY = datetime(2026, 3, 2, tzinfo=UTC)
RACE_SECONDS = 12
COLUMNS = (
    "finished_at, job_id, attempt, workflow_id, tier_id, worker_id, outcome, wall_seconds, segment_count"
)
SOME = """
    select timestamptz '2026-03-02 12:00+00' + n * interval '7 minutes', %(way)s || n, 1, 1 + n %% 2, 1, 1,
           'succeeded', n + 0.5, n
    from generate_series(1, 12) as n"""


def _insert(cursor: psycopg.Cursor, way: str) -> None:
    cursor.execute(
        SOME.replace("select", f"insert into telemetry.performance_metrics ({COLUMNS}) select", 1),
        {"way": way},
    )


def _insert_values(cursor: psycopg.Cursor, way: str) -> None:
    rows = cursor.execute(SOME, {"way": way}).fetchall()
    for row in rows:
        marks = ", ".join(["%s"] * len(row))
        cursor.execute(f"insert into telemetry.performance_metrics ({COLUMNS}) values ({marks})", row)


def _copy(cursor: psycopg.Cursor, way: str) -> None:
    rows = cursor.execute(SOME, {"way": way}).fetchall()
    with cursor.copy(f"copy telemetry.performance_metrics ({COLUMNS}) from stdin") as copy:
        for row in rows:
            copy.write_row(row)


def _merge(cursor: psycopg.Cursor, way: str) -> None:
    cursor.execute(
        f"""merge into telemetry.performance_metrics as known
            using ({SOME}) as fresh ({COLUMNS}) on known.job_id = fresh.job_id and known.finished_at = fresh.finished_at
            when not matched then insert ({COLUMNS})
            values ({", ".join(f"fresh.{column.strip()}" for column in COLUMNS.split(","))})""",
        {"way": way},
    )


def _delete(cursor: psycopg.Cursor, way: str) -> None:
    cursor.execute("delete from telemetry.performance_metrics where workflow_id = 2")


@pytest.mark.parametrize("write", [_insert, _insert_values, _copy, _merge, _delete])
def test_every_way_of_writing_reaches_the_cells(
    warehouse: Warehouse, write: Callable[[psycopg.Cursor, str], None]
) -> None:
    """Into buckets whose cells are there already, which is where a refresh could think it has nothing to do."""
    with psycopg.connect(warehouse.url) as connection:
        _insert(connection.cursor(), "first ")
    maintain(warehouse)
    assert backlog(warehouse) == NOTHING
    with psycopg.connect(warehouse.url) as connection:
        write(connection.cursor(), "second ")
    assert backlog(warehouse).touched_buckets > 0
    exact(warehouse.url)
    maintain(warehouse)
    assert backlog(warehouse) == NOTHING
    exact(warehouse.url)


class Race:
    """Threads that do something over and over until the race is over; the first failure ends it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.over = threading.Event()
        self.failures: list[BaseException] = []
        self.rounds: dict[str, int] = {}

    @contextmanager
    def running(self, *steps: Callable[[Warehouse, Random], None]) -> Iterator[None]:
        threads = [
            threading.Thread(target=self._run, args=[f"{step.__name__} {n}", step])
            for n, step in enumerate(steps)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join()
        assert self.failures == []
        idle = [
            name for n, step in enumerate(steps) if self.rounds.get(name := f"{step.__name__} {n}", 0) < 2
        ]
        assert not [name for name in idle if not name.startswith("keep")], self.rounds

    def _run(self, name: str, step: Callable[[Warehouse, Random], None]) -> None:
        random = Random(name)
        try:
            with Warehouse(self.url, max_size=2, name=name) as warehouse:
                while not self.over.is_set():
                    step(warehouse, random)
                    self.rounds[name] = self.rounds.get(name, 0) + 1
        except BaseException as error:
            self.failures.append(error)
            self.over.set()
            raise


def places(random: Random, count: int) -> list[datetime]:
    """Quarter hours of today, and a third of them of the days before."""
    return [
        TODAY
        - (random.randrange(1, 6) * timedelta(days=1) if random.random() < 1 / 3 else timedelta())
        + QUARTER * random.randrange(36, 44)
        for _ in range(count)
    ]


def write(warehouse: Warehouse, random: Random) -> None:
    fill(warehouse, random, places(random, 6))


def write_and_think_again(warehouse: Warehouse, random: Random) -> None:
    """Rows by plain SQL, left uncommitted for a while; half of the transactions roll back."""
    with psycopg.connect(warehouse.url) as connection:
        for at in places(random, 4):
            connection.execute(
                f"insert into telemetry.performance_metrics ({COLUMNS}) values (%s, %s, 1, 1, null, 1, 'failed', 5, 1)",
                [at, f"{random.getrandbits(64):x}"],
            )
            time.sleep(0.02)
        if random.random() < 0.5:
            connection.rollback()


def delete(warehouse: Warehouse, random: Random) -> None:
    [at] = places(random, 1)
    with psycopg.connect(warehouse.url) as connection:
        connection.execute(
            """delete from telemetry.performance_metrics
               where finished_at >= %s and finished_at < %s and (worker_id is null or random() < 0.3)""",
            [at, at + QUARTER],
        )
        connection.execute(
            "delete from telemetry.worker_heartbeats where covered_from >= %s and covered_from < %s",
            [at, at + QUARTER],
        )
        if random.random() < 0.3:
            connection.rollback()
    time.sleep(0.03)


class Progress:
    """A reporter that keeps the steps it was told of."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def step(self, text: str) -> None:
        pass

    def advance(self, done: float, total: float, text: str = "") -> None:
        self.steps.append(done)

    def keep(self, warehouse: Warehouse, random: Random) -> None:
        if not maintain(warehouse, self):
            time.sleep(0.01)


def watch(url: str, *, until: float, race: Race) -> tuple[int, list[str]]:
    """Compare all rollups with raw, each time in one snapshot; how many comparisons, and what was wrong."""
    comparisons, wrong = 0, []
    with psycopg.connect(url) as connection:
        connection.autocommit = True
        while time.monotonic() < until and not race.over.is_set():
            with connection.transaction():
                connection.execute("set transaction isolation level repeatable read read only")
                wrong += wrong_cells(connection)
            comparisons += 1
    return comparisons, wrong


def test_no_reader_ever_sees_a_wrong_cell(warehouse: Warehouse) -> None:
    race, progress = Race(warehouse.url), Progress()
    with race.running(write, write, write_and_think_again, delete, progress.keep, progress.keep):
        comparisons, wrong = watch(warehouse.url, until=time.monotonic() + RACE_SECONDS, race=race)
    assert wrong == []
    assert comparisons >= 5
    assert len(progress.steps) >= 5
    exact(warehouse.url)
    while backlog(warehouse) != NOTHING:
        maintain(warehouse)
    exact(warehouse.url)


def test_the_race_finds_marks_deleted_before_their_time(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counter-proof: delete all marks of what was read, by bucket, and readers see wrong cells."""
    whole = pool.statement
    by_bucket = """delete from ops.touched_buckets where bucket in (
        select bucket from ops.touched_buckets where id = any(%s::bigint[]))"""

    def careless(name: str) -> str:
        return by_bucket if name == "maintain.delete_bucket_marks" else whole(name)

    monkeypatch.setattr(pool, "statement", careless)
    race = Race(warehouse.url)
    wrong: list[str] = []
    with race.running(write, write, write_and_think_again, delete, Progress().keep):
        deadline = time.monotonic() + 60
        while not wrong and time.monotonic() < deadline:
            _, wrong = watch(warehouse.url, until=time.monotonic() + 1, race=race)
    assert wrong
