"""The pool's simulation: against arithmetic, against an exact calculation, and what must hold whatever is asked."""

import math
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framehouse.estimates.schedule import Finish, Job, Kind, Schedule, simulate
from tests.estimates.plain_pool import finished

STEADY = Kind(0.0, 0.0)
VARIED = Kind(0.3, 0.3, shared=0.1)
TEN = Job(0, 10.0)


def unnamed(count: int) -> list[None]:
    return [None] * count


def finish(*arguments: Any, **others: Any) -> tuple[float, float]:
    return pair(simulate(*arguments, **others).finish)


def pair(found: Finish | None) -> tuple[float, float]:
    assert found is not None
    return found.p50, found.p90


@pytest.mark.parametrize(("workers", "seconds"), [(1, 100.0), (3, 40.0), (10, 10.0), (100, 10.0)])
def test_jobs_that_never_vary_take_what_they_take(workers: int, seconds: float) -> None:
    assert finish([STEADY], [TEN] * 10, workers=unnamed(workers)) == pytest.approx((seconds, seconds))


def test_what_waits_and_what_runs_comes_first() -> None:
    running = [replace(TEN, elapsed_seconds=4.0)]
    waiting = [Job(0, 20.0)]
    assert finish([STEADY], [TEN], workers=[None], waiting=waiting) == pytest.approx((30.0, 30.0))
    assert finish([STEADY], [TEN], workers=[None], running=running) == pytest.approx((16.0, 16.0))
    assert finish([STEADY], [TEN], workers=unnamed(2), running=running) == pytest.approx((10.0, 10.0))
    urgent = [replace(TEN, priority=1)]
    assert finish([STEADY], urgent, workers=[None], waiting=waiting) == pytest.approx((10.0, 10.0))
    # The last in the queue counts, not the last in the batch.
    mixed = [TEN, replace(TEN, priority=2)]
    assert finish([STEADY], mixed, workers=[None], waiting=waiting) == pytest.approx((40.0, 40.0))


def test_one_more_worker_is_of_the_usual_speed_and_used_where_jobs_wait() -> None:
    kind = Kind(0.0, 0.0, factors={"fast": math.log(0.5), "slow": math.log(3.0)})
    # All three are busy for 100 seconds more. The fast one then takes 5 seconds; one more begins at once, and takes 10.
    running = [Job(0, 200.0, worker="fast"), Job(0, 100.0, worker="usual"), Job(0, 100 / 3, worker="slow")]
    found = simulate([kind], [TEN], workers=["fast", "usual", "slow"], running=running)
    assert pair(found.finish) == pytest.approx((105.0, 105.0))
    assert pair(found.one_more) == pytest.approx((10.0, 10.0))
    found = simulate([STEADY], [TEN] * 5, workers=unnamed(2))
    assert pair(found.finish) == pytest.approx((30.0, 30.0))
    assert pair(found.one_more) == pytest.approx((20.0, 20.0))
    assert simulate([STEADY], [TEN] * 2, workers=unnamed(2)).one_more is None
    assert simulate([STEADY], [], workers=[]) == Schedule(Finish(0.0, 0.0), None)
    with pytest.raises(ValueError, match="never finishes"):
        simulate([STEADY], [TEN], workers=[])


def test_one_more_worker_that_would_take_longer_is_left_idle() -> None:
    # Fast is free again after 1 second; the usual one of the three would begin at once, and take 100.
    kind = Kind(0.0, 0.0, factors={"fast": math.log(0.1)})
    running = [replace(TEN, worker="fast"), replace(TEN, worker="a"), replace(TEN, worker="b")]
    found = simulate([kind], [Job(0, 100.0)], workers=["fast", "a", "b"], running=running)
    assert found.finish.p50 == pytest.approx(11.0)
    assert found.one_more == found.finish


def test_idle_workers_are_taken_the_fastest_first() -> None:
    kind = Kind(0.0, 0.0, factors={"slow": 1.0, "fast": -1.0, "middle": 0.5})
    pool = ["slow", None, "fast", "middle"]
    assert finish([kind], [TEN], workers=pool) == pytest.approx((10 / math.e,) * 2)
    assert finish([kind], [TEN] * 2, workers=pool) == pytest.approx((10.0,) * 2)
    assert finish([kind], [TEN] * 3, workers=pool) == pytest.approx((10 * math.exp(0.5),) * 2)


