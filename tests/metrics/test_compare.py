"""A comparison names the better one when there is one, and never cries wolf."""

import math
from collections.abc import Hashable, Mapping
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framehouse.metrics.compare import Difference, LogSums, Unclear, difference, effect, judged
from tests.metrics.encodes import sums

Day = dict[Hashable, LogSums]


def days(rng: np.random.Generator, ratio: float, count: int, scatter: float = 0.0) -> list[Day]:
    """100 attempts at two tiers over some days, whose times scatter by 15 %; and the days themselves by `scatter`."""
    found: list[Day] = []
    for day in range(count):
        level = ratio * rng.lognormal(0, scatter)
        draft, final = (len(range(day, whole, count)) for whole in (60, 40))
        found.append({
            "draft": sums(rng.lognormal(math.log(30 * level), 0.15, draft).tolist()),
            "final": sums(rng.lognormal(math.log(200 * level), 0.15, final).tolist()),
        })  # fmt: skip
    return found


def simulated(ratio: float, *, rounds: int = 600, count: int = 1, scatter: float = 0.0) -> list[Difference]:
    """Two workflows, each with 100 attempts on so many days."""
    rng = np.random.default_rng(7)
    return [
        difference(days(rng, 1.0, count, scatter), days(rng, ratio, count, scatter)) for _ in range(rounds)
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10, 30])
def test_a_true_tenth_is_found(count: int) -> None:
    found = simulated(1.1, count=count)
    named = sum(d.is_clear and d.ratio is not None and d.ratio > 1 for d in found)
    held = sum(d.low is not None and d.high is not None and d.low <= 1.1 <= d.high for d in found)
    assert named > 0.95 * len(found)
    assert held > 0.93 * len(found)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10, 30])
def test_equals_are_not_told_apart(count: int) -> None:
    found = simulated(1.0, count=count)
    assert sum(d.is_clear for d in found) <= 0.065 * len(found)  # 5 %, and what 600 rounds leave to chance


def test_two_that_are_the_same_twice_are_no_proof() -> None:
    """Of rounded seconds there is no scatter to see."""
    told = difference([{"a": sums([100.0, 100.0])}], [{"a": sums([102.0, 102.0])}])
    assert told.reason is Unclear.TOO_FEW_SAMPLES
    many = difference([{"a": sums([100.0] * 12)}], [{"a": sums([102.0] * 12)}])
    assert many.is_clear


@pytest.mark.parametrize("count", [10, 30])
def test_days_that_scatter_are_no_difference(count: int) -> None:
    """By a tenth: attempts alone would call a third and more of such equals different."""
    found = simulated(1.0, count=count, scatter=0.1)
    assert sum(d.is_clear for d in found) <= 0.09 * len(found)


def test_a_tenth_is_named_among_quantities_that_go_together() -> None:
    """Wall and GPU seconds both take a tenth more, nine tenths of their scatter is the same; the output is equal."""
    rng = np.random.default_rng(9)
    rounds, named, false = 600, 0, 0

    def both(ratio: float) -> tuple[list[Day], list[Day]]:
        wall = rng.normal(math.log(30 * ratio), 0.15, (3, 33))
        gpu = 0.9 * wall + 0.1 * math.log(30 * ratio) + rng.normal(0, 0.15 * math.sqrt(1 - 0.81), wall.shape)
        return tuple([{"draft": sums(np.exp(day).tolist())} for day in some] for some in (wall, gpu))  # type: ignore[return-value]

    for _ in range(rounds):
        one, other = both(1.0), both(1.1)
        told = judged(
            [
                *(effect(*pair) for pair in zip(one, other, strict=True)),
                effect(days(rng, 1.0, 3), days(rng, 1.0, 3)),
            ]
        )
        named += told[0].is_clear or told[1].is_clear
        false += told[2].is_clear
    assert named > 0.93 * rounds  # 95 %, and what 600 rounds leave to chance
    assert false <= 0.065 * rounds


def test_of_many_equal_pairs_hardly_any_is_called_different() -> None:
    """Twelve workflows, 66 pairs: in at most 5 % of comparisons is there any false one."""
    rng = np.random.default_rng(5)
    rounds, false = 200, 0
    for _ in range(rounds):
        all_ = [days(rng, 1.0, 1) for _ in range(12)]
        told = judged([effect(one, other) for one, other in combinations(all_, 2)])
        false += any(one.is_clear for one in told)
    assert false <= 0.085 * rounds


