"""Comparisons that people ask for: two or more workflows, one workflow in two periods, or at two tiers.

Each is a set of sides (what to take, over which window); each pair is compared in each quantity, like for like:
on the same tiers and workers where both sides have enough of those in common, else on the same tiers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from framehouse.errors import QueryError
from framehouse.metrics.answers import Filter
from framehouse.metrics.changes import Change, changes
from framehouse.metrics.compare import LEVEL, Difference, Unclear, difference_by_day
from framehouse.metrics.definitions import Better
from framehouse.metrics.histories import History, compared, histories
from framehouse.metrics.provenance import Provenance, together
from framehouse.metrics.read import Reader
from framehouse.metrics.rollups import ROLLUPS
from framehouse.metrics.sentences import Finding, sentence
from framehouse.warehouse import Session, Warehouse
from framehouse.windows import Window

#: What is compared unless something else is asked for: what a unit of work takes.
QUANTITIES = (
    "wall_seconds_per_segment",
    "gpu_seconds_per_segment",
    "output_mb_per_segment",
    "time_per_frame_ms",
)
_STRATA = (("tier", "worker"), ("tier",), ())
#: Of each side, that has to be alike before a finer adjustment is used.
_ENOUGH = 0.5
#: Of a side's values, that may be 0 or below and so be left out.
_NOT_POSITIVE = 0.01
MOST_SIDES = 12
MOST_SCORES = 6


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison: its name, its window and what is taken of it ({"workflow": "a", "tier": "draft"})."""

    label: str
    window: Window
    where: Mapping[str, Filter]


