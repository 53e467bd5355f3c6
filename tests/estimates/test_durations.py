"""Draws of durations: intervals that are kept, and what is left of running jobs against rejection sampling."""

import math
from dataclasses import replace

import numpy as np
import pytest

from framehouse.estimates.durations import Durations, Job, Kind

STEADY = Kind(0.0, 0.0)
VARIED = Kind(0.3, 0.3, shared=0.1)
TEN = Job(0, 10.0)


@pytest.mark.parametrize(("down", "up", "shared"), [(0.2, 0.5, 0.0), (0.4, 0.1, 0.2), (0.0, 0.0, 0.3)])
def test_a_single_job_keeps_its_interval(down: float, up: float, shared: float) -> None:
    draws = Durations([Kind(down, up, shared)], [], replicas=40_000, common=0.0, seed=1).whole([TEN], 2)
    expected = [10 * math.exp(-1.2816 * (down or shared)), 10, 10 * math.exp(1.2816 * (up or shared))]
    assert np.quantile(draws, [0.1, 0.5, 0.9]) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    "kind",
    [
        Kind(0.3, 0.3),
        Kind(0.1, 0.6, factors={"w": 0.4}),
        Kind(0.5, 0.2, shared=0.3),
        Kind(0.3, 0.4, shared=0.3, retry_ratio=0.3, failed_ratio=0.4),
        Kind(0.3, 0.3, shared=0.2, retry_ratio=0.1, failed_ratio=3.0, factors={"w": -0.3}),
    ],
)
@pytest.mark.parametrize("elapsed", [(0.0, 0.0, 5.0), (4.0, 9.0, 12.0), (13.0, 12.0, 14.0)])
def test_what_is_left_is_what_rejection_leaves(kind: Kind, elapsed: tuple[float, ...]) -> None:
    """Three run, of two kinds whose errors have half in common; one more of the first kind waits."""
    kinds = [kind, replace(VARIED, shared=0.2)]
    of, common, n = [0, 0, 1], 0.5, 1_000_000
    running = [Job(which, 10.0, e, "w") for which, e in zip(of, elapsed, strict=True)]
    durations = Durations(kinds, running, replicas=20_000, common=common, seed=3)
    found = np.vstack([durations.remaining(), durations.whole([TEN], 2)])

    rng = np.random.default_rng(5)
    both = rng.standard_normal(n)
    errors = [math.sqrt(common) * both + math.sqrt(1 - common) * rng.standard_normal(n) for _ in kinds]
    lasted, left = np.ones(n, bool), []
    for which, e in zip([*of, 0], [*elapsed, None], strict=True):
        one = kinds[which]
        part = one.shared / math.sqrt((one.down**2 + one.up**2) / 2)
        z = part * errors[which] + math.sqrt(1 - part**2) * rng.standard_normal(n)
        seconds = 10 * np.exp(np.where(z < 0, one.down, one.up) * z)
        failures = rng.geometric(1 - one.retry_ratio, n) - 1
        if e is None:
            left.append(seconds * (1 + one.failed_ratio * failures))
            continue
        seconds *= math.exp(one.factors.get("w", 0.0))
        attempt = np.where(failures > 0, one.failed_ratio, 1.0) * seconds
        lasted &= attempt > e
        rest = np.where(failures > 0, seconds * (1 + one.failed_ratio * (failures - 1)), 0.0)
        left.append(attempt - e + rest)
    expected = np.array(left)[:, lasted]
    assert expected.shape[1] > 1500
    shares = [0.1, 0.25, 0.5, 0.75, 0.9]
    for ours, theirs in zip(found, expected, strict=True):
        below = [float((ours < quantile).mean()) for quantile in np.quantile(theirs, shares)]
        assert below == pytest.approx(shares, abs=0.01 + 1.8 / math.sqrt(expected.shape[1]))


@pytest.mark.parametrize("kind", [STEADY, VARIED, Kind(0.05, 0.05, shared=0.05, retry_ratio=0.1)])
@pytest.mark.parametrize("lateness", [1.5, 8.0, 1e6])
def test_an_overdue_job_is_neither_done_nor_endless(kind: Kind, lateness: float) -> None:
    late = Job(0, 10.0, 10.0 * lateness)
    left = Durations([kind], [late], replicas=2000, common=0.0, seed=0).remaining()[0]
    low, high = np.quantile(left, [0.5, 0.9])
    assert late.elapsed_seconds / 200 < low < high < 3 * late.elapsed_seconds
    assert np.isfinite(left).all()


def test_where_everything_that_runs_is_late_what_waits_will_be_late() -> None:
    kind = Kind(0.3, 0.3, shared=0.25)
    late = [Job(0, 10.0, 16.0) for _ in range(8)]
    waits = Durations([kind, kind], late, replicas=2000, common=0.0, seed=0).whole([TEN, Job(1, 10.0)], 2)
    same, other = np.median(waits, axis=1)
    assert same > 15.0
    assert other == pytest.approx(10.0, rel=0.05)
