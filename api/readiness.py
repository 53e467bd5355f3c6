"""Whether the service can do its work: the database answers, its schema is this program's, its rollups are built."""

import time
from collections.abc import Callable

from framehouse.errors import FramehouseError, Problem
from framehouse.metrics.rollups import ROLLUPS
from framehouse.warehouse import Warehouse
from migrations import pending

#: A migrated schema stays migrated; asking costs a connection and reading the revisions' files.
MIGRATED_FOR_SECONDS = 60.0


class Readiness:
    """Asked by /readyz, over and over. `warehouse` opens the warehouse or raises."""

    def __init__(self, warehouse: Callable[[], Warehouse]) -> None:
        self._warehouse = warehouse
        self._migrated_until = float("-inf")

    def missing(self) -> list[Problem]:
        """What is missing, each with the command that mends it; empty when ready."""
        try:
            warehouse = self._warehouse()
            if time.monotonic() > self._migrated_until:
                if found := unmigrated(warehouse.url):
                    return found
                self._migrated_until = time.monotonic() + MIGRATED_FOR_SECONDS
            return unbuilt(warehouse)
        except FramehouseError as error:
            return [Problem("database", str(error), error.hint)]


def unmigrated(url: str) -> list[Problem]:
    """What the schema lacks. Raises UnreachableError, or BuildError for a schema newer than this program."""
    revisions = pending(url)
    if not revisions:
        return []
    numbers = ", ".join(revision.number for revision in revisions)
    return [Problem("schema", f"migrations {numbers} are missing", "framehouse migrate")]


def unbuilt(warehouse: Warehouse) -> list[Problem]:
    """Which rollups are not built. The schema must be migrated. Raises UnreachableError."""
    # A connection of its own: while the server is away it fails at once, where the pool would wait.
    with warehouse.autocommit() as session:
        built = {row["name"] for row in session.rows("reference.built_rollups")}
    lacking = [rollup.name for rollup in ROLLUPS if rollup.name not in built]
    if not lacking:
        return []
    return [Problem("rollups", f"not built: {', '.join(lacking)}", "framehouse build")]
