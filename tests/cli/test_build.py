"""`framehouse build --renew | --abandon`: on a warehouse where there is nothing to do, and on an older one."""

import pytest

from framehouse.errors import WarehouseError
from framehouse.warehouse import Warehouse
from framehouse.warehouse.build import is_built
from framehouse.warehouse.maintain import maintain
from tests.builders import event, store
from tests.cli.conftest import Command
from tests.warehouse.cells import ask, contents, exact

NAMES = "select array_agg(name || ' ' || version order by name) from ops.rollups"
RETIRED = "select array_agg(name) from ops.retired_rollups"
DAILY = "heartbeats_by_worker_daily"


@pytest.mark.parametrize("options", [(), ("--renew",), ("--test",)])
def test_nothing_to_build_or_renew_changes_nothing(
    warehouse: Warehouse, command: Command, options: tuple[str, ...]
) -> None:
    store(warehouse, [event()])
    maintain(warehouse)
    before, names = contents(warehouse.url), ask(warehouse.url, NAMES)
    done = command(warehouse.url, "build", *options)
    assert (done.exit_code, "the rollups are built" in done.output) == (0, True), done.output
    assert (contents(warehouse.url), ask(warehouse.url, NAMES)) == (before, names)
    assert ask(warehouse.url, RETIRED) is None


def test_nothing_to_abandon_is_said(warehouse: Warehouse, command: Command) -> None:
    names = ask(warehouse.url, NAMES)
    done = command(warehouse.url, "build", "--abandon")
    assert (done.exit_code, "nothing stands beside the rollups" in done.output) == (0, True)
    assert ask(warehouse.url, NAMES) == names


def test_an_older_rollup_is_refused_and_then_renewed(
    warehouse: Warehouse, command: Command, older: None
) -> None:
    done = command(warehouse.url, "build")
    assert (done.exit_code, f"rollup {DAILY} was built from another" in done.output) == (1, True)
    assert "framehouse build --renew" in done.output
    done = command(warehouse.url, "build", "--renew")
    assert (done.exit_code, "the rollups are built" in done.output) == (0, True), done.output
    assert ask(warehouse.url, RETIRED) == [DAILY]
    assert is_built(warehouse)
    exact(warehouse.url)


def test_a_renewal_that_was_stopped_is_abandoned(
    warehouse: Warehouse, command: Command, older: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ask(warehouse.url, NAMES)
    with monkeypatch.context() as stopped:
        stopped.setattr("framehouse.warehouse.build._compute", refuse)
        done = command(warehouse.url, "build", "--renew")
    assert (done.exit_code, "stopped here" in done.output) == (1, True)
    assert ask(warehouse.url, NAMES) != names
    done = command(warehouse.url, "build", "--abandon")
    assert (done.exit_code, f"removed: {DAILY}_v2" in done.output) == (0, True)
    assert ask(warehouse.url, NAMES) == names


def refuse(*_: object, **__: object) -> None:
    raise WarehouseError("stopped here")


@pytest.fixture
def older(warehouse: Warehouse) -> None:
    """A rollup that an older version built."""
    ask(
        warehouse.url,
        f"update ops.rollups set definition_hash = 'older' where name = '{DAILY}' returning 1",
    )
