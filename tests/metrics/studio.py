"""A studio made up at random, and what is true of it, computed from its events alone."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cache
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from framehouse.events import Event
from framehouse.windows import Grain, Window
from tests.builders import event

QUARTER = timedelta(minutes=15)

#: Around the changes of clocks of New York and Havana (both ways) and of the Azores, where a week and a month end too.
ERAS = (
    (datetime(2025, 10, 24, tzinfo=UTC), datetime(2025, 10, 27, tzinfo=UTC)),
    (datetime(2025, 10, 30, tzinfo=UTC), datetime(2025, 11, 5, tzinfo=UTC)),
    (datetime(2026, 3, 5, tzinfo=UTC), datetime(2026, 3, 11, tzinfo=UTC)),
)
Where = Mapping[str, str | list[str | None] | None]


def instants(random: Random, quarters: int) -> list[datetime]:
    """Quarter hours in which things happen: few, so that many attempts share one, and those beside midnights."""
    found = []
    for start, end in ERAS:
        found += [
            start + QUARTER * random.randrange(int((end - start) / QUARTER))
            for _ in range(quarters // len(ERAS))
        ]
    return found


def attempt(random: Random, at: datetime) -> Event:
    """An attempt that finished within the quarter hour from `at`, often exactly when it begins."""
    finished = at + timedelta(
        microseconds=random.choice(
            [0, 1, 899_999_999, random.randrange(900_000_000), random.randrange(900_000_000)]
        )
    )
    wall = random.choice([0.0, 1.0, *(random.lognormvariate(3, 1) for _ in range(8))])
    started = finished - timedelta(seconds=wall)
    waits = random.random() < 0.7
    return event(
        job_id=f"{random.getrandbits(64):x}",
        attempt=random.choice([1, 1, 1, 2]),
        workflow=random.choice("abc"),
        tier=random.choice(["draft", "preview", None]),
        worker=random.choice(["gpu-1", "gpu-2", None]),
        project=random.choice(["film", None]),
        outcome=random.choices(["succeeded", "failed", "canceled"], [8, 2, 1])[0],
        is_cold=random.choice([True, False, None]),
        finished_at=finished.isoformat(),
        started_at=started.isoformat() if waits else None,
        queued_at=(started - timedelta(seconds=random.randrange(100))).isoformat() if waits else None,
        wall_seconds=wall,
        gpu_seconds=random.choice([None, 0.0, wall, 2 * wall]),
        output_mb=random.choice([None, random.lognormvariate(2, 2)]),
        energy_joules=random.choice([None, wall * 300]),
        cpu_seconds=random.choice([None, wall * 3.7]),
        vram_peak_mb=random.choice([None, random.uniform(4000, 80000)]),
        segment_count=random.choice([None, 0, 1, 2, 5]),
        frame_count=random.choice([None, 0, 81, 120]),
        width=512,
        height=768,
        input={"duration_seconds": random.choice([0.0, 12.5, 60.0])} if random.random() < 0.5 else None,
        host={"gpu_model": random.choice(["L40S", "RTX 4090", None])},
        quality_scores=random.choice([None, {}, scores(random), scores(random), scores(random)]),
        pipeline_stages=random.choice([None, [], stages(random), stages(random), stages(random)]),
    )


def scores(random: Random) -> dict[str, float]:
    """Some of three scores: one near 1, one in decibels, and one that may be negative."""
    drawn = {
        "likeness": random.choice([0.0, 1.0, random.betavariate(12, 2)]),
        "boundary psnr": random.gauss(34, 3),
        "drift": random.gauss(0, 1),
    }
    return {name: value for name, value in drawn.items() if random.random() < 0.8}


def stages(random: Random) -> list[dict[str, Any]]:
    """Runs of stages, one of which runs several times, and some of which came from a cache."""
    return [
        {
            "name": name,
            "duration_ms": random.choice([0.0, random.lognormvariate(6, 2)]),
            "is_cached": random.choice([True, False, None]),
        }
        for name in ["load model", *["sample"] * random.randrange(4), "vae_decode"]
    ]


def attempts(random: Random, count: int, quarters: int) -> list[Event]:
    places = instants(random, quarters)
    return [attempt(random, random.choice(places)) for _ in range(count)]


def succeeded(events: list[Event], value: Callable[[Event], float | None]) -> list[float]:
    return sorted(v for e in events if e.outcome == "succeeded" and (v := value(e)) is not None)


def queue_wait(e: Event) -> float | None:
    return (
        None if e.started_at is None or e.queued_at is None else (e.started_at - e.queued_at).total_seconds()
    )


def discrete(share: Fraction, values: list[float]) -> float | None:
    """percentile_disc of a sorted list."""
    return values[max(1, math.ceil(share * len(values))) - 1] if values else None


def wall(e: Event) -> float | None:
    return e.wall_seconds


def gpu(e: Event) -> float | None:
    return e.gpu_seconds


#: Metrics in plain words of Python. Nothing here knows of parts or of rollups.
TRUTH: dict[str, Callable[[list[Event]], float | int | None]] = {
    "attempt_count": len,
    "job_count": lambda es: sum(e.attempt == 1 for e in es),
    "succeeded_count": lambda es: sum(e.outcome == "succeeded" for e in es),
    "failed_count": lambda es: sum(e.outcome == "failed" for e in es),
    "canceled_count": lambda es: sum(e.outcome == "canceled" for e in es),
    "failure_ratio": lambda es: sum(e.outcome == "failed" for e in es) / len(es),
    # Of none it is 0; of some that nobody measured it is unknown.
    "gpu_hours": lambda es: (
        math.fsum(found) / 3600 if (found := succeeded(es, gpu)) or not succeeded(es, wall) else None
    ),
    "avg_wall_seconds": lambda es: math.fsum(found) / len(found) if (found := succeeded(es, wall)) else None,
    "min_wall_seconds": lambda es: min(succeeded(es, wall), default=None),
    "max_wall_seconds": lambda es: max(succeeded(es, wall), default=None),
    "p50_wall_seconds": lambda es: discrete(Fraction(1, 2), succeeded(es, wall)),
    "p90_wall_seconds": lambda es: discrete(Fraction(9, 10), succeeded(es, wall)),
    "p99_gpu_seconds": lambda es: discrete(Fraction(99, 100), succeeded(es, gpu)),
    "p90_queue_wait_seconds": lambda es: discrete(
        Fraction(9, 10), sorted(v for e in es if (v := queue_wait(e)) is not None)
    ),
}


@dataclass(frozen=True)
class Asked:
    """A question as `metrics.read` takes it."""

    window: Window
    by: tuple[str, ...] = ()
    grain: Grain | None = None
    zone_name: str = "UTC"
    where: Where | None = None


def truth(events: Iterable[Event], asked: Asked) -> dict[tuple[Any, ...], dict[str, float | int | None]]:
    """Every group that has attempts, and what each metric of TRUTH is of it."""
    groups: dict[tuple[Any, ...], list[Event]] = {}
    for e in events:
        if e.finished_at in asked.window and _is_wanted(e, asked.where or {}):
            key: list[Any] = []
            if asked.grain is not None:
                key.append(bucket(e.finished_at, asked.grain, asked.zone_name))
            key += [getattr(e, dimension) for dimension in asked.by]
            groups.setdefault(tuple(key), []).append(e)
    return {key: {name: compute(found) for name, compute in TRUTH.items()} for key, found in groups.items()}


def _is_wanted(e: Event, where: Where) -> bool:
    return all(
        getattr(e, dimension) in (allowed if isinstance(allowed, list) else [allowed])
        for dimension, allowed in where.items()
    )


def bucket(instant: datetime, grain: Grain, zone_name: str) -> datetime:
    """The first instant of a bucket, found by walking through the year quarter by quarter."""
    quarter = datetime(2000, 1, 1, tzinfo=UTC)
    quarter += (instant - quarter) // QUARTER * QUARTER
    return quarter if grain is Grain.FINE else _walked(zone_name)[grain][quarter]


@cache
def _walked(zone_name: str) -> dict[Grain, dict[datetime, datetime]]:
    """For each quarter hour the first one of its local hour (one offset), day, week (from Monday) and month."""
    tz = ZoneInfo(zone_name)
    found: dict[Grain, dict[datetime, datetime]] = {grain: {} for grain in Grain}
    seen: dict[tuple[Any, ...], datetime] = {}
    quarter = datetime(2025, 8, 25, tzinfo=UTC)
    while quarter < datetime(2026, 5, 1, tzinfo=UTC):
        local = quarter.astimezone(tz)
        names = {
            Grain.HOUR: (local.date(), local.hour, local.utcoffset()),
            Grain.DAY: (local.date(),),
            Grain.WEEK: local.isocalendar()[:2],
            Grain.MONTH: (local.year, local.month),
        }
        for grain, name in names.items():
            found[grain][quarter] = seen.setdefault((grain, *name), quarter)
        quarter += QUARTER
    return found
