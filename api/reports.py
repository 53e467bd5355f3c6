"""What goes over the wire in reports: the overview, one workflow, one worker, quality, stages."""

from typing import Any, Literal

from pydantic import ConfigDict, Field, create_model

from api.performance import ProvenanceAnswer, WindowAnswer
from api.wire import UtcTime, Wire
from framehouse.metrics.definitions import Better, metric
from framehouse.metrics.overview import THROUGHPUT
from framehouse.metrics.quantities import Merge
from framehouse.metrics.question import names_in
from framehouse.metrics.summary import COSTS, SUMMARY

Grains = Literal["15min", "hour", "day", "week", "month"]


def _fields(*names: str) -> dict[str, Any]:
    """A field for each metric, which says of itself what the registry says."""
    return {name: (_kind(name), Field(description=metric(name).prose)) for name in names}


def _kind(name: str) -> Any:
    m = metric(name)
    parts = names_in(m.formula) if m.formula else frozenset()
    is_whole = m.unit.suffix == "count" and all(m.source.part[part].merge is Merge.COUNT for part in parts)
    return int | None if is_whole else float | None


class _Scored(Wire):
    """Metrics under their own names, and the mean of every score as `avg_NAME_score`."""

    model_config = ConfigDict(use_attribute_docstrings=True, from_attributes=True, extra="allow")


class _Bucket(Wire):
    """One bucket, as far as the window has it."""

    start: UtcTime
    end: UtcTime


Summary = create_model("Summary", __base__=_Scored, **_fields(*SUMMARY, *COSTS))


class WorkflowSummary(Summary):
    """A workflow in one row."""

    workflow_id: int
    workflow_name: str


ThroughputPoint = create_model("ThroughputPoint", __base__=_Bucket, **_fields(*THROUGHPUT))


class OverviewAnswer(Wire):
    """The state of the studio over a window."""

    window: WindowAnswer
    tz: str
    grain: Grains
    currency: str | None
    """Of all costs; null where there are no rates."""
    totals: Summary
    previous_window: WindowAnswer | None
    """With `compare=previous`: the period before: as many whole buckets, or right before it and as long as it."""
    previous_totals: Summary | None
    series: list[ThroughputPoint]
    """Every bucket, those that hold nothing too."""
    vram_peaks: list[WorkflowSummary]
    """The workflows that needed the most GPU memory."""
    metric: str
    """By which workflows are ranked."""
    better: Better
    top: list[WorkflowSummary]
    """The best, the best first; where no direction is better, the highest."""
    bottom: list[WorkflowSummary]
    """The worst, the worst first; nobody is at both ends."""
    provenance: ProvenanceAnswer


class BarAnswer(Wire):
    """How many values lie from `low` on and below `high`."""

    low: float
    high: float
    count: int


class SpreadAnswer(Wire):
    """How a quantity is spread."""

    metric: str
    unit: str
    better: Better
    count: int
    """How many values."""
    avg: float | None
    sd: float | None
    min: float | None
    max: float | None
    p50: float | None
    """Quantiles to within 1 %; null where some values are negative."""
    p90: float | None
    p95: float | None
    p99: float | None
    nonpositive_count: int
    """Values that are 0 or below, and so in no bar."""
    bars: list[BarAnswer]
    """Equally wide on a scale of ratios."""


class StageAnswer(Wire):
    """A stage of a workflow, over all its runs."""

    workflow: str
    stage: str
    run_count: int
    """Those whose result came from a cache are not among them."""
    avg_ms: float | None
    sd_ms: float | None
    min_ms: float | None
    max_ms: float | None
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    hours: float | None
    share_ratio: float | None
    """Of the time of all stages of the workflow; stages may overlap."""
    cached_ratio: float | None


class StagePage(Wire):
    """Stages, those first that take the most time."""

    window: WindowAnswer
    items: list[StageAnswer]
    next_cursor: str | None
    provenance: ProvenanceAnswer


class GpuShare(Wire):
    """What one tier, worker or GPU model took of the GPU time; null where none was given."""

    name: str | None
    attempt_count: int
    gpu_hours: float | None
    wasted_gpu_hours: float | None
    share_ratio: float | None
    gpu_time_unknown_count: int


class GpuTimeAnswer(Wire):
    """Where the GPU time went."""

    gpu_hours: float | None
    """Of succeeded attempts."""
    wasted_gpu_hours: float | None
    """Of failed and canceled ones."""
    avg_cold_gpu_seconds: float | None
    gpu_time_unknown_count: int
    gpu_cost: float | None
    wasted_gpu_cost: float | None
    priced_gpu_ratio: float | None
    by_tier: list[GpuShare]
    by_worker: list[GpuShare]
    by_gpu_model: list[GpuShare]


class WorkflowAnswer(Wire):
    """One workflow over a window."""

    workflow_id: int
    workflow_name: str
    window: WindowAnswer
    tz: str
    currency: str | None
    summary: Summary
    previous_window: WindowAnswer | None
    """With `compare=previous`: the period before, of as many days."""
    previous_summary: Summary | None
    time_per_frame: SpreadAnswer | None
    """Null where no frames were counted."""
    gpu_time: GpuTimeAnswer
    quality: list[SpreadAnswer]
    stages: list[StageAnswer]
    provenance: ProvenanceAnswer


class WorkerPoint(_Bucket):
    """What a worker did in one bucket."""

    attempt_count: int
    succeeded_count: int
    segments_per_hour: float | None
    gpu_hours: float | None
    generating_hours: float | None
    idle_hours: float | None
    offline_hours: float | None
    unknown_hours: float


class WorkerAnswer(Wire):
    """One worker over a window."""

    worker_id: int
    worker_name: str
    window: WindowAnswer
    tz: str
    grain: Grains
    currency: str | None
    generating_hours: float | None
    idle_hours: float | None
    offline_hours: float | None
    unknown_hours: float
    """Hours of the window, as far as it is over, of which no heartbeat tells."""
    utilisation_ratio: float | None
    """Generating among the hours that it was on."""
    summary: Summary
    series: list[WorkerPoint]
    workflows: list[WorkflowSummary]
    """What it worked on, the most attempts first."""
    provenance: ProvenanceAnswer


class ScorePoint(_Bucket):
    """A score in one bucket."""

    avg: float | None
    count: int
    """How many scores."""


class ScoreAnswer(SpreadAnswer):
    """One score: how it is spread, and how it went."""

    points: list[ScorePoint]


class CorrelationAnswer(Wire):
    """How a parameter goes with a score: from -1 to 1, with an interval that holds for all pairs together."""

    parameter: str
    score: str
    coefficient: float
    low: float
    high: float
    count: int
    is_clear: bool
    """Whether it is surely there, and not very weak. It need not be cause and effect."""


class QualityAnswer(Wire):
    """The scores of one workflow."""

    workflow_id: int
    workflow_name: str
    window: WindowAnswer
    tz: str
    grain: Grains
    level_ratio: float
    scores: list[ScoreAnswer]
    correlations: list[CorrelationAnswer] | None
    """The strongest first; null where there are none of what is asked for, for `why_no_correlations`."""
    why_no_correlations: str | None
    provenance: ProvenanceAnswer
