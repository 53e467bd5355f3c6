"""Which relations answer a question: the coarsest cells that are current, and finer ones wherever they are not.

    |raw|--fine--|------------- daily -------------|--fine--|raw|
   start      first studio midnight           last studio midnight end

A day that has a mark is read from finer cells, the quarter hour that was touched from raw rows: the very thing that
the rollups' views do, but with the marks known, so that the database need not plan for what it will not read. Where
too many marks wait to be known, the views are read.

A dimension that no rollup keeps, or a part that none has, is read from raw as a whole. Where raw data was dropped the
answer is NoAnswerError and never something else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from framehouse.errors import NoAnswerError
from framehouse.metrics.rollups import ROLLUPS, Rollup, Source
from framehouse.windows import (
    FINE,
    Grain,
    Window,
    block_minutes,
    first_instant,
    floor,
    floor_utc,
    following,
)
from framehouse.zones import zone

_COARSEST_FIRST = (Grain.DAY, Grain.HOUR, Grain.FINE)


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
    """The arms, in time order and without gaps or overlaps, and why raw is among them (if it is).

    `cells` names the relation that holds a rollup's cells, if those of all its arms are right; else its view has to be
    read.
    """

    arms: tuple[Arm, ...]
    why_raw: str | None
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Marks:
    """Which buckets' cells may be out of date: touched quarter hours and studio days by source, and the buckets that a
    new rollup's backfill has not reached, by rollup."""

    touched: Mapping[str, frozenset[datetime]] = field(default_factory=dict)
    touched_days: Mapping[str, frozenset[datetime]] = field(default_factory=dict)
    pending: Mapping[str, frozenset[datetime]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Built:
    """A rollup as a warehouse has it, which may be an older or a newer shape than this program's.

    cells           the relation that holds them
    complete_from   from when on it is complete (None: all of history)
    parts           the parts that it computes just as this program does
    parts_from      parts that were added or changed later: from when on they are known
    """

    cells: str
    parts: frozenset[str]
    complete_from: datetime | None = None
    parts_from: Mapping[str, datetime] = field(default_factory=dict)

    def has(self, parts: frozenset[str]) -> bool:
        return parts <= self.parts

    def known_from(self, parts: frozenset[str]) -> datetime | None:
        """From when on it knows all of these parts; None: all of history."""
        later = [since for part, since in self.parts_from.items() if part in parts]
        return max([*later, *([self.complete_from] if self.complete_from else [])], default=None)


@dataclass(frozen=True, slots=True)
class State:
    """What a warehouse has: the studio's zone and the blocks of its days, the fence, the rollups that are built, and
    the marks (None: too many)."""

    studio_zone: str
    raw_from: datetime | None
    built: Mapping[str, Built]
    marks: Marks | None = Marks()
    block_minutes: int = 60


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
        and state.built[rollup.name].has(parts)
        and not is_raw
    ]
    arms = [Arm(window)] if not window.is_empty else []
    for rollup in sorted(able, key=_cost):
        if _fits(rollup, grain, zone_name, state):
            pieces = [[arm] if arm.rollup else _split(arm.window, rollup, parts, state) for arm in arms]
            arms = _joined([piece for some in pieces for piece in some])
    why = _why_raw(source, dimensions, parts, arms, is_raw=is_raw, has_rollup=bool(able))
    _check_fence(arms, state.raw_from, why)
    cells = (
        {rollup.name: state.built[rollup.name].cells for rollup in able} if state.marks is not None else {}
    )
    return Plan(tuple(arms), why, cells)


def _cost(rollup: Rollup) -> tuple[int, int, int]:
    """The coarsest first, then the one with the fewest cells, then the one with the smallest."""
    return (_COARSEST_FIRST.index(rollup.grain), len(rollup.dimensions), len(rollup.parts))


@dataclass(frozen=True, slots=True)
class _Calendar:
    """The buckets of a rollup: studio days, or multiples of a width."""

    tz: ZoneInfo
    width: timedelta | None

    def floor(self, instant: datetime) -> datetime:
        return floor(instant, Grain.DAY, self.tz) if self.width is None else floor_utc(instant, self.width)

    def ceil(self, instant: datetime) -> datetime:
        start = self.floor(instant)
        return start if start == instant else self.bucket(start).end

    def bucket(self, start: datetime) -> Window:
        end = following(start, Grain.DAY, self.tz) if self.width is None else start + self.width
        return Window(start, end)


