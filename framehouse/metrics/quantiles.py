"""Quantiles from log-histograms."""

import math
from collections.abc import Sequence

from framehouse.metrics.quantities import Histogram


def quantile(
    share: float,
    bins: Sequence[int],
    histogram: Histogram,
    *,
    count: int,
    low: float | None,
    high: float | None,
) -> float | None:
    """The value below which `share` (0..1] of `count` values lie: the ceil(share * count)-th smallest.

    Within 1 % of it, since a bin is 2 % wide or less; exact at the ends, where the stored extremes answer, as they do
    for what lies outside the bins. Zeros are in no bin: they are what the bins lack of the count. None without values,
    and where some are negative, of which bins know nothing.
    """
    if count == 0 or low is None or high is None or low < 0:
        return None
    rank = max(1, math.ceil(share * count - 1e-9))
    if rank == 1:
        return low
    if rank == count:
        return high
    seen = count - sum(bins)
    if rank <= seen:
        return 0.0
    for index, number in enumerate(bins, start=1):
        seen += number
        if rank <= seen:
            if index == 1:
                return low
            if index == len(bins):
                return high
            return min(max(histogram.value(index), low), high)
    return high
