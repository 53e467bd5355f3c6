"""Rollups that a backup holds and this program's catalogue does not have: their models were renamed or removed.

Their cells may be all that is left of raw rows that were dropped, so a restore brings them back. A rollup's definition
is stored with it; as a dbt model again, the same materialization makes it on either edition.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from framehouse.errors import BackupError, BuildError
from framehouse.warehouse.archive import Archive
from framehouse.warehouse.build import project_dir
from framehouse.warehouse.pool import Session, Warehouse

_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_READ = re.compile(r'"rollup"\."(\w+)"')


@dataclass(frozen=True, slots=True)
class Bygone:
    """A rollup that is made again: its dbt model, and the edition of TimescaleDB that it was built on."""

    model: str
    edition: str


def rollups(
    warehouse: Warehouse, file: Path, *, pg_restore: Path, project: Path | None = None
) -> dict[str, Bygone]:
    """A backup's rollups, by name, that a project (this program's) does not have.

    Raises BackupError for a backup of another schema, on which they could not be built.
    """
    archive = Archive(pg_restore, file)
    with warehouse.session() as session:
        check_revision(session, archive)
    here = {path.stem for path in ((project or project_dir()) / "models" / "rollup").glob("*.sql")}
    # What stands beside has not taken its place yet, and is not restored.
    there = [row for row in archive.rows("ops", "rollups") if row["renews"] is None]
    return {str(row["name"]): _bygone(row) for row in there if row["name"] not in here}


@contextmanager
def told_apart(found: Mapping[str, Bygone]) -> Iterator[None]:
    """Around a build: where it fails at a bygone rollup, it raises BackupError with the way out."""
    try:
        yield
    except BuildError as error:
        failed = [name for name in found if re.search(rf"\b{name}\b", str(error))]
        if not failed:
            raise
        editions = " and ".join(sorted({found[name].edition for name in failed}))
        raise BackupError(
            f"a rollup of the backup, which this version of framehouse does not know, cannot be made here: {error}",
            hint=f"restore it on TimescaleDB's {editions} edition, where it was built ({error.hint})",
        ) from error


def check_revision(session: Session, archive: Archive) -> None:
    """Raises BackupError when the backup's schema is not this warehouse's."""
    [revision] = archive.rows("public", "framehouse_version")
    if revision["version_num"] != session.value("backup.revision"):
        raise other_version(f"schema {revision['version_num']}")


def other_version(what: str) -> BackupError:
    """The refusal of a backup in which something is not as this program has it."""
    return BackupError(
        f"this backup was written by another version of framehouse ({what} differs)",
        hint="restore it with the version that wrote it, then upgrade",
    )


def _bygone(row: Mapping[str, str | None]) -> Bygone:
    # On Community maintenance refreshes; on Apache it recomputes by SQL of the rollup's own.
    return Bygone(_model(row), "Community" if row["recompute"] is None else "Apache")


def _model(row: Mapping[str, str | None]) -> str:
    name, definition = str(row["name"]), str(row["definition"])
    if not _NAME.fullmatch(name):
        raise BackupError(f"the backup holds a rollup with a strange name, {name!r}")
    config = ", ".join(f"{key}={row[key]!a}" for key in ("source", "grain"))
    finer = "".join(f"{{% do ref({other!a}) %}}\n" for other in dict.fromkeys(_READ.findall(definition)))
    # As a literal, so that nothing of it is taken for a template of dbt's.
    return (
        f"{{{{ config(materialized='continuous_aggregate', {config}) }}}}\n{finer}{{{{ {definition!a} }}}}\n"
    )
