"""Comparisons that people ask for: two or more workflows, one workflow in two periods, or at two tiers.

Each is a set of sides (what to take, over which window); each pair is compared in each quantity, like for like:
on the same tiers and workers where both sides have enough of those in common, else on the same tiers. Where the sizes
of their work differ, what a segment or frame takes says nothing of who is faster (there are costs that do not grow with
them), so only attempts of the same size are compared.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import combinations

from framehouse.errors import NoAnswerError, QueryError
from framehouse.metrics.answers import Filter
from framehouse.metrics.changes import Change, changes
from framehouse.metrics.compare import (
    LEVEL,
    Difference,
    Effect,
    NoEffect,
    Strata,
    Unclear,
    added,
    effect,
    judged,
)
from framehouse.metrics.definitions import Better
from framehouse.metrics.histories import SIZES, History, Size, compared, histories, sizes
from framehouse.metrics.provenance import Provenance, resting_on
from framehouse.metrics.read import Reader
from framehouse.metrics.rollups import ATTEMPTS, ROLLUPS
from framehouse.metrics.sentences import Finding, sentence
from framehouse.warehouse import Session, Warehouse
from framehouse.windows import Window
from framehouse.zones import zone

#: What is compared unless something else is asked for: what a unit of work takes, of those that every side tells.
QUANTITIES = ("wall_seconds_per_segment", "gpu_seconds_per_segment", "output_mb_per_segment")
_WITHOUT_SEGMENTS = ("time_per_frame_ms", "gpu_seconds", "output_mb")
_STRATA = (("tier", "worker"), ("tier",))
#: Of each side, that has to be alike before a finer adjustment is used.
_ENOUGH = 0.5
#: Of a side's values, that may be 0 or below and so be left out.
_NOT_POSITIVE = 0.01
#: By less than this the sizes of two sides' work may differ: the mean (ln), and the squared coefficient of variation.
#: What a unit takes then differs by no more than a percent for that, whatever it costs to begin.
_SAME_SIZE, _SAME_SPREAD = 0.01, 0.02
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
        return _is_better(self.quantity, self.difference)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every pair in every quantity, at one level for all together; and a sentence for each pair.

    changes   when each quantity jumped within the history that was asked for, like for like
    """

    compared: tuple[Compared, ...]
    sentences: tuple[str, ...]
    provenance: Provenance
    level: float = LEVEL
    changes: Mapping[str, Sequence[Change]] = field(default_factory=dict)


def compare(
    warehouse: Warehouse,
    sides: Sequence[Side],
    *,
    quantities: Sequence[str] | None = None,
    level: float = LEVEL,
    history: Window | None = None,
    zone_name: str | None = None,
) -> Comparison:
    """Compare each pair of sides in each quantity, all as of one instant; without any, in what a unit of work takes and
    in the scores that all sides have. `history` asks when the first side's quantities (without any, those of work)
    jumped in that window, by the days of a zone.

    Raises QueryError for fewer than two sides or more than 12, equal labels, and quantities that cannot be compared.
    """
    _check(sides, quantities if quantities is not None else QUANTITIES)
    pairs = list(combinations(sides, 2))
    with warehouse.session(is_snapshot=True) as session:
        reading = _Reading(session)
        dated = quantities if quantities is not None else reading.usual(sides)
        if quantities is None:
            quantities = [*dated, *_scores_of_all(session, sides)]
        reading.will_ask(quantities)
        asked = [(quantity, *pair) for quantity in quantities for pair in pairs]
        effects = [reading.effect(*one) for one in asked]
        jumps = {}
        if history is not None:
            whole = Side("", history, sides[0].where)
            jumps = {quantity: reading.changes(quantity, whole, zone_name) for quantity in dated}
        rests_on = reading.rests_on(sides)
    told = judged([one for one, _ in effects], level=level)
    found = [
        Compared(quantity, first.label, second.label, difference, strata)
        for (quantity, first, second), (_, strata), difference in zip(asked, effects, told, strict=True)
    ]
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
    return Comparison(tuple(found), tuple(sentences), rests_on, level, jumps)


