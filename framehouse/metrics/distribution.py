"""How values are spread: the bars of a histogram, with true counts and true edges."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from framehouse.metrics.answers import Key
from framehouse.metrics.definitions import metric
from framehouse.metrics.quantities import Histogram
from framehouse.metrics.read import Reader

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


def distributions(reader: Reader, name: str, *, by: Sequence[str] = ()) -> dict[Key, Distribution]:
    """How a quantity (`time_per_frame_ms`, `likeness_score`) is spread, by dimensions.

    Raises QueryError for a quantity of which no histogram is kept.
    """
    median = metric(f"p50_{name}")
    assert median.quantity is not None
    assert median.quantity.histogram is not None
    stem, histogram = median.quantity.name, median.quantity.histogram
    answer = reader.answer([median], by=by)
    found = {}
    for key, values in answer.values.items():
        places, counts = answer.bins.get(key, {}).get(stem, ((), ()))
        low, high, count = (values[f"_{stem}_{kind}"] for kind in ("min", "max", "count"))
        bars = _bars(histogram, dict(zip(places, counts, strict=True)), _number(low), _number(high))
        found[key] = Distribution(tuple(bars), int(_number(count)) - sum(counts))
    return found


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


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
