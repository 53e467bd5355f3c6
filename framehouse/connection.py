"""`framehouse.connect()`: the warehouse as notebooks have it, with everything that an analyst asks of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from framehouse import metrics
from framehouse.config import settings
from framehouse.embedded import database_url
from framehouse.metrics import Table
from framehouse.metrics.analysts import TIMEOUT_SECONDS, Explanation, SqlTable, explain, sql
from framehouse.metrics.answers import Filter
from framehouse.warehouse import Warehouse
from framehouse.windows import Grain, Window

Params = Mapping[str, Any] | Sequence[Any] | None


class Connection(Warehouse):
    """A warehouse that is asked in SQL or by the names of metrics. Use it as a context manager or close it."""

    def sql(
        self,
        text: str,
        params: Params = None,
        *,
        is_raw: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> SqlTable:
        """The answer to a SELECT, from rollups where that is identical; see `framehouse.metrics.analysts.sql`."""
        return sql(self, text, params, is_raw=is_raw, timeout_seconds=timeout_seconds)

    def explain(self, text: str, params: Params = None, *, is_raw: bool = False) -> Explanation:
        """How `sql` would answer: from which rollups over which windows, or why from raw rows."""
        return explain(self, text, params, is_raw=is_raw)

    def read(
        self,
        names: str | Sequence[str],
        *,
        window: Window,
        by: str | Sequence[str] = (),
        grain: Grain | str | None = None,
        zone_name: str | None = None,
        where: Mapping[str, Filter] | None = None,
        is_raw: bool = False,
    ) -> Table:
        """Metrics by their names, over a window; see `framehouse.metrics.read`."""
        return metrics.read(
            self,
            names,
            window=window,
            by=by,
            grain=grain,
            zone_name=zone_name,
            where=where,
            is_raw=is_raw,
        )


def connect(url: str | None = None) -> Connection:
    """The warehouse at a URL; without one, that of this machine's settings (FRAMEHOUSE_DATABASE_URL, or the embedded
    one). Raises UnreachableError when there is none."""
    return Connection(url or database_url(settings()), name="framehouse analyst")
