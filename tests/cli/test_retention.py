"""`framehouse retention show | set | run`: what would go is said first, and goes only after a yes."""

from datetime import UTC, datetime, timedelta

import pytest

from framehouse.warehouse import Warehouse
from framehouse.warehouse.maintain import maintain
from framehouse.warehouse.retention import set_keep
from tests.builders import event, store
from tests.cli.conftest import Command
from tests.warehouse.cells import ask

KEEP = "select extract(day from raw_keep)::int from ops.retention"
ATTEMPTS = "select count(*)::int from telemetry.performance_metrics"
CELLS = "select sum(attempt_count)::int from rollup.attempts_by_workflow_daily"
PLAN = ("a run drops", "attempts: 1 chunk,", "and then refuses events before ")


@pytest.fixture
def studio(warehouse: Warehouse) -> Warehouse:
    """An attempt of long ago, and one of yesterday."""
    now = datetime.now(UTC)
    store(warehouse, [event(finished_at=(now - timedelta(days=days)).isoformat()) for days in (200, 1)])
    maintain(warehouse)
    return warehouse


def test_show_says_what_is_kept_and_what_a_run_would_drop(studio: Warehouse, command: Command) -> None:
    shown = command(studio.url, "retention", "show")
    assert shown.exit_code == 0
    assert "raw rows are kept forever; rollups for ever" in shown.output
    assert "attempts: 2 chunks" in shown.output
    assert "a run drops nothing: framehouse retention set 180d" in shown.output
    set_keep(studio, timedelta(days=180))
    shown = command(studio.url, "retention", "show")
    assert "raw rows are kept 180 days" in shown.output
    assert all(words in shown.output for words in PLAN)
    assert ask(studio.url, ATTEMPTS) == 2


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_set_says_what_would_go_and_a_no_changes_nothing(
    studio: Warehouse, command: Command, answer: str
) -> None:
    done = command(studio.url, "retention", "set", "180d", answer=answer)
    assert done.exit_code == 1
    assert all(words in done.output for words in PLAN)
    assert done.output.index("a run drops") < done.output.index("no longer than that?")
    assert ask(studio.url, KEEP) is None
    assert ask(studio.url, ATTEMPTS) == 2


@pytest.mark.parametrize(("keep", "days"), [("180d", 180), ("26w", 182), ("100Y", 36500), (" 90 d ", 90)])
def test_set_sets_and_drops_nothing(studio: Warehouse, command: Command, keep: str, days: int) -> None:
    done = command(studio.url, "retention", "set", keep, "--yes")
    assert (done.exit_code, ask(studio.url, KEEP), ask(studio.url, ATTEMPTS)) == (0, days, 2)
    assert f"raw rows are kept {days} days" in done.output
    done = command(studio.url, "retention", "set", "forever")
    assert (done.exit_code, ask(studio.url, KEEP)) == (0, None)
    assert "raw rows are kept forever" in done.output


def test_set_asks_only_when_something_would_go(studio: Warehouse, command: Command) -> None:
    done = command(studio.url, "retention", "set", "1y", answer="")
    assert (done.exit_code, ask(studio.url, KEEP)) == (0, 365)
    assert "?" not in done.output
    done = command(studio.url, "retention", "set", "180d", answer="y\n")
    assert (done.exit_code, ask(studio.url, KEEP)) == (0, 180)


@pytest.mark.parametrize(
    ("keep", "code", "said"),
    [
        ("0d", 1, "at least 90 days, not 0"),
        ("89d", 1, "at least 90 days, not 89"),
        ("101y", 1, "at most 36500 days"),
        ("2100y", 1, "framehouse retention set forever"),
        ("99999y", 1, "at most 36500 days"),
        ("-1d", 2, "'-1d' is no duration"),
        ("", 2, "'' is no duration"),
        ("1e9d", 2, "'1e9d' is no duration"),
        ("180", 2, "say 180d, 26w, 1y or forever"),
    ],
)
def test_what_is_no_time_to_keep_is_said(
    database_url: str, command: Command, keep: str, code: int, said: str
) -> None:
    done = command(database_url, "retention", "set", keep, "--yes")
    assert (done.exit_code, said in done.output) == (code, True), done.output
    assert ask(database_url, KEEP) is None


def test_run_drops_nothing_unless_told(studio: Warehouse, command: Command) -> None:
    done = command(studio.url, "retention", "run", answer="")
    assert (done.exit_code, "a run drops nothing" in done.output) == (0, True)
    set_keep(studio, timedelta(days=180))
    for answer in ("n\n", ""):
        done = command(studio.url, "retention", "run", answer=answer)
        assert done.exit_code == 1
        assert done.output.index("a run drops") < done.output.index("drop this raw data for ever?")
        assert ask(studio.url, ATTEMPTS) == 2


@pytest.mark.parametrize(("options", "answer"), [((), "y\n"), (("--yes",), "")])
def test_run_drops_what_it_has_shown(
    studio: Warehouse, command: Command, options: tuple[str, ...], answer: str
) -> None:
    set_keep(studio, timedelta(days=180))
    done = command(studio.url, "retention", "run", *options, answer=answer)
    assert done.exit_code == 0, done.output
    assert all(words in done.output for words in PLAN)
    assert ("for ever?" in done.output) == (not options)
    assert "dropped; raw rows are there from " in done.output
    assert (ask(studio.url, ATTEMPTS), ask(studio.url, CELLS)) == (1, 2)
    again = command(studio.url, "retention", "run", answer="")
    assert (again.exit_code, "a run drops nothing at this moment" in again.output) == (0, True)
    assert "dropped before" in again.output


def test_a_time_longer_than_there_were_years_drops_nothing(studio: Warehouse, command: Command) -> None:
    """Whoever may write to the table can set what the command refuses."""
    ask(studio.url, "update ops.retention set raw_keep = interval '800000 days' returning 1")
    shown = command(studio.url, "retention", "show")
    assert (shown.exit_code, "a run drops nothing at this moment" in shown.output) == (0, True)
