"""Forecasts pick what did best, follow what changed, guess nothing, and say how sure they are."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framehouse.estimates.backtest import Attempt, backtest
from framehouse.estimates.forecast import Forecaster, Prediction
from framehouse.estimates.memory import Sample, Shared, ln_works
from framehouse.estimates.totals import Distribution, total

Rng = np.random.Generator


def learned(costs: Iterable[float], works: Mapping[str, float] | None = None) -> Forecaster:
    """A forecaster that saw these costs, each of the same work."""
    forecaster = Forecaster(Shared())
    for cost in costs:
        learn(forecaster, cost, works)
    return forecaster


def learn(
    forecaster: Forecaster, cost: float, works: Mapping[str, float] | None = None, worker: int | None = None
) -> None:
    forecaster.learn(Sample([cost], works or {}, worker))


def of(forecaster: Forecaster, worker: int | None = None, **works: float) -> Prediction:
    found = forecaster.predict(works, worker)
    assert found is not None
    return found


def test_nothing_is_guessed_without_history() -> None:
    assert Forecaster(Shared()).predict({"segments": 3}) is None
    for count in (1, 2):
        told = of(learned([10.0] * count))
        assert (told.p50, told.p10, told.p90, told.sample_count) == (pytest.approx(10), None, None, count)
    assert of(learned([10.0] * 3)).p90 is not None


def test_another_history_lends_its_spread_and_never_its_level() -> None:
    shared, rng = Shared(), np.random.default_rng(1)
    wild, new = Forecaster(shared), Forecaster(shared)
    for cost in rng.lognormal(9, 0.8, 200):
        learn(wild, float(cost))
    assert new.predict({}) is None
    for cost in (10.0, 10.1, 9.9):
        learn(new, cost)
    told = of(new)
    assert told.p50 == pytest.approx(10, rel=0.02)
    assert told.p90 is not None
    assert told.p90 > 11.5, "three that are alike to a hundredth do not prove it where others scatter"


def test_what_is_the_same_each_time_is_said_to_be_where_others_scatter() -> None:
    shared, rng = Shared(), np.random.default_rng(1)
    wild, same = Forecaster(shared), Forecaster(shared)
    for cost in rng.lognormal(9, 0.8, 200):
        learn(wild, float(cost))
    for _ in range(16):
        learn(same, 10.0)
    told = of(same)
    assert (told.p10, told.p50, told.p90) == pytest.approx((10, 10, 10), rel=1e-3)


def test_what_is_never_measured_as_anything_is_nothing() -> None:
    told = of(learned([0.0] * 5))
    assert (told.mean, told.p10, told.p50, told.p90) == (0, 0, 0, 0)
    mixed = of(learned([0.0, 10.0] * 20))
    assert mixed.mean == pytest.approx(5, rel=0.05)
    assert (mixed.p10, mixed.p90) == (None, None), "of half that are nothing there is no interval"


def test_it_follows_what_changed() -> None:
    rng = np.random.default_rng(2)
    costs = [*rng.lognormal(math.log(100), 0.1, 200), *rng.lognormal(math.log(150), 0.1, 12)]
    assert of(learned(map(float, costs))).p50 == pytest.approx(150, rel=0.1)


def test_it_keeps_its_head_when_nothing_changed() -> None:
    """One outlier moves a mean of four by a lot; the history knows that long memory did better."""
    rng = np.random.default_rng(3)
    costs = [float(cost) for cost in rng.lognormal(math.log(100), 0.2, 300)]
    errors = []
    forecaster = Forecaster(Shared())
    for cost in costs:
        told = forecaster.predict({})
        if told is not None:
            errors.append(abs(math.log(told.p50 / 100)))
        learn(forecaster, cost)
    assert np.mean(errors[100:]) < 0.05


@pytest.mark.parametrize(
    ("truth", "basis"),
    [
        (lambda segments, frames: 3.0 * segments, "segments"),
        (lambda segments, frames: 0.1 * frames, "frames"),
        (lambda segments, frames: 40.0, "jobs"),
        (lambda segments, frames: 60.0 + 2.0 * segments, "fixed_and_segments"),
    ],
    ids=["segments", "frames", "jobs", "fixed"],
)
def test_the_history_says_what_the_cost_goes_with(truth, basis) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(4)
    forecaster = Forecaster(Shared())
    for _ in range(120):
        segments, frames = float(rng.integers(1, 40)), float(rng.integers(10, 1000))
        cost = truth(segments, frames) * rng.lognormal(0, 0.05)
        learn(forecaster, float(cost), {"segments": segments, "frames": frames})
    told = of(forecaster, segments=30, frames=500)
    assert told.basis == basis
    assert told.p50 == pytest.approx(truth(30, 500), rel=0.05)
    assert told.mean == pytest.approx(truth(30, 500), rel=0.05)
    if basis == "frames":
        assert of(forecaster, segments=30).basis != "frames", "not known of this job"


def test_workers_have_factors() -> None:
    """That are learnt from all their work, so that a workflow's first attempt on a worker is foreseen."""
    rng = np.random.default_rng(5)
    shared = Shared()
    fast, usual, slow, never_seen = range(4)
    factors = {fast: 0.7, usual: 1.0, slow: 1.6}
    known = [Forecaster(shared) for _ in range(12)]
    for _ in range(600):
        worker = int(rng.integers(0, 3))
        place = int(rng.integers(0, 12))
        cost = 10 * (1 + place) * factors[worker] * rng.lognormal(0, 0.05)
        learn(known[place], float(cost), worker=worker)
    new = Forecaster(shared)
    for _ in range(3):
        learn(new, float(200 * factors[usual] * rng.lognormal(0, 0.05)), worker=usual)
    assert of(new, slow).p50 == pytest.approx(200 * 1.6, rel=0.1)
    assert of(new, fast).p50 == pytest.approx(200 * 0.7, rel=0.1)
    assert of(new, slow).worker == "factor"
    assert of(new, never_seen).worker == "any"


