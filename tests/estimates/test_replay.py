"""When work is done: on days that keep to the model, and on recorded ones.

x264 encoded 8 videos with 201 configurations on each of 30 workers, so that the true end of any queue on any pool is
known: whoever gets a job takes what it took there. Forecasts of the work learn on workers outside the pool, what the
pool's workers are like from other work; no duration that counts in a replay was ever seen.
"""

import math
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import fmean

import numpy as np
import pytest

from framehouse.estimates.candidates import NORMAL_P90
from framehouse.estimates.forecast import Forecaster, Prediction
from framehouse.estimates.memory import Sample, Shared
from framehouse.estimates.schedule import Job, Kind, simulate
from framehouse.estimates.trace import Columns, read_trace
from tests.estimates.plain_pool import finished, true_day

RUNS = Path(__file__).parents[3] / "shared" / "data" / "x264_hardware_runs.csv.gz"
KNOWN_ELSEWHERE, QUEUED, LEARNED_ON = 30, 50, 12
#: Of the deviation of a job, the part that all jobs of its kind share; 0 and 0.7 hold as well.
SHARED = 0.4

Costs = dict[tuple[str, str], float]


def test_half_of_true_days_end_by_p50_and_nine_in_ten_by_p90() -> None:
    random, below = Random(7), [0, 0]
    questions, days = 400, 5
    for seed in range(questions):
        names = [f"w{number}" for number in range(random.randint(1, 6))]
        kinds = [
            Kind(
                random.uniform(0.05, 0.4),
                random.uniform(0.1, 0.6),
                random.uniform(0.0, 0.07) if random.random() < 0.5 else 0.2,
                random.choice([0.0, 0.1, 0.3]),
                random.uniform(0.2, 1.5),
                {name: random.gauss(0.0, 0.4) for name in names},
            )
            for _ in range(2)
        ]
        kinds = [replace(kind, shared=min(kind.shared, 0.9 * kind.down, 0.9 * kind.up)) for kind in kinds]

        def some(most: int) -> list[Job]:
            return [
                Job(random.randrange(2), random.lognormvariate(3.0, 0.5), priority=random.randint(0, 1))
                for _ in range(random.randint(0, most))
            ]

        jobs, waiting, running = [*some(30), *some(2), Job(0, 20.0)], some(8), []
        for name in names:
            if random.random() < 0.6:
                job = Job(random.randrange(2), random.lognormvariate(3.0, 0.5), worker=name)
                usual = job.median_seconds * math.exp(kinds[job.kind].factor(name))
                running.append(replace(job, elapsed_seconds=random.uniform(0.0, 1.3) * usual))
        common = random.choice([0.0, 0.5])
        found = simulate(
            kinds, jobs, workers=names, waiting=waiting, running=running, common=common, seed=seed
        ).finish
        for _ in range(days):
            true = true_day(random, kinds, jobs, names, waiting, running, common)
            below[0] += true <= found.p50
            below[1] += true <= found.p90
    n = questions * days
    for count, share in zip(below, (0.5, 0.9), strict=True):
        assert count / n == pytest.approx(share, abs=3 * math.sqrt(share * (1 - share) / n))


@pytest.fixture(scope="module")
def costs() -> Costs:
    """Wall seconds by work (video and configuration) and worker."""
    if not RUNS.exists():
        pytest.skip(f"there is no {RUNS.name} here")
    columns = Columns(keys=("video", "configurationID"), order_by=None, cost="etime", works={})
    return {(one.key, one.worker or ""): one.cost for one in read_trace(RUNS, columns).attempts}


def test_p50_and_p90_hold_for_recorded_work(costs: Costs) -> None:
    random, ends, off = Random(11), [], []
    works = sorted({work for work, _ in costs})
    random.shuffle(works)
    elsewhere, queued = works[:KNOWN_ELSEWHERE], works[KNOWN_ELSEWHERE : KNOWN_ELSEWHERE + QUEUED]
    workers = sorted({worker for _, worker in costs}, key=int)
    for first in range(0, len(workers), 10):
        here = workers[first : first + 10]
        kinds, medians = _forecast(costs, elsewhere, queued, here, random)
        for number in range(60):
            pool = random.sample(here, random.randint(3, 8))
            size = random.randint(10, 60) if number % 6 else random.randint(150, 300)
            jobs = [Job(kind, medians[kind]) for kind in random.choices(range(len(queued)), k=size)]
            found = simulate(kinds, jobs, workers=pool, common=0.3).finish
            true = _true_end(costs, queued, kinds, jobs, pool)
            ends.append((true <= found.p50, true <= found.p90))
            off.append(abs(true / found.p50 - 1))
    below_p50, below_p90 = np.mean(ends, axis=0)
    # Over eight choices of work 0.47 to 0.65 (together 0.55), and 0.89 to 0.96 (0.93): queues on the same ten workers
    # are wrong together, and three such tens are few.
    assert 0.4 <= below_p50 <= 0.65
    assert 0.85 <= below_p90 <= 0.97
    assert float(np.median(off)) < 0.08


def _forecast(
    costs: Costs, elsewhere: list[str], queued: list[str], here: list[str], random: Random
) -> tuple[list[Kind], list[float]]:
    """A kind, and its median in seconds, for each of `queued`."""
    outside = sorted({worker for _, worker in costs} - set(here))
    learned = [(work, worker) for work in elsewhere for worker in [*here, *outside]]
    learned += [(work, worker) for work in queued for worker in random.sample(outside, LEARNED_ON)]
    random.shuffle(learned)
    shared = Shared()
    forecasters = {work: Forecaster(shared) for work in (*elsewhere, *queued)}
    for work, worker in learned:
        forecasters[work].learn(Sample([costs[work, worker]], {}, int(worker)))
    said = [_kind({worker: forecasters[work].predict({}, int(worker)) for worker in here}) for work in queued]
    return [kind for kind, _ in said], [median for _, median in said]


def _kind(predicted: dict[str, Prediction | None]) -> tuple[Kind, float]:
    middles, downs, ups = {}, [], []
    for worker, one in predicted.items():
        assert one is not None
        assert one.p10 is not None
        assert one.p90 is not None
        middles[worker] = math.log(one.p50)
        downs.append(math.log(one.p50 / one.p10) / NORMAL_P90)
        ups.append(math.log(one.p90 / one.p50) / NORMAL_P90)
    down, up, usual = fmean(downs), fmean(ups), fmean(middles.values())
    factors = {worker: middle - usual for worker, middle in middles.items()}
    return Kind(down, up, SHARED * math.sqrt((down**2 + up**2) / 2), factors=factors), math.exp(usual)


def _true_end(costs: Costs, queued: list[str], kinds: list[Kind], jobs: list[Job], pool: list[str]) -> float:
    return finished(
        [0.0] * len(pool),
        [sum(kinds[job.kind].factor(worker) for job in jobs) for worker in pool],
        range(len(jobs)),
        lambda job, worker: costs[queued[jobs[job].kind], pool[worker]],
        set(range(len(jobs))),
    )
