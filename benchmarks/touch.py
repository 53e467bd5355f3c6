"""Late rows: what marks settled buckets as touched."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from benchmarks import load, traffic
from benchmarks.databases import Place
from framehouse.warehouse import Warehouse
from framehouse.windows import FINE
from ingest import rows
from ingest.writer import TABLE


def settled_buckets(place: Place, count: int, *, days: int, rng: np.random.Generator) -> list[datetime]:
    """Different quarter hours of the days before today, within the traffic and the last so many days."""
    today = place.until.astimezone(UTC).replace(hour=0, minute=0, second=0)
    back = min(days, place.day_count - 1)
    chosen = rng.choice(back * 96, count, replace=False)
    return [today - FINE * (int(number) + 1) for number in chosen]


def touch(
    place: Place, warehouse: Warehouse, known: dict[tuple[str, str], int], buckets: Sequence[datetime]
) -> None:
    """One late row in each of these buckets, one transaction."""
    made, salt = traffic.studio(place.seed), time.time_ns()
    late = []
    for number, bucket in enumerate(buckets):
        columns = traffic.attempts(made, place.seed, bucket, np.array([450.0]), salt=salt + number)
        late += list(load.stored(columns, known))
    with warehouse.session() as session:
        session.copy_in(TABLE, rows.COLUMNS, late)
