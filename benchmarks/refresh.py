"""What one late row costs the maintainer: one touched bucket, brought up to date, in warehouses of different sizes.

The warehouses take turns, so that whatever else the machine does falls on all of them alike. The parts are the fine
rollups of the bucket, the daily ones of its day, and the daily histograms apart, whose cost is that of the rows of a
day.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks import load, touch
from benchmarks.databases import Place
from benchmarks.measure import Figure, median, seconds
from framehouse.progress import Reporter
from framehouse.warehouse import Warehouse
from framehouse.warehouse import maintain as maintenance

_ROUNDS = 25
_WARM_UP = 10
_DAYS = 14  # late rows are days late; and so both warehouses have the same share of what is touched in memory
_BAR = 1.2
_FINE, _DAILY, _HISTOGRAMS, _ALL = "fine rollups", "daily rollups", "daily histograms", "the whole round"


def measure(places: Sequence[Place], report: Reporter) -> list[Figure]:
    """Milliseconds of each part; from the second warehouse on beside the first one's."""
    report.step("refresh: one touched bucket at a time, in turns")
    took: list[dict[str, list[float]]] = [defaultdict(list) for _ in places]
    for turn in range(_WARM_UP + _ROUNDS):
        for place, parts in zip(places, took, strict=True):
            for part, spent in _one(place, turn).items():
                if turn >= _WARM_UP:
                    parts[part].append(spent)
    found = []
    for place, parts in zip(places, took, strict=True):
        for part, spent_seconds in parts.items():
            ours, small = median(spent_seconds), median(took[0][part])
            is_first = place is places[0]
            found.append(
                Figure(
                    place.size,
                    f"one touched bucket: {part}",
                    ours * 1e3,
                    None if is_first else small * 1e3,
                    "ms",
                    f"of {places[0].size}'s",
                    _ROUNDS,
                    None if is_first else ours / small,
                    None if is_first or part != _ALL else _BAR,
                    is_ceiling=True,
                )
            )
    return found


def _one(place: Place, turn: int) -> dict[str, float]:
    """Seconds of each part for one late row in a settled bucket."""
    rng = np.random.default_rng([place.seed, 4, turn])
    with Warehouse(place.url, name="framehouse bench") as warehouse:
        if turn == 0:
            maintenance.maintain(warehouse)
        touch.touch(
            place, warehouse, load.ids(warehouse), touch.settled_buckets(place, 1, days=_DAYS, rng=rng)
        )
        with _watched() as spent:
            whole = seconds(lambda: maintenance.maintain(warehouse))
    assert set(spent) == {_FINE, _DAILY, _HISTOGRAMS}
    return spent | {_ALL: whole}


@contextmanager
def _watched() -> Iterator[dict[str, float]]:
    """The seconds that the maintainer spends on each kind of rollup meanwhile."""
    spent: dict[str, float] = defaultdict(float)

    def watch(recompute: Callable[..., None]) -> Callable[..., None]:
        def watched(session: Any, rollup: Any, buckets: Any) -> None:
            started = time.perf_counter()
            recompute(session, rollup, buckets)
            part = _HISTOGRAMS if "quantiles" in rollup.name else _DAILY if rollup.grain == "day" else _FINE
            spent[part] += time.perf_counter() - started

        return watched

    names = ("_recompute_apache", "_refresh_community")
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(patch.object(maintenance, name, watch(getattr(maintenance, name))))
        yield spent
