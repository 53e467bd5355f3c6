"""framehouse: an analytics-first time-series warehouse for studios that generate media.

import framehouse

warehouse = framehouse.connect()
warehouse.sql("select workflow_id, avg(wall_seconds) from performance_metrics group by 1").to_pandas()
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from framehouse.connection import Connection

__version__ = "0.1.0"


def connect(url: str | None = None) -> "Connection":
    """The warehouse at a URL, or that of this machine's settings, for `.sql(...)` and `.read(...)`."""
    # Imported when called: the engine-side client imports this package with the standard library alone.
    from framehouse.connection import connect as connect_  # noqa: PLC0415

    return connect_(url)
