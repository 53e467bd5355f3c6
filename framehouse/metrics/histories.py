"""Histories out of a warehouse: what each group took, day by day and stratum by stratum, as sums of logarithms."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from framehouse.errors import QueryError
from framehouse.metrics.answers import Filter, Key, read_parts
from framehouse.metrics.changes import Day
from framehouse.metrics.compare import LogSums
from framehouse.metrics.definitions import Metric, metric
from framehouse.metrics.provenance import Provenance, parts_told, provenance
from framehouse.metrics.quantities import QUANTITIES
from framehouse.metrics.rollups import ATTEMPTS, Source
from framehouse.metrics.table import number
from framehouse.warehouse import Session
from framehouse.windows import Grain, Window

COMPARED = tuple(quantity.name for quantity in QUANTITIES if quantity.is_logged)


#: Attempts by the size of their work too, in steps of 2 %. No rollup keeps that: it is read from raw rows, and only
#: where the sizes of two sides differ.
_SIZED = Source(
    name="attempts_by_size",
    table=ATTEMPTS.table,
    time=ATTEMPTS.time,
    dimensions={**ATTEMPTS.dimensions, "segments": "segments_step", "frames": "frames_step"},
    parts=ATTEMPTS.parts,
    marks=ATTEMPTS.marks,
    unnested="(select round(50 * ln(nullif(segment_count, 0))), round(50 * ln(nullif(frame_count, 0))))"
    " as sizes (segments_step, frames_step)",
)
#: What the size of an attempt's work is told by, and the quantity that counts it.
SIZES = {"segments": "segment_count", "frames": "frame_count"}


@dataclass(frozen=True, slots=True)
class Size:
    """How large the work of some attempts was: the mean and the sample variance."""

    mean: float
    variance: float

    @property
    def spread(self) -> float:
        """The squared coefficient of variation."""
        return self.variance / self.mean**2


@dataclass(slots=True)
class History:
    """The days of a group, in order; and how many of its values are not above 0 and so have no logarithm."""

    days: list[Day] = field(default_factory=list)
    count: int = 0
    nonpositive_count: int = 0


@lru_cache(256)
def compared(name: str) -> Metric:
    """The mean of a quantity whose logarithms are kept, also of a score or stage (`likeness_score`, `sample_stage_ms`).

    Raises QueryError for any other name.
    """
    try:
        found = metric(f"avg_{name}")
    except QueryError:
        found = None
    if (
        found is None
        or found.quantity is None
        or not found.quantity.is_logged
        or bool(found.source.kind) != bool(found.where)
    ):
        raise QueryError(
            f"{name!r} cannot be compared",
            hint=f"one of: {', '.join(COMPARED)}, or a score such as likeness_score",
        )
    return found


def histories(
    session: Session,
    quantities: Sequence[str],
    *,
    window: Window,
    by: str,
    strata: Sequence[str],
    zone_name: str | None = None,
    where: Mapping[str, Filter] | None = None,
) -> tuple[dict[str, dict[str | None, History]], Provenance]:
    """The days of each group (each value of the dimension `by`), stratified by other dimensions, in order; of several
    quantities of attempts at once, or of one score or stage.

    Raises QueryError for a quantity or dimension that cannot be had.
    """
    read, provenance = _read(session, quantities, window, (by, *strata), where, Grain.DAY, zone_name)
    return {quantity: _by_group(rows) for quantity, rows in read.items()}, provenance


def _by_group(rows: Sequence["_Row"]) -> dict[str | None, History]:
    found: dict[str | None, History] = {}
    days: dict[str | None, dict[datetime, dict[Hashable, LogSums]]] = {}
    for (start, named, *key), count, sums in rows:
        group = None if named is None else str(named)
        history = found.setdefault(group, History())
        history.count += count
        history.nonpositive_count += count - (sums.count if sums else 0)
        if sums:
            assert isinstance(start, datetime)
            days.setdefault(group, {}).setdefault(start, {})[tuple(key)] = sums
    for group, of_group in days.items():
        found[group].days = [Day(start, of_group[start]) for start in sorted(of_group)]
    return found


def totals(
    session: Session,
    quantity: str,
    *,
    window: Window,
    by: str,
    strata: Sequence[str],
    where: Mapping[str, Filter] | None = None,
) -> tuple[dict[str, dict[Hashable, LogSums]], Provenance]:
    """Each group's strata over the whole window; groups without a name are left out."""
    read, provenance = _read(session, [quantity], window, (by, *strata), where)
    found: dict[str, dict[Hashable, LogSums]] = {}
    for (group, *key), _, sums in read[quantity]:
        if group is not None and sums is not None:
            found.setdefault(str(group), {})[tuple(key)] = sums
    return found, provenance


def sizes(
    session: Session, *, window: Window, strata: Sequence[str], where: Mapping[str, Filter] | None = None
) -> tuple[dict[Hashable, dict[str, Size]], Provenance]:
    """The sizes of the work (of SIZES) of attempts in each stratum; those that nobody told are left out."""
    parts = [f"{name}_{kind}" for name in SIZES.values() for kind in ("count", "sum", "sumsq")]
    answer = read_parts(
        session, ATTEMPTS, [*parts, *parts_told(ATTEMPTS)], window=window, by=strata, where=where
    )
    found: dict[Hashable, dict[str, Size]] = {}
    for key, values in answer.values.items():
        for size, name in SIZES.items():
            count, total, squares = (
                number(values[f"{name}_{kind}"]) or 0.0 for kind in ("count", "sum", "sumsq")
            )
            if total > 0:
                variance = max(0.0, squares - total * total / count) / (count - 1) if count > 1 else 0.0
                found.setdefault(key, {})[size] = Size(total / count, variance)
    return found, provenance(answer, ATTEMPTS)


#: A key, how many values there are, and the sums of those that have a logarithm (None: none has).
_Row = tuple[Key, int, LogSums | None]


def _read(
    session: Session,
    quantities: Sequence[str],
    window: Window,
    by: Sequence[str],
    where: Mapping[str, Filter] | None,
    grain: Grain | None = None,
    zone_name: str | None = None,
) -> tuple[dict[str, list[_Row]], Provenance]:
    """The rows of each quantity, in one answer. All are of one source, and of scores and stages there is one."""
    first = compared(quantities[0])
    source = _SIZED if SIZES.keys() & set(by) else first.source
    parts = {
        name: [f"{of.name}_{kind}" for kind in ("count", "ln_count", "ln_sum", "ln_sumsq")]
        for name in quantities
        if (of := compared(name).quantity)
    }
    answer = read_parts(
        session,
        source,
        [*(part for own in parts.values() for part in own), *parts_told(source)],
        window=window,
        by=by,
        grain=grain,
        zone_name=zone_name,
        where={**(where or {}), **dict(first.where)},
    )
    found: dict[str, list[_Row]] = {name: [] for name in parts}
    for key, values in answer.values.items():
        for name, own in parts.items():
            count, logged, total, squares = (number(values[part]) or 0.0 for part in own)
            if count:
                found[name].append(
                    (key, int(count), LogSums(int(logged), total, squares) if logged else None)
                )
    return found, provenance(answer, source)
