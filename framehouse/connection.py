"""`framehouse.connect()`: the warehouse as notebooks have it, with everything that an analyst asks of it."""

from typing import Any

from framehouse import metrics
from framehouse.config import settings
from framehouse.embedded import database_url
from framehouse.estimates import BatchAnswer, BatchRequest, batch_request, estimate_batch
from framehouse.metrics import analysts, comparison, overview, ranking, reports, trend
from framehouse.warehouse import Warehouse


class Connection(Warehouse):
    """A warehouse that is asked in SQL, by the names of metrics, or for what the API's reports say. Use it as a context
    manager or close it."""

    sql = analysts.sql
    explain = analysts.explain
    read = metrics.read
    overview = overview.overview
    trend = trend.trend
    compare = comparison.compare
    changes = comparison.changes_of
    rank_workers = ranking.rank_workers
    workflow = reports.workflow_report
    worker = reports.worker_report
    quality = reports.quality_report
    stages = reports.stages

    def estimate(self, batch: BatchRequest | dict[str, Any] | list[dict[str, Any]]) -> BatchAnswer:
        """What a batch will take: its scenes, or all of a request. Stored, to be scored, unless it says otherwise.

        Raises ContractError with what is wrong and where.
        """
        return estimate_batch(self, batch_request(batch))


def connect(url: str | None = None) -> Connection:
    """The warehouse at a URL; without one, that of this machine's settings (FRAMEHOUSE_DATABASE_URL, or the embedded
    one). Raises UnreachableError when there is none."""
    return Connection(url or database_url(settings()), name="framehouse analyst")
