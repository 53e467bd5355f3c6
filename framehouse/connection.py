"""`framehouse.connect()`: the warehouse as notebooks have it, with everything that an analyst asks of it."""

from framehouse import metrics
from framehouse.config import settings
from framehouse.embedded import database_url
from framehouse.estimates import estimate_batch
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
    estimate = estimate_batch


def connect(url: str | None = None) -> Connection:
    """The warehouse at a URL; without one, that of this machine's settings (FRAMEHOUSE_DATABASE_URL, or the embedded
    one). Raises UnreachableError when there is none."""
    return Connection(url or database_url(settings()), name="framehouse analyst")
