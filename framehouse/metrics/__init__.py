"""Metrics: defined once, answered from the coarsest rollup that gives the identical answer.

from framehouse import metrics
metrics.read(warehouse, ["attempt_count", "p90_wall_seconds"], by="workflow", window=Window.last(timedelta(days=30)))
"""

from framehouse.metrics.definitions import METRICS, Better, Metric, metric
from framehouse.metrics.read import read
from framehouse.metrics.table import Column, Table

__all__ = ["METRICS", "Better", "Column", "Metric", "Table", "metric", "read"]
