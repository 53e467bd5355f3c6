"""Predictions from sums: means, intervals, and what is honestly absent."""

import math
import re
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from framehouse.estimates.history import CostHistory
from framehouse.student import t_quantile, t_tails
from framehouse.warehouse.statements import statement


def history_of(costs: list[tuple[float, float]]) -> CostHistory:
    """A history of (cost, segments) samples."""
    logs = [math.log(cost / segments) for cost, segments in costs if cost > 0]
    return CostHistory(
        count=len(costs),
        sum=sum(cost for cost, _ in costs),
        segments=sum(segments for _, segments in costs),
        ln_count=len(logs),
        ln_sum=sum(logs),
        ln_sumsq=sum(x * x for x in logs),
    )


@given(st.integers(1, 20_000), st.floats(0.5001, 0.999))
def test_t_quantile_agrees_with_scipy(degrees: int, share: float) -> None:
    assert t_quantile(share, degrees) == pytest.approx(float(stats.t.ppf(share, degrees)), rel=1e-6, abs=1e-9)
    assert t_quantile(1 - share, degrees) == -t_quantile(share, degrees) or math.isclose(
        t_quantile(1 - share, degrees), -t_quantile(share, degrees), rel_tol=1e-6
    )


@given(st.integers(1, 20_000), st.floats(0.0, 4.0))
def test_t_tails_agree_with_scipy(degrees: int, t: float) -> None:
    expected = 2 * float(stats.t.sf(t, degrees))
    assert t_tails(t, degrees) == t_tails(-t, degrees) == pytest.approx(expected, rel=0.02, abs=1e-12)
    if degrees < 200:
        assert t_tails(t, degrees) == pytest.approx(expected, rel=1e-6)


def test_the_mean_is_a_sum_over_a_sum() -> None:
    predicted = history_of([(10.0, 1), (60.0, 9)]).predict(2)
    assert predicted is not None
    assert predicted.mean == pytest.approx(14.0)  # 70 / 10 per segment, not the mean of 10 and 6.67


def test_no_interval_below_three_samples() -> None:
    for count in (1, 2):
        predicted = history_of([(10.0, 1), (12.0, 1)][:count]).predict(1)
        assert predicted is not None
        assert predicted.p50 is not None
        assert predicted.p10 is None
        assert predicted.p90 is None
    predicted = history_of([(10.0, 1), (12.0, 1), (11.0, 1)]).predict(1)
    assert predicted is not None
    assert predicted.p10 is not None
    assert predicted.p90 is not None
    assert predicted.p10 < 11.0 < predicted.p90


def test_always_nothing_is_nothing_and_not_unknown() -> None:
    predicted = history_of([(0.0, 2), (0.0, 3)]).predict(7)
    assert predicted is not None
    assert (predicted.mean, predicted.p10, predicted.p50, predicted.p90) == (0.0, 0.0, 0.0, 0.0)


def test_some_zeros_leave_a_mean_without_an_interval() -> None:
    predicted = history_of([(0.0, 1), (3.0, 1), (3.0, 1), (3.0, 1)]).predict(1)
    assert predicted is not None
    assert predicted.mean == pytest.approx(2.25)
    assert predicted.p10 is predicted.p50 is predicted.p90 is None


def test_one_zero_in_a_hundred_does_not_end_the_intervals() -> None:
    predicted = history_of([(0.0, 1)] + [(3.0 + number % 3, 1) for number in range(100)]).predict(1)
    assert predicted is not None
    assert predicted.p10 is not None


def test_samples_that_differ_by_factors_of_millions_have_no_interval() -> None:
    history = history_of([(1e-9, 1), (1.0, 1), (1e9, 1)])
    predicted = history.predict(1)
    assert predicted is not None
    assert predicted.p90 is None
    assert history.why_no_interval == "too_wide"


def test_never_measured_is_unknown() -> None:
    assert CostHistory(0, 0.0, 0.0, 0, 0.0, 0.0).predict(1) is None


@given(st.lists(st.floats(1.0, 5.0), min_size=3, max_size=40), st.integers(1, 500))
def test_percentiles_are_in_order_and_grow_with_the_work(costs: list[float], segments: int) -> None:
    history = history_of([(cost, 1.0) for cost in costs])
    one, many = history.predict(1), history.predict(segments)
    assert one is not None
    assert many is not None
    assert one.p10 is not None
    assert one.p50 is not None
    assert one.p90 is not None
    assert one.p10 <= one.p50 <= one.p90
    assert many.mean == pytest.approx(one.mean * segments)
    assert many.p90 == pytest.approx(one.p90 * segments)


@pytest.mark.parametrize("samples", [3, 4, 6, 10, 30])
def test_intervals_hold_four_times_in_five(samples: int) -> None:
    """Of log-normal jobs, P10-P90 holds 80 % whatever the number of samples: that is what Student's t is for."""
    rng = np.random.default_rng(samples)
    within = 0
    trials = 4000
    for _ in range(trials):
        drawn = np.exp(2 + 0.4 * rng.standard_normal(samples + 1))
        predicted = history_of([(float(cost), 1.0) for cost in drawn[:-1]]).predict(1)
        assert predicted is not None
        assert predicted.p10 is not None
        assert predicted.p90 is not None
        within += predicted.p10 <= drawn[-1] <= predicted.p90
    # Five standard errors of a share of 4,000.
    assert within / trials == pytest.approx(0.8, abs=5 * math.sqrt(0.8 * 0.2 / trials))


def test_the_interval_is_the_textbooks() -> None:
    costs = [8.0, 9.0, 10.0, 12.0, 15.0]
    logs = [math.log(c) for c in costs]
    mean = sum(logs) / 5
    sd = math.sqrt(sum((x - mean) ** 2 for x in logs) / 4)
    reach = float(stats.t.ppf(0.9, 4)) * sd * math.sqrt(1 + 1 / 5)
    predicted = history_of([(c, 1.0) for c in costs]).predict(1)
    assert predicted is not None
    assert predicted.p10 == pytest.approx(math.exp(mean - reach))
    assert predicted.p90 == pytest.approx(math.exp(mean + reach))
    assert NormalDist().inv_cdf(0.9) < float(stats.t.ppf(0.9, 4))


def test_a_history_is_of_the_time_in_which_all_that_it_reads_is_known() -> None:
    text = statement("estimates.history")
    read = set(re.findall(r"\bd\.(\w+)", text)) - {"workflow_id", "tier_id", "bucket"}
    asked = re.search(r"array\[\s*'(.*?)'\]", text, flags=re.DOTALL)
    assert asked is not None
    assert set(re.split(r"',\s*'", asked[1])) == read
