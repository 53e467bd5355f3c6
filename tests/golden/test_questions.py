"""The SQL of questions that people ask: one file each, and each runs."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from framehouse.metrics.compile import Query, histograms_query, metrics_query
from framehouse.metrics.definitions import metric
from framehouse.metrics.plan import Built, Marks, Plan, State, plan
from framehouse.metrics.question import Question
from framehouse.metrics.rollups import ATTEMPTS, HEARTBEATS, ROLLUPS, Source
from framehouse.warehouse import Warehouse
from framehouse.windows import Grain, Window
from tests.builders import event, store
from tests.conftest import TestServer
from tests.golden.conftest import FOLDER, Golden, pretty

MONTH = Window(datetime.fromisoformat("2026-03-01T00:00Z"), datetime.fromisoformat("2026-04-01T00:00Z"))
SINCE_SOME_MOMENT = Window(
    datetime.fromisoformat("2026-03-01T10:20:30.123456Z"), datetime.fromisoformat("2026-03-09T08:05Z")
)


def asked(
    names: Sequence[str],
    by: tuple[str, ...] = (),
    *,
    window: Window = MONTH,
    grain: Grain | None = None,
    zone_name: str = "UTC",
    where: dict[str, tuple[int | str | None, ...]] | None = None,
    source: Source = ATTEMPTS,
) -> Question:
    return Question(source, tuple(map(metric, names)), by, window, grain, zone_name, where or {})


QUESTIONS = {
    "how_many_attempts": asked(["attempt_count"]),
    "an_empty_window": asked(["attempt_count"], window=Window(MONTH.start, MONTH.start)),
    "cost_by_workflow": asked(["gpu_hours", "wall_hours", "succeeded_count"], ("workflow",)),
    "cost_by_workflow_and_tier_by_day": asked(["gpu_hours"], ("workflow", "tier"), grain=Grain.DAY),
    "since_some_moment": asked(["attempt_count", "output_gb"], ("workflow",), window=SINCE_SOME_MOMENT),
    "mean_and_spread_per_segment": asked(
        ["avg_wall_seconds_per_segment", "sd_wall_seconds_per_segment"],
        ("workflow",),
        where={"workflow": (1, 2), "tier": (1, None)},
    ),
    "failures_by_worker_by_hour_in_kathmandu": asked(
        ["failed_count", "failure_ratio"], ("worker",), grain=Grain.HOUR, zone_name="Asia/Kathmandu"
    ),
    "quarter_hours_of_a_worker": asked(["avg_rtf"], grain=Grain.FINE, where={"worker": (3,)}),
    "weeks_of_another_zone": asked(["segment_count"], grain=Grain.WEEK, zone_name="America/New_York"),
    "workers_on_a_workflow": asked(["avg_gpu_seconds"], ("worker", "workflow"), where={"workflow": (1,)}),
    "a_project_from_raw": asked(["gpu_hours", "cold_ratio"], ("project", "outcome"), grain=Grain.MONTH),
    "nobodys_variant": asked(["attempt_count"], where={"variant": (None,), "outcome": ("failed",)}),
    "typical_and_slow": asked(["p50_wall_seconds", "p90_wall_seconds", "p99_rtf"], ("workflow",)),
    "slow_days": asked(["p95_queue_wait_seconds", "max_queue_wait_seconds"], grain=Grain.DAY),
    "utilisation_of_workers": asked(
        ["generating_hours", "idle_hours", "utilisation_ratio"],
        ("worker",),
        window=SINCE_SOME_MOMENT,
        source=HEARTBEATS,
    ),
}
UNMARKED = Marks()
#: Two quarter hours of different days, a day whose quarter hours are done, and a backfill that has come to the 20th.
MARKED = Marks(
    touched={
        "attempts": frozenset({MONTH.start + timedelta(hours=30), MONTH.start + timedelta(hours=100.25)})
    },
    touched_days={"attempts": frozenset({MONTH.start + timedelta(days=7)})},
    pending={"attempts_by_worker_fine": frozenset({MONTH.start + timedelta(days=19)})},
)
each_question = pytest.mark.parametrize(("name", "question"), QUESTIONS.items(), ids=QUESTIONS.keys())


def compiled(question: Question, marks: Marks = UNMARKED) -> dict[str, Query]:
    """The statements that answer a question on a warehouse whose studio is in UTC, by their kind."""
    state = State(
        "UTC",
        None,
        {rollup.name: Built(f"rollup.{rollup.name}_cells", rollup.part_names) for rollup in ROLLUPS},
        marks,
    )

    def planned(parts: frozenset[str]) -> Plan:
        return plan(
            question.source,
            question.dimensions,
            parts,
            question.window,
            state=state,
            grain=question.grain,
            zone_name=question.zone_name,
        )

    found = {"metrics": metrics_query(question, planned(question.parts()))}
    if question.quantiles:
        found["histograms"] = histograms_query(question, planned(question.histograms()))
    return found


def shown(queries: dict[str, Query]) -> str:
    """Statements and their parameters, to be read."""
    return "\n\n".join(
        "\n".join(
            [
                f"-- {kind}",
                *(f"-- {name}: {_plain(value)}" for name, value in query.params.items()),
                pretty(query.text) + ";",
            ]
        )
        for kind, query in queries.items()
    )


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return value.isoformat() if isinstance(value, datetime) else str(value)


@pytest.fixture(scope="module")
def studio(server: TestServer) -> Iterator[Warehouse]:
    """A warehouse with some attempts in the windows that are asked for."""
    url = server.create(template=server.template)
    with Warehouse(url) as warehouse:
        store(
            warehouse,
            (
                event(
                    workflow="ab"[n % 2],
                    worker="gpu-1",
                    tier=["draft", None][n // 2 % 2],
                    segment_count=n % 3,
                    finished_at=(MONTH.start + timedelta(hours=7 * n)).isoformat(),
                )
                for n in range(60)
            ),
        )
        yield warehouse
    server.drop(url)


@each_question
def test_the_sql_of_a_question(golden: Golden, name: str, question: Question) -> None:
    golden(f"questions/{name}.sql", shown(compiled(question)))


@pytest.mark.parametrize("name", ["cost_by_workflow", "quarter_hours_of_a_worker"])
def test_the_sql_where_buckets_are_marked(golden: Golden, name: str) -> None:
    golden(f"marked/{name}.sql", shown(compiled(QUESTIONS[name], MARKED)))


@each_question
def test_the_sql_runs(studio: Warehouse, name: str, question: Question) -> None:
    for query in [*compiled(question).values(), *compiled(question, MARKED).values()]:
        with studio.session(is_snapshot=True) as session:
            plain = session.table(query.text, query.params)
        with studio.session(is_snapshot=True) as session:
            assert session.table(pretty(query.text), query.params) == plain
        keys = (["bucket"] if question.grain else []) + [*question.by]
        assert plain[0][: len(keys)] == keys
        if not keys:
            assert len(plain[1]) == 1


@each_question
def test_compiling_twice_gives_the_same_text(name: str, question: Question) -> None:
    assert compiled(question) == compiled(question)


def test_no_golden_file_is_left_over() -> None:
    kept = {path.stem for path in Path(FOLDER / "questions").glob("*.sql")}
    assert kept == set(QUESTIONS)
    assert {path.stem for path in Path(FOLDER / "marked").glob("*.sql")} <= set(QUESTIONS)
