"""What goes over the wire about performance."""

from typing import Literal

from api.wire import UtcTime, Wire
from framehouse.metrics.compare import Unclear


class WindowAnswer(Wire):
    """From the start on, and before the end."""

    start: UtcTime
    end: UtcTime


class ProvenanceAnswer(Wire):
    """What the numbers rest on."""

    count: int
    """Attempts in it, however they ended; those of the period before a window only where both are compared."""
    newest_recorded_at: UtcTime | None
    """When the last of them was stored; of a worker, the last of them and of its heartbeats."""
    sources: list[str]
    """The rollups that were read, also for the period before; `raw` for raw rows."""
    why_raw: str | None
    """Why `raw` is among them."""


class DifferenceAnswer(Wire):
    """The second beside the first in one metric, like for like: 20 is 20 % more."""

    metric: str
    first: str
    second: str
    difference_pct: float | None
    """Null where nothing can be said, for `reason`."""
    low_pct: float | None
    high_pct: float | None
    """The interval holds for all differences of this answer together, at its `level_ratio`."""
    is_clear: bool
    """Whether the difference is one that may be acted on; otherwise there is no clear difference."""
    is_better: bool | None
    """Whether the second is the better one; null where neither way is."""
    first_count: int
    second_count: int
    """Attempts that were compared."""
    first_left_out_count: int
    second_left_out_count: int
    """Attempts without a counterpart at the same tier or on the same worker."""
    adjusted_for: list[str]
    reason: Unclear | None


class SideAnswer(Wire):
    """One side of a comparison."""

    label: str
    window: WindowAnswer


class ChangeAnswer(Wire):
    """A jump within a workflow's history: the first day after it, and that side beside the one before."""

    workflow: str
    metric: str
    at: UtcTime
    sentence: str
    before_count: int
    """Attempts since the jump before, or the beginning."""
    after_count: int
    """Attempts until the jump after, or the end."""
    difference_pct: float | None
    low_pct: float | None
    high_pct: float | None


class ComparisonAnswer(Wire):
    """Every pair of sides in every metric, and a sentence for each pair."""

    sides: list[SideAnswer]
    level_ratio: float
    sentences: list[str]
    differences: list[DifferenceAnswer]
    changes: list[ChangeAnswer]
    provenance: ProvenanceAnswer


class PointAnswer(Wire):
    """One bucket."""

    start: UtcTime
    end: UtcTime
    value: float | None
    moving_average: float | None
    """Of this bucket and those before it, from all that they hold together."""
    change_ratio: float | None
    """Since the bucket before: 0.1 is 10 % more."""
    count: int
    """Attempts in it; of one score's or one stage's metric, how often attempts have that."""


class TrendAnswer(Wire):
    """A metric of one workflow over time."""

    workflow: str
    metric: str
    unit: str
    grain: Literal["15min", "hour", "day", "week", "month"]
    tz: str
    moving: int
    window: WindowAnswer
    value: float | None
    """Over the whole window."""
    previous_window: WindowAnswer
    previous_value: float | None
    """Over the period before: as many whole buckets, or right before it and as long as it."""
    change_ratio: float | None
    points: list[PointAnswer]
    provenance: ProvenanceAnswer


class RankedAnswer(Wire):
    """A worker beside the mean of those it can be compared with, on the same workflows and tiers."""

    worker: str
    rank: int
    """From 1, the fastest; workers between which nothing is clear share it."""
    group: int
    """Workers of different groups share no work and cannot be compared."""
    difference_pct: float
    """-10 takes a tenth less for the same work."""
    low_pct: float | None
    high_pct: float | None
    count: int
    """Attempts (of a stage, its runs) that were compared."""
    strata_count: int
    """Workflows and tiers that it was compared on."""


class RankingAnswer(Wire):
    """Workers, the fastest first."""

    metric: str
    level_ratio: float
    window: WindowAnswer
    workers: list[RankedAnswer]
    provenance: ProvenanceAnswer
