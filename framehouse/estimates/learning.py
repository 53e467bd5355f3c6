"""Learning from the attempts that the warehouse has: what forecasts remember, kept up to date as attempts arrive.

Writers leave a mark for each workflow and tier. Learning reads the newest attempts of the marked ones, judges those
that it has not seen in the order in which they finished, keeps the forecast and deletes exactly these marks, in one
transaction. What an estimate rests on is therefore the newest attempts as they are, after late rows and deletes too;
those whose raw rows retention has dropped are remembered. Only how well candidates did depends on what was seen when.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from framehouse.estimates.candidates import HALF_LIVES, recency
from framehouse.estimates.forecast import WINDOW, Forecaster
from framehouse.estimates.memory import Sample, Shared, judgement_layout, sample_layout, shared_layout
from framehouse.estimates.outlook import Outlook
from framehouse.progress import SILENT, Reporter
from framehouse.warehouse import Session, Warehouse
from framehouse.warehouse.pool import Json

#: What is forecast: the columns of an attempt.
COSTS = ("wall_seconds", "gpu_seconds", "output_mb", "energy_joules", "vram_peak_mb", "rss_peak_mb")
WALL, GPU = COSTS.index("wall_seconds"), COSTS.index("gpu_seconds")
#: Of the layouts and of what they mean; forecasts of another version are learnt anew from raw.
VERSION = 7
_KEYS_A_ROUND = 32
_EFFECT = np.dtype([("worker", "i4"), ("group", "i4"), ("effect", "f8", (len(COSTS), 2))])
FACTOR = np.dtype([("worker", "i4"), ("ln_factor", "f8"), ("is_own", "?")])
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: A workflow's and a tier's id.
Ids = tuple[int, int | None]


@dataclass(slots=True)
class Learnt:
    """What is known of one workflow at one tier.

    gpu_models  the models that did it, each with its share of GPU time; None is an unknown one
    """

    ids: Ids
    sample_count: int
    forecaster: Forecaster
    outlook: Outlook
    gpu_models: list[tuple[str | None, float]]

    @property
    def factors(self) -> npt.NDArray[np.void]:
        """By how much (ln) each worker's wall time differs, of the workers that were seen here (`is_own`) and those who
        share other work with them."""
        known = self.forecaster.factors(WALL)
        found = np.zeros(len(known), FACTOR)
        found["worker"], found["ln_factor"] = list(known), list(known.values())
        found["is_own"] = np.isin(found["worker"], self.forecaster.samples["worker"])
        return found


def learn(warehouse: Warehouse, report: Reporter = SILENT) -> int:
    """Learn what waits now; of how many workflows and tiers (0 also when another learner is at work).

    Safe to kill at any moment and to call as often as one likes.
    """
    with warehouse.session() as session:
        if not session.value("forecasts.is_built"):
            return 0
        newest = session.value("forecasts.newest_mark")
        total = session.value("forecasts.waiting", {"version": VERSION})
    done = 0
    while learnt_now := _round(warehouse, newest):
        done += learnt_now
        report.advance(done, max(total, done), f"{done} forecasts")
    return done


def waiting(warehouse: Warehouse) -> int:
    """How many workflows and tiers wait to be learnt."""
    with warehouse.session() as session:
        return int(session.value("forecasts.waiting", {"version": VERSION}))


def _round(warehouse: Warehouse, newest: int) -> int:
    with warehouse.session() as session:
        if not session.value("forecasts.try_lock"):
            return 0
        marks = session.rows(
            "forecasts.touched", {"newest": newest, "version": VERSION, "limit": _KEYS_A_ROUND}
        )
        if not marks:
            return 0
        shared = shared_of(session)
        keys = [(mark["workflow_id"], mark["tier_id"]) for mark in marks]
        found = {one.ids: one for one in learnt(session, keys, shared)}
        for key in keys:
            _keep(session, key, found.get(key))
        _keep_shared(session, shared)
        session.run("forecasts.delete_marks", [[i for mark in marks for i in mark["ids"] if i is not None]])
    return len(keys)


def learnt(
    session: Session, keys: Sequence[Ids], shared: Shared, *, judged_at_most: int | None = None
) -> list[Learnt]:
    """What is known of some workflows and tiers at this moment; those of which no attempt ever succeeded are left out.

    Where attempts did, but before anybody learnt from them, and their raw rows are gone, nothing is predicted.

    `shared` learns too. About `judged_at_most` of the attempts that are new, the newest of each key, are judged, and
    the others remembered only; all are judged unless it is given.
    """
    asked = {"workflows": [key[0] for key in keys], "tiers": [key[1] for key in keys]}
    stored = {row["place"]: row for row in session.rows("forecasts.stored", asked | {"version": VERSION})}
    raw: dict[int, list[dict[str, Any]]] = {}
    for row in session.rows("forecasts.newest_attempts", asked | {"limit": WINDOW}):
        raw.setdefault(row["place"], []).append(row)
    fence = session.value("forecasts.fence")
    histories = {
        place: _History(key, shared, stored.get(place), raw.get(place, []), fence)
        for place, key in enumerate(keys, start=1)
    }
    each = None if judged_at_most is None else judged_at_most // max(1, len(histories))
    streams = (history.unseen(each) for history in histories.values())
    for _, _, history, sample in heapq.merge(*streams, key=lambda item: item[:2]):
        history.forecaster.learn(sample)
    since = [history.since for history in histories.values()]
    counts = {row["place"]: row for row in session.rows("forecasts.counts", asked | {"since": since})}
    found = (history.learnt(counts.get(place)) for place, history in histories.items())
    return [one for one in found if one.sample_count]


class _History:
    """One workflow at one tier while it is learnt."""

    def __init__(
        self, ids: Ids, shared: Shared, stored: dict[str, Any] | None, raw: list[dict[str, Any]], fence: int
    ) -> None:
        self.ids = ids
        self._models: list[str | None] = [name for name, _ in stored["gpu_models"]] if stored else []
        samples = _array(stored["samples"], sample_layout(len(COSTS))) if stored else None
        judgement = _array(stored["judgement"], judgement_layout(len(COSTS)))[0] if stored else None
        self.forecaster = Forecaster(shared, samples=samples, judgement=judgement, history=_number(ids))
        self._unseen = self._settle([self._sample(row) for row in raw], fence)

    def unseen(self, judged_at_most: int | None) -> list[tuple[int, int, "_History", Sample]]:
        """The samples to learn, in order; those before the ones to be judged are remembered."""
        first = 0 if judged_at_most is None else max(0, len(self._unseen) - judged_at_most)
        self.forecaster.remember(self._unseen[:first])
        return [(sample.finished_us, sample.identity, self, sample) for sample in self._unseen[first:]]

    @property
    def since(self) -> datetime:
        """When the first attempt that is remembered finished."""
        finished = self.forecaster.samples["finished_us"]
        return _time(finished[0]) if len(finished) else _EPOCH

    def learnt(self, counts: dict[str, Any] | None) -> Learnt:
        """What is known when all is learnt."""
        samples = self.forecaster.samples
        outlook = self.forecaster.outlook()
        if counts is not None and counts["failed_count"]:
            record = outlook.record
            record["retry_ratio"] = counts["failed_count"] / (
                counts["failed_count"] + counts["succeeded_count"]
            )
            record["failed_ratio"] = 1.0
            # How long failed attempts ran is known apart from canceled ones only where there are none of those.
            if not counts["canceled_count"] and counts["wasted_seconds"] and counts["succeeded_seconds"]:
                record["failed_ratio"] = counts["wasted_seconds"] / counts["succeeded_seconds"]
        return Learnt(
            ids=self.ids,
            sample_count=max(counts["sample_count"] if counts else 0, len(samples)),
            forecaster=self.forecaster,
            outlook=outlook,
            gpu_models=self._gpu_models(),
        )

    def _settle(self, raw: list[Sample], fence: int) -> list[Sample]:
        """Remember what raw has, and what it no longer can have; the attempts that are new are given back."""
        known = self.forecaster.samples
        at = {sample.identity: (sample.finished_us, sample.amounts.tobytes()) for sample in raw}
        is_kept = np.array(
            [
                at.get(int(row["identity"])) == (int(row["finished_us"]), row["costs"].tobytes())
                for row in known
            ],
            dtype=bool,
        )
        if len(raw) < WINDOW:
            is_kept |= (known["finished_us"] < fence) & ~np.isin(known["identity"], list(at))
        kept = known[is_kept]
        newest = int(kept["finished_us"][-1]) if len(kept) else 0
        seen = {int(identity) for identity in kept["identity"]}
        unseen = [sample for sample in raw if sample.identity not in seen]
        late = [sample for sample in unseen if sample.finished_us < newest]
        self.forecaster.replace(kept)
        if late:
            self.forecaster.remember(late)
            rows = self.forecaster.samples
            self.forecaster.replace(rows[np.lexsort((rows["identity"], rows["finished_us"]))])
        return [sample for sample in unseen if sample.finished_us >= newest]

    def _sample(self, row: dict[str, Any]) -> Sample:
        frames, pixels = row["frame_count"], row["pixels"]
        works = {
            "segments": row["segment_count"],
            "frames": frames,
            "megapixel_frames": frames * pixels / 1e6 if frames and pixels else None,
            "input_seconds": row["input_duration_seconds"],
        }
        if row["gpu_model"] not in self._models:
            self._models.append(row["gpu_model"])
        return Sample(
            costs=[row[cost] for cost in COSTS],
            works={name: amount for name, amount in works.items() if amount},
            worker=row["worker_id"],
            is_cold=row["is_cold"],
            finished_us=row["finished_us"],
            identity=row["identity"],
            gpu_model=self._models.index(row["gpu_model"]),
        )

    def _gpu_models(self) -> list[tuple[str | None, float]]:
        """Which models the remembered attempts name, and of the recent GPU time the share of each."""
        samples = self.forecaster.samples
        used, samples["gpu_model"] = np.unique(samples["gpu_model"], return_inverse=True)
        weights = recency(len(samples), HALF_LIVES[-1])
        seconds = np.nan_to_num(samples["costs"][:, GPU]) * weights
        shares = np.bincount(samples["gpu_model"], seconds, len(used))
        total = shares.sum() or 1.0
        return [
            (self._models[place], float(share / total)) for place, share in zip(used, shares, strict=True)
        ]


def shared_of(session: Session) -> Shared:
    """What all forecasts have in common."""
    shared = Shared(len(COSTS))
    row = session.row("forecasts.shared", [VERSION])
    if row is not None:
        shared.record = _array(row["memory"], shared_layout(len(COSTS)))[0]
        effects = _array(row["effects"], _EFFECT)
        shared.effects = {int(one["worker"]): one["effect"] for one in effects}
        shared.groups = {int(one["worker"]): int(one["group"]) for one in effects}
    return shared


def _keep(session: Session, ids: Ids, one: Learnt | None) -> None:
    key = {"workflow_id": ids[0], "tier_id": ids[1]}
    if one is None:
        session.run("forecasts.forget", key)
        return
    session.run(
        "forecasts.keep",
        key
        | {
            "sample_count": one.sample_count,
            "version": VERSION,
            "outlook": one.outlook.record.tobytes(),
            "factors": one.factors.tobytes(),
            "gpu_models": Json(one.gpu_models),
            "samples": one.forecaster.samples.tobytes(),
            "judgement": one.forecaster.judgement.tobytes(),
        },
    )


def _keep_shared(session: Session, shared: Shared) -> None:
    effects = np.zeros(len(shared.effects), _EFFECT)
    for place, (worker, effect) in enumerate(shared.effects.items()):
        effects[place] = (worker, shared.groups[worker], effect)
    session.run(
        "forecasts.keep_shared",
        {
            "version": VERSION,
            "totals": shared.totals().tobytes(),
            "memory": shared.record.tobytes(),
            "effects": effects.tobytes(),
        },
    )


def _array(data: bytes, layout: np.dtype[np.void]) -> npt.NDArray[np.void]:
    return np.frombuffer(data, layout).copy()


def _number(ids: Ids) -> int:
    """A number of the history's own, never 0."""
    return ids[0] * 1_000_003 + (ids[1] or 0)


def _time(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=int(microseconds))
