"""Whether estimates are off: how often the tests for it are wrong, and how soon they are right."""

import math
from dataclasses import fields
from statistics import NormalDist

import numpy as np
import pytest

from framehouse.estimates import drift
from framehouse.estimates.drift import KINDS, Kind, Scenes, binomial_tail, judge

P90 = NormalDist().inv_cdf(0.9)


def drawn(
    rng: np.random.Generator, count: int, *, sd: float, size: int = 1, alike: float = 0.0, shift: float = 0.0
) -> Scenes:
    """Scenes of estimates of `size` each that are right but for `shift`: ln(actual) is normal about its prediction."""
    batch = np.arange(count) // size
    shared = rng.standard_normal(count // size + 1)[batch]
    error = math.sqrt(alike) * shared + math.sqrt(1 - alike) * rng.standard_normal(count)
    work = rng.uniform(50, 500, count)
    return Scenes(
        batch,
        mean=work * math.exp(sd * sd / 2),
        p10=work * math.exp(-P90 * sd),
        p50=work,
        p90=work * math.exp(P90 * sd),
        actual=work * np.exp(sd * error + shift),
    )


def two_modes(rng: np.random.Generator, count: int, *, share: float, factor: float) -> Scenes:
    """Scenes with right estimates, of which a share takes `factor` times as long as the others."""
    usual, long = NormalDist(0.0, 0.1), NormalDist(math.log(factor), 0.1)
    logs = np.linspace(-1.0, 2.0, 3001)
    below = [(1 - share) * usual.cdf(log) + share * long.cdf(log) for log in logs]
    p10, p50, p90 = np.exp(np.interp([0.1, 0.5, 0.9], below, logs))
    work = rng.uniform(50, 500, count)
    return Scenes(
        np.arange(count),
        mean=work * math.exp(0.005) * (1 - share + share * factor),
        p10=work * p10,
        p50=work * p50,
        p90=work * p90,
        actual=work
        * np.exp(0.1 * rng.standard_normal(count))
        * np.where(rng.random(count) < share, factor, 1),
    )


def part(scenes: Scenes, start: int, end: int) -> Scenes:
    return Scenes(**{one.name: getattr(scenes, one.name)[start:end] for one in fields(Scenes)})


def joined(first: Scenes, second: Scenes) -> Scenes:
    found = {
        one.name: np.concatenate([getattr(first, one.name), getattr(second, one.name)])
        for one in fields(Scenes)
    }
    found["batch"][len(first.batch) :] += 1 + first.batch[-1]
    return Scenes(**found)


def raised(kind: Kind, scenes: Scenes, *, span: int = 90, begin: int = 0) -> list[int]:
    """After which scenes an alarm is raised, where there is a look at each of them."""
    found, is_open, closed = [], False, 0
    for end in range(begin, len(scenes.actual) + 1):
        verdict = judge(kind, part(scenes, max(closed, end - span), end))
        if verdict is None:
            continue
        if verdict.is_off and not is_open:
            found.append(end)
        is_open, closed = (
            (False, end) if is_open and verdict.is_right else (is_open or verdict.is_off, closed)
        )
    return found


# How often they are wrong.


@pytest.mark.parametrize("kind", KINDS)
def test_right_estimates_raise_no_alarm(kind: Kind) -> None:
    rng = np.random.default_rng(1)
    for sd in (0.1, 0.3):
        assert raised(kind, drawn(rng, 2500, sd=sd)) == []
        assert raised(kind, drawn(rng, 2500, sd=sd, size=20, alike=drift.ALIKE), span=400) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("share", "factor"), [(0.3, 3.0), (0.3, 2.0), (0.4, 2.0)])
def test_right_estimates_of_costs_with_two_modes_raise_no_alarm(
    kind: Kind, share: float, factor: float
) -> None:
    """Half of them take less than the median, and the mean of their logarithms is far from it."""
    scenes = two_modes(np.random.default_rng(7), 3000, share=share, factor=factor)
    assert raised(kind, scenes) == []


def test_the_same_as_the_median_is_on_neither_side_of_it() -> None:
    """Of 100 scenes 60 take exactly as long as is usual, the others 3 times as long."""
    count = 3000
    actual = np.where(np.random.default_rng(8).random(count) < 0.6, 10.0, 30.0)
    right = Scenes(np.arange(count), *(np.full(count, value) for value in (18.0, 10.0, 10.0, 30.0)), actual)
    assert raised("bias", right) == []


def test_scenes_that_took_nothing_are_witnesses_too() -> None:
    """Of jobs that often need nothing, those that need something are above the median more often than not."""
    count, rng = 3000, np.random.default_rng(9)
    actual = np.where(rng.random(count) < 0.4, 0.0, rng.uniform(10.0, 20.0, count))
    right = Scenes(
        np.arange(count), *(np.full(count, value) for value in (9.0, 0.0, 10 + 10 / 6, 10 + 50 / 6)), actual
    )
    assert raised("bias", right) == []


