"""Every metric, once: its name (unit last), its formula over rollup parts, which direction is better, one sentence.

The API, the app, the notebooks and the docs read this registry through `metrics.read(...)`; nobody writes a second
formula. A mean of something that is itself a ratio (per frame, per segment, rtf) is a sum over a sum, so that long jobs
weigh what they weigh; its spread and quantiles are those of the attempts.
"""

import difflib
import re
from dataclasses import dataclass, replace
from enum import StrEnum

from framehouse.errors import QueryError
from framehouse.metrics.quantities import QUALITY, QUANTITIES, STAGE, Quantity
from framehouse.metrics.rollups import ATTEMPTS, HEARTBEATS, SCORES, STAGES, Source
from framehouse.units import Unit, unit_of


class Better(StrEnum):
    """Which direction people want a metric to go."""

    LOWER = "lower"
    HIGHER = "higher"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class Metric:
    """A number people ask for.

    formula    over part names, in SQL's arithmetic; a division by zero is unknown. Empty for quantiles, which come
               from the quantity's histogram
    quantile   0..1, of the quantity
    is_rate    what the formula gives is divided by the hours of the window, or of the bucket within the window
    is_priced  GPU time at the rates of the GPU models: no formula over parts alone (framehouse/metrics/costs.py)
    where      values of dimensions that the metric itself names: the likeness in avg_likeness_score
    general    then the metric of all such values: avg_score
    """

    name: str
    prose: str
    formula: str = ""
    better: Better = Better.NEITHER
    quantity: Quantity | None = None
    quantile: float | None = None
    source: Source = ATTEMPTS
    is_rate: bool = False
    is_priced: bool = False
    where: tuple[tuple[str, str], ...] = ()
    general: str = ""

    @property
    def unit(self) -> Unit:
        return self.quantity.unit if self.quantity is not None else unit_of(self.name)


_WORSE_WHEN_HIGH = (
    "wall_seconds", "gpu_seconds", "energy_joules", "cpu_seconds", "time_per_frame_ms", "vram_peak_mb", "rss_peak_mb",
    "rss_mean_mb", "wall_seconds_per_segment", "gpu_seconds_per_segment", "queue_wait_seconds",
    "dependency_wait_seconds", "wasted_gpu_seconds", "wasted_wall_seconds", "cold_wall_seconds", "cold_gpu_seconds",
    "stage_ms",
)  # fmt: skip

#: Means that are a sum over a sum, and not the mean of the attempts' own ratios.
_RATIO_OF_SUMS = {
    "time_per_frame_ms": "wall_seconds_by_frames_sum * 1000 / wall_seconds_by_frames_work_sum",
    "rtf": "wall_seconds_by_input_seconds_work_sum / wall_seconds_by_input_seconds_sum",
    "wall_seconds_per_segment": "wall_seconds_by_segments_sum / wall_seconds_by_segments_work_sum",
    "gpu_seconds_per_segment": "gpu_seconds_by_segments_sum / gpu_seconds_by_segments_work_sum",
    "output_mb_per_segment": "output_mb_by_segments_sum / output_mb_by_segments_work_sum",
}

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def _direction(name: str) -> Better:
    if name in {"rtf", "score"}:
        return Better.HIGHER
    return Better.LOWER if name in _WORSE_WHEN_HIGH else Better.NEITHER


#: Scores of which less is better, by words in their names: distances and errors, and measures of what disturbs.
_DISTANCES = re.compile(
    r"(^|_)(lpips|dists|fid|kid|fvd|niqe|brisque|piqe|mse|rmse|mae|error|distance|loss|noise|flicker|artifacts?|drift)"
    r"(_|$)",
    re.IGNORECASE,
)


def direction_of_score(name: str) -> Better:
    """Higher is better, unless the name says that it measures a distance or an error."""
    return Better.LOWER if _DISTANCES.search(name) else Better.HIGHER


