"""A studio in New York that drops raw data, and what its rollups know of the time before."""

import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import psycopg

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
FINE, DAILY = "attempts_by_workflow_fine", "attempts_by_workflow_daily"
#: What is added to the rollups of attempts, first and then; the mart reads neither.
ADDED = ("cold_count", "energy_joules_sum")


def project_without(folder: Path, *parts: str) -> Path:
    """A dbt project whose rollups by workflow know nothing of some parts."""
    project = Path(shutil.copytree(project_dir(), folder / "-".join(["without", *parts])))
    for model in (project / "models" / "rollup").glob("attempt*_by_workflow_*.sql"):
        model.write_text(re.sub(rf".* as ({'|'.join(parts)}),\n", "", model.read_text()))
    return project


def live(warehouse: Warehouse, project: Path | None, folder: Path) -> None:
    """The first build, some weeks of data, and a drop of the oldest."""
    random = Random("history")
    build(warehouse, log_dir=folder, studio_zone=NEW_YORK, project=project)
    fill(warehouse, random, [START + QUARTER * random.randrange(30 * 96) for _ in range(80)])
    maintain(warehouse)
    if project is not None:  # this program's own is what a drop asks for
        tell(warehouse.url, "update ops.retention set raw_from = %s", FENCE)
        for table in ("performance_metrics", "worker_heartbeats"):
            tell(
                warehouse.url,
                f"select drop_chunks('telemetry.{table}', older_than => %s::timestamptz)",
                FENCE,
            )
        return
    retention.set_keep(warehouse, timedelta(days=91))
    planned = retention.preview(warehouse, now=NOW)
    assert planned.raw_from == FENCE
    retention.drop(warehouse, planned)


def history(url: str, *, without: tuple[str, ...] = (), only: tuple[str, ...] = ()) -> dict[str, str]:
    """What each view, and the cells of each rollup that takes no other's place, hold from before the fence."""
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
                    [list(without), FENCE],
                ).fetchone()
                assert row
                assert row[0], f"{name} knows something"
                found[f"{kind} {name}"] = row[0]
    return found


def names_in(found: dict[str, str]) -> tuple[str, ...]:
    return tuple(key.removeprefix("view ") for key in found if key.startswith("view "))


def told(url: str, name: str) -> object:
    """What a rollup's view counts and adds up, but for the last bits."""
    count, total = (
        ("heartbeat_count", "covered_seconds_sum")
        if "heartbeats" in name
        else ("attempt_count", "gpu_seconds_sum")
    )
    return ask(url, f"""select array_agg((bucket, {count}, round({total}::numeric, 6))::text
                        order by bucket, {count}, {total}) from rollup.{name}""")  # fmt: skip