@pytest.mark.parametrize("kind", KINDS)
def test_false_alarms_stay_below_what_is_promised(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a hundred times the level they do happen, and no more often than three times that a scene."""
    monkeypatch.setattr(drift, "LEVEL", 100 * drift.LEVEL)
    count = 8000
    found = raised(kind, drawn(np.random.default_rng(2), count, sd=0.35))
    assert 1 <= len(found) <= 3 * drift.LEVEL * count


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_that_errs_together_is_no_crowd_of_witnesses(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = drawn(np.random.default_rng(3), 3000, sd=0.35, size=50, alike=0.15)
    assert raised(kind, scenes, span=400) == []
    monkeypatch.setattr(drift, "ALIKE", 0.0)
    assert len(raised(kind, scenes, span=400)) >= 2


# How soon they are right.


@pytest.mark.parametrize(("sd", "median", "most"), [(0.1, 18, 22), (0.2, 32, 42)])
def test_a_shift_is_found_within_some_scenes(sd: float, median: int, most: int) -> None:
    rng = np.random.default_rng(4)
    found = []
    for _ in range(30):
        scenes = joined(drawn(rng, 80, sd=sd), drawn(rng, 60, sd=sd, shift=math.log(1.3)))
        [first, *_] = raised("bias", scenes, begin=81)
        found.append(first - 80)
    assert np.median(found) <= median
    assert np.quantile(found, 0.9) <= most


def test_intervals_that_are_too_narrow_are_found() -> None:
    rng = np.random.default_rng(5)
    right = drawn(rng, 120, sd=0.4)
    narrow = Scenes(right.batch, right.mean, right.p50 * 0.95, right.p50, right.p50 * 1.05, right.actual)
    assert raised("coverage", narrow)[0] <= 20
    assert raised("bias", narrow) == []


def test_a_bias_of_less_than_a_tenth_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = drawn(np.random.default_rng(6), 200, sd=0.02, shift=math.log(1.08))
    assert raised("bias", scenes) == []
    monkeypatch.setattr(drift, "TENTH", math.log(1.05))
    assert raised("bias", scenes) != []


# What the tests are.


def test_the_binomial_tail() -> None:
    assert binomial_tail(0, 10, 0.2) == pytest.approx(1.0)
    assert binomial_tail(10, 10, 0.2) == pytest.approx(0.2**10)
    assert binomial_tail(5, 10, 0.2) == pytest.approx(0.0327934976)
    assert binomial_tail(8, 10, 0.5) == pytest.approx(56 / 1024)


def same(count: int, actual: float, size: int = 1) -> Scenes:
    """Scenes that all took the same, where 10 (8 to 12) was predicted."""
    values = (np.full(count, value) for value in (10.0, 8.0, 10.0, 12.0, actual))
    return Scenes(np.arange(count) // size, *values)


@pytest.mark.parametrize(("kind", "least"), [("coverage", 12), ("bias", 18)])
def test_it_takes_some_scenes_of_different_estimates(kind: Kind, least: int) -> None:
    assert judge(kind, same(0, 20.0)) is None
    assert judge(kind, same(least - 1, 20.0)) is None
    for actual in (5.0, 20.0):
        verdict = judge(kind, same(least, actual))
        assert verdict is not None
        assert verdict.is_off
        assert (verdict.scene_count, verdict.first) == (least, 0)
        assert verdict.bias_ratio == pytest.approx(10 / actual - 1)
        assert verdict.coverage_ratio == 0.0
    # Twenty scenes of one estimate are worth ten, forty of two estimates twenty.
    assert judge(kind, same(20, 20.0, size=20)) is None
    verdict = judge(kind, same(40, 20.0, size=20))
    assert verdict is not None
    assert verdict.is_off


def test_the_verdict_is_of_the_scenes_that_show_it_most() -> None:
    verdict = judge("bias", joined(same(40, 10.0), same(25, 20.0)))
    assert verdict is not None
    assert verdict.is_off
    assert verdict.first >= 40
    assert verdict.bias_ratio == pytest.approx(-0.5)


def test_right_again_is_nearer_than_off() -> None:
    for actual, is_right in ((10.0, True), (10.4, True), (10.8, False), (11.2, False)):
        verdict = judge("bias", same(30, actual))
        assert verdict is not None
        assert verdict.is_right == is_right


def test_a_total_of_nothing_is_left_to_coverage() -> None:
    """A CPU job takes no GPU time, and was predicted to; or was not, which is right."""
    for scenes, is_off in (
        (same(30, 0.0), True),
        (Scenes(np.arange(30), *(np.zeros(30) for _ in range(5))), False),
    ):
        bias, coverage = (judge(kind, scenes) for kind in ("bias", "coverage"))
        assert bias is not None
        assert coverage is not None
        assert (bias.is_off, bias.is_right, bias.bias_ratio) == (False, not is_off, None)
        assert (coverage.is_off, coverage.is_right, coverage.bias_ratio) == (is_off, not is_off, None)


def test_the_same_to_the_byte_is_no_miss() -> None:
    peaks = Scenes(np.arange(30), *(np.full(30, 9000.0 + more) for more in (0, 0, 0, 0, 5)))
    verdict = judge("coverage", peaks)
    assert verdict is not None
    assert (verdict.is_right, verdict.coverage_ratio) == (True, 1.0)