def _family(q: Quantity, source: Source = ATTEMPTS) -> list[Metric]:
    """The mean, spread, extremes and, where there is a histogram, the quantiles of a quantity."""
    n, better, text = q.name, _direction(q.name), q.prose.rstrip(".")
    mean = _RATIO_OF_SUMS.get(n, f"{n}_sum / {n}_count")
    spread = f"sqrt(abs({n}_sumsq - {n}_sum * {n}_sum / {n}_count) / ({n}_count - 1))"
    found = [
        Metric(f"avg_{n}", f"Mean. {text}.", mean, better, q, source=source),
        Metric(
            f"sd_{n}", f"Standard deviation over attempts. {text}.", spread, Better.NEITHER, q, source=source
        ),
        Metric(f"min_{n}", f"Lowest. {text}.", f"{n}_min", better, q, source=source),
        Metric(f"max_{n}", f"Highest. {text}.", f"{n}_max", better, q, source=source),
    ]
    if q.histogram is not None:
        found += [
            Metric(
                f"{prefix}_{n}", f"Quantile {share:g}, to within 1 %. {text}.", "", better, q, share, source
            )
            for prefix, share in _QUANTILES.items()
        ]
    return found


def _all_of(total: str, count: str = "succeeded_count") -> str:
    """A total over `count` attempts: of none it is 0; of some that nobody measured it is unknown.

    The divisor is 2 for a count of 0, and else 0, by which nothing can be divided.
    """
    return f"coalesce({total}, 0 / (abs({count} - 1) - ({count} - 1)))"


_WASTED = _all_of("wasted_gpu_seconds_sum", "(failed_count + canceled_count)")


def _hours_of(state: str) -> str:
    """None of a state, where heartbeats tell of another, is 0; where none tells anything it is unknown."""
    return f"coalesce({state}_seconds_sum, 0 * covered_seconds_sum) / 3600"