@pytest.mark.parametrize(
    ("workers", "running", "seconds"),
    [
        (["slow", "fast"], ["fast"], 20.0),  # its own worker: the slow one is left, for 20 seconds
        ([None, "fast"], ["slow"], 5.0),  # the unnamed one is the slow one
        (["slow", "fast"], ["stranger"], 20.0),  # in place of the fastest
        (["slow", "fast"], [None], 20.0),
        (["fast"], ["fast", "fast"], 9.0),  # it takes two at a time
        (["fast"], ["fast", "stranger"], 9.0),
        ([], ["fast"], 9.0),  # the pool is larger than it says
    ],
)
def test_who_is_busy(workers: list[str | None], running: list[str | None], seconds: float) -> None:
    """10 seconds of work, of which the fast one does 2 a second, and has 4 seconds left to run."""
    kind = Kind(0.0, 0.0, factors={"fast": math.log(0.5), "slow": math.log(2.0)})
    busy = [Job(0, 10.0, {"fast": 1.0, "slow": 16.0}.get(str(name), 6.0), worker=name) for name in running]
    found = finish([kind], [TEN], workers=workers, running=busy)
    assert found == pytest.approx((seconds, seconds))


def test_failed_attempts_hold_their_worker() -> None:
    kind = Kind(0.0, 0.0, retry_ratio=0.25, failed_ratio=0.5)
    p50, p90 = finish([kind], [TEN] * 300, workers=[None])
    # 1/3 of a failure a job on average (deviation 2/3), each of 5 seconds.
    usual, deviation = 300 * (10 + 5 / 3), 5 * 2 / 3 * math.sqrt(300)
    assert p50 == pytest.approx(usual, abs=deviation * 0.4)
    assert p90 == pytest.approx(usual + 1.28 * deviation, abs=deviation * 0.5)
    hopeless = Kind(0.0, 0.0, retry_ratio=1.0)
    assert finish([hopeless], [TEN], workers=[None]) == pytest.approx((210.0, 210.0))


def test_jobs_of_no_time_and_of_any_spread() -> None:
    nothing = Job(0, 0.0, elapsed_seconds=5.0)
    assert finish([VARIED], [Job(0, 0.0)], workers=[None], running=[nothing]) == (0.0, 0.0)
    p50, p90 = finish([Kind(50.0, 500.0)], [TEN] * 3, workers=[None])
    assert 10.0 < p50 < p90 < math.inf


def test_the_total_of_one_worker_agrees_with_the_mean() -> None:
    p50, p90 = finish([Kind(0.3, 0.3)], [TEN] * 400, workers=[None])
    usual, deviation = 4000 * math.exp(0.045), 200 * math.sqrt(math.exp(0.09) * (math.exp(0.09) - 1))
    assert p50 == pytest.approx(usual, abs=deviation * 0.3)
    assert p90 == pytest.approx(usual + 1.28 * deviation, abs=deviation * 0.4)


def test_shared_errors_do_not_average_out() -> None:
    alike, apart = Kind(0.3, 0.3, shared=0.2), Kind(0.3, 0.3)
    jobs = [TEN] * 1000
    p50, p90 = finish([alike], jobs, workers=[None])
    assert p90 / p50 == pytest.approx(math.exp(1.2816 * 0.2), rel=0.02)
    p50, p90 = finish([apart], jobs, workers=[None])
    assert p90 / p50 < 1.03
    # Two kinds of half as many jobs: their errors cancel unless they are common.
    jobs = [Job(number % 2, 10.0) for number in range(1000)]
    spreads = []
    for common in (0.0, 0.5, 1.0):
        p50, p90 = finish([alike, alike], jobs, workers=[None], common=common)
        spreads.append(math.log(p90 / p50) / 1.2816)
    assert spreads == pytest.approx([0.2 * math.sqrt(0.5), 0.2 * math.sqrt(0.75), 0.2], rel=0.12)


