"""`metrics.read(...)`: the one way from a metric's name to numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from framehouse.errors import QueryError
from framehouse.events import Outcome, printable
from framehouse.metrics.compile import Query, Question, check_dimensions, histograms_query, metrics_query
from framehouse.metrics.definitions import Metric, metric
from framehouse.metrics.plan import Built, Marks, Plan, State, plan
from framehouse.metrics.quantiles import quantile
from framehouse.metrics.quantities import Histogram
from framehouse.metrics.rollups import NAMES, ROLLUPS, Rollup, Source
from framehouse.metrics.table import Column, Table, Value
from framehouse.warehouse import Session, Warehouse
from framehouse.windows import Grain, Window, first_instant, following, zone

#: Above so many marks near a window, the views sort out which buckets are current.
MOST_MARKS = 1000

Filter = str | None | Sequence[str | None]


def read(
    warehouse: Warehouse,
    metrics: str | Sequence[str],
    *,
    window: Window,
    by: str | Sequence[str] = (),
    grain: Grain | str | None = None,
    zone_name: str | None = None,
    where: Mapping[str, Filter] | None = None,
    is_raw: bool = False,
) -> Table:
    """Metrics over a window, by dimensions, per bucket of a grain in a zone (the studio's, unless another is named).

    `where` keeps some values of a dimension: {"tier": "draft", "workflow": ["a", "b"]}; None stands for "none given".
    Answered from the coarsest rollup that gives the identical answer; `is_raw` computes everything from raw rows.
    All of an answer is of one instant. Raises QueryError for what cannot be asked, NoAnswerError where raw data that
    it needs was dropped.
    """
    with warehouse.session(is_snapshot=True) as session:
        return read_in(
            session,
            metrics,
            window=window,
            by=by,
            grain=grain,
            zone_name=zone_name,
            where=where,
            is_raw=is_raw,
        )


def read_in(
    session: Session,
    metrics: str | Sequence[str],
    *,
    window: Window,
    by: str | Sequence[str] = (),
    grain: Grain | str | None = None,
    zone_name: str | None = None,
    where: Mapping[str, Filter] | None = None,
    is_raw: bool = False,
) -> Table:
    """`read`, in a snapshot that is open already, so that several answers are of one instant."""
    # Asked for twice is asked for once.
    wanted = tuple(metric(name) for name in dict.fromkeys([metrics] if isinstance(metrics, str) else metrics))
    if not wanted:
        raise QueryError("no metric was asked for", hint='name some, such as ["attempt_count"]')
    dimensions = (by,) if isinstance(by, str) else tuple(dict.fromkeys(by))
    step = _grain(grain)
    if zone_name is not None:
        zone(zone_name)
    sources = {m.source.name: m.source for m in wanted}
    for source in sources.values():
        check_dimensions(source, [*dimensions, *(where or {})])
    state = read_state(session, window)
    chosen = _ids(session, where or {})
    answers = [
        _answer(
            session,
            source,
            wanted,
            dimensions,
            window,
            step,
            zone_name or state.studio_zone,
            chosen,
            state,
            is_raw,
        )
        for source in sources.values()
    ]
    return _joined(wanted, dimensions, step, answers)


@dataclass(frozen=True, slots=True)
class Answer:
    """Values by name for each key (the bucket's start, if there is a grain, then the dimensions), in order."""

    values: dict[tuple[Value, ...], dict[str, Value]]
    plans: tuple[Plan, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """The rollups (or raw) that were read."""
        return _sources([self])

    @property
    def why_raw(self) -> str | None:
        """Why raw was among them."""
        return _why_raw([self])


def read_parts(
    session: Session,
    source: Source,
    parts: Sequence[str],
    *,
    window: Window,
    by: Sequence[str] = (),
    grain: Grain | None = None,
    zone_name: str | None = None,
    where: Mapping[str, Filter] | None = None,
) -> Answer:
    """Parts, merged but in no formula yet, for what has to add up more than one answer's rows."""
    check_dimensions(source, [*by, *(where or {})])
    state, chosen = read_state(session, window), _ids(session, where or {})
    wanted = tuple(Metric(part, "", formula=part, source=source) for part in dict.fromkeys(parts))
    zone_name = zone_name or state.studio_zone
    return _answer(session, source, wanted, tuple(by), window, grain, zone_name, chosen, state, is_raw=False)


def _sources(answers: Sequence[Answer]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(arm.name for answer in answers for plan in answer.plans for arm in plan.arms))


def _why_raw(answers: Sequence[Answer]) -> str | None:
    return next((plan.why_raw for answer in answers for plan in answer.plans if plan.why_raw), None)


def _answer(
    session: Session,
    source: Source,
    wanted: tuple[Metric, ...],
    by: tuple[str, ...],
    window: Window,
    grain: Grain | None,
    zone_name: str,
    where: Mapping[str, tuple[int | str | None, ...]],
    state: State,
    is_raw: bool,
) -> Answer:
    own = tuple(m for m in wanted if m.source is source)
    question = Question(source, own, by, window, grain, zone_name, where)

    def planned(parts: frozenset[str]) -> Plan:
        return plan(
            source,
            question.dimensions,
            parts,
            window,
            state=state,
            grain=grain,
            zone_name=zone_name,
            is_raw=is_raw,
        )

    plans = [planned(question.parts())]
    found = _table(session, metrics_query(question, plans[0]), question)
    if question.quantiles:
        plans.append(planned(question.histograms()))
        bins = _table(session, histograms_query(question, plans[1]), question)
        for key, values in found.items():
            for m in own:
                if m.quantile is not None:
                    values[m.name] = _quantile(m, values, bins.get(key, {}))
    for m in own:
        if m.is_rate:
            for key, values in found.items():
                values[m.name] = _per_hour(values[m.name], key, question)
    return Answer(found, tuple(plans))


def _per_hour(amount: float | None, key: tuple[Value, ...], question: Question) -> float | None:
    """An amount in an hour of its bucket, as far as that lies within the window."""
    window = question.window
    if question.grain is not None:
        start = key[0]
        assert isinstance(start, datetime)
        window = Window(
            max(start, window.start),
            min(following(start, question.grain, zone(question.zone_name)), window.end),
        )
    hours = (window.end - window.start) / timedelta(hours=1)
    return None if amount is None or not hours else amount / hours


def _table(session: Session, query: Query, question: Question) -> dict[tuple[Value, ...], dict[str, Any]]:
    names, rows = session.table(query.text, query.params)
    count = len(question.by) + (question.grain is not None)
    return {_key(row[:count], question): dict(zip(names[count:], row[count:], strict=True)) for row in rows}


def _key(key: tuple[Any, ...], question: Question) -> tuple[Value, ...]:
    if question.grain is None:
        return key
    return (first_instant(key[0], question.grain, zone(question.zone_name)), *key[1:])


def _quantile(m: Metric, values: Mapping[str, Any], bins: Mapping[str, Any]) -> float | None:
    assert m.quantity is not None
    assert m.quantity.histogram is not None
    assert m.quantile is not None
    name = m.quantity.name
    return quantile(
        m.quantile,
        _dense(m.quantity.histogram, bins.get(f"{name}_bins", ()), bins.get(name, ())),
        m.quantity.histogram,
        count=values[f"_{name}_count"] or 0,
        low=values[f"_{name}_min"],
        high=values[f"_{name}_max"],
    )


def _dense(histogram: Histogram, places: Sequence[int], counts: Sequence[int]) -> list[int]:
    """Every bin's count, from those that have one and their places from 1."""
    found = [0] * (histogram.bins + 2)
    for place, number in zip(places, counts, strict=True):
        found[place - 1] = number
    return found


def _joined(
    wanted: tuple[Metric, ...], by: tuple[str, ...], grain: Grain | None, answers: list[Answer]
) -> Table:
    keys = [Column("bucket", None, "The bucket's first instant, UTC.")] if grain is not None else []
    keys += [Column(dimension, None, f"The {dimension.replace('_', ' ')}.") for dimension in by]
    order: dict[tuple[Value, ...], None] = {}
    for answer in answers:
        order |= dict.fromkeys(answer.values)
    ordered = sorted(order, key=_sortable) if len(answers) > 1 else list(order)
    rows = []
    for key in ordered:
        merged: dict[str, Value] = {}
        for answer in answers:
            merged |= answer.values.get(key, {})
        rows.append((*key, *(merged.get(m.name) for m in wanted)))
    return Table(
        columns=(*keys, *(Column(m.name, m.unit, m.prose) for m in wanted)),
        rows=tuple(rows),
        sources=_sources(answers),
        why_raw=_why_raw(answers),
    )


def _sortable(key: tuple[Value, ...]) -> tuple[tuple[bool, Any], ...]:
    return tuple((value is None, value or 0) for value in key)


def studio_zone(warehouse: Warehouse) -> str:
    """The zone whose days the daily cells follow."""
    with warehouse.session() as session:
        return str(session.value("metrics.studio_zone") or "UTC")


def read_state(session: Session, window: Window) -> State:
    """What the warehouse has, and what is marked near a window."""
    row = session.row("metrics.state", {"start": window.start, "end": window.end, "limit": MOST_MARKS})
    assert row is not None
    built: dict[str, Built] = {}
    for rollup in ROLLUPS:  # each after the finer one that it is computed from
        if rollup.name in row["built"]:
            built[rollup.name] = _built(session, rollup, built, *row["built"][rollup.name])
    return State(
        row["studio_zone"] or "UTC", row["raw_from"], built, _marks(row["marks"]), row["block_minutes"] or 60
    )


def _built(
    session: Session,
    rollup: Rollup,
    finer: Mapping[str, Built],
    cells: str,
    definition_hash: str,
    since: str | None,
    parts_from: Mapping[str, str],
) -> Built:
    if definition_hash not in _PARTS:  # a definition never changes, so this is asked once
        _PARTS[definition_hash] = rollup.kept(session.value("metrics.definition", {"name": rollup.name}))
    parts = _PARTS[definition_hash]
    if rollup.finer is not None:
        parts &= finer[rollup.finer].parts if rollup.finer in finer else frozenset()
    later = {part: datetime.fromisoformat(at) for part, at in parts_from.items()}
    return Built(cells, parts, _instant(since), later)


_PARTS: dict[str, frozenset[str]] = {}


def _marks(found: list[tuple[str, str, str]] | None) -> Marks | None:
    if found is None:
        return None
    kinds: dict[str, dict[str, set[datetime]]] = {"touched": {}, "day": {}, "pending": {}}
    for kind, name, bucket in found:
        kinds[kind].setdefault(name, set()).add(datetime.fromisoformat(bucket))
    return Marks(*({name: frozenset(some) for name, some in of.items()} for of in kinds.values()))


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _ids(session: Session, where: Mapping[str, Filter]) -> dict[str, tuple[int | str | None, ...]]:
    """Names to ids, for dimensions that have ids. Raises QueryError for a name that nobody has."""
    lists = {k: _values(k, v) for k, v in where.items()}
    named = {kind: [name for name in lists.get(kind, []) if name is not None] for kind in NAMES}
    ids = {(row["kind"], row["name"]): row["id"] for row in session.rows("metrics.ids", named)}
    found: dict[str, tuple[int | str | None, ...]] = {}
    for dimension, values in lists.items():
        if dimension not in NAMES:
            found[dimension] = tuple(values)
            continue
        for name in values:
            if name is not None and (dimension, name) not in ids:
                raise QueryError(
                    f"there is no {dimension.replace('_', ' ')} {name!r}", hint="check the spelling"
                )
        found[dimension] = tuple(None if name is None else ids[dimension, name] for name in values)
    return found


def _values(dimension: str, given: Filter) -> list[str | None]:
    """What a filter names. Raises QueryError for anything but text that a database can hold, and unknown outcomes."""
    values = [given] if isinstance(given, str) or given is None else list(given)
    for value in values:
        if value is None:
            continue
        if not isinstance(value, str) or printable(value) != value[:500]:
            raise QueryError(
                f"{value!r} is no {dimension.replace('_', ' ')}", hint="give text, or None for none given"
            )
        if dimension == "outcome" and value not in set(Outcome):
            raise QueryError(f"there is no outcome {value!r}", hint=f"one of: {', '.join(Outcome)}")
    return values


def _grain(grain: Grain | str | None) -> Grain | None:
    try:
        return None if grain is None else Grain(grain)
    except ValueError:
        raise QueryError(f"there is no grain {grain!r}", hint=f"one of: {', '.join(Grain)}") from None
