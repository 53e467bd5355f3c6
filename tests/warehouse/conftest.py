"""What several tests of the warehouse begin with."""

from collections.abc import Iterator
from random import Random

import pytest

import migrations
from framehouse.warehouse import Warehouse, retention
from framehouse.warehouse.build import build
from framehouse.warehouse.maintain import maintain
from tests.conftest import TestServer
from tests.warehouse.cells import QUARTER, fill
from tests.warehouse.history import KEEP, NEW_YORK, START
from tests.warehouse.kills import Kill, killing


@pytest.fixture(scope="session")
def new_york(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a database of a studio in New York, with data around a change of clocks and the coming fence."""
    url = server.create()
    migrations.upgrade(url)
    random = Random("retention")
    with Warehouse(url) as warehouse:
        build(warehouse, log_dir=tmp_path_factory.mktemp("log"), studio_zone=NEW_YORK)
        fill(warehouse, random, [START + QUARTER * random.randrange(30 * 96) for _ in range(150)])
        maintain(warehouse)
        retention.set_keep(warehouse, KEEP)
    yield server.freeze(url)
    server.drop(url)


@pytest.fixture
def studio(server: TestServer, new_york: str) -> Iterator[Warehouse]:
    """A studio of the test's own, about to drop raw data for the first time."""
    url = server.create(template=new_york)
    with Warehouse(url) as warehouse:
        yield warehouse
    server.drop(url)


@pytest.fixture
def kill() -> Iterator[Kill]:
    """Starts work in a process of its own, and kills it."""
    with killing() as kill:
        yield kill
