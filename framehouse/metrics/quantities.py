"""What is measured of an attempt, and the additive parts that rollups keep of it.

A rollup stores parts only: counts, sums, sums of squares, minima, maxima, sums of logarithms, cross sums with the work,
histogram counts. Parts of disjoint sets of rows add up (minima and maxima: combine) to the parts of their union, so any
mean, spread, quantile or regression over any window is computed from them when asked. The dbt models of the rollups
are generated from these declarations.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from framehouse.units import Unit, unit_of

SUCCEEDED = "outcome = 'succeeded'"
WASTED = "outcome <> 'succeeded'"
COLD = f"{SUCCEEDED} and is_cold"

#: Width of a histogram's bin on the scale of natural logarithms: a value is known to within 1 %.
BIN_WIDTH = 0.02


class Merge(StrEnum):
    """How the parts of two sets of rows become the part of their union."""

    COUNT = "count"  # added, and a whole number
    SUM = "sum"
    MIN = "min"
    MAX = "max"
    HISTOGRAM = "histogram"  # added bin by bin


@dataclass(frozen=True, slots=True)
class Part:
    """One column of a rollup: the aggregate over raw rows that makes it, and how it merges."""

    name: str
    raw: str
    merge: Merge


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of ln(x) in `bins` bins of `width` from ln(low) on, with one more bin at each end for what lies outside.

    The middle of array index i (from 1, index 1 is the underflow) is exp(ln(low) + (i - 1.5) * width), and its
    value a little less, so that it is equally far (in proportion, less than 1 %) from both ends of the bin.
    """

    low: float
    bins: int
    width: float = BIN_WIDTH

    @property
    def ln_low(self) -> float:
        return round(math.log(self.low), 6)

    @property
    def ln_high(self) -> float:
        return round(self.ln_low + self.bins * self.width, 6)

    def value(self, index: int) -> float:
        """The value that stands for a bin, given its 1-based index in the array."""
        return math.exp(self.ln_low + (index - 1.5) * self.width) / math.cosh(self.width / 2)

    def edges(self, index: int) -> tuple[float, float]:
        """Where a bin begins and ends, given its 1-based index in the array; those outside have no far end."""
        first, last = index == 1, index == self.bins + 2
        edge = self.ln_low + (index - 2) * self.width
        return (0.0 if first else math.exp(edge), math.inf if last else math.exp(edge + self.width))


