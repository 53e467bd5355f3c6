"""Sums over scenes: totals with intervals, parts by dimension, and what is unknown."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from operator import attrgetter

import numpy as np

from framehouse.estimates.candidates import Array
from framehouse.estimates.known import Knowledge, Known
from framehouse.estimates.learning import COSTS, GPU, WALL
from framehouse.estimates.prices import Prices
from framehouse.estimates.totals import Distribution, total
from framehouse.estimates.wire import (
    Breakdown,
    Dimension,
    Estimate,
    SceneAnswer,
    SceneRequest,
    Share,
    Totals,
    Unknown,
)
from framehouse.units import gib_from_mib, hours_from_seconds

#: Of seconds, MiB and joules in what totals are told in.
_HOUR, _GIB, _KWH = hours_from_seconds(1), gib_from_mib(1), 1 / 3.6e6
#: What is summed, in the order in which shares have it: the place among COSTS by which it scatters, and its factor.
_SUMMED = {
    "gpu_seconds": (GPU, _HOUR),
    "wall_seconds": (WALL, _HOUR),
    "disk_mb": (COSTS.index("output_mb"), _GIB),
    "energy_joules": (COSTS.index("energy_joules"), _KWH),
    "cost": (GPU, 1.0),
}
_SUMMED_OF = attrgetter(*_SUMMED)
_Scene = tuple[SceneRequest, SceneAnswer]

_NAMES: Mapping[Dimension, Callable[[_Scene], str | None]] = {
    Dimension.SCENE_TYPE: lambda scene: scene[0].scene_type,
    Dimension.CHARACTER: lambda scene: scene[0].character,
    Dimension.VARIANT: lambda scene: scene[0].variant,
    Dimension.TIER: lambda scene: scene[1].tier,
    Dimension.WORKFLOW: lambda scene: scene[1].workflow,
}


def totals(scenes: Iterable[SceneAnswer], knowledge: Knowledge, rates: Prices) -> Totals:
    """Totals over the scenes that have an estimate."""
    estimated = [(scene, scene.estimate) for scene in scenes if scene.estimate is not None]
    keys = [(scene.workflow, scene.tier) for scene, _ in estimated]
    histories = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    known, records = [knowledge.by_key[key] for key in histories], knowledge.of(list(histories))
    which = [histories[key] for key in keys]
    means = np.array([_means(estimate) for _, estimate in estimated]).reshape(-1, len(_SUMMED))
    reasons: list[str] = []

    def summed(quantity: str, mean: Array) -> Distribution | None:
        if not estimated or np.isnan(mean).any():
            return None
        cost, factor = _SUMMED[quantity]
        why = [reason for one in known if (reason := one.why_no_interval(cost)) is not None]
        if len(estimated) == 1:
            alone: Distribution = getattr(estimated[0][1], quantity)
            reasons.extend((why or ["too_wide"]) if alone.p10 is None else [])
            return alone.times(factor)
        reasons.extend(why)
        sums, squares = (np.bincount(which, by).astype(np.float64) for by in (mean, mean * mean))
        if why:
            return Distribution(float(sums.sum()) * factor, None, None, None)
        return total(records, cost, sums, squares, knowledge.totals[cost]).times(factor)

    gpu_hours, wall_hours, disk_gb, energy_kwh, cost = map(summed, _SUMMED, means.T)
    return Totals(
        gpu_hours=gpu_hours,
        wall_hours=wall_hours,
        disk_gb=disk_gb,
        energy_kwh=energy_kwh,
        cost=cost,
        currency=rates.currency,
        interval_reason=reasons[0] if reasons else None,
        cost_reason=_why_no_cost(known, rates, gpu_hours) if cost is None else None,
    )


def _why_no_cost(known: Sequence[Known], rates: Prices, gpu_hours: Distribution | None) -> str:
    if not known:
        return "nothing_estimated"
    if gpu_hours is None:
        return "gpu_time_unknown"
    return next(why for one in known if (why := rates.why_none(one)))


def _means(estimate: Estimate) -> list[float]:
    """Those of what is summed, NaN where unknown."""
    return [math.nan if one is None else one.mean for one in _SUMMED_OF(estimate)]


class Shares:
    """The scenes of a batch, to be summed up by dimensions. Sums are of means; one that lacks a part (a scene whose GPU
    time was never measured) is unknown, not smaller."""

    def __init__(self, scenes: Sequence[_Scene]) -> None:
        self._scenes, self._everything = scenes, range(len(scenes))
        self._is_estimated = np.array([answer.estimate is not None for _, answer in scenes])
        nothing = [0.0] * len(_SUMMED)
        means = [nothing if answer.estimate is None else _means(answer.estimate) for _, answer in scenes]
        self._amounts = np.array(means) * [factor for _, factor in _SUMMED.values()]

    def by(self, dimension: Dimension) -> tuple[Share, ...]:
        """The parts by one dimension, in the order of their names, those without one last."""
        return tuple(self._share(name, part) for name, part in self._groups(self._everything, dimension))

    def breakdown(self, dimensions: Sequence[Dimension]) -> tuple[Breakdown, ...]:
        """The parts by the first dimension, and of each of them by the next ones."""
        return self._breakdown(self._everything, dimensions)

    def _breakdown(self, places: Sequence[int], dimensions: Sequence[Dimension]) -> tuple[Breakdown, ...]:
        if not dimensions:
            return ()
        first, *rest = dimensions
        return tuple(
            Breakdown(**asdict(self._share(name, part)), dimension=first, parts=self._breakdown(part, rest))
            for name, part in self._groups(places, first)
        )

    def _groups(self, places: Sequence[int], dimension: Dimension) -> list[tuple[str | None, list[int]]]:
        groups: dict[str | None, list[int]] = {}
        name = _NAMES[dimension]
        for place in places:
            groups.setdefault(name(self._scenes[place]), []).append(place)
        return sorted(groups.items(), key=lambda item: (item[0] is None, item[0] or ""))

    def _share(self, name: str | None, places: Sequence[int]) -> Share:
        estimated = int(self._is_estimated[places].sum())
        amounts = self._amounts[places].sum(axis=0).tolist()
        return Share(
            name,
            len(places),
            estimated,
            *(None if not estimated or math.isnan(amount) else amount for amount in amounts),
        )


def unknown(scenes: Iterable[SceneAnswer]) -> tuple[Unknown, ...]:
    """The scenes that have no estimate, by workflow, tier and reason."""
    groups: dict[tuple[str, str | None, str], list[SceneAnswer]] = {}
    for scene in scenes:
        if scene.reason is not None:
            groups.setdefault((scene.workflow, scene.tier, scene.reason), []).append(scene)
    return tuple(
        Unknown(workflow, tier, len(group), sum(scene.segments_needed for scene in group), reason)
        for (workflow, tier, reason), group in sorted(
            groups.items(), key=lambda item: (item[0][0], item[0][1] or "")
        )
    )
