"""`metrics.read(...)`: the one way from a metric's name to numbers."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import Any

from framehouse.errors import QueryError
from framehouse.metrics.answers import Answer, Filter, answer, ids, sources_of, state_of, why_raw_of
from framehouse.metrics.costs import costs
from framehouse.metrics.definitions import Metric, metric
from framehouse.metrics.plan import Arm, Plan
from framehouse.metrics.provenance import Provenance, parts_told, provenance
from framehouse.metrics.question import Question
from framehouse.metrics.rollups import ATTEMPTS, HEARTBEATS
from framehouse.metrics.table import Column, Table, Value
from framehouse.warehouse import Session, Warehouse
from framehouse.warehouse.rates import Rate, rates
from framehouse.windows import Grain, Window


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
    wanted, step = _metrics(metrics), _grain(grain)
    reader = Reader(session, window=window, zone_name=zone_name, where=where, is_raw=is_raw)
    return reader.table([m.name for m in wanted], by=by, grain=step)


class Reader:
    """Several questions about one window of one snapshot, in one zone, of the same rows; it knows what they rest on."""

    def __init__(
        self,
        session: Session,
        *,
        window: Window,
        zone_name: str | None = None,
        where: Mapping[str, Filter] | None = None,
        is_raw: bool = False,
    ) -> None:
        """`is_raw` computes everything from raw rows. Raises QueryError for names that nobody has."""
        self.session = session
        self.window = window
        self._is_raw = is_raw
        self.state = state_of(session, window)
        self.filters = ids(session, where or {})  # what is kept of each dimension
        self._answers: list[Answer] = []
        self.zone_name = zone_name or self.state.studio_zone

    @property
    def raw_from(self) -> datetime | None:
        """From when on raw rows are there; None: from the beginning."""
        return self.state.raw_from

    @cached_property
    def rates(self) -> list[Rate]:
        """What an hour of each GPU model costs, by model and time."""
        return rates(self.session)

    @property
    def currency(self) -> str | None:
        """Of all costs; None where there are no rates."""
        return next((rate.currency for rate in self.rates), None)

    def table(
        self,
        metrics: str | Sequence[str],
        *,
        by: str | Sequence[str] = (),
        grain: Grain | str | None = None,
    ) -> Table:
        """Metrics by dimensions, per bucket of a grain."""
        wanted, step = _metrics(metrics), _grain(grain)
        dimensions = (by,) if isinstance(by, str) else tuple(dict.fromkeys(by))
        groups: dict[tuple[str, tuple[tuple[str, str], ...], bool], list[Metric]] = {}
        for m in wanted:
            groups.setdefault((m.source.name, m.where, m.is_priced), []).append(m)
        answers = []
        for asked in groups.values():
            found = self.answer(asked, by=dimensions, grain=step)
            named = {
                key: {m.name: values[m.general or m.name] for m in asked}
                for key, values in found.values.items()
            }
            answers.append(Answer(named, found.plans))
        return _joined(wanted, dimensions, step, answers)

    def of(self, **where: Filter) -> "Reader":
        """A reader of fewer rows: those that have these values besides."""
        found = copy(self)  # of the same state, and what it reads the first one has read, too
        found.filters = {**self.filters, **ids(self.session, where)}
        return found

    def over(self, window: Window) -> "Reader":
        """A reader of the same rows in another window."""
        found = copy(self)  # what it reads the first one has read, too
        found.window, found.state = window, state_of(self.session, window)
        return found

    def note_raw(self, why: str) -> None:
        """That raw rows of the window were read besides, by something that is no metric."""
        self._answers.append(Answer({}, (Plan((Arm(self.window),), why, {}),)))

    def answer(
        self,
        metrics: Sequence[Metric],
        *,
        by: Sequence[str] = (),
        grain: Grain | None = None,
    ) -> Answer:
        """Metrics of one source, one score or stage, priced or not; a score's are named as those of any score."""
        first = metrics[0]
        question = Question(
            first.source,
            # A score's own name may be any text.
            tuple(metric(m.general) if m.general else m for m in metrics),
            tuple(by),
            self.window,
            grain,
            self.zone_name,
            {**self.filters, **{k: (v,) if v in self.filters.get(k, (v,)) else () for k, v in first.where}},
        )
        if first.is_priced:
            found = costs(self.session, question, self.state, self.rates, is_raw=self._is_raw)
        else:
            found = answer(self.session, question, self.state, is_raw=self._is_raw)
        self._answers.append(found)
        return found

    def provenance(self, of: str = "attempt_count") -> Provenance:
        """How many attempts there are (for a metric of heartbeats, how many of those), how fresh they are, and what all
        answers so far were read from."""
        asked, source = tuple(self._answers), HEARTBEATS if metric(of).source is HEARTBEATS else ATTEMPTS
        parts = [Metric(part, "", formula=part, source=source) for part in parts_told(source)]
        counted = copy(self)
        counted.filters = {name: kept for name, kept in self.filters.items() if name in source.dimensions}
        told = provenance(counted.answer(parts), source)
        return replace(told, sources=sources_of(asked) or told.sources, why_raw=why_raw_of(asked))


def _metrics(names: str | Sequence[str]) -> tuple[Metric, ...]:
    """Asked for twice is asked for once."""
    wanted = tuple(metric(name) for name in dict.fromkeys([names] if isinstance(names, str) else names))
    if not wanted:
        raise QueryError("no metric was asked for", hint='name some, such as ["attempt_count"]')
    return wanted


def _joined(
    wanted: tuple[Metric, ...], by: tuple[str, ...], grain: Grain | None, answers: list[Answer]
) -> Table:
    keys = [Column("bucket", None, "The bucket's first instant, UTC.")] if grain is not None else []
    keys += [Column(dimension, None, f"The {dimension.replace('_', ' ')}.") for dimension in by]
    order: dict[tuple[Value, ...], None] = {}
    for one in answers:
        order |= dict.fromkeys(one.values)
    ordered = sorted(order, key=_sortable) if len(answers) > 1 else list(order)
    rows = []
    for key in ordered:
        merged: dict[str, Value] = {}
        for one in answers:
            merged |= one.values.get(key, {})
        rows.append((*key, *(merged.get(m.name) for m in wanted)))
    return Table(
        columns=(*keys, *(Column(m.name, m.unit, m.prose) for m in wanted)),
        rows=tuple(rows),
        sources=sources_of(answers),
        why_raw=why_raw_of(answers),
    )


def _sortable(key: tuple[Value, ...]) -> tuple[tuple[bool, Any], ...]:
    return tuple((value is None, value or 0) for value in key)


def studio_zone(warehouse: Warehouse) -> str:
    """The zone whose days the daily cells follow."""
    with warehouse.session() as session:
        return str(session.value("metrics.studio_zone") or "UTC")


def _grain(grain: Grain | str | None) -> Grain | None:
    try:
        return None if grain is None else Grain(grain)
    except ValueError:
        raise QueryError(f"there is no grain {grain!r}", hint=f"one of: {', '.join(Grain)}") from None