@dataclass(frozen=True, slots=True)
class Compared:
    """One pair of sides in one quantity: the second beside the first.

    adjusted_for   dimensions within whose values the sides were compared
    """

    quantity: str
    first: str
    second: str
    difference: Difference
    adjusted_for: tuple[str, ...]

    @property
    def is_better(self) -> bool | None:
        """Whether the second is the better one, as far as it differs; None where neither way is."""
        better, ratio = compared(self.quantity).better, self.difference.ratio
        if ratio is None or better is Better.NEITHER:
            return None
        return (ratio < 1) is (better is Better.LOWER)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every pair in every quantity, at one level for all together; and a sentence for each pair."""

    compared: tuple[Compared, ...]
    sentences: tuple[str, ...]
    provenance: Provenance
    level: float = LEVEL


def compare(
    warehouse: Warehouse,
    sides: Sequence[Side],
    *,
    quantities: Sequence[str] | None = None,
    level: float = LEVEL,
) -> Comparison:
    """Compare each pair of sides in each quantity, all as of one instant; without any, in what a unit of work takes and
    in the scores that all sides have.

    Raises QueryError for fewer than two sides or more than 12, equal labels, and quantities that cannot be compared.
    """
    _check(sides, quantities if quantities is not None else QUANTITIES)
    pairs = list(combinations(sides, 2))
    found = []
    with warehouse.session(is_snapshot=True) as session:
        if quantities is None:
            quantities = [*QUANTITIES, *_scores_of_all(session, sides)]
        count = len(pairs) * len(quantities)
        read: list[_Histories] = []
        for quantity in quantities:
            days: _Histories = {}
            read.append(days)
            for first, second in pairs:
                found.append(_pair(session, quantity, first, second, days, count, level))
    sentences = [
        sentence(
            one.label,
            other.label,
            [
                Finding(c.quantity, c.difference, c.is_better)
                for c in found
                if (c.first, c.second) == (one.label, other.label)
            ],
        )
        for one, other in pairs
    ]
    return Comparison(tuple(found), tuple(sentences), _rests_on(read, sides), level)


def _scores_of_all(session: Session, sides: Sequence[Side]) -> list[str]:
    """The scores that every side has, those first that are given most often."""
    counts: list[dict[str, int]] = []
    for side in sides:
        rows = Reader(session, window=side.window, where=side.where).table("score_count", by="score")
        counts.append({str(row["score"]): row["score_count"] for row in rows if row["score_count"]})  # type: ignore[misc]
    common = set(counts[0]).intersection(*counts[1:])
    often = sorted(common, key=lambda name: (-min(one[name] for one in counts), name))
    return [f"{name}_score" for name in often[:MOST_SCORES]]


def changes_of(
    warehouse: Warehouse,
    quantity: str,
    *,
    window: Window,
    where: Mapping[str, Filter],
    zone_name: str | None = None,
) -> tuple[list[Change], Provenance]:
    """When something changed for what `where` names (usually a workflow): the jumps of its days, like for like."""
    with warehouse.session(is_snapshot=True) as session:
        days, provenance = _days(session, quantity, Side("", window, where), ("tier",), zone_name)
    return changes(days.days), provenance


#: A side's days, cut by some strata, and what they rest on.
_Histories = dict[tuple[str, tuple[str, ...]], tuple[History, Provenance]]


def _check(sides: Sequence[Side], quantities: Sequence[str]) -> None:
    if not 2 <= len(sides) <= MOST_SIDES:
        raise QueryError(f"{len(sides)} sides cannot be compared", hint=f"give 2 to {MOST_SIDES}")
    if len({side.label for side in sides}) < len(sides):
        raise QueryError("two sides have the same name", hint="give each workflow, tier or period once")
    if not quantities:
        raise QueryError("no quantity was asked for", hint=f"name some, such as {QUANTITIES[0]}")
    for quantity in quantities:
        compared(quantity)


def _pair(
    session: Session,
    quantity: str,
    first: Side,
    second: Side,
    days: _Histories,
    count: int,
    level: float,
) -> Compared:
    """The finest adjustment for which enough of both sides is alike."""
    differing = {
        dimension
        for dimension in {*first.where, *second.where}
        if first.where.get(dimension) != second.where.get(dimension)
    }
    options = dict.fromkeys(
        tuple(d for d in strata if d not in differing) for strata in _STRATA if _are_kept(strata, quantity)
    )
    best: Compared | None = None
    for strata in options:
        for side in (first, second):
            if (side.label, strata) not in days:
                days[side.label, strata] = _days(session, quantity, side, strata)
        both = [days[side.label, strata][0] for side in (first, second)]
        if any(one.nonpositive_count > _NOT_POSITIVE * one.count for one in both):
            told = Difference(None, left_out=(both[0].count, both[1].count), reason=Unclear.NOT_POSITIVE)
            return Compared(quantity, first.label, second.label, told, ())
        told = difference_by_day(
            *([day.sums for day in one.days] for one in both), comparisons=count, level=level
        )
        compared = Compared(quantity, first.label, second.label, told, strata)
        if _alike(told) >= _ENOUGH:
            return compared
        if best is None or _alike(told) > _alike(best.difference):
            best = compared
    assert best is not None
    return best


def _are_kept(strata: tuple[str, ...], quantity: str) -> bool:
    """Whether rollups keep a quantity by these dimensions: raw rows of a month are too many to cut finely."""
    source = compared(quantity).source
    parts = frozenset({source.parts[0].name})
    return any(r.source is source and r.has(frozenset({"workflow", *strata}), parts) for r in ROLLUPS)


def _alike(told: Difference) -> float:
    """The share of its samples that was compared, of the side of which it is less."""
    shares = [
        count / (count + left) if count + left else 0.0
        for count, left in zip(told.counts, told.left_out, strict=True)
    ]
    return min(shares)


def _days(
    session: Session, quantity: str, side: Side, strata: tuple[str, ...], zone_name: str | None = None
) -> tuple[History, Provenance]:
    found, provenance = histories(
        session,
        quantity,
        window=side.window,
        by="workflow",
        strata=strata,
        zone_name=zone_name,
        where=side.where,
    )
    if len(found) > 1:
        raise QueryError(f"{side.label!r} is of several workflows", hint="name one workflow for each side")
    return next(iter(found.values()), History()), provenance


def _rests_on(read: Sequence[_Histories], sides: Sequence[Side]) -> Provenance:
    """What each side has of the first quantity, once, however finely it was cut; and all that was read."""
    of_sides = [
        next(told for (label, _), (_, told) in read[0].items() if label == side.label) for side in sides
    ]
    every = together(told for days in read for _, told in days.values())
    return replace(together(of_sides), sources=every.sources, why_raw=every.why_raw)