def change_told(workflow: str, quantity: str, change: Change, zone_name: str) -> str:
    """A jump in one sentence, with its day in a zone."""
    day = change.at.astimezone(zone(zone_name))
    told = Finding(quantity, change.difference, _is_better(quantity, change.difference))
    return sentence("before", f"{workflow} from {day:%Y-%m-%d} on", [told])


def _is_better(quantity: str, difference: Difference) -> bool | None:
    better, ratio = compared(quantity).better, difference.ratio
    if ratio is None or better is Better.NEITHER:
        return None
    return (ratio < 1) is (better is Better.LOWER)


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
        reading, side = _Reading(session), Side("", window, where)
        return reading.changes(quantity, side, zone_name), reading.rests_on([side])


def _around(side: Side, at: datetime) -> tuple[Side, Side]:
    """What was before an instant, and what came after."""
    before, after = Window(side.window.start, at), Window(at, side.window.end)
    return replace(side, label=f"before {at}", window=before), replace(side, label=f"from {at}", window=after)


def _check(sides: Sequence[Side], quantities: Sequence[str]) -> None:
    if not 2 <= len(sides) <= MOST_SIDES:
        raise QueryError(f"{len(sides)} sides cannot be compared", hint=f"give 2 to {MOST_SIDES}")
    if len({side.label for side in sides}) < len(sides):
        raise QueryError("two sides have the same name", hint="give each workflow, tier or period once")
    if not quantities:
        raise QueryError("no quantity was asked for", hint=f"name some, such as {QUANTITIES[0]}")
    for quantity in quantities:
        compared(quantity)


