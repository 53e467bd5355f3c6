"""A studio in New York that drops raw data, and what its rollups know of the time before."""

import json
import math
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import psycopg

from framehouse.metrics.rollups import SOURCES
from framehouse.warehouse import Warehouse, retention
from framehouse.warehouse.build import build, project_dir
from framehouse.warehouse.maintain import maintain
from tests.warehouse.cells import QUARTER, ask, fill, tell

NEW_YORK = "America/New_York"
#: Clocks in New York went back on 2025-11-02.
START = datetime(2025, 10, 20, tzinfo=UTC)
NOW = datetime(2026, 2, 10, tzinfo=UTC)
FENCE = datetime(2025, 11, 6, 5, tzinfo=UTC)  # midnight in New York
SINCE = FENCE.isoformat()
KEEP = timedelta(days=91)
BEFORE = FENCE - timedelta(days=3)
FINE, DAILY = "attempts_by_workflow_fine", "attempts_by_workflow_daily"
#: What is added to the rollups of attempts, first and then; the mart reads neither.
ADDED = ("cold_count", "energy_joules_sum")


def project_without(folder: Path, *parts: str) -> Path:
    """A dbt project whose rollups by workflow know nothing of some parts."""
    project = Path(shutil.copytree(project_dir(), folder / "-".join(["without", *parts])))
    for model in (project / "models" / "rollup").glob("attempt*_by_workflow_*.sql"):
        model.write_text(re.sub(rf".* as ({'|'.join(parts)}),\n", "", model.read_text()))
    return project


def drop_by_hand(url: str, fence: datetime) -> None:
    """Move the fence and drop what is behind it, where retention would ask for another build, or another day."""
    tell(url, "update ops.retention set raw_from = %s", fence)
    for table in ("performance_metrics", "worker_heartbeats"):
        tell(url, f"select drop_chunks('telemetry.{table}', older_than => %s::timestamptz)", fence)


def live(warehouse: Warehouse, project: Path | None, folder: Path) -> None:
    """The first build, some weeks of data, and a drop of the oldest."""
    random = Random("history")
    build(warehouse, log_dir=folder, studio_zone=NEW_YORK, project=project)
    fill(warehouse, random, [START + QUARTER * random.randrange(30 * 96) for _ in range(80)])
    maintain(warehouse)
    if project is not None:  # this program's own is what a drop asks for
        drop_by_hand(warehouse.url, FENCE)
        return
    retention.set_keep(warehouse, KEEP)
    planned = retention.preview(warehouse, now=NOW)
    assert planned.raw_from == FENCE
    retention.drop(warehouse, planned)


def drop(warehouse: Warehouse) -> retention.Preview:
    """Drop what is old enough; what that was."""
    planned = retention.preview(warehouse, now=NOW)
    retention.drop(warehouse, planned)
    return planned


def counted(url: str) -> tuple[object, object]:
    """Attempts that the fine and the daily rollup know of."""
    text = "select coalesce(sum(attempt_count), 0)::bigint from rollup.{}"
    return ask(url, text.format(FINE)), ask(url, text.format(DAILY))


def history(
    url: str, *, until: datetime = FENCE, without: tuple[str, ...] = (), only: tuple[str, ...] = ()
) -> dict[str, str]:
    """A hash of what each view, and the cells of each rollup that takes no other's place, hold from before an instant.

    To the last bit: for what must stay as it is. `told` compares what was computed in two ways.
    """
    found = {}
    with psycopg.connect(url) as connection:
        for name, cells in connection.execute(
            """select name, cells from ops.rollups
               where renews is null and (%(only)s::text[] = '{}' or name = any(%(only)s::text[]))""",
            {"only": list(only)},
        ).fetchall():
            for kind, relation in (("view", f"rollup.{name}"), ("cells", cells)):
                row = connection.execute(
                    f"""select count(*) || ' ' || md5(string_agg(said, chr(10) order by said))
                        from (select (to_jsonb(r) - %s::text[])::text as said from {relation} as r
                              where bucket < %s) as rows""",
                    [list(without), until],
                ).fetchone()
                assert row
                assert row[0], f"{name} knows something"
                found[f"{kind} {name}"] = row[0]
    return found


def names_in(found: dict[str, str]) -> tuple[str, ...]:
    return tuple(key.removeprefix("view ") for key in found if key.startswith("view "))


class Near(float):
    """A number that equals those that differ in the last bits only, as sums of the same in another order do."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float | int) and math.isclose(self, other, rel_tol=1e-9, abs_tol=1e-9)

    def __ne__(self, other: object) -> bool:
        return not self == other


Rows = list[dict[str, object]]


def told(url: str, name: str) -> Rows:
    """All that a rollup's view says."""
    with psycopg.connect(url) as connection:
        return _rows(connection, name, None)


def all_told(
    at: str | psycopg.Connection, until: datetime = FENCE, *, without: tuple[str, ...] = ()
) -> dict[str, Rows]:
    """What every rollup's view says of the time before an instant: counts, sums, extremes, histograms, all of it.

    Of a database, or as a transaction sees it.
    """
    if isinstance(at, str):
        with psycopg.connect(at) as connection:
            return all_told(connection, until, without=without)
    names = at.execute("select name from ops.rollups where renews is null order by name").fetchall()
    found = {name: _rows(at, name, until, without) for (name,) in names}
    assert all(found.values()), "every rollup knows something"
    return found


def _rows(
    connection: psycopg.Connection, name: str, until: datetime | None, without: tuple[str, ...] = ()
) -> Rows:
    texts = connection.execute(
        f"""select (to_jsonb(r) - %s::text[])::text from rollup.{name} as r
            where bucket < coalesce(%s, timestamptz 'infinity')""",
        [list(without), until],
    ).fetchall()
    rows: Rows = [json.loads(text, parse_float=Near) for (text,) in texts]
    return sorted(rows, key=_key)


_KEYS = {"bucket", *(column for source in SOURCES for column in source.dimensions.values())}


def _key(row: dict[str, object]) -> str:
    """The bucket and the dimensions, which no two rows share."""
    return str([row[column] for column in sorted(row) if column in _KEYS])