def test_who_works_alone_is_neither_fast_nor_slow() -> None:
    """However its first attempts went, which nobody could compare with another worker's."""
    rng = np.random.default_rng(5)
    shared = Shared()
    alone, known = Forecaster(shared), Forecaster(shared)
    for n in range(60):
        learn(alone, float((10 if n else 500) * rng.lognormal(0, 0.05)), worker=9)
        learn(known, float(200 * (0.8, 1.25)[n % 2] * rng.lognormal(0, 0.05)), worker=n % 2)
    assert of(known, 9).p50 == pytest.approx(200, rel=0.3)


def test_workers_that_share_no_work_say_nothing_of_each_other_until_they_do() -> None:
    rng = np.random.default_rng(7)
    shared = Shared()
    thumbs, portraits = Forecaster(shared), Forecaster(shared)
    for n in range(60):
        learn(thumbs, float((1 if n else 50) * (0.9, 1.1)[n % 2] * rng.lognormal(0, 0.03)), worker=8 + n % 2)
        learn(portraits, float(200 * (0.8, 1.25)[n % 2] * rng.lognormal(0, 0.03)), worker=n % 2)
    assert set(portraits.factors(0)) == {0, 1}
    assert of(portraits, 8).worker == "any"
    assert of(portraits, 1).p50 == pytest.approx(250, rel=0.1)
    for _ in range(3):
        learn(portraits, 400.0, worker=8)
    assert set(portraits.factors(0)) == {0, 1, 8, 9}
    assert of(portraits, 8).p50 == pytest.approx(400, rel=0.1)
    assert of(portraits, 9).p50 == pytest.approx(400 * 1.1 / 0.9, rel=0.15)
    assert of(thumbs, 8).p50 == pytest.approx(0.9, rel=0.1)


def test_a_worker_may_have_its_own_way_with_a_workflow() -> None:
    rng = np.random.default_rng(6)
    shared = Shared()
    forecasters = {name: Forecaster(shared) for name in ("even", "odd")}
    for _ in range(300):
        name, worker = ("even", "odd")[int(rng.integers(0, 2))], int(rng.integers(0, 2))
        cost = 50 * (2.0 if (name, worker) == ("odd", 1) else 1.0) * rng.lognormal(0, 0.05)
        learn(forecasters[name], float(cost), worker=worker)
    assert of(forecasters["odd"], 1).p50 == pytest.approx(100, rel=0.1)
    assert of(forecasters["even"], 1).p50 == pytest.approx(50, rel=0.1)


