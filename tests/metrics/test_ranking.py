"""Workers are ranked on the same work: equals tie, real differences are found, and resampling changes nothing."""

import math
from collections.abc import Hashable

import numpy as np
import pytest

from framehouse.metrics.compare import LogSums
from framehouse.metrics.ranking import Ranked, ranking
from tests.metrics.encodes import sums

Histories = dict[str, dict[Hashable, LogSums]]


def ranks(found: list[Ranked]) -> dict[str, int]:
    return {one.worker: one.rank for one in found}


def studio(factors: dict[str, float], *, seed: int, count: int = 60, scatter: float = 0.15) -> Histories:
    """Three workflows; the slow worker gets mostly the short ones."""
    rng = np.random.default_rng(seed)
    return {
        worker: {
            workflow: sums(rng.lognormal(math.log(size * factor), scatter, n).tolist())
            for workflow, size, n in (("a", 10, count), ("b", 100, count), ("c", 1000, count // (1 + place)))
        }
        for place, (worker, factor) in enumerate(factors.items())
    }


def test_factors_are_found_whatever_work_each_had() -> None:
    found = ranking(studio({"fast": 0.8, "middle": 1.0, "slow": 1.3}, seed=1))
    assert [one.worker for one in found] == ["fast", "middle", "slow"]
    assert [one.rank for one in found] == [1, 2, 3]
    assert found[2].factor / found[0].factor == pytest.approx(1.3 / 0.8, rel=0.06)
    assert math.prod(one.factor for one in found) == pytest.approx(1)
    assert all(one.low < one.factor < one.high for one in found)


def test_equals_tie() -> None:
    tied = [len(set(ranks(ranking(studio(dict.fromkeys("abcd", 1.0), seed=seed))).values())) == 1
            for seed in range(200)]  # fmt: skip
    assert sum(tied) >= 185


def test_workers_without_common_work_are_not_compared() -> None:
    found = ranking(
        {
            "a": {"x": sums([1.0, 1.1])},
            "b": {"x": sums([2.0, 2.1])},
            "c": {"y": sums([1.0, 3.0])},
            "d": {},
        }
    )
    assert {one.worker: one.group for one in found} == {"a": 0, "b": 0, "c": 1}
    assert [one.factor for one in found if one.group == 1] == [1.0]
    assert [one.high for one in found if one.group == 1] == [math.inf]


def test_workers_are_compared_through_others() -> None:
    a, b = sums([1.0, 1.01, 0.99]), sums([2.0, 2.02, 1.98])
    found = ranking({"one": {"x": a}, "two": {"x": b, "y": a}, "three": {"y": b}})
    assert [one.worker for one in found] == ["one", "two", "three"]
    assert found[2].factor / found[0].factor == pytest.approx(4, rel=0.01)


def test_thirty_real_workers(encodes: Histories) -> None:
    found = ranking(encodes)
    place = ranks(found)
    assert place["1"] == place["23"]
    assert place["16"] == place["29"]
    assert place["3"] != place["26"]
    assert {one.group for one in found} == {0}


def test_the_ranking_survives_resampling(encodes: Histories) -> None:
    """Of all videos and configurations, drawn anew with replacement."""
    whole = [one.worker for one in ranking(encodes)]
    rng, keys = np.random.default_rng(5), sorted(encodes["1"], key=repr)
    for _ in range(5):
        drawn = [keys[place] for place in rng.integers(len(keys), size=len(keys))]
        again = {
            worker: {(key, n): history[key] for n, key in enumerate(drawn)}
            for worker, history in encodes.items()
        }
        found = [one.worker for one in ranking(again)]
        moved = [abs(whole.index(worker) - place) for place, worker in enumerate(found)]
        assert max(moved) <= 2, "neighbours that are nearly equal may change places"
