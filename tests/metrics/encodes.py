"""Real encodes: seconds of x264 on 30 workers, a stratum for each video and configuration, one run in each."""

import csv
import gzip
import math
from collections.abc import Hashable, Sequence
from pathlib import Path

from framehouse.metrics.compare import LogSums

FILE = Path(__file__).parents[3] / "shared" / "data" / "x264_hardware_runs.csv.gz"


def sums(values: Sequence[float]) -> LogSums:
    """Sums of the logarithms of some values."""
    logs = [math.log(value) for value in values]
    return LogSums(len(logs), math.fsum(logs), math.fsum(x * x for x in logs))


def by_worker() -> dict[str, dict[Hashable, LogSums]]:
    """Each worker's encodes."""
    found: dict[str, dict[Hashable, LogSums]] = {}
    with gzip.open(FILE, "rt") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["worker"], {})[row["video"], row["configurationID"]] = sums(
                [float(row["etime"])]
            )
    return found
