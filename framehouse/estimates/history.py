"""What workflows and tiers cost per segment so far, from the rollups' parts."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from framehouse.student import t_quantile
from framehouse.warehouse import Session

Confidence = Literal["high", "medium", "low"]
MEDIUM_FROM = 3
_WIDEST = math.log(1e6)
HIGH_FROM = 10


@dataclass(frozen=True, slots=True)
class Distribution:
    """A prediction: the mean, and the 10th, 50th and 90th percentile (None below three samples)."""

    mean: float
    p10: float | None
    p50: float | None
    p90: float | None


@dataclass(frozen=True, slots=True)
class CostHistory:
    """One quantity per segment: sums over succeeded attempts that know it and their segments.

    `ln_*` are over attempts with a value above zero.
    """

    count: int
    sum: float
    segments: float
    ln_count: int
    ln_sum: float
    ln_sumsq: float

    @property
    def is_zero(self) -> bool:
        """Measured, and nothing each time: GPU time of a CPU job."""
        return self.count > 0 and self.sum == 0

    @property
    def mean(self) -> float:
        """Mean per segment, sum over sum: jobs weigh what they weigh."""
        return self.sum / self.segments

    @property
    def ln_mean(self) -> float:
        return self.ln_sum / self.ln_count

    @property
    def ln_sd(self) -> float:
        """Sample standard deviation of ln(cost per segment) over attempts; 0 below two."""
        if self.ln_count < 2:
            return 0.0
        rest = self.ln_sumsq - self.ln_sum * self.ln_sum / self.ln_count
        return math.sqrt(max(0.0, rest) / (self.ln_count - 1))

    @property
    def has_interval(self) -> bool:
        """Three samples and more, hardly one of them zero beside others that are not, and an interval that says
        something: a factor of less than a million each way."""
        return self.ln_count >= MEDIUM_FROM and self.has_few_zeros and self._reach() < _WIDEST

    @property
    def has_few_zeros(self) -> bool:
        """At most one sample in a hundred is zero: too few to move a tenth percentile."""
        return (self.count - self.ln_count) * 100 <= self.count

    @property
    def why_no_interval(self) -> str | None:
        """The reason that there is none; None where there is one, or where nothing was measured."""
        if self.count == 0 or self.is_zero or self.has_interval:
            return None
        if not self.has_few_zeros:
            return "zeros_among_samples"
        return "too_few_samples" if self.ln_count < MEDIUM_FROM else "too_wide"

    def _reach(self) -> float:
        """Half the width of the interval, on the scale of logarithms."""
        n = self.ln_count
        return t_quantile(0.9, n - 1) * self.ln_sd * math.sqrt(1 + 1 / n)

    def predict(self, segments: int) -> Distribution | None:
        """The cost of a job of that many segments, or None where it was never measured.

        The interval is the prediction interval of a log-normal whose mean and spread are themselves estimated:
        exp(m +- t * s * sqrt(1 + 1/n)) with Student's t at 90 % and n - 1 degrees of freedom.
        """
        if self.count == 0 or self.segments == 0:
            return None
        if self.is_zero:
            return Distribution(0.0, 0.0, 0.0, 0.0)
        mean = self.mean * segments
        if not self.has_few_zeros:
            return Distribution(mean, None, None, None)
        middle = math.exp(self.ln_mean) * segments
        if not self.has_interval:
            return Distribution(mean, None, middle, None)
        reach = self._reach()
        return Distribution(mean, middle * math.exp(-reach), middle, middle * math.exp(reach))


@dataclass(frozen=True, slots=True)
class History:
    """What one workflow at one tier cost so far."""

    workflow: str
    tier: str | None
    sample_count: int
    wall: CostHistory
    gpu: CostHistory
    disk: CostHistory

    @property
    def confidence(self) -> Confidence:
        """high from 10 samples, medium from 3, low below."""
        if self.sample_count >= HIGH_FROM:
            return "high"
        return "medium" if self.sample_count >= MEDIUM_FROM else "low"


Key = tuple[str, str | None]


def histories(session: Session, workflows: Collection[str]) -> dict[Key, History]:
    """The histories of all tiers of the named workflows; those without a succeeded attempt are absent."""
    found = {}
    for row in session.rows("estimates.history", {"workflows": sorted(workflows)}):
        wall, gpu, disk = (
            CostHistory(
                count=row[f"{name}_count"],
                sum=row[f"{name}_sum"] or 0.0,
                segments=row[f"{name}_segments"] or 0.0,
                ln_count=row[f"{name}_ln_count"],
                ln_sum=row[f"{name}_ln_sum"] or 0.0,
                ln_sumsq=row[f"{name}_ln_sumsq"] or 0.0,
            )
            for name in ("wall", "gpu", "disk")
        )
        key = (row["workflow"], row["tier"])
        found[key] = History(*key, sample_count=row["sample_count"], wall=wall, gpu=gpu, disk=disk)
    return found
