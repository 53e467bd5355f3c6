"""Timing two things side by side, and what comes of it."""

import gc
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a report: medians of ours and of the baseline, in `unit`, over n interleaved pairs.

    size        attempts and days of the warehouse that it was measured on
    ratio       what it says is in `says`; None where there is no baseline
    bar         what the ratio should be: at least (or, `is_ceiling`, at most) this; None where none is set
    """

    size: str
    name: str
    ours: float
    baseline: float | None
    unit: str
    says: str
    n: int
    ratio: float | None = None
    bar: float | None = None
    is_ceiling: bool = False

    @property
    def is_met(self) -> bool | None:
        """Whether the bar is reached; None where there is none."""
        if self.bar is None or self.ratio is None:
            return None
        return self.ratio <= self.bar if self.is_ceiling else self.ratio >= self.bar


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What it gives, and the seconds it took."""
    gc.collect()  # so that neither side pays for what the other left behind
    started = time.perf_counter()
    given = work()
    return given, time.perf_counter() - started


def seconds(work: Callable[[], object]) -> float:
    """How long it takes, once."""
    return timed(work)[1]


def interleaved(ours: Callable[[], object], baseline: Callable[[], object], n: int) -> tuple[float, float]:
    """Median seconds of both: A B A B ..., n pairs after one that does not count."""
    pairs = [(seconds(ours), seconds(baseline)) for _ in range(n + 1)][1:]
    return median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)


def median(values: Iterable[float]) -> float:
    """The middle value."""
    return float(statistics.median(values))
