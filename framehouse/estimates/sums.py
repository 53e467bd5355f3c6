"""Sums over scenes: totals with intervals, parts by dimension, and what is unknown."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict

from framehouse.estimates.known import Key, Knowledge
from framehouse.estimates.learning import COSTS
from framehouse.estimates.prices import Prices
from framehouse.estimates.totals import Distribution, Part, total
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
    groups: dict[Key, list[Estimate]] = {}
    for scene in scenes:
        if scene.estimate is not None:
            groups.setdefault((scene.workflow, scene.tier), []).append(scene.estimate)
    reasons: list[str] = []

    def summed(quantity: str, cost: int, factor: float = 1.0) -> Distribution | None:
        parts: list[Part] = []
        if sum(len(group) for group in groups.values()) == 1:
            [[alone]] = groups.values()
            found: Distribution | None = getattr(alone, quantity)
            if found is not None and (reason := knowledge.by_key[next(iter(groups))].why_no_interval(cost)):
                reasons.append(reason)
            return None if found is None else found.times(factor)
        for key, group in groups.items():
            means = [one.mean for e in group if (one := getattr(e, quantity)) is not None]
            if len(means) < len(group):
                return None
            parts.append(knowledge.by_key[key].part(cost, means))
        if not parts:
            return None
        why = [knowledge.by_key[key].why_no_interval(cost) for key in groups]
        if any(why):
            reasons.extend(reason for reason in why if reason)
            return Distribution(math.fsum(part.mean for part in parts) * factor, None, None, None)
        return total(parts, knowledge.totals[cost]).times(factor)

    wall, gpu, disk, energy = range(4)
    assert COSTS[:4] == ("wall_seconds", "gpu_seconds", "output_mb", "energy_joules")
    wall_hours = summed("wall_seconds", wall, _HOUR)
    gpu_hours = summed("gpu_seconds", gpu, _HOUR)
    money = summed("cost", gpu)
    return Totals(
        gpu_hours=gpu_hours,
        wall_hours=wall_hours,
        disk_gb=summed("disk_mb", disk, _GIB),
        energy_kwh=summed("energy_joules", energy, _KWH),
        cost=money,
        currency=rates.currency,
        interval_reason=reasons[0] if reasons else None,
        cost_reason=_why_no_cost(groups, knowledge, rates, gpu_hours) if money is None else None,
    )


def _why_no_cost(
    groups: Mapping[Key, Sequence[Estimate]],
    knowledge: Knowledge,
    rates: Prices,
    gpu_hours: Distribution | None,
) -> str:
    if not groups:
        return "nothing_estimated"
    if gpu_hours is None:
        return "gpu_time_unknown"
    return next(why for key in groups if (why := rates.why_none(knowledge.by_key[key])))


def shares(scenes: Sequence[_Scene], dimension: Dimension) -> tuple[Share, ...]:
    """The parts of a batch by one dimension, in the order of their names, those without one last."""
    return tuple(_share(name, part) for name, part in _groups(scenes, dimension))


def breakdown(scenes: Sequence[_Scene], dimensions: Sequence[Dimension]) -> tuple[Breakdown, ...]:
    """The parts of a batch by the first dimension, and of each of them by the next ones."""
    if not dimensions:
        return ()
    return tuple(
        Breakdown(
            **asdict(_share(name, part)), dimension=dimensions[0], parts=breakdown(part, dimensions[1:])
        )
        for name, part in _groups(scenes, dimensions[0])
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


def _groups(scenes: Sequence[_Scene], dimension: Dimension) -> list[tuple[str | None, list[_Scene]]]:
    groups: dict[str | None, list[_Scene]] = {}
    name = _NAMES[dimension]
    for scene in scenes:
        groups.setdefault(name(scene), []).append(scene)
    return sorted(groups.items(), key=lambda item: (item[0] is None, item[0] or ""))


def _share(name: str | None, scenes: Sequence[_Scene]) -> Share:
    """Sums of means. A sum that lacks a part (a scene whose GPU time was never measured) is unknown, not smaller."""
    estimates = [answer.estimate for _, answer in scenes if answer.estimate is not None]

    def summed(quantity: str, factor: float = 1.0) -> float | None:
        found = [one.mean for estimate in estimates if (one := getattr(estimate, quantity)) is not None]
        return math.fsum(found) * factor if found and len(found) == len(estimates) else None

    return Share(
        name=name,
        scene_count=len(scenes),
        estimated_scenes=len(estimates),
        gpu_hours=summed("gpu_seconds", _HOUR),
        wall_hours=summed("wall_seconds", _HOUR),
        disk_gb=summed("disk_mb", _GIB),
        energy_kwh=summed("energy_joules", _KWH),
        cost=summed("cost"),
    )
