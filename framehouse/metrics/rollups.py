"""The rollup catalogue: which cells exist, by which dimensions and how fine, and which parts they keep."""

from dataclasses import dataclass
from functools import cached_property

from framehouse.metrics.quantities import (
    ATTEMPT_PARTS,
    GPU_TIME_PARTS,
    HEARTBEAT_PARTS,
    HISTOGRAM_PARTS,
    QUALITY,
    SCORE_PARTS,
    STAGE,
    STAGE_PARTS,
    TOTAL_PARTS,
    Merge,
    Part,
)
from framehouse.windows import Grain


@dataclass(frozen=True, eq=False)
class Source:
    """Raw facts: the rows of a hypertable, or what each row of one holds several of.

    time         the column that says when
    dimensions   maps what people ask by to the column that holds it
    unnested     what each row is joined with laterally: a set-returning function with its alias and columns
    until        where a row lasts: the column that says when it ended, less than a quarter hour after `time`
    lasted       then the one that says how many seconds that was
    marks        whose marks say which buckets were touched
    kind         the dimension without which numbers would mix what cannot be added up
    example      a metric of one such kind
    """

    name: str
    table: str
    time: str
    dimensions: dict[str, str]
    parts: tuple[Part, ...]
    marks: str
    unnested: str = ""
    kind: str | None = None
    example: str = ""
    until: str | None = None
    lasted: str | None = None

    @cached_property
    def part(self) -> dict[str, Part]:
        return {part.name: part for part in self.parts}


_MERGED = {
    Merge.COUNT: "cast(sum({0}) as bigint)",
    Merge.SUM: "sum({0})",
    Merge.MIN: "min({0})",
    Merge.MAX: "max({0})",
}


@dataclass(frozen=True, eq=False)
class Rollup:
    """Cells of one grain by some dimensions. `finer` names the rollup they are computed from; None: from raw.

    Grain.HOUR stands for the studio's blocks: an hour, or less where its zone's offset is no whole hour.
    """

    name: str
    source: Source
    grain: Grain
    dimensions: tuple[str, ...]
    parts: tuple[Part, ...]
    finer: str | None
    prose: str

    @cached_property
    def part_names(self) -> frozenset[str]:
        return frozenset(part.name for part in self.parts)

    def has(self, dimensions: frozenset[str], parts: frozenset[str]) -> bool:
        """Whether a question by these dimensions about these parts can be answered from it."""
        return dimensions <= set(self.dimensions) and parts <= self.part_names

    def column(self, part: Part) -> str:
        """The SQL of a part in this rollup's select."""
        return f"{part.raw if self.finer is None else _MERGED[part.merge].format(part.name)} as {part.name}"

    def kept(self, definition: str) -> frozenset[str]:
        """The parts that a rollup of this name, which was built from `definition`, computes just as this one does."""
        lines = {line.strip().rstrip(",") for line in definition.splitlines()}
        return frozenset(part.name for part in self.parts if self.column(part) in lines)


ATTEMPTS = Source(
    name="attempts",
    table="telemetry.performance_metrics",
    time="finished_at",
    dimensions={
        "workflow": "workflow_id",
        "tier": "tier_id",
        "worker": "worker_id",
        "project": "project_id",
        "character": "character_id",
        "scene": "scene_id",
        "scene_type": "scene_type_id",
        "variant": "variant",
        "outcome": "outcome",
        "gpu_model": "host_gpu_model",
    },
    parts=(*ATTEMPT_PARTS, *HISTOGRAM_PARTS),
    marks="attempts",
)

SCORES = Source(
    name="scores",
    table=ATTEMPTS.table,
    time=ATTEMPTS.time,
    dimensions={**ATTEMPTS.dimensions, "score": "score"},
    parts=(*SCORE_PARTS, QUALITY.histogram_part()),
    marks="attempts",
    unnested="jsonb_each_text(quality_scores_json) as scores (score, value)",
    kind="score",
    example="avg_likeness_score",
)

STAGES = Source(
    name="stages",
    table=ATTEMPTS.table,
    time=ATTEMPTS.time,
    dimensions={**ATTEMPTS.dimensions, "stage": "name"},
    parts=(*STAGE_PARTS, STAGE.histogram_part()),
    marks="attempts",
    unnested="jsonb_to_recordset(pipeline_stages_json)"
    " as stages (name text, duration_ms double precision, is_cached boolean)",
    kind="stage",
    example="avg_sample_stage_ms",
)

HEARTBEATS = Source(
    name="heartbeats",
    table="telemetry.worker_heartbeats",
    time="covered_from",
    dimensions={"worker": "worker_id"},
    parts=HEARTBEAT_PARTS,
    marks="heartbeats",
    until="covered_to",
    lasted="covered_seconds",
)

SOURCES = (ATTEMPTS, HEARTBEATS, SCORES, STAGES)

#: Where the names of a dimension's ids are; dimensions not listed hold their value themselves.
NAMES: dict[str, str] = {
    "workflow": "studio.workflows",
    "tier": "studio.resolution_tiers",
    "worker": "studio.workers",
    "project": "studio.projects",
    "character": "studio.characters",
    "scene": "studio.scenes",
    "scene_type": "studio.scene_types",
}

