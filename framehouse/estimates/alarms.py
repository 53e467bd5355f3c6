"""Alarms about estimates that are off: raised and closed by what scored scenes show, once a minute by maintenance.

Writers leave a mark for the workflow and tier of each estimated scene that is done. A look reads the newest scored
scenes of the marked ones, raises and closes alarms (framehouse.estimates.drift says when) and deletes exactly these
marks, in one transaction. What is looked at is what is there: late and further attempts of a scene are in it, and
nothing is lost where a look dies.

Scenes up to the one that closed an alarm raise no other one of the same kind: they were judged.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from framehouse.estimates.budgets import in_utc
from framehouse.estimates.drift import KINDS, Kind, Scenes, Verdict, judge
from framehouse.warehouse import Session, Warehouse
from framehouse.windows import Window

#: What may be off: the columns of a scored scene, as people call them.
QUANTITIES: Mapping[str, str] = {
    "gpu_seconds": "GPU time",
    "wall_seconds": "wall time",
    "disk_mb": "disk",
    "energy_joules": "energy",
    "vram_peak_mb": "peak of GPU memory",
    "rss_peak_mb": "peak of memory",
}
_PARTS = ("mean", "p10", "p50", "p90", "actual")
#: Ten large batches are worth more than the widest window asks for.
_SCENES = 1000
_KEYS_A_ROUND = 16
_MAX_LISTED = 1000


@dataclass(frozen=True, slots=True)
class Alarm:
    """The estimates of one quantity of a workflow at a tier are off (`closed_at` is None), or were.

    kind            `coverage`: P10-P90 holds too rarely; `bias`: medians are too large or too small,
                    and totals the same way by more than a tenth
    since_at        when the first of all scenes that showed it finished; `until_at` the newest that was looked at
    scene_count     scenes of which the ratios tell: the newest ones, when it last showed
    bias_ratio      their predicted means over their actuals, minus 1 (-0.2: 20 % too little); None where one is nothing
    coverage_ratio  share of them within P10-P90
    sentence        all that, for people
    """

    workflow: str
    tier: str | None
    quantity: str
    kind: Kind
    opened_at: datetime
    closed_at: datetime | None
    since_at: datetime
    until_at: datetime
    scene_count: int
    bias_ratio: float | None
    coverage_ratio: float
    sentence: str


def note_alarms(warehouse: Warehouse) -> list[Alarm]:
    """Judge the workflows and tiers of which scenes were scored since the last time; the alarms that are new or over.

    Safe to kill at any moment and to call as often as one likes; nothing where another one is at it.
    """
    with warehouse.session() as session:
        newest = session.value("alarms.newest_mark")
    found: list[Alarm] = []
    while (noted := _round(warehouse, newest)) is not None:
        found += noted
    return found


def open_alarms(session: Session, keys: Collection[tuple[str, str | None]]) -> tuple[Alarm, ...]:
    """What is off now of these workflows and tiers."""
    workflows = sorted({workflow for workflow, _ in keys})
    rows = session.rows("alarms.open", {"workflows": workflows})
    return tuple(_alarm(row) for row in rows if (row["workflow"], row["tier"]) in keys)


def alarms(session: Session, window: Window, workflow: str | None = None) -> tuple[Alarm, ...]:
    """What was off in a window, the newest first, and before them what still is; at most a thousand."""
    asked = {"workflow": workflow, "start": window.start, "end": window.end, "limit": _MAX_LISTED}
    return tuple(_alarm(row) for row in session.rows("alarms.history", asked))


def _round(warehouse: Warehouse, newest: int) -> list[Alarm] | None:
    """Judge some of the marked ones; None where nothing is left to do."""
    with warehouse.session() as session:
        if not session.value("alarms.try_lock"):
            return None
        marks = session.rows("alarms.touched", {"newest": newest, "limit": _KEYS_A_ROUND})
        if not marks:
            return None
        ids = [id_ for mark in marks for id_ in _look(session, mark["workflow"], mark["tier"])]
        session.run("alarms.delete_marks", [[id_ for mark in marks for id_ in mark["ids"]]])
        return [_alarm(row) for row in session.rows("alarms.some", [ids])]


def _look(session: Session, workflow: str, tier: str | None) -> list[int]:
    """Raise and close the alarms of one workflow and tier; the ids of those that were."""
    key = {"workflow": workflow, "tier": tier}
    rows = session.rows("alarms.scenes", key | {"limit": _SCENES})
    if not rows:
        return []
    latest = {(row["quantity"], row["kind"]): row for row in session.rows("alarms.latest", key)}
    finished = [row["finished_at"] for row in rows]
    batches: dict[Any, int] = {}
    batch = np.array([batches.setdefault(row["estimate_id"], len(batches)) for row in rows])
    changed = []
    for quantity in QUANTITIES:
        columns = {
            part: np.array([row[f"{quantity}_{part}"] for row in rows], dtype=np.float64) for part in _PARTS
        }
        is_known = np.all([np.isfinite(column) for column in columns.values()], axis=0)
        for kind in KINDS:
            alarm = latest.get((quantity, kind))
            is_open = alarm is not None and alarm["is_open"]
            places = np.flatnonzero(is_known)
            if alarm is not None and not is_open:
                places = places[[finished[place] > alarm["until_at"] for place in places]]
            verdict = judge(kind, _scenes(batch, columns, places))
            if verdict is None:
                continue
            said = _said(verdict, finished[places[verdict.first]], finished[places[-1]])
            if alarm is None or not is_open:
                if verdict.is_off:
                    changed.append(
                        session.value("alarms.raise", key | said | {"quantity": quantity, "kind": kind})
                    )
            elif verdict.is_right:
                session.run("alarms.close", {"id": alarm["id"], "until_at": said["until_at"]})
                changed.append(alarm["id"])
            elif verdict.is_off:
                session.run("alarms.confirm", said | {"id": alarm["id"]})
    return changed


def _scenes(
    batch: npt.NDArray[np.int64],
    columns: Mapping[str, npt.NDArray[np.float64]],
    places: npt.NDArray[np.int64],
) -> Scenes:
    return Scenes(batch[places], **{part: column[places] for part, column in columns.items()})


def _said(verdict: Verdict, since_at: datetime, until_at: datetime) -> dict[str, Any]:
    return {
        "since_at": since_at,
        "until_at": until_at,
        "scene_count": verdict.scene_count,
        "bias_ratio": verdict.bias_ratio,
        "coverage_ratio": verdict.coverage_ratio,
    }


def _alarm(row: Mapping[str, Any]) -> Alarm:
    known = in_utc(row)
    return Alarm(**known, sentence=_sentence(known))


def _sentence(known: Mapping[str, Any]) -> str:
    quantity, count = QUANTITIES[known["quantity"]], known["scene_count"]
    of = f"{known['workflow']} at {known['tier']}" if known["tier"] is not None else known["workflow"]
    closed = known["closed_at"]
    scenes = f"{count} scenes" if closed is not None else f"the last {count} scenes"
    if known["kind"] == "bias":
        bias = known["bias_ratio"]
        said = f"{quantity} predicted {abs(bias):.0%} too {'much' if bias > 0 else 'little'} over {scenes}"
    else:
        held = round(known["coverage_ratio"] * count)
        said = f"P10-P90 of {quantity} held for {held} of {scenes}, where eight in ten should"
    said += f"; off since {known['since_at']:%Y-%m-%d}"
    return f"{of}: {said}" + ("" if closed is None else f", right again on {closed:%Y-%m-%d}")