# Unequal workers, exactly.


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6))
def test_unequal_workers_agree_with_an_exact_calculation(seed: int) -> None:
    random = Random(seed)
    workers = [f"w{number}" for number in range(random.randint(1, 9))]
    kinds = [
        Kind(0.0, 0.0, factors={name: random.gauss(0.0, 0.7) for name in workers})
        for _ in range(random.randint(1, 3))
    ]

    def some(most: int) -> list[Job]:
        return [
            Job(random.randrange(len(kinds)), random.uniform(0.5, 9.0), priority=random.randint(0, 2))
            for _ in range(random.randint(0, most))
        ]

    waiting, jobs = some(6), [*some(12), Job(0, 1.0)]
    running = [
        Job(random.randrange(len(kinds)), random.uniform(1.0, 9.0), worker=name)
        for name in workers
        if random.random() < 0.5
    ]
    running = [
        replace(job, elapsed_seconds=0.5 * job.median_seconds * math.exp(kinds[job.kind].factor(job.worker)))
        for job in running
    ]
    queue = [*waiting, *jobs]
    free_at = {job.worker: job.elapsed_seconds for job in running}  # as long again
    expected = finished(
        [free_at.get(name, 0.0) for name in workers],
        [sum(kinds[job.kind].factors[name] for job in queue) for name in workers],
        sorted(range(len(queue)), key=lambda index: (-queue[index].priority, index)),
        lambda job, worker: (
            queue[job].median_seconds * math.exp(kinds[queue[job].kind].factors[workers[worker]])
        ),
        set(range(len(waiting), len(queue))),
    )
    random.shuffle(running)
    found = simulate(kinds, jobs, workers=workers, waiting=waiting, running=running)
    assert pair(found.finish) == pytest.approx((expected, expected))


# What must hold whatever is asked.


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    """Kinds to which workers are fast and slow alike, so that another job does not change who is the fastest."""
    factors = {f"w{number}": draw(st.floats(-1.0, 1.0)) for number in range(4)}
    part = st.floats(0.0, 0.8, allow_subnormal=False)
    kinds = draw(
        st.lists(st.builds(Kind, part, part, part, part, part, st.just(factors)), min_size=1, max_size=2)
    )
    names = st.sampled_from([*factors, None])
    job = st.builds(
        Job,
        kind=st.integers(0, len(kinds) - 1),
        median_seconds=st.one_of(st.just(0.0), st.floats(0.1, 100.0)),
        elapsed_seconds=st.floats(0.0, 300.0),
        worker=names,
        priority=st.integers(-1, 1),
    )
    return {
        "kinds": kinds,
        "jobs": draw(st.lists(job, min_size=1, max_size=8)),
        "workers": draw(st.lists(names, min_size=1, max_size=6)),
        "waiting": draw(st.lists(job, max_size=3)),
        "running": draw(st.lists(job, max_size=4)),
        "common": draw(st.floats(0.0, 1.0)),
        "seed": draw(st.integers(0, 99)),
    }


@settings(max_examples=80, deadline=None)
@given(questions(), st.sampled_from([2.0**-20, 0.25, 8.0, 2.0**20]))
def test_what_must_hold_whatever_is_asked(question: dict[str, Any], scale: float) -> None:
    found = simulate(**question)
    assert simulate(**question) == found
    assert 0.0 <= found.finish.p50 <= found.finish.p90 < math.inf
    if found.one_more is not None:
        assert found.one_more.p50 <= found.finish.p50
        assert found.one_more.p50 <= found.one_more.p90 <= found.finish.p90

    another = replace(question["jobs"][0], priority=-1)
    rounded = 1 - 1e-12
    longer = simulate(**{**question, "jobs": [*question["jobs"], another]}).finish
    assert longer.p50 >= found.finish.p50 * rounded
    assert longer.p90 >= found.finish.p90 * rounded

    # Powers of two, so that what ends at the same time still does.
    scaled = {
        part: [
            replace(
                job, median_seconds=job.median_seconds * scale, elapsed_seconds=job.elapsed_seconds * scale
            )
            for job in question[part]
        ]
        for part in ("jobs", "waiting", "running")
    }
    p50, p90 = pair(simulate(**{**question, **scaled}).finish)
    assert (p50 / scale, p90 / scale) == pytest.approx(pair(found.finish))


@settings(max_examples=40, deadline=None)
@given(questions())
def test_equal_workers_finish_as_one_more_said(question: dict[str, Any]) -> None:
    """Of equal workers one more never does harm: what is said of it is what a larger pool then says."""
    kinds = [replace(kind, factors={}) for kind in question["kinds"]]
    count = len(question["workers"]) + len(question["running"])
    running = [replace(job, worker=None) for job in question["running"]]
    asked = {**question, "kinds": kinds, "running": running}
    spans = [simulate(**{**asked, "workers": unnamed(size)}) for size in range(count, count + 4)]
    for smaller, larger in pairwise(spans):
        expected = smaller.finish if smaller.one_more is None else smaller.one_more
        assert pair(larger.finish) == pytest.approx(pair(expected))
