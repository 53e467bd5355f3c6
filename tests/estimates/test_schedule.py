"""The pool's simulation: against arithmetic where arithmetic can tell."""

import math

import pytest

from framehouse.estimates.schedule import Job, simulate
from tests.estimates.test_history import history_of

STEADY = history_of([(10.0, 1.0)] * 50)
VARIED = history_of([(math.exp(2 + 0.3 * x), 1.0) for x in (-1.5, -1, -0.5, 0, 0.5, 1, 1.5)] * 4)


def test_jobs_that_never_vary_take_what_they_take() -> None:
    jobs = [Job(STEADY, 1) for _ in range(10)]
    assert simulate(jobs, workers=1) == pytest.approx((100.0, 100.0))
    assert simulate(jobs, workers=3) == pytest.approx((40.0, 40.0))
    assert simulate(jobs, workers=100) == pytest.approx((10.0, 10.0))
    assert simulate([Job(STEADY, 5)], workers=2) == pytest.approx((50.0, 50.0))


def test_what_waits_and_what_runs_comes_first() -> None:
    job = [Job(STEADY, 1)]
    assert simulate(job, workers=1, waiting=[Job(STEADY, 2)]) == pytest.approx((30.0, 30.0))
    assert simulate(job, workers=1, running=[Job(STEADY, 1, elapsed_seconds=4.0)]) == pytest.approx(
        (16.0, 16.0), rel=0.01
    )
    assert simulate(job, workers=2, running=[Job(STEADY, 1, elapsed_seconds=4.0)]) == pytest.approx(
        (10.0, 10.0)
    )


def test_an_overdue_job_is_neither_done_nor_endless() -> None:
    p50, p90 = simulate([Job(STEADY, 1)], workers=1, running=[Job(VARIED, 1, elapsed_seconds=60.0)])
    assert 10.0 < p50 < p90 < 200.0


def test_more_workers_are_never_slower_and_p90_is_never_sooner() -> None:
    jobs = [Job(VARIED, 1 + number % 4) for number in range(40)]
    spans = [simulate(jobs, workers=workers) for workers in (1, 2, 4, 8)]
    assert [p50 for p50, _ in spans] == sorted((p50 for p50, _ in spans), reverse=True)
    assert all(p50 <= p90 for p50, p90 in spans)


def test_the_total_of_one_worker_agrees_with_the_mean() -> None:
    jobs = [Job(VARIED, 1) for _ in range(400)]
    p50, _ = simulate(jobs, workers=1)
    spread = VARIED.ln_sd
    expected = 400 * math.exp(VARIED.ln_mean + spread**2 / 2)
    assert p50 == pytest.approx(expected, rel=0.1)


def test_the_same_question_gets_the_same_answer() -> None:
    jobs = [Job(VARIED, 2) for _ in range(20)]
    assert simulate(jobs, workers=3) == simulate(jobs, workers=3)
