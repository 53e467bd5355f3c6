"""How values are spread: the bars of a histogram, with true counts and true edges."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from framehouse.metrics.answers import Bins
from framehouse.metrics.definitions import quantile_parts
from framehouse.metrics.quantities import Histogram, Quantity
from framehouse.metrics.table import Value, number

MOST_BARS = 40


@dataclass(frozen=True, slots=True)
class Bar:
    """How many values lie from `low` on and below `high` (the last bar: up to it)."""

    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Distribution:
    """The bars of what is above 0, equally wide on a scale of ratios, and how many values are not."""

    bars: tuple[Bar, ...]
    nonpositive_count: int


def distribution(quantity: Quantity, values: Mapping[str, Value], bins: Mapping[str, Bins]) -> Distribution:
    """How a quantity is spread, from one row of an answer that has some quantile of it, and that row's bins."""
    assert quantity.histogram is not None
    places, counts = bins.get(quantity.name, ((), ()))
    count, low, high = (number(values[f"_{part}"]) or 0.0 for part in quantile_parts(quantity))
    bars = _bars(quantity.histogram, dict(zip(places, counts, strict=True)), low, high)
    return Distribution(tuple(bars), int(count) - sum(counts))


def _bars(histogram: Histogram, held: Mapping[int, int], low: float, high: float) -> list[Bar]:
    """Neighbouring bins together, so that they fit into a picture; what lies outside the bins in bars of its own."""
    last = histogram.bins + 2
    inner = sorted(place for place in held if 1 < place < last)
    bars = [Bar(low, histogram.edges(1)[1], held[1])] if 1 in held else []
    if inner:
        together = math.ceil((inner[-1] - inner[0] + 1) / MOST_BARS)
        for start in range(inner[0], inner[-1] + 1, together):
            end = min(start + together - 1, inner[-1])
            count = sum(held.get(place, 0) for place in range(start, end + 1))
            bars.append(Bar(histogram.edges(start)[0], histogram.edges(end)[1], count))
    return [*bars, Bar(histogram.edges(last)[0], high, held[last])] if last in held else bars