def _calendar(rollup: Rollup, state: State) -> _Calendar:
    widths = {Grain.FINE: FINE, Grain.HOUR: timedelta(minutes=state.block_minutes), Grain.DAY: None}
    return _Calendar(zone(state.studio_zone), widths[rollup.grain])


def _fits(rollup: Rollup, grain: Grain | None, zone_name: str, state: State) -> bool:
    """Whether every bucket of the answer is made of whole buckets of the rollup."""
    if rollup.grain is Grain.FINE or grain is None:
        return True
    if rollup.grain is Grain.DAY:
        return grain.is_calendar and zone_name == state.studio_zone
    return grain is not Grain.FINE and block_minutes(zone(zone_name)) >= state.block_minutes


def _stale(rollup: Rollup, calendar: _Calendar, marks: Marks) -> list[Window]:
    """The buckets of a rollup whose cells may be out of date, in order."""
    starts = {calendar.floor(bucket) for bucket in marks.touched.get(rollup.source.marks, ())}
    labels = marks.pending.get(rollup.name, frozenset())
    if rollup.grain is Grain.DAY:
        labels |= marks.touched_days.get(rollup.source.marks, frozenset())
        # The database names a day by what plain arithmetic says that its first instant is.
        labels = frozenset(first_instant(label, Grain.DAY, calendar.tz) for label in labels)
    return [calendar.bucket(start) for start in sorted(starts | labels)]


def _split(window: Window, rollup: Rollup, parts: frozenset[str], state: State) -> list[Arm]:
    """A window in pieces: the rollup's where it has whole buckets with current cells, nobody's yet elsewhere."""
    calendar = _calendar(rollup, state)
    known_from = state.built[rollup.name].known_from(parts)
    start = calendar.ceil(window.start if known_from is None else max(window.start, known_from))
    end = calendar.floor(window.end)
    if start >= end:
        return [Arm(window)]
    stale = _stale(rollup, calendar, state.marks) if state.marks is not None else []
    gaps = [gap for gap in stale if gap.start < end and gap.end > start]
    edges = [start, *(edge for gap in gaps for edge in (gap.start, gap.end)), end]
    pieces = [Arm(Window(window.start, start)), Arm(Window(end, window.end))]
    pieces += [Arm(gap) for gap in gaps]
    pieces += [Arm(Window(*pair), rollup) for pair in zip(edges[::2], edges[1::2], strict=True)]
    return sorted(
        (piece for piece in pieces if not piece.window.is_empty), key=lambda piece: piece.window.start
    )


def _joined(arms: list[Arm]) -> list[Arm]:
    """Neighbours of one relation as one."""
    found: list[Arm] = []
    for arm in arms:
        if found and found[-1].rollup is arm.rollup:
            found[-1] = Arm(Window(found[-1].window.start, arm.window.end), arm.rollup)
        else:
            found.append(arm)
    return found


def _why_raw(
    source: Source,
    dimensions: frozenset[str],
    parts: frozenset[str],
    arms: list[Arm],
    *,
    is_raw: bool,
    has_rollup: bool,
) -> str | None:
    read = [arm.window for arm in arms if arm.rollup is None]
    if not read:
        return None
    if is_raw:
        return "asked for"
    if has_rollup:
        # Marks are of whole quarter hours; only the window's own edges can lie within one.
        is_edge = any(edge != floor_utc(edge, FINE) for window in read for edge in (window.start, window.end))
        return (
            "the window begins or ends inside the rollup's buckets"
            if is_edge
            else "rows came since the rollup's cells were computed"
        )
    kept = {d for r in ROLLUPS if r.source is source for d in r.dimensions}
    if missing := sorted(dimensions - kept):
        return f"no rollup keeps {', '.join(missing)}"
    own = [r for r in ROLLUPS if r.source is source]
    if any(r.has(dimensions, parts) for r in own):
        return "rollups were not built yet, or by another version of framehouse that computes these parts otherwise"
    if any(r.has(frozenset(), parts) for r in own):
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
