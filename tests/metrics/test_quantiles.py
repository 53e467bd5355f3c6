"""Quantiles from log-histograms against sorted lists."""

import math
from bisect import bisect_right
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from framehouse.metrics.quantiles import quantile
from framehouse.metrics.quantities import DURATION, MEMORY, QUANTITIES, SCORE, SPEED, Histogram

SHARES = [Fraction(1, 2), Fraction(9, 10), Fraction(19, 20), Fraction(99, 100), Fraction(1, 100), Fraction(1)]


def counted(values: list[float], histogram: Histogram) -> list[int]:
    """What `histogram(ln(x), low, high, bins)` counts: one bin below, the bins, one above."""
    edges = [histogram.ln_low + i * histogram.width for i in range(histogram.bins + 1)]
    bins = [0] * (histogram.bins + 2)
    for value in values:
        if value > 0:
            bins[bisect_right(edges, math.log(value))] += 1
    return bins


def estimated(share: Fraction, values: list[float], histogram: Histogram) -> float | None:
    low, high = (min(values), max(values)) if values else (None, None)
    return quantile(
        float(share), counted(values, histogram), histogram, count=len(values), low=low, high=high
    )


def true(share: Fraction, values: list[float]) -> float:
    """percentile_disc: the smallest value whose rank is at least share * n."""
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]


def inside(histogram: Histogram) -> st.SearchStrategy[float]:
    return st.floats(histogram.ln_low, histogram.ln_high - histogram.width).map(math.exp)


@pytest.mark.parametrize("histogram", [DURATION, MEMORY, SPEED, SCORE])
@given(data=st.data())
def test_within_one_percent_of_the_sorted_list(histogram: Histogram, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.one_of(inside(histogram), st.just(0.0)), min_size=1, max_size=60))
    for share in SHARES:
        found = estimated(share, values, histogram)
        assert found is not None
        assert abs(found - true(share, values)) <= 0.01 * true(share, values)


@given(st.lists(st.floats(1e-9, 1e12), min_size=1, max_size=40))
@example([1e-9, 2e-9, 5.0])
@example([5.0, 1e11, 1e12])
@example([1e-9, 2e-9])
@example([1e11, 1e12])
def test_outside_the_bins_the_stored_extremes_answer(values: list[float]) -> None:
    for share in SHARES:
        found, exact = estimated(share, values, DURATION), true(share, values)
        assert found is not None
        if math.ceil(share * len(values)) in {1, len(values)}:
            assert found == exact
        elif exact < math.exp(DURATION.ln_low):
            assert found == min(values)
        elif exact >= math.exp(DURATION.ln_high):
            assert found == max(values)
        else:
            assert abs(found - exact) <= 0.01 * exact


@given(st.lists(inside(DURATION), min_size=1, max_size=40))
def test_the_ends_are_exact_and_the_order_is_kept(values: list[float]) -> None:
    assert estimated(Fraction(1), values, DURATION) == max(values)
    assert estimated(Fraction(1, 1000), values, DURATION) == min(values)
    found = [estimated(Fraction(n, 20), values, DURATION) for n in range(1, 21)]
    numbers = [value for value in found if value is not None]
    assert len(numbers) == 20
    assert numbers == sorted(numbers)


@given(
    st.lists(inside(DURATION), min_size=1, max_size=30), st.lists(inside(DURATION), min_size=1, max_size=30)
)
def test_histograms_add_up(one: list[float], other: list[float]) -> None:
    added = [a + b for a, b in zip(counted(one, DURATION), counted(other, DURATION), strict=True)]
    assert added == counted(one + other, DURATION)


def test_zeros_are_values() -> None:
    assert estimated(Fraction(1, 2), [0.0, 0.0, 0.0, 7.0], DURATION) == 0.0
    assert estimated(Fraction(9, 10), [0.0, 0.0, 0.0, 7.0], DURATION) == 7.0


def test_nothing_has_no_quantile() -> None:
    assert estimated(Fraction(1, 2), [], DURATION) is None
    assert quantile(0.5, [], DURATION, count=0, low=None, high=None) is None


def test_every_histogram_spans_what_its_quantity_can_be() -> None:
    for quantity in QUANTITIES:
        if quantity.histogram is not None:
            low, high = math.exp(quantity.histogram.ln_low), math.exp(quantity.histogram.ln_high)
            assert low < 0.0011, quantity.name
            assert high >= 8000, quantity.name
