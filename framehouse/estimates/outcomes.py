"""What became of estimates: stored ones read back, calibration, and scores of predicted against actual."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from framehouse.errors import NotFoundError
from framehouse.estimates.alarms import Alarm, alarms
from framehouse.warehouse import Warehouse
from framehouse.windows import Grain, Window
from framehouse.zones import zone

#: What is scored of a whole estimate.
TOTALS = ("gpu_hours", "wall_hours", "disk_gb", "energy_kwh")


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a segment of one workflow at one tier costs: the row of mart.generation_metrics."""

    workflow: str
    tier: str | None
    sample_count: int
    avg_gpu_secs_per_segment: float | None
    avg_wall_secs_per_segment: float | None
    avg_disk_mb_per_segment: float | None
    sd_gpu_secs_per_segment: float | None
    sd_wall_secs_per_segment: float | None
    sd_disk_mb_per_segment: float | None
    last_updated_at: datetime


@dataclass(frozen=True, slots=True)
class Score:
    """Predicted against actual of the scenes of one workflow and tier that finished in one bucket.

    bias       sum of predicted means over sum of actuals, minus 1 (0.1: predicted 10 % too much)
    mdape      median of |predicted median - actual| / actual
    coverage   share of actuals within P10-P90, of scenes that had an interval
    """

    workflow: str
    tier: str | None
    bucket: datetime
    scene_count: int
    wall_bias_ratio: float | None
    wall_mdape_ratio: float | None
    wall_coverage_ratio: float | None
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


@dataclass(frozen=True, slots=True)
class TotalScores:
    """How the totals of whole estimates did whose estimated scenes all finished in the window, by the same measures."""

    quantity: str
    estimate_count: int
    bias_ratio: float | None
    mdape_ratio: float | None
    coverage_ratio: float | None


@dataclass(frozen=True, slots=True)
class History:
    """The calibration that estimates begin with, how earlier ones did, and where they are off."""

    calibration: tuple[Calibration, ...]
    scores: tuple[Score, ...]
    totals: tuple[TotalScores, ...]
    alarms: tuple[Alarm, ...]


@dataclass(frozen=True, slots=True)
class TotalScore:
    """A total's prediction beside its actual, in the unit that its name says; whether the actual lay within P10-P90.

    What is unknown is None: the actual until every estimated scene is done.
    """

    mean: float | None
    p10: float | None
    p50: float | None
    p90: float | None
    actual: float | None
    is_within: bool | None


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored estimate: what was asked and answered, and each scene's prediction and each total's (by its name)
    beside the actual (once known)."""

    estimate_id: UUID
    created_at: datetime
    request: dict[str, Any]
    answer: dict[str, Any]
    scenes: tuple[dict[str, Any], ...]
    totals: dict[str, TotalScore]


def history(
    warehouse: Warehouse,
    *,
    workflow: str | None = None,
    window: Window | None = None,
    grain: Grain = Grain.DAY,
    zone_name: str = "UTC",
) -> History:
    """Calibration by workflow and tier, and scores by workflow, tier and time (the last 90 days unless given)."""
    span = window or Window.last(timedelta(days=90), until=datetime.now(UTC) + timedelta(hours=1))
    step = "hour" if grain is Grain.FINE else grain.value
    asked = {"workflow": workflow, "start": span.start, "end": span.end}
    cut = {"grain": step, "zone": zone(zone_name).key}
    with warehouse.session(is_snapshot=True) as session:
        return History(
            tuple(session.records(Calibration, "estimates.calibration", {"workflow": workflow})),
            tuple(session.records(Score, "estimates.scores", asked | cut)),
            tuple(session.records(TotalScores, "estimates.total_scores", asked)),
            alarms(session, span, workflow),
        )


def stored(warehouse: Warehouse, estimate_id: UUID) -> Stored:
    """A stored estimate. Raises NotFoundError."""
    with warehouse.session(is_snapshot=True) as session:
        row = session.row("estimates.stored", {"id": estimate_id})
        if row is None:
            raise NotFoundError(
                f"there is no stored estimate {estimate_id}", hint="estimates with store=false are not kept"
            )
        scenes = session.rows("estimates.scenes_with_outcomes", {"id": estimate_id})
        totals = session.row("estimates.totals", {"id": estimate_id}) or {}
    said = row["answer"].get("totals") or {}
    return Stored(
        row["id"],
        row["created_at"],
        row["request"],
        row["answer"],
        tuple(scenes),
        {name: _total(said.get(name) or {}, totals.get(f"{name}_actual")) for name in TOTALS},
    )


def _total(said: Mapping[str, float | None], actual: float | None) -> TotalScore:
    mean, p10, p50, p90 = (said.get(part) for part in ("mean", "p10", "p50", "p90"))
    is_within = None if actual is None or p10 is None or p90 is None else p10 <= actual <= p90
    return TotalScore(mean, p10, p50, p90, actual, is_within)
