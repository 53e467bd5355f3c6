"""Building rollups and marts with dbt, in this process: `framehouse build`."""

import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from psycopg.conninfo import conninfo_to_dict

import framehouse
from framehouse.errors import BuildError, ConfigError, DefinitionError
from framehouse.progress import SILENT, Reporter
from framehouse.warehouse.maintain import backlog, maintain
from framehouse.warehouse.pool import Warehouse
from framehouse.warehouse.renew import swap
from framehouse.windows import block_minutes, repeats_midnight
from framehouse.zones import zone

OWNER = "framehouse_owner"
#: What the materialization says of rollups that differ from what was built.
_CHANGED = ("another definition", "is fixed at the first build", "has other dimensions", "has other rows")


def build(
    warehouse: Warehouse,
    *,
    log_dir: Path,
    studio_zone: str | None = None,
    command: tuple[str, ...] = ("run",),
    is_renewing: bool = False,
    project: Path | None = None,
    extra_models: Mapping[str, str] | None = None,
    report: Reporter = SILENT,
) -> None:
    """Run dbt, then compute the cells of what is new.

    What did not change is not touched. The log is kept in `log_dir`/dbt.log. `studio_zone` counts at the first build
    only; `project` is another dbt project than this program's, `extra_models` (text by name) are rollups that are built
    with it although it does not have them. `is_renewing` builds changed rollups anew beside the old
    ones, whose places they take once their cells are computed. Raises DefinitionError for a changed rollup or another
    zone, BuildError for anything else that dbt refused.
    """
    project = project or project_dir()
    calendar = fix_calendar(warehouse, studio_zone)

    def run(*more: str) -> None:
        report.step("building rollups and marts with dbt")
        with profile(warehouse.url) as profiles, _with_models(project, extra_models) as whole:
            run_dbt(
                [*command, *more],
                project=whole,
                profiles=profiles,
                calendar=calendar,
                is_renewing=is_renewing,
                log_dir=log_dir,
                report=report,
            )

    # Marts may want what only the new shapes have.
    run(*(("--select", "rollup") if is_renewing else ()))
    _compute(warehouse, report, is_renewing=is_renewing)
    if is_renewing:
        swap(warehouse)
        run()
    with warehouse.session() as session:
        session.run("maintain.add_build", [fingerprint(project)])


@contextmanager
def _with_models(project: Path, models: Mapping[str, str] | None) -> Iterator[Path]:
    """The project, or a copy of it for as long as it takes, with more rollups."""
    if not models:
        yield project
        return
    with TemporaryDirectory(prefix="framehouse-project-") as folder:
        whole = Path(folder) / "project"
        shutil.copytree(project, whole, ignore=shutil.ignore_patterns("target", "logs"))
        for name, text in models.items():
            (whole / "models" / "rollup" / f"{name}.sql").write_text(text, encoding="utf-8")
        yield whole


def _compute(warehouse: Warehouse, report: Reporter, *, is_renewing: bool) -> None:
    waiting = backlog(warehouse)
    if not waiting.total:
        return
    report.step(f"computing cells ({waiting.total} buckets wait)")
    maintain(warehouse, report)
    while is_renewing and (left := backlog(warehouse).pending_buckets):
        # Somebody else maintains, or did when we asked.
        report.advance(waiting.total - left, waiting.total, f"{left} buckets wait")
        if not maintain(warehouse, report):
            time.sleep(0.5)


def ensure_built(
    warehouse: Warehouse, *, log_dir: Path, studio_zone: str | None = None, report: Reporter = SILENT
) -> bool:
    """Build unless the last build was of the same dbt project; whether it did."""
    if is_built(warehouse):
        fix_calendar(warehouse, studio_zone)
        return False
    build(warehouse, log_dir=log_dir, studio_zone=studio_zone, report=report)
    return True


def is_built(warehouse: Warehouse) -> bool:
    """Whether the last build was of this program's dbt project."""
    with warehouse.session() as session:
        return bool(session.value("maintain.last_build") == fingerprint())


def fingerprint(project: Path | None = None) -> str:
    """SHA-256 of what a dbt project (this program's, unless another is named) says: models, macros and settings."""
    digest = sha256()
    folder = project or project_dir()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in {".sql", ".yml"}):
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def project_dir() -> Path:
    """Where the dbt project is: inside an installed wheel, or beside the package in a checkout."""
    package = Path(framehouse.__file__).parent
    for folder in (package / "dbt_project", package.parent / "dbt_project"):
        if (folder / "dbt_project.yml").is_file():
            return folder
    raise BuildError("the dbt project is missing from this installation", hint="reinstall framehouse")


@dataclass(frozen=True, slots=True)
class Calendar:
    """The studio's zone, and how long the blocks are that its days are made of."""

    studio_zone: str
    block_minutes: int


