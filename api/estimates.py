"""What goes over the wire of stored estimates: how they did."""

from typing import Any
from uuid import UUID

from api.wire import UtcTime, Wire
from framehouse.estimates.drift import Kind


class Calibration(Wire):
    """What a segment of one workflow at one tier costs."""

    workflow: str
    tier: str | None
    sample_count: int
    avg_gpu_secs_per_segment: float | None
    avg_wall_secs_per_segment: float | None
    avg_disk_mb_per_segment: float | None
    sd_gpu_secs_per_segment: float | None
    sd_wall_secs_per_segment: float | None
    sd_disk_mb_per_segment: float | None
    last_updated_at: UtcTime


class Score(Wire):
    """Predicted against actual of the scenes of one workflow and tier that finished in one bucket."""

    workflow: str
    tier: str | None
    bucket: UtcTime
    scene_count: int
    wall_bias_ratio: float | None
    """Sum of predicted means over sum of actuals, minus 1: 0.1 is 10 % too much."""
    wall_mdape_ratio: float | None
    """Median of |predicted median - actual| / actual."""
    wall_coverage_ratio: float | None
    """Share of actuals within P10-P90, of scenes that had an interval."""
    gpu_bias_ratio: float | None
    gpu_mdape_ratio: float | None
    gpu_coverage_ratio: float | None
    disk_bias_ratio: float | None
    disk_mdape_ratio: float | None
    disk_coverage_ratio: float | None
    energy_bias_ratio: float | None
    energy_mdape_ratio: float | None
    energy_coverage_ratio: float | None
    vram_bias_ratio: float | None
    vram_mdape_ratio: float | None
    vram_coverage_ratio: float | None
    rss_bias_ratio: float | None
    rss_mdape_ratio: float | None
    rss_coverage_ratio: float | None


class TotalScores(Wire):
    """How the totals of whole estimates did: those whose estimated scenes had all finished in the window."""

    quantity: str
    estimate_count: int
    bias_ratio: float | None
    """Sum of predicted means over sum of actuals, minus 1."""
    mdape_ratio: float | None
    """Median of |predicted median - actual| / actual."""
    coverage_ratio: float | None
    """Share of actuals within P10-P90, of totals that had an interval."""


class Alarm(Wire):
    """The estimates of one quantity of a workflow at a tier are off, or were."""

    workflow: str
    tier: str | None
    quantity: str
    kind: Kind
    """`coverage`: P10-P90 holds too rarely; `bias`: medians are too large or too small, and totals the same way."""
    opened_at: UtcTime
    closed_at: UtcTime | None
    """When they were found to be right again."""
    since_at: UtcTime
    """When the first of all scenes that showed it finished."""
    until_at: UtcTime
    """When the newest scene finished that was looked at."""
    scene_count: int
    """Scenes of which the ratios tell: the newest ones, when it last showed."""
    bias_ratio: float | None
    """Predicted means of these scenes over their actuals, minus 1: -0.2 is 20 % too little."""
    coverage_ratio: float
    """Share of these scenes within P10-P90."""
    sentence: str
    """All that, for people."""


class EstimateHistory(Wire):
    """The calibration that estimates begin with, how earlier ones did, and where they are off."""

    calibration: list[Calibration]
    scores: list[Score]
    totals: list[TotalScores]
    alarms: list[Alarm]
    """Where estimates are off, and then where they were; the newest first."""


class StoredScene(Wire):
    """A scene's prediction beside its actual so far: what its jobs that succeeded took together."""

    scene_key: str
    workflow: str
    tier: str | None
    segments_needed: int
    sample_count: int
    reason: str | None
    gpu_seconds_mean: float | None
    gpu_seconds_p10: float | None
    gpu_seconds_p50: float | None
    gpu_seconds_p90: float | None
    wall_seconds_mean: float | None
    wall_seconds_p10: float | None
    wall_seconds_p50: float | None
    wall_seconds_p90: float | None
    disk_mb_mean: float | None
    disk_mb_p10: float | None
    disk_mb_p50: float | None
    disk_mb_p90: float | None
    energy_joules_mean: float | None
    energy_joules_p10: float | None
    energy_joules_p50: float | None
    energy_joules_p90: float | None
    vram_peak_mb_mean: float | None
    vram_peak_mb_p10: float | None
    vram_peak_mb_p50: float | None
    vram_peak_mb_p90: float | None
    rss_peak_mb_mean: float | None
    rss_peak_mb_p10: float | None
    rss_peak_mb_p50: float | None
    rss_peak_mb_p90: float | None
    cost_mean: float | None
    cost_p10: float | None
    cost_p50: float | None
    cost_p90: float | None
    attempt_count: int | None
    gpu_seconds_actual: float | None
    wall_seconds_actual: float | None
    disk_mb_actual: float | None
    energy_joules_actual: float | None
    vram_peak_mb_actual: float | None
    rss_peak_mb_actual: float | None
    finished_at: UtcTime | None
    is_done: bool
    """Whether as many segments were made as were estimated (or a job that succeeded does not say how many it made)."""


class TotalScore(Wire):
    """A total's prediction beside its actual, which is null until every estimated scene is done."""

    mean: float | None
    p10: float | None
    p50: float | None
    p90: float | None
    actual: float | None
    is_within: bool | None
    """Whether the actual lay within P10-P90."""


class StoredTotals(Wire):
    """The totals of a stored estimate."""

    gpu_hours: TotalScore
    wall_hours: TotalScore
    disk_gb: TotalScore
    energy_kwh: TotalScore


class StoredEstimate(Wire):
    """A stored estimate: what was asked (without its scenes), what was answered, and what happened."""

    estimate_id: UUID
    created_at: UtcTime
    request: dict[str, Any]
    answer: dict[str, Any]
    scenes: list[StoredScene]
    totals: StoredTotals
