"""What dbt makes of a rollup's model: the view that everyone reads, and how its cells are recomputed."""

import psycopg
import pytest

from framehouse.metrics import models
from framehouse.metrics import rollups as metrics_rollups
from framehouse.warehouse.build import project_dir
from tests.golden.conftest import Golden, pretty

ROLLUPS = ["heartbeats_by_worker_fine", "heartbeats_by_worker_daily", "attempt_quantiles_by_workflow_daily"]


def ask(url: str, sql: str, *values: str) -> str | None:
    with psycopg.connect(url) as connection:
        row = connection.execute(sql, values).fetchone()
    assert row is not None
    found: str | None = row[0]
    return found


@pytest.mark.parametrize("name", ROLLUPS)
def test_the_view_that_everyone_reads(golden: Golden, database_url: str, name: str) -> None:
    version = int(ask(database_url, "select current_setting('server_version_num')") or 0) // 10000
    if version < 17:
        pytest.skip(f"the golden text is as PostgreSQL 17 prints a view; this is {version}")
    text = ask(database_url, "select pg_get_viewdef(%s::regclass, true)", f"rollup.{name}")
    golden(f"views/{name}.sql", text or "")


@pytest.mark.parametrize("name", ROLLUPS)
def test_how_cells_are_recomputed(golden: Golden, database_url: str, name: str) -> None:
    text = ask(database_url, "select recompute from ops.rollups where name = %s", name)
    if ask(database_url, "select current_setting('timescaledb.license')") == "timescale":
        assert text is None
        pytest.skip(
            "cells are recomputed by our own SQL on the Apache edition only; here TimescaleDB refreshes"
        )
    assert text is not None
    golden(f"recompute/{name}.sql", pretty(text.replace("%s", "$1")) + ";")


def test_the_definition_names_no_database(database_url: str) -> None:
    """A definition's hash must survive a dump and a restore under another name."""
    with psycopg.connect(database_url) as connection:
        texts = connection.execute("select definition, coalesce(recompute, '') from ops.rollups").fetchall()
    database = ask(database_url, "select current_database()")
    assert len(texts) == len(metrics_rollups.ROLLUPS)
    assert not [text for pair in texts for text in pair if f'"{database}"' in text]


def test_models_are_what_the_registry_generates() -> None:
    """And the documentation of metrics too."""
    generated = models.files(project_dir().parent)
    for path, text in generated.items():
        assert path.read_text(encoding="utf-8") == text, "run python -m framehouse.metrics.models"
    kept = {path for path in (project_dir() / "models" / "rollup").iterdir() if path.is_file()}
    assert kept == {path for path in generated if path.parent.name == "rollup"}
