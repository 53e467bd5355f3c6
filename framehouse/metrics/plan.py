"""Which relations answer a question: the coarsest rollup that can, and finer ones at the window's edges.

    |raw|--fine--|------------- daily -------------|--fine--|raw|
   start      first studio midnight           last studio midnight end

A dimension that no rollup keeps, or a part that none has, is read from raw as a whole. Where raw data was dropped the
answer is NoAnswerError and never something else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from framehouse.errors import NoAnswerError
from framehouse.metrics.rollups import ROLLUPS, Rollup, Source
from framehouse.windows import Grain, Window, ceil, floor, zone


@dataclass(frozen=True, slots=True)
class Arm:
    """One relation read over one window; `rollup` is None for raw."""

    window: Window
    rollup: Rollup | None = None

    @property
    def name(self) -> str:
        return "raw" if self.rollup is None else self.rollup.name


@dataclass(frozen=True, slots=True)
class Plan:
    """The arms, in time order and without gaps or overlaps, and why raw is among them (if it is)."""

    arms: tuple[Arm, ...]
    why_raw: str | None


@dataclass(frozen=True, slots=True)
class State:
    """What a warehouse has: the studio's zone, the fence, and for each built rollup the instant from which it is
    complete (None: all of history)."""

    studio_zone: str
    raw_from: datetime | None
    built: Mapping[str, datetime | None]


def plan(
    source: Source,
    dimensions: frozenset[str],
    parts: frozenset[str],
    window: Window,
    *,
    state: State,
    grain: Grain | None = None,
    zone_name: str = "UTC",
    is_raw: bool = False,
) -> Plan:
    """The cheapest arms that give the identical answer. `is_raw` reads everything from raw.

    Raises NoAnswerError when raw data is needed that was dropped.
    """
    able = [
        rollup
        for rollup in ROLLUPS
        if rollup.source is source
        and rollup.name in state.built
        and rollup.has(dimensions, parts)
        and not is_raw
    ]
    daily = _narrowest(able, Grain.DAY)
    if grain in {Grain.FINE, Grain.HOUR} or (grain is not None and zone_name != state.studio_zone):
        daily = None
    fine = _narrowest(able, Grain.FINE)
    tz = zone(state.studio_zone)
    arms = [Arm(window)] if not window.is_empty else []
    if daily is not None:
        first = ceil(_since(window.start, state.built[daily.name]), Grain.DAY, tz)
        arms = _split(arms, daily, first, floor(window.end, Grain.DAY, tz))
    if fine is not None:
        cut = []
        for arm in arms:
            start = ceil(_since(arm.window.start, state.built[fine.name]), Grain.FINE, tz)
            end = floor(arm.window.end, Grain.FINE, tz)
            cut += [arm] if arm.rollup else _split([arm], fine, start, end)
        arms = cut
    why = _why_raw(source, dimensions, parts, arms, is_raw=is_raw, has_rollup=bool(able))
    _check_fence(arms, state.raw_from, why)
    return Plan(tuple(arms), why)


def _since(start: datetime, complete_from: datetime | None) -> datetime:
    return start if complete_from is None else max(start, complete_from)


def _narrowest(rollups: list[Rollup], grain: Grain) -> Rollup | None:
    found = [rollup for rollup in rollups if rollup.grain is grain]
    return min(found, key=lambda r: len(r.dimensions), default=None)


def _split(arms: list[Arm], rollup: Rollup, start: datetime, end: datetime) -> list[Arm]:
    """Put a rollup's arm between `start` and `end` of the one arm there is."""
    if not arms or start >= end:
        return arms
    whole = arms[0].window
    pieces = [Arm(Window(whole.start, start)), Arm(Window(start, end), rollup), Arm(Window(end, whole.end))]
    return [piece for piece in pieces if not piece.window.is_empty]


def _why_raw(
    source: Source,
    dimensions: frozenset[str],
    parts: frozenset[str],
    arms: list[Arm],
    *,
    is_raw: bool,
    has_rollup: bool,
) -> str | None:
    if all(arm.rollup for arm in arms):
        return None
    if is_raw:
        return "asked for"
    if has_rollup:
        return "the window begins or ends inside the rollup's buckets"
    kept = {d for r in ROLLUPS if r.source is source for d in r.dimensions}
    if missing := sorted(dimensions - kept):
        return f"no rollup keeps {', '.join(missing)}"
    if any(r.has(frozenset(), parts) for r in ROLLUPS if r.source is source):
        return f"no rollup keeps {' and '.join(sorted(dimensions)) or 'these parts'} together"
    return "no rollup keeps all of these parts"


def _check_fence(arms: list[Arm], raw_from: datetime | None, why: str | None) -> None:
    if raw_from is None:
        return
    for arm in arms:
        if arm.rollup is None and arm.window.start < raw_from:
            raise NoAnswerError(
                f"raw data before {raw_from:%Y-%m-%d %H:%M} UTC was dropped, and this needs it: {why}",
                hint=f"begin the window at {raw_from.isoformat()} or later, or at a studio midnight",
            )
