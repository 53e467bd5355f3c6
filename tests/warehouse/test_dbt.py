"""dbt's own tests of the project: contracts, data tests and unit tests, on a built warehouse with data."""

from pathlib import Path

import pytest

from framehouse.errors import BuildError
from framehouse.warehouse import Warehouse
from framehouse.warehouse.build import build
from tests.builders import event, store


def test_the_project_passes_its_own_tests(warehouse: Warehouse, tmp_path: Path) -> None:
    store(warehouse, [event(tier="draft", segment_count=number + 1) for number in range(5)])
    build(warehouse, log_dir=tmp_path, command=("build",))
    log = (tmp_path / "dbt.log").read_text(encoding="utf-8")
    assert "1 unit test" in log
    assert "ERROR=0" in log


def test_what_dbt_refuses_is_said_and_the_log_is_kept(warehouse: Warehouse, tmp_path: Path) -> None:
    with pytest.raises(BuildError) as caught:
        build(warehouse, log_dir=tmp_path, command=("run", "--select", "no such selector:*"))
    assert "dbt failed" in str(caught.value)
    assert (tmp_path / "dbt.log").is_file()