#: Hours of a thumbnail in milliseconds to weeks of a long render.
DURATION = Histogram(low=0.001, bins=1024)
MEMORY = Histogram(low=0.0001, bins=1200)
SPEED = Histogram(low=0.001, bins=800)
ENERGY = Histogram(low=0.001, bins=1300)
#: To hundreds of cores.
PERCENT = Histogram(low=0.001, bins=920)
#: Likenesses near 1 as well as decibels; half the width, since tenths of a per cent are told apart near 1.
SCORE = Histogram(low=0.001, bins=1400, width=BIN_WIDTH / 2)


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something measured of each attempt; its unit is its name's last word.

    expression   SQL over the columns of the raw row
    where        which rows it counts for: succeeded attempts, unless a failure is what it measures
    work         amounts of work that cross sums are kept with, for costs per segment, frame, megapixel-frame, second
    is_logged    sums of ln(x) are kept, for comparing means on the scale of ratios
    histogram    bins are kept, for quantiles
    """

    name: str
    prose: str
    expression: str = ""
    where: str = SUCCEEDED
    work: tuple[str, ...] = ()
    is_logged: bool = False
    histogram: Histogram | None = None

    @property
    def sql(self) -> str:
        return self.expression or self.name

    @property
    def unit(self) -> Unit:
        return unit_of(self.name.removesuffix("_per_segment"))

    def moments(self) -> list[Part]:
        """Count, sum, sum of squares, minimum, maximum, and where declared the sums of logarithms."""
        x, where = self.sql, self.where
        found = [
            Part(f"{self.name}_count", f"count({x}) filter (where {where})", Merge.COUNT),
            Part(f"{self.name}_sum", f"sum({x}) filter (where {where})", Merge.SUM),
            Part(f"{self.name}_sumsq", f"sum(({x}) * ({x})) filter (where {where})", Merge.SUM),
            Part(f"{self.name}_min", f"min({x}) filter (where {where})", Merge.MIN),
            Part(f"{self.name}_max", f"max({x}) filter (where {where})", Merge.MAX),
        ]
        if self.is_logged:
            some = f"{where} and {x} > 0"
            found += [
                Part(f"{self.name}_ln_count", f"count({x}) filter (where {some})", Merge.COUNT),
                Part(f"{self.name}_ln_sum", f"sum(ln({x})) filter (where {some})", Merge.SUM),
                Part(f"{self.name}_ln_sumsq", f"sum(ln({x}) * ln({x})) filter (where {some})", Merge.SUM),
            ]
        return found

    def crosses(self) -> list[Part]:
        """For each work w, over the rows that know both and did some: count, sum x, sum w, sum w*w, sum x*w."""
        found = []
        for work in self.work:
            x, w = self.sql, WORK[work]
            both = f"{self.where} and {x} is not null and {w} > 0"
            stem = f"{self.name}_by_{work}"
            found += [
                Part(f"{stem}_count", f"count(*) filter (where {both})", Merge.COUNT),
                Part(f"{stem}_sum", f"sum({x}) filter (where {both})", Merge.SUM),
                Part(f"{stem}_work_sum", f"sum({w}) filter (where {both})", Merge.SUM),
                Part(f"{stem}_work_sumsq", f"sum(({w}) * ({w})) filter (where {both})", Merge.SUM),
                Part(f"{stem}_cross_sum", f"sum(({x}) * ({w})) filter (where {both})", Merge.SUM),
            ]
        return found

    def histogram_part(self) -> Part:
        """The log-histogram's counts. Zeros are in no bin: they are the count minus the bins' sum."""
        assert self.histogram is not None
        h, x = self.histogram, self.sql
        return Part(
            f"{self.name}_histogram",
            f"histogram(ln({x}), {h.ln_low!r}, {h.ln_high!r}, {h.bins})"
            f" filter (where {self.where} and {x} > 0 and {x} < 'Infinity')",
            Merge.HISTOGRAM,
        )


#: Amounts of work, in SQL over the raw row.
WORK: dict[str, str] = {
    "segments": "cast(segment_count as double precision)",
    "frames": "cast(frame_count as double precision)",
    "megapixel_frames": "cast(frame_count as double precision) * width * height / 1e6",
    "input_seconds": "input_duration_seconds",
}
_COST = ("segments", "frames", "megapixel_frames", "input_seconds")
_ANY = "true"

QUANTITIES: tuple[Quantity, ...] = (
    Quantity("wall_seconds", "From start to finish.", work=_COST, is_logged=True, histogram=DURATION),
    Quantity("gpu_seconds", "GPUs times the time they were held.", work=_COST, is_logged=True, histogram=DURATION),
    Quantity("output_mb", "What the job wrote for keeps.", work=_COST, is_logged=True, histogram=MEMORY),
    Quantity("energy_joules", "From the GPU's counter.", work=("segments", "megapixel_frames"), histogram=ENERGY),
    Quantity("cpu_seconds", "CPU time of the process tree.", work=("segments", "input_seconds"), histogram=DURATION),
    Quantity("time_per_frame_ms", "Wall time divided by frames.", is_logged=True, histogram=DURATION),
    Quantity("rtf", "Input media seconds per wall second.", is_logged=True, histogram=SPEED),
    Quantity("vram_peak_mb", "Highest GPU memory.", histogram=MEMORY),
    Quantity("rss_peak_mb", "Highest memory of the process tree.", histogram=MEMORY),
    Quantity("rss_mean_mb", "Mean memory of the process tree.", histogram=MEMORY),
    Quantity("cpu_mean_pct", "Mean CPU use; 100 is one core.", histogram=PERCENT),
    Quantity("cpu_max_pct", "Highest CPU use; 100 is one core.", histogram=PERCENT),
    Quantity("read_mb", "Read from storage.", histogram=MEMORY),
    Quantity("write_mb", "Written to storage.", histogram=MEMORY),
    Quantity("input_duration_seconds", "Length of the longest input."),
    Quantity("segment_count", "Segments made.", WORK["segments"]),
    Quantity("frame_count", "Frames made.", WORK["frames"]),
    Quantity("cached_count", "Results taken from a cache.", "cast(cached_count as double precision)"),
    Quantity(
        "wall_seconds_per_segment",
        "Wall time of a segment.",
        "wall_seconds / nullif(segment_count, 0)",
        is_logged=True,
        histogram=DURATION,
    ),
    Quantity(
        "gpu_seconds_per_segment",
        "GPU time of a segment.",
        "gpu_seconds / nullif(segment_count, 0)",
        is_logged=True,
        histogram=DURATION,
    ),
    Quantity(
        "output_mb_per_segment",
        "Output of a segment.",
        "output_mb / nullif(segment_count, 0)",
        is_logged=True,
        histogram=MEMORY,
    ),
    Quantity("queue_wait_seconds", "Ready, and waiting for a worker.", where=_ANY, histogram=DURATION),
    Quantity("dependency_wait_seconds", "Waiting for what it needs.", where=_ANY, histogram=DURATION),
    Quantity("wasted_gpu_seconds", "GPU time of failed and canceled attempts.", "gpu_seconds", WASTED),
    Quantity("wasted_wall_seconds", "Wall time of failed and canceled attempts.", "wall_seconds", WASTED),
    Quantity("cold_wall_seconds", "Wall time with a model load inside.", "wall_seconds", COLD, is_logged=True),
    Quantity("cold_gpu_seconds", "GPU time with a model load inside.", "gpu_seconds", COLD, is_logged=True),
)  # fmt: skip

NEWEST = Part("newest_recorded_at", "max(recorded_at)", Merge.MAX)
COUNTS: tuple[Part, ...] = (
    Part("attempt_count", "count(*)", Merge.COUNT),
    Part("first_attempt_count", "count(*) filter (where attempt = 1)", Merge.COUNT),
    Part("succeeded_count", f"count(*) filter (where {SUCCEEDED})", Merge.COUNT),
    Part("failed_count", "count(*) filter (where outcome = 'failed')", Merge.COUNT),
    Part("canceled_count", "count(*) filter (where outcome = 'canceled')", Merge.COUNT),
    Part("cold_count", f"count(*) filter (where {COLD})", Merge.COUNT),
    Part("gpu_used_count", "count(*) filter (where gpu_seconds > 0)", Merge.COUNT),
    Part("gpu_untimed_count", "count(*) filter (where gpu_seconds is null and gpu_count > 0)", Merge.COUNT),
    NEWEST,
)

_TOTALED = (
    "wall_seconds", "gpu_seconds", "output_mb", "energy_joules", "segment_count", "frame_count", "queue_wait_seconds",
    "wasted_gpu_seconds", "wasted_wall_seconds",
)  # fmt: skip
_ESTIMATED = ("wall_seconds", "gpu_seconds", "output_mb")

#: Parts of attempts that every rollup of all parts keeps, and those that only the quantiles' rollup keeps.
ATTEMPT_PARTS: tuple[Part, ...] = (
    *COUNTS,
    *(part for quantity in QUANTITIES for part in quantity.moments()),
    *(part for quantity in QUANTITIES for part in quantity.crosses()),
)
#: What most questions and every estimate are about: few enough that a cell of them is a fifth as wide.
TOTAL_PARTS: tuple[Part, ...] = tuple(
    part
    for part in ATTEMPT_PARTS
    if part in COUNTS
    or part.name in {f"{name}_{kind}" for name in _TOTALED for kind in ("count", "sum")}
    or part.name.startswith(tuple(f"{name}_by_segments_" for name in _ESTIMATED))
    or part.name.startswith(tuple(f"{name}_per_segment_ln_" for name in _ESTIMATED))
)
HISTOGRAM_PARTS: tuple[Part, ...] = tuple(q.histogram_part() for q in QUANTITIES if q.histogram is not None)

HEARTBEAT_PARTS: tuple[Part, ...] = (
    Part("heartbeat_count", "count(*)", Merge.COUNT),
    NEWEST,
    Part("covered_seconds_sum", "sum(covered_seconds)", Merge.SUM),
    *(
        Part(f"{state}_seconds_sum", f"sum(covered_seconds) filter (where state = '{state}')", Merge.SUM)
        for state in ("generating", "idle", "offline")
    ),
)

#: What GPU time cost, at the rates that hold when it is asked.
GPU_TIME_PARTS: tuple[Part, ...] = tuple(
    part
    for part in TOTAL_PARTS
    if part.name in {"attempt_count", "gpu_used_count", "gpu_untimed_count", "newest_recorded_at"}
    or part.name.removeprefix("wasted_") in {"gpu_seconds_count", "gpu_seconds_sum"}
)

#: One number in an attempt's scores, whichever name it has there; one stage that ran, likewise.
_STAGE_MS = Histogram(low=0.1, bins=1024)
QUALITY = Quantity(
    "score", "A quality score.", "cast(value as double precision)", is_logged=True, histogram=SCORE
)
STAGE = Quantity(
    "stage_ms", "Time of one run of a stage; taken from a cache, it did not run.", "duration_ms",
    f"{SUCCEEDED} and is_cached is not true", is_logged=True, histogram=_STAGE_MS,
)  # fmt: skip
SCORE_PARTS: tuple[Part, ...] = (Part("scored_count", "count(*)", Merge.COUNT), NEWEST, *QUALITY.moments())
STAGE_PARTS: tuple[Part, ...] = (
    Part("staged_count", "count(*)", Merge.COUNT),
    NEWEST,
    Part("stage_cached_count", f"count(*) filter (where {SUCCEEDED} and is_cached)", Merge.COUNT),
    *STAGE.moments(),
)

_BY_NAME = {quantity.name: quantity for quantity in QUANTITIES}


def quantity(name: str) -> Quantity:
    """The quantity of that name. Raises KeyError."""
    return _BY_NAME[name]
