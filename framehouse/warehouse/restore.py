"""The steps of `framehouse restore`, in their order: a backup becomes a warehouse that goes on where it was."""

from collections.abc import Callable, Mapping
from pathlib import Path

from framehouse.progress import SILENT, Reporter
from framehouse.warehouse import backup, bygone
from framehouse.warehouse.pool import Warehouse


def restore(
    warehouse: Warehouse,
    file: Path,
    *,
    pg_restore: Path,
    upgrade: Callable[[], object],
    build: Callable[[Mapping[str, str]], object],
    report: Reporter = SILENT,
) -> int:
    """Put a backup into an empty warehouse, whose schema may not be made yet; how many rows.

    See `make_ready` for `upgrade` and `build`. Raises BackupError, and what these raise.
    """
    make_ready(warehouse, file, pg_restore=pg_restore, upgrade=upgrade, build=build)
    return backup.restore(warehouse, file, pg_restore=pg_restore, report=report)


def make_ready(
    warehouse: Warehouse,
    file: Path,
    *,
    pg_restore: Path,
    upgrade: Callable[[], object],
    build: Callable[[Mapping[str, str]], object],
) -> None:
    """Schema and rollups as a backup's rows want them.

    `upgrade` makes the schema; `build` the rollups, given the models of those that this program does not have. Nothing
    is made before the file is known for a backup, and no rollup in a warehouse that is not to be restored into.
    """
    calendar = backup.describe(file, pg_restore)
    upgrade()
    backup.prepare(warehouse, calendar)
    older = bygone.rollups(warehouse, file, pg_restore=pg_restore)
    with bygone.told_apart(older):
        build({name: found.model for name, found in older.items()})
