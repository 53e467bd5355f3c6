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


def part(scenes: Scenes, start: int, end: int) -> Scenes:
    return Scenes(**{one.name: getattr(scenes, one.name)[start:end] for one in fields(Scenes)})


def joined(first: Scenes, second: Scenes) -> Scenes:
    found = {
        one.name: np.concatenate([getattr(first, one.name), getattr(second, one.name)])
        for one in fields(Scenes)
    }
    found["batch"][len(first.batch) :] += 1 + first.batch[-1]
    return Scenes(**found)


def raised(kind: Kind, scenes: Scenes, *, span: int = 60, begin: int = 0) -> list[int]:
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


@pytest.mark.parametrize(("sd", "median", "most"), [(0.1, 15, 20), (0.2, 27, 40)])
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
    assert binomial_tail(0, 10) == pytest.approx(1.0)
    assert binomial_tail(10, 10) == pytest.approx(0.2**10)
    assert binomial_tail(5, 10) == pytest.approx(0.0327934976)


def same(count: int, actual: float, size: int = 1) -> Scenes:
    """Scenes that all took the same, where 10 (8 to 12) was predicted."""
    values = (np.full(count, value) for value in (10.0, 8.0, 10.0, 12.0, actual))
    return Scenes(np.arange(count) // size, *values)


@pytest.mark.parametrize("kind", KINDS)
def test_it_takes_a_dozen_scenes_of_different_estimates(kind: Kind) -> None:
    assert judge(kind, same(0, 20.0)) is None
    assert judge(kind, same(11, 20.0)) is None
    verdict = judge(kind, same(12, 20.0))
    assert verdict is not None
    assert verdict.is_off
    assert (verdict.scene_count, verdict.first, verdict.bias_ratio) == (12, 0, pytest.approx(-0.5))
    assert verdict.coverage_ratio == 0.0
    # Twenty scenes of one estimate are worth ten, forty of two estimates twenty.
    assert judge(kind, same(20, 20.0, size=20)) is None
    assert judge(kind, same(40, 20.0, size=20)) is not None


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


def test_nothing_has_no_logarithm() -> None:
    """A CPU job takes no GPU time, and was predicted to."""
    assert judge("bias", same(30, 0.0)) is None
    missed = judge("coverage", same(30, 0.0))
    assert missed is not None
    assert (missed.is_off, missed.bias_ratio) == (True, None)
    nought = Scenes(np.arange(30), *(np.zeros(30) for _ in range(5)))
    assert judge("bias", nought) is None
    verdict = judge("coverage", nought)
    assert verdict is not None
    assert (verdict.is_off, verdict.is_right, verdict.bias_ratio) == (False, True, None)


def test_the_same_to_the_byte_is_no_miss() -> None:
    peaks = Scenes(np.arange(30), *(np.full(30, 9000.0 + more) for more in (0, 0, 0, 0, 5)))
    verdict = judge("coverage", peaks)
    assert verdict is not None
    assert (verdict.is_right, verdict.coverage_ratio) == (True, 1.0)