def fix_calendar(warehouse: Warehouse, wanted: str | None) -> Calendar:
    """The studio's calendar: the one fixed at the first build, which this may be.

    Raises DefinitionError when another one is asked for, ConfigError when the server does not know it.
    """
    with warehouse.session() as session:
        found = session.records(Calendar, "maintain.calendar")
        if not found:
            fixed = wanted or "UTC"
            if not session.value("maintain.is_zone", [fixed]):
                raise ConfigError(
                    f"the database server does not know the zone {fixed!r}", hint="give another name of it"
                )
            session.run("maintain.fix_calendar", [fixed, block_minutes(zone(fixed))])
            found = session.records(Calendar, "maintain.calendar")
        [calendar] = found
        if session.value("maintain.is_community") and repeats_midnight(zone(calendar.studio_zone)):
            raise ConfigError(
                f"the clocks of {calendar.studio_zone} were once put back over midnight, which TimescaleDB's Community "
                "edition gets wrong in daily aggregates",
                hint="choose a neighbour's zone for the studio; any zone can be asked for when reading",
            )
    if wanted is not None and wanted != calendar.studio_zone:
        raise DefinitionError(
            f"the studio's zone is {calendar.studio_zone}, fixed at the first build, and cannot become {wanted}",
            hint=f"unset FRAMEHOUSE_STUDIO_ZONE or set it to {calendar.studio_zone}; "
            "any zone can be asked for when reading",
        )
    return calendar


@contextmanager
def profile(url: str) -> Iterator[Path]:
    """A folder with a dbt profile for a libpq URL."""
    given: dict[str, Any] = dict(conninfo_to_dict(url))
    output = {
        "type": "postgres",
        "host": given.get("host") or "localhost",
        "port": int(given.get("port") or 5432),
        "user": given.get("user") or "",
        "pass": given.get("password") or "",
        "dbname": given.get("dbname") or "",
        "schema": "mart",
        "role": OWNER,
        "threads": 1,
        "application_name": "framehouse build",
    }
    output |= {key: given[key] for key in ("sslmode", "sslcert", "sslkey", "sslrootcert") if key in given}
    with TemporaryDirectory(prefix="framehouse-dbt-") as folder:
        path = Path(folder)
        # JSON is YAML, and quotes whatever a password holds.
        document = {"framehouse": {"target": "warehouse", "outputs": {"warehouse": output}}}
        (path / "profiles.yml").touch(mode=0o600)
        (path / "profiles.yml").write_text(json.dumps(document), encoding="utf-8")
        yield path


def run_dbt(
    command: list[str],
    *,
    project: Path,
    profiles: Path,
    calendar: Calendar,
    is_renewing: bool = False,
    log_dir: Path,
    report: Reporter,
) -> None:
    """Run one dbt command in this process. Raises DefinitionError or BuildError with what dbt said."""
    from dbt.cli.main import dbtRunner  # noqa: PLC0415 - seconds of imports that only a build pays for

    log_dir.mkdir(parents=True, exist_ok=True)
    variables = {
        "studio_zone": calendar.studio_zone,
        "repeats_midnight": repeats_midnight(zone(calendar.studio_zone)),
        "block_minutes": calendar.block_minutes,
        "renew": is_renewing,
    }

    def on_event(event: Any) -> None:
        if event.info.name == "LogStartLine":
            report.advance(event.data.index - 1, event.data.total, event.data.description.split(" ")[-1])

    result = dbtRunner(callbacks=[on_event]).invoke(
        [
            *command,
            "--project-dir", str(project),
            "--profiles-dir", str(profiles),
            "--target-path", str(profiles / "target"),
            "--log-path", str(log_dir),
            "--log-level", "none",
            "--log-level-file", "info",
            "--vars", json.dumps(variables),
            "--no-use-colors-file",
            "--no-partial-parse",
        ]
    )  # fmt: skip
    _close_dbt_log()
    if result.success:
        return
    log = log_dir / "dbt.log"
    said = str(result.exception) if result.exception else _failures(result.result)
    if any(words in said for words in _CHANGED):
        raise DefinitionError(said, hint=f"framehouse build --renew; the whole log is in {log}")
    raise BuildError(f"dbt failed: {said}", hint=f"the whole log is in {log}")


def _close_dbt_log() -> None:
    """dbt leaves its log file open until the process ends or the next command."""
    dbt_log = logging.getLogger("file_log")
    for handler in list(dbt_log.handlers):
        dbt_log.removeHandler(handler)
        handler.close()


def _failures(result: Any) -> str:
    failed = [r for r in result or () if str(r.status) in {"error", "fail", "runtime error"}]
    return "; ".join(f"{r.node.name}: {_plain(r.message or '')}" for r in failed) or "see the log"


def _plain(message: str) -> str:
    """A refusal without where in dbt it was raised."""
    lines = [line.strip() for line in message.splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("Compilation Error in", "> ")))