def test_what_is_clear_leaves_out_none_and_what_is_not_does_not() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        ratios = rng.choice([1.0, 1.03, 1.06, 1.2], 5)
        told = judged([effect(days(rng, 1.0, 3), days(rng, ratio, 3)) for ratio in ratios], smallest=0.0)
        for one in told:
            assert one.low is not None
            assert one.high is not None
            assert one.is_clear is not (one.low <= 1 <= one.high)


def test_few_samples_of_many_say_nothing() -> None:
    """No interval that is wider than a thousand times is told, and none is too wide to be computed."""
    rng = np.random.default_rng(2)
    pairs = [[{"a": sums(rng.lognormal(3, 1.5, 2).tolist())}] for _ in range(12)]
    told = judged([effect(one, other) for one, other in combinations(pairs, 2)])
    assert {one.reason for one in told} <= {None, Unclear.TOO_FEW_SAMPLES}
    assert all(
        one.high <= 1100 * one.ratio * max(one.ratio, 1 / one.ratio)
        for one in told
        if one.ratio is not None and one.high is not None
    )
    assert any(one.reason is Unclear.TOO_FEW_SAMPLES for one in told)


def test_another_mix_of_tiers_is_no_difference() -> None:
    """The second did mostly long jobs: its mean is three times the first's, and it is no slower."""
    rng = np.random.default_rng(3)

    def history(draft: int, final: int) -> dict[Hashable, LogSums]:
        return {
            "draft": sums(rng.lognormal(3, 0.15, draft).tolist()),
            "final": sums(rng.lognormal(5, 0.15, final).tolist()),
        }

    found = difference([history(180, 20)], [history(20, 180)])
    assert not found.is_clear
    assert found.ratio == pytest.approx(1, abs=0.05)
    assert found.counts == (200, 200)


def test_only_what_is_alike_is_compared() -> None:
    some, other = sums([1.0, 1.1, 0.9]), sums([2.0, 2.2, 1.8])
    found = difference([{"a": some, "b": other}], [{"b": some, "c": other}])
    assert found.ratio == pytest.approx(0.5)
    assert (found.counts, found.left_out) == ((3, 3), (3, 3))
    assert difference([{"a": some}], [{"b": some}]).reason is Unclear.NOTHING_ALIKE
    alone = difference([{"a": sums([1.0])}], [{"a": sums([2.0])}])
    assert (alone.reason, alone.ratio, alone.is_clear) == (Unclear.TOO_FEW_SAMPLES, None, False)


_values = st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=20)
_histories = st.dictionaries(st.sampled_from("abcd"), _values, min_size=1)


@given(_histories, _histories, st.floats(0.01, 100))
def test_units_do_not_matter_and_sides_mirror(
    first: Mapping[str, list[float]], second: Mapping[str, list[float]], unit: float
) -> None:
    def history(values: Mapping[str, list[float]], unit: float = 1.0) -> list[Day]:
        return [{key: sums([unit * x for x in some]) for key, some in values.items()}]

    there, back = (
        difference(history(first), history(second)),
        difference(history(second), history(first)),
    )
    scaled = difference(history(first, unit), history(second, unit))
    assert (there.ratio is None) == (back.ratio is None)
    assert (there.reason is Unclear.NOTHING_ALIKE) == (not set(first) & set(second))
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
    found = difference(*([encodes[worker]] for worker in pair))
    assert not found.is_clear
    assert found.ratio == pytest.approx(1, abs=0.01)
    assert found.strata_count == 8 * 201


def test_the_real_three_percent_is_found(encodes: dict[str, dict[Hashable, LogSums]]) -> None:
    pairs = list(combinations(sorted(encodes), 2))
    told = dict(zip(pairs, judged([effect([encodes[a]], [encodes[b]]) for a, b in pairs]), strict=True))
    found = told["26", "3"]
    assert found.is_clear
    assert found.ratio is not None
    assert abs(math.log(found.ratio)) == pytest.approx(0.03, abs=0.01)
    assert not told["1", "23"].is_clear
    assert not told["16", "29"].is_clear
