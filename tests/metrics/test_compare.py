"""A comparison names the better one when there is one, and never cries wolf."""

import math
from collections.abc import Hashable, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framehouse.metrics.compare import Difference, LogSums, Unclear, difference
from tests.metrics.encodes import sums


def simulated(ratio: float, *, rounds: int, comparisons: int = 1) -> list[Difference]:
    """Two workflows at two tiers, 100 attempts each, whose times scatter by 15 %."""
    rng = np.random.default_rng(7)
    found = []
    for _ in range(rounds):
        histories: list[dict[Hashable, LogSums]] = []
        for factor in (1.0, ratio):
            draft = rng.lognormal(math.log(30 * factor), 0.15, 60)
            final = rng.lognormal(math.log(200 * factor), 0.15, 40)
            histories.append({"draft": sums(draft.tolist()), "final": sums(final.tolist())})
        found.append(difference(*histories, comparisons=comparisons))
    return found


def test_a_true_tenth_is_found() -> None:
    found = simulated(1.1, rounds=1000)
    named = sum(d.is_clear and d.ratio is not None and d.ratio > 1 for d in found)
    held = sum(d.low is not None and d.high is not None and d.low <= 1.1 <= d.high for d in found)
    assert named > 950
    assert held > 930


@pytest.mark.parametrize("comparisons", [1, 6])
def test_equals_are_not_told_apart(comparisons: int) -> None:
    found = simulated(1.0, rounds=1000, comparisons=comparisons)
    assert sum(d.is_clear for d in found) <= 50 / comparisons + 15


def test_another_mix_of_tiers_is_no_difference() -> None:
    """The second did mostly long jobs: its mean is three times the first's, and it is no slower."""
    rng = np.random.default_rng(3)

    def history(draft: int, final: int) -> dict[Hashable, LogSums]:
        return {
            "draft": sums(rng.lognormal(3, 0.15, draft).tolist()),
            "final": sums(rng.lognormal(5, 0.15, final).tolist()),
        }

    found = difference(history(180, 20), history(20, 180))
    assert not found.is_clear
    assert found.ratio == pytest.approx(1, abs=0.05)
    assert found.counts == (200, 200)


def test_only_what_is_alike_is_compared() -> None:
    some, other = sums([1.0, 1.1, 0.9]), sums([2.0, 2.2, 1.8])
    found = difference({"a": some, "b": other}, {"b": some, "c": other})
    assert found.ratio == pytest.approx(0.5)
    assert (found.counts, found.left_out) == ((3, 3), (3, 3))
    assert difference({"a": some}, {"b": some}).reason is Unclear.NOTHING_ALIKE
    alone = difference({"a": sums([1.0])}, {"a": sums([2.0])})
    assert (alone.reason, alone.ratio, alone.is_clear) == (Unclear.TOO_FEW_SAMPLES, None, False)


_values = st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=20)
_histories = st.dictionaries(st.sampled_from("abcd"), _values, min_size=1)


@given(_histories, _histories, st.floats(0.01, 100))
def test_units_do_not_matter_and_sides_mirror(
    first: Mapping[str, list[float]], second: Mapping[str, list[float]], unit: float
) -> None:
    there = difference({k: sums(v) for k, v in first.items()}, {k: sums(v) for k, v in second.items()})
    back = difference({k: sums(v) for k, v in second.items()}, {k: sums(v) for k, v in first.items()})
    scaled = difference(
        {k: sums([unit * x for x in v]) for k, v in first.items()},
        {k: sums([unit * x for x in v]) for k, v in second.items()},
    )
    assert (there.ratio is None) == (back.ratio is None) == (not set(first) & set(second))
    if there.ratio is not None and back.ratio is not None and scaled.ratio is not None:
        assert there.low is not None
        assert there.high is not None
        assert there.ratio * back.ratio == pytest.approx(1)
        assert scaled.ratio == pytest.approx(there.ratio, rel=1e-6)
        assert there.low <= there.ratio <= there.high


@pytest.mark.parametrize("pair", [("1", "23"), ("16", "29")])
def test_workers_of_one_model_are_equal(
    encodes: dict[str, dict[Hashable, LogSums]], pair: tuple[str, str]
) -> None:
    found = difference(*(encodes[worker] for worker in pair))
    assert not found.is_clear
    assert found.ratio == pytest.approx(1, abs=0.01)
    assert found.strata_count == 8 * 201


def test_the_real_three_percent_is_found(encodes: dict[str, dict[Hashable, LogSums]]) -> None:
    found = difference(encodes["3"], encodes["26"], comparisons=435)
    assert found.is_clear
    assert found.ratio is not None
    assert abs(math.log(found.ratio)) == pytest.approx(0.03, abs=0.01)