ROLLUPS: tuple[Rollup, ...] = (
    Rollup(
        "attempt_totals_by_workflow_fine", ATTEMPTS, Grain.FINE, ("workflow", "tier"), TOTAL_PARTS, None,
        "Totals of attempts by workflow and tier, every 15 minutes.",
    ),
    Rollup(
        "attempt_totals_by_workflow_hourly", ATTEMPTS, Grain.HOUR, ("workflow", "tier"), TOTAL_PARTS,
        "attempt_totals_by_workflow_fine", "Totals of attempts by workflow and tier, every hour.",
    ),
    Rollup(
        "attempt_totals_by_workflow_daily", ATTEMPTS, Grain.DAY, ("workflow", "tier"), TOTAL_PARTS,
        "attempt_totals_by_workflow_hourly", "Totals of attempts by workflow and tier, every day of the studio.",
    ),
    Rollup(
        "attempts_by_workflow_fine", ATTEMPTS, Grain.FINE, ("workflow", "tier"), ATTEMPT_PARTS, None,
        "Attempts by workflow and tier, every 15 minutes.",
    ),
    Rollup(
        "attempts_by_worker_fine", ATTEMPTS, Grain.FINE, ("worker",), ATTEMPT_PARTS, None,
        "Attempts by worker, every 15 minutes.",
    ),
    Rollup(
        "attempts_by_workflow_daily", ATTEMPTS, Grain.DAY, ("workflow", "tier"), ATTEMPT_PARTS,
        "attempts_by_workflow_fine", "Attempts by workflow and tier, every day of the studio.",
    ),
    Rollup(
        "attempts_by_worker_workflow_daily", ATTEMPTS, Grain.DAY, ("worker", "workflow", "tier"), ATTEMPT_PARTS, None,
        "Attempts by worker, workflow and tier, every day of the studio.",
    ),
    Rollup(
        "attempt_quantiles_by_workflow_daily", ATTEMPTS, Grain.DAY, ("workflow", "tier"), HISTOGRAM_PARTS, None,
        "Histograms of attempts by workflow and tier, every day of the studio.",
    ),
    Rollup(
        "attempt_totals_by_project_daily", ATTEMPTS, Grain.DAY, ("project", "workflow", "tier", "gpu_model"),
        TOTAL_PARTS, None, "Totals of attempts by project, workflow, tier and GPU model, every day of the studio.",
    ),
    Rollup(
        "gpu_time_by_model_hourly", ATTEMPTS, Grain.HOUR, ("workflow", "tier", "gpu_model"), GPU_TIME_PARTS, None,
        "GPU time by workflow, tier and GPU model, every hour.",
    ),
    Rollup(
        "gpu_time_by_model_daily", ATTEMPTS, Grain.DAY, ("workflow", "tier", "gpu_model"), GPU_TIME_PARTS,
        "gpu_time_by_model_hourly", "GPU time by workflow, tier and GPU model, every day of the studio.",
    ),
    Rollup(
        "scores_by_workflow_hourly", SCORES, Grain.HOUR, ("workflow", "tier", "score"), SCORE_PARTS, None,
        "Quality scores by workflow and tier, every hour.",
    ),
    Rollup(
        "scores_by_workflow_daily", SCORES, Grain.DAY, ("workflow", "tier", "score"), SCORE_PARTS,
        "scores_by_workflow_hourly", "Quality scores by workflow and tier, every day of the studio.",
    ),
    Rollup(
        "score_quantiles_by_workflow_daily", SCORES, Grain.DAY, ("workflow", "tier", "score"),
        (QUALITY.histogram_part(),), None,
        "Histograms of quality scores by workflow and tier, every day of the studio.",
    ),
    Rollup(
        "stages_by_workflow_hourly", STAGES, Grain.HOUR, ("workflow", "tier", "stage"), STAGE_PARTS, None,
        "Stages by workflow and tier, every hour.",
    ),
    Rollup(
        "stages_by_workflow_daily", STAGES, Grain.DAY, ("workflow", "tier", "stage"), STAGE_PARTS,
        "stages_by_workflow_hourly", "Stages by workflow and tier, every day of the studio.",
    ),
    Rollup(
        "stage_quantiles_by_workflow_daily", STAGES, Grain.DAY, ("workflow", "tier", "stage"),
        (STAGE.histogram_part(),), None, "Histograms of stages by workflow and tier, every day of the studio.",
    ),
    Rollup(
        "heartbeats_by_worker_fine", HEARTBEATS, Grain.FINE, ("worker",), HEARTBEAT_PARTS, None,
        "What workers did, every 15 minutes.",
    ),
    Rollup(
        "heartbeats_by_worker_daily", HEARTBEATS, Grain.DAY, ("worker",), HEARTBEAT_PARTS,
        "heartbeats_by_worker_fine", "What workers did, every day of the studio.",
    ),
)  # fmt: skip