@pytest.mark.parametrize("kind", ["lognormal", "heavy", "two ways", "drifting"])
def test_one_in_ten_lies_beyond_either_end(kind: str) -> None:
    rng = np.random.default_rng(7)
    found = backtest([Attempt(f"k{n % 20}", drawn(rng, kind, n), {}) for n in range(6000)])
    ours = found.scores[0]
    assert ours.coverage_ratio is not None
    assert 0.78 <= ours.coverage_ratio <= 0.82
    assert found.answered_count == 5980
    assert found.interval_count == 5940


def drawn(rng: Rng, kind: str, n: int) -> float:
    """The n-th cost: scattering by a quarter, by much, about two levels, or about one that wanders."""
    level = 100.0 * (1 + n % 20)
    match kind:
        case "heavy":
            return float(level * math.exp(0.2 * rng.standard_t(2)))
        case "two ways":
            return float(level * rng.choice([1.0, 3.0]) * rng.lognormal(0, 0.05))
        case "drifting":
            return float(level * math.exp(math.sin(n / 800)) * rng.lognormal(0, 0.15))
    return float(level * rng.lognormal(0, 0.25))


def test_a_total_of_means_is_right() -> None:
    rng = np.random.default_rng(8)
    found = backtest([Attempt("a", float(rng.lognormal(3, 0.8)), {}) for _ in range(4000)])
    ours = found.scores[0]
    assert ours.bias_ratio == pytest.approx(0, abs=0.04), "medians would be 27 % too low"


_costs = st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=30)


@settings(max_examples=50)
@given(_costs, st.floats(1e-3, 1e3))
def test_units_do_not_matter(costs: list[float], unit: float) -> None:
    there, scaled = of(learned(costs)), of(learned(unit * cost for cost in costs))
    assert scaled.p50 == pytest.approx(unit * there.p50, rel=1e-6)
    assert scaled.mean == pytest.approx(unit * there.mean, rel=1e-6)
    if there.p90 is not None and there.p10 is not None:
        assert there.p10 <= there.p50 <= there.p90
        assert scaled.p90 == pytest.approx(unit * there.p90, rel=1e-6)


@settings(max_examples=30)
@given(st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=30), st.integers(1, 29), st.data())
def test_what_comes_later_changes_no_forecast(costs: list[float], place: int, data: st.DataObject) -> None:
    """What an attempt is forecast to cost is known before it, whatever follows."""
    place = min(place, len(costs) - 1)
    other = costs[:place] + data.draw(st.permutations(costs[place:]))
    assert learned(costs[:place]).predict({}) == learned(other[:place]).predict({})


@pytest.mark.parametrize("kind", ["independent", "days", "drifting", "outliers"])
def test_totals_hold_though_errors_go_together(kind: str) -> None:
    """Four in five totals lie within their interval, also where all jobs of a day are late together."""
    rng = np.random.default_rng(9)
    attempts, day, drift = [], 0.0, np.zeros(8)
    for n in range(5000):
        if n % 300 == 0:
            day = float(rng.normal(0, 0.2))
        place = int(rng.integers(0, 8))
        drift[place] += rng.normal(0, 0.02)
        shared = {"days": day, "drifting": float(drift[place])}.get(kind, 0.0)
        error = 0.25 * (min(rng.standard_t(2.5), 10) if kind == "outliers" else rng.normal())
        attempts.append(Attempt(f"k{place}", float((place + 1) * np.exp(shared + error)), {}))
    found = backtest(attempts)
    assert found.batch_count == 24
    assert found.batch_coverage_ratio is not None
    assert 0.6 <= found.batch_coverage_ratio <= 1.0
    assert found.batch_error_ratio is not None
    assert (
        found.batch_error_ratio < {"independent": 0.03, "days": 0.2, "drifting": 0.08, "outliers": 0.1}[kind]
    )