METRICS: tuple[Metric, ...] = (
    Metric("attempt_count", "Attempts, however they ended.", "attempt_count"),
    Metric("job_count", "Jobs: attempts that were a job's first.", "first_attempt_count"),
    Metric("succeeded_count", "Attempts that succeeded.", "succeeded_count", Better.HIGHER),
    Metric("failed_count", "Attempts that failed.", "failed_count", Better.LOWER),
    Metric("canceled_count", "Attempts that were canceled.", "canceled_count", Better.LOWER),
    Metric("failure_ratio", "Failed among all attempts.", "failed_count / attempt_count", Better.LOWER),
    Metric(
        "retry_ratio", "Attempts that were not a job's first, among all.",
        "(attempt_count - first_attempt_count) / attempt_count", Better.LOWER,
    ),
    Metric("cold_ratio", "Succeeded attempts with a model load inside.", "cold_count / succeeded_count", Better.LOWER),
    Metric("segment_count", "Segments made.", _all_of("segment_count_sum"), Better.HIGHER),
    Metric("frame_count", "Frames made.", _all_of("frame_count_sum"), Better.HIGHER),
    Metric("gpu_hours", "GPU hours of succeeded attempts.", f"{_all_of('gpu_seconds_sum')} / 3600"),
    Metric("wall_hours", "Wall hours of succeeded attempts.", f"{_all_of('wall_seconds_sum')} / 3600"),
    Metric("wasted_gpu_hours", "GPU hours of the others.", f"{_WASTED} / 3600", Better.LOWER),
    Metric(
        "wasted_gpu_ratio", "GPU time of failed and canceled attempts among all GPU time.",
        f"{_WASTED} / (coalesce(wasted_gpu_seconds_sum, 0) + coalesce(gpu_seconds_sum, 0))", Better.LOWER,
    ),
    Metric("output_gb", "What succeeded attempts wrote for keeps.", f"{_all_of('output_mb_sum')} / 1024"),
    Metric("energy_kwh", "Energy of succeeded attempts that knew theirs.",
           f"{_all_of('energy_joules_sum')} / 3600000"),
    Metric("succeeded_per_hour", "Attempts that succeeded, in an hour of the clock.", "succeeded_count", Better.HIGHER,
           is_rate=True),
    Metric("segments_per_hour", "Segments made in an hour of the clock.",
           _all_of("segment_count_sum"), Better.HIGHER, is_rate=True),
    Metric("frames_per_hour", "Frames made in an hour of the clock.",
           _all_of("frame_count_sum"), Better.HIGHER, is_rate=True),
    Metric("gpu_cost", "What the GPU time of all attempts cost; unknown where some has no rate.", is_priced=True,
           better=Better.LOWER),
    Metric("wasted_gpu_cost", "What the GPU time of failed and canceled attempts cost; likewise.", is_priced=True,
           better=Better.LOWER),
    Metric(
        "priced_gpu_cost", "What the GPU time that has a rate cost: all GPU time cost at least this.",
        is_priced=True, better=Better.LOWER,
    ),
    Metric(
        "gpu_cost_unknown_count",
        "Attempts that took GPU time without a rate, or that had a GPU and do not say for how long.",
        is_priced=True, better=Better.LOWER,
    ),
    Metric("priced_gpu_ratio", "GPU time that has a rate among all GPU time.", is_priced=True, better=Better.HIGHER),
    Metric(
        "gpu_time_unknown_count", "Attempts that did not say what GPU time they took: no cost counts them.",
        "attempt_count - gpu_seconds_count - wasted_gpu_seconds_count", Better.LOWER,
    ),
    Metric(
        "output_unknown_count", "Succeeded attempts that did not say what they wrote: no output counts them.",
        "succeeded_count - output_mb_count", Better.LOWER,
    ),
    *(metric for q in QUANTITIES for metric in _family(q)),
    Metric("score_count", "Scores given.", "score_count", source=SCORES),
    *_family(QUALITY, SCORES),
    Metric("stage_count", "Runs of a stage.", "stage_ms_count", source=STAGES),
    Metric("stage_hours", "Time of all runs of a stage; stages may overlap.", "stage_ms_sum / 3600000", source=STAGES),
    Metric(
        "stage_cached_ratio", "Results of a stage taken from a cache, among all.",
        "stage_cached_count / (stage_cached_count + stage_ms_count)", Better.HIGHER, source=STAGES,
    ),
    *_family(STAGE, STAGES),
    Metric(
        "generating_hours", "Hours in which workers generated.", _hours_of("generating"), Better.HIGHER,
        source=HEARTBEATS,
    ),
    Metric("idle_hours", "Hours in which workers waited.", _hours_of("idle"), Better.LOWER, source=HEARTBEATS),
    Metric("offline_hours", "Hours in which workers were off.", _hours_of("offline"), source=HEARTBEATS),
    Metric(
        "utilisation_ratio", "Generating among the hours that workers were on.",
        "coalesce(generating_seconds_sum, 0) / (covered_seconds_sum - coalesce(offline_seconds_sum, 0))", Better.HIGHER,
        source=HEARTBEATS,
    ),
)  # fmt: skip

_BY_NAME = {metric.name: metric for metric in METRICS}


def metric(name: str) -> Metric:
    """The metric of that name; a score or stage has its own, as in `avg_likeness_score`, `p90_sample_stage_ms`.

    Raises QueryError that names the nearest ones.
    """
    try:
        return _BY_NAME.get(name) or _of_one_kind(name)
    except KeyError:
        near = difflib.get_close_matches(name, _BY_NAME, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "docs/metrics.md lists them"
        raise QueryError(f"there is no metric {name!r}", hint=hint) from None


_ONE_KIND = re.compile(r"(avg|sd|min|max|p50|p90|p95|p99)_(.+)_(score|stage_ms)", re.DOTALL)


def _of_one_kind(name: str) -> Metric:
    """A score's or stage's own metric. Raises KeyError."""
    if (found := _ONE_KIND.fullmatch(name)) is None:
        raise KeyError(name)
    statistic, kind, suffix = found.groups()
    general = _BY_NAME[f"{statistic}_{suffix}"]
    assert general.source.kind is not None
    better = general.better
    if general.source is SCORES and better is not Better.NEITHER:
        better = direction_of_score(kind)
    return replace(
        general,
        name=name,
        prose=f"{general.prose.rstrip('.')}: {kind}.",
        better=better,
        where=((general.source.kind, kind),),
        general=general.name,
    )


def quantile_parts(q: Quantity) -> tuple[str, str, str]:
    """The parts that a quantile needs besides the histogram: count, min, max."""
    return (f"{q.name}_count", f"{q.name}_min", f"{q.name}_max")
