"""A jump is found and dated; days that differ by chance, or by the work they had, are none."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from framehouse.metrics.changes import Day, changes
from tests.metrics.encodes import sums

FIRST = datetime(2026, 3, 1, tzinfo=UTC)


def days(
    factor: Callable[[int], float], *, count: int = 40, seed: int, daily_scatter: float = 0.03
) -> list[Day]:
    """Days of two tiers in a mix of their own; `factor` says by how much day n is slower."""
    rng = np.random.default_rng(seed)
    found = []
    for n in range(count):
        level = factor(n) * rng.lognormal(0, daily_scatter)
        drafts = int(rng.integers(2, 40))
        found.append(Day(FIRST + timedelta(days=n), {
            "draft": sums(rng.lognormal(math.log(30 * level), 0.2, drafts).tolist()),
            "final": sums(rng.lognormal(math.log(300 * level), 0.2, 42 - drafts).tolist()),
        }))  # fmt: skip
    return found


@pytest.mark.parametrize("seed", range(10))
def test_a_tenth_is_dated(seed: int) -> None:
    [found] = changes(days(lambda n: 1.1 if n >= 25 else 1.0, seed=seed))
    assert abs((found.at - FIRST).days - 25) <= 2
    assert found.difference.low is not None
    assert found.difference.high is not None
    assert found.difference.low < 1.1 < found.difference.high * 1.02


def test_two_jumps_are_told_apart() -> None:
    found = changes(days(lambda n: 1.0 if n < 15 else 1.3 if n < 35 else 0.9, count=60, seed=1))
    assert [(change.at - FIRST).days for change in found] == [15, 35]
    assert [change.difference.ratio for change in found] == pytest.approx([1.3, 0.9 / 1.3], rel=0.05)


def test_days_that_scatter_are_no_jump() -> None:
    alarms = sum(bool(changes(days(lambda n: 1.0, seed=seed, daily_scatter=0.1))) for seed in range(60))
    assert alarms <= 3


def test_few_days_say_nothing() -> None:
    assert changes(days(lambda n: 1.0 + n, count=7, seed=1)) == []
    assert changes([]) == []