@pytest.mark.parametrize("kind", ["beside constants", "beside steady ones", "with cold starts"])
def test_totals_of_one_history_hold_whatever_others_are_like(kind: str) -> None:
    """Costs that hardly scatter lie within whatever interval, cold starts are in the mean: neither moves its sides."""
    rng = np.random.default_rng(4)
    shared = Shared()
    noisy, *others = (Forecaster(shared, history=number) for number in range(1, 6))
    steady = 0.005 if kind == "beside steady ones" else 0.0
    within, total_count, runs = 0, 0, list[float]()
    said = Distribution(0.0, 0.0, 0.0, 0.0)
    for n in range(6000):
        if kind == "with cold starts":
            is_cold = bool(rng.random() < 0.25)
            noisy.learn(
                Sample([cost := float(10 * rng.lognormal(0, 0.1) + 20 * is_cold)], {}, is_cold=is_cold)
            )
        else:
            others[n % 4].learn(Sample([float(rng.lognormal(2, steady))], {}))
            if n % 4:
                continue
            noisy.learn(Sample([cost := float(rng.lognormal(2, 0.4))], {}))
        runs.append(cost)
        if len(runs) == 8:
            if n > 1500:
                total_count += 1
                assert said.p10 is not None
                assert said.p90 is not None
                within += said.p10 <= sum(runs) <= said.p90
            runs.clear()
        if not runs:
            outlook = noisy.outlook()
            mean = float(outlook.predict(outlook.levels(ln_works({})[None])).mean[0, 0])
            one = np.array([outlook.record])
            said = total(one, 0, np.array([8 * mean]), np.array([8 * mean**2]), shared.totals()[0])
    assert 0.72 <= within / total_count <= 0.88


@pytest.mark.parametrize("count", [3, 5, 10])
def test_a_first_history_is_not_surer_than_its_few_samples(count: int) -> None:
    """Where nothing was learnt yet of how costs scatter: of usual ones four in five lie within, or somewhat more."""
    rng = np.random.default_rng(count)
    for deviation, least in ((0.15, 0.75), (0.4, 0.68)):
        within = 0
        for _ in range(300):
            drawn = rng.lognormal(2, deviation, count + 1).tolist()
            told = of(learned(drawn[:-1]))
            assert told.p10 is not None
            assert told.p90 is not None
            within += told.p10 <= drawn[-1] <= told.p90
        assert within / 300 >= least


def test_histories_that_never_vary_make_others_no_surer() -> None:
    rng = np.random.default_rng(11)
    shared = Shared()
    steady, varied = [Forecaster(shared) for _ in range(10)], Forecaster(shared)
    within = []
    for n in range(250):
        for one in steady:
            learn(one, 100.0)
        cost = float(rng.lognormal(0, 0.3))
        if n >= 100:
            told = of(varied)
            assert told.p10 is not None
            assert told.p90 is not None
            within.append(told.p10 <= cost <= told.p90)
        learn(varied, cost)
    assert np.mean(within) > 0.7


@pytest.mark.parametrize("segments", [1, 20])
def test_cold_starts_weigh_more_on_small_jobs(segments: int) -> None:
    rng = np.random.default_rng(12)
    forecaster = Forecaster(Shared())
    below = above = count = 0
    for n in range(700):
        size, is_cold = int(rng.choice([1, 2, 5, 10, 20])), bool(rng.random() < 0.2)
        cost = float(10 * size * rng.lognormal(0, 0.1) + 60 * is_cold)
        told = forecaster.predict({"segments": size})
        if (
            n > 150
            and size == segments
            and told is not None
            and told.p10 is not None
            and told.p90 is not None
        ):
            assert told.p10 <= told.p50 <= told.p90
            below, above, count = below + (cost < told.p10), above + (cost > told.p90), count + 1
            assert told.p50 == pytest.approx(10 * size, rel=0.25)
        forecaster.learn(Sample([cost], {"segments": size}, is_cold=is_cold))
    assert below / count < 0.22
    assert above / count < 0.22


def test_what_one_history_does_moves_no_other_by_its_workers() -> None:
    """All work of one becomes three times as long, on all workers alike: that says nothing of the workers."""
    rng = np.random.default_rng(13)
    shared = Shared()
    shifted, steady = Forecaster(shared, history=1), Forecaster(shared, history=2)
    for n in range(400):
        worker = n % 3
        learn(shifted, float((10 if n < 200 else 30) * rng.lognormal(0, 0.1)), worker=worker)
        if n < 200:
            learn(steady, float(100 * (1 + worker / 4) * rng.lognormal(0, 0.05)), worker=worker)
    learn(steady, 100.0, worker=0)
    assert of(steady, 0).p50 == pytest.approx(100, rel=0.1)
    assert of(steady, 2).p50 == pytest.approx(150, rel=0.1)
