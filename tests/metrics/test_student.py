"""Student's t without scipy, against scipy."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from framehouse.student import t_quantile, t_tails


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