class _Reading:
    """What is read of sides in one session, each thing once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._asked: tuple[str, ...] = ()
        self._days: dict[tuple[str, str, tuple[str, ...]], History] = {}
        self._sizes: dict[tuple[str, tuple[str, ...]], Mapping[Hashable, Mapping[str, Size]]] = {}
        self._told: list[Provenance] = []

    def will_ask(self, quantities: Sequence[str]) -> None:
        """Which quantities are going to be asked for, so that those of attempts are read together."""
        self._asked = tuple(name for name in quantities if compared(name).source is ATTEMPTS)

    def usual(self, sides: Sequence[Side]) -> tuple[str, ...]:
        """What a unit of work takes, by segments if every side tells them."""
        has_segments = all(
            any("segments" in size for size in self._sizes_of(side, ("tier",)).values()) for side in sides
        )
        return QUANTITIES if has_segments else _WITHOUT_SEGMENTS

    def effect(self, quantity: str, first: Side, second: Side) -> tuple[Effect | NoEffect, tuple[str, ...]]:
        """The second beside the first, by the finest adjustment for which enough of both is alike; and which."""
        differing = {d for d in {*first.where, *second.where} if first.where.get(d) != second.where.get(d)}
        is_of_attempts = compared(quantity).source is ATTEMPTS
        told = self.sizes(first, second) if is_of_attempts else ()
        options = list(
            dict.fromkeys(
                (*(d for d in strata if d not in differing), *told)
                for strata in _STRATA
                if _are_kept(strata, quantity)
            )
        )
        try:
            both = [self.days(quantity, side, options[0]) for side in (first, second)]
        except NoAnswerError:
            if not told:
                raise
            return NoEffect(Unclear.OTHER_WORK, (0, 0)), ()
        if any(one.nonpositive_count > _NOT_POSITIVE * one.count for one in both):
            return NoEffect(Unclear.NOT_POSITIVE, (both[0].count, both[1].count)), ()

        def by(strata: tuple[str, ...]) -> Effect | NoEffect:
            kept = [options[0].index(dimension) for dimension in strata]
            return effect(*(_cut(one, kept) for one in both))

        found = []
        for strata in options:
            found.append((by(strata), strata))
            if _alike(found[-1][0]) >= _ENOUGH:
                return found[-1]
        best, strata = max(found, key=lambda one: _alike(one[0]))
        if isinstance(best, NoEffect):
            best, strata = found[-1]  # has the most in common
        if isinstance(best, NoEffect) and best.reason is Unclear.NOTHING_ALIKE and told:
            coarser = by(tuple(d for d in strata if d not in told))
            if not isinstance(coarser, NoEffect) or coarser.reason is not Unclear.NOTHING_ALIKE:
                best = replace(best, reason=Unclear.OTHER_WORK)
        return best, strata

    def sizes(self, first: Side, second: Side) -> tuple[str, ...]:
        """By what the work of two sides is told, where it is not of the same size; nothing where it is."""
        strata = ("tier",) if first.where.get("tier") == second.where.get("tier") else ()
        one, other = self._sizes_of(first, strata), self._sizes_of(second, strata)
        both = [(one[key], other[key]) for key in one.keys() & other.keys()]
        known = [name for name in SIZES if any(name in a and name in b for a, b in both)]
        is_other = any(
            _differ(a[name], b[name]) for a, b in both for name in known if name in a and name in b
        )
        return tuple(known) if is_other else ()

    def _sizes_of(self, side: Side, strata: tuple[str, ...]) -> Mapping[Hashable, Mapping[str, Size]]:
        if (side.label, strata) not in self._sizes:
            found, told = sizes(self._session, window=side.window, strata=strata, where=side.where)
            self._sizes[side.label, strata] = found
            self._told.append(told)
        return self._sizes[side.label, strata]

    def days(
        self, quantity: str, side: Side, strata: tuple[str, ...], zone_name: str | None = None
    ) -> History:
        """A side's days, cut by strata. Raises QueryError for a side of several workflows."""
        if (quantity, side.label, strata) not in self._days:
            together = self._asked if compared(quantity).source is ATTEMPTS else ()
            found, told = histories(
                self._session,
                list(dict.fromkeys((quantity, *together))),  # rows are read once for all of them
                window=side.window,
                by="workflow",
                strata=strata,
                zone_name=zone_name,
                where=side.where,
            )
            self._told.append(told)
            for name, groups in found.items():
                if len(groups) > 1:
                    raise QueryError(
                        f"{side.label!r} is of several workflows", hint="name one workflow for each side"
                    )
                self._days[name, side.label, strata] = next(iter(groups.values()), History())
        return self._days[quantity, side.label, strata]

    def changes(self, quantity: str, side: Side, zone_name: str | None) -> list[Change]:
        """The jumps of a side's days; of work of one size, where that is what changed."""
        found = changes(self.days(quantity, side, ("tier",), zone_name).days)
        if compared(quantity).source is not ATTEMPTS:
            return found
        if not any(self.sizes(*_around(side, change.at)) for change in found):
            return found
        try:
            return changes(self.days(quantity, side, ("tier", *SIZES), zone_name).days)
        except NoAnswerError:
            return []  # nobody can tell any more whether it was the work that changed

    def rests_on(self, sides: Sequence[Side]) -> Provenance:
        """How many attempts the sides have; and all that was read."""
        counted = [Reader(self._session, window=side.window, where=side.where).provenance() for side in sides]
        return resting_on(counted, self._told)


def _cut(history: History, kept: Sequence[int]) -> list[Strata]:
    """A history's days by some alone of the dimensions that it was cut by."""
    return [added([{_coarser(key, kept): sums} for key, sums in day.sums.items()]) for day in history.days]


def _coarser(key: Hashable, kept: Sequence[int]) -> Hashable:
    assert isinstance(key, tuple)
    return tuple(key[at] for at in kept)


def _differ(one: Size, other: Size) -> bool:
    """Whether work is of other sizes, so that what a unit takes may differ for that alone."""
    apart = abs(math.log(other.mean / one.mean))
    return apart > _SAME_SIZE or abs(other.spread - one.spread) > _SAME_SPREAD


def _are_kept(strata: tuple[str, ...], quantity: str) -> bool:
    """Whether rollups keep a quantity by these dimensions: raw rows of a month are too many to cut finely."""
    source = compared(quantity).source
    parts = frozenset({source.parts[0].name})
    return any(r.source is source and r.has(frozenset({"workflow", *strata}), parts) for r in ROLLUPS)


def _alike(told: Effect | NoEffect) -> float:
    """The share of its samples that was compared, of the side of which it is less."""
    if isinstance(told, NoEffect):
        return 0.0
    return min(count / (count + left) for count, left in zip(told.counts, told.left_out, strict=True))
