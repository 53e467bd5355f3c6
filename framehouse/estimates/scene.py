"""The estimate of one scene."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from framehouse.estimates.candidates import BASES, Array
from framehouse.estimates.known import Key, Knowledge, Known, knowledge
from framehouse.estimates.learning import WALL
from framehouse.estimates.outlook import Outlook, Predicted
from framehouse.estimates.prices import Prices, prices
from framehouse.estimates.totals import Distribution
from framehouse.estimates.wire import Estimate, NoEstimate, SceneRequest, no_estimate
from framehouse.warehouse import Session, Warehouse

#: P90 over P50, or P50 over P10, from which an interval says nothing.
_WIDEST = 1e6
#: Of one side of a picture, and of a medium.
_MOST_PIXELS, _MOST_SECONDS = 100_000, 1e7


class Works(NamedTuple):
    """The amounts of work of a scene in the order of WORKS, None where unknown."""

    segments: int
    frames: float | None = None
    megapixel_frames: float | None = None
    input_seconds: float | None = None
    jobs: int = 1


#: What a scene is of.
Cell = tuple[Key, Works]


def estimate_scene(warehouse: Warehouse, scene: SceneRequest) -> Estimate | NoEstimate:
    """What one scene will take: GPU and wall seconds, MiB of output and so on, or why that is not known."""
    with warehouse.session(is_snapshot=True) as session:
        key = (scene.workflow, tier_of(scene, default_tier(session)))
        cell = (key, works_of(scene))
        return estimates([cell], knowledge(session, [scene.workflow]), prices(session))[cell]


def estimates(
    cells: Sequence[Cell], knowledge: Knowledge, rates: Prices
) -> dict[Cell, Estimate | NoEstimate]:
    """What scenes of each of these kinds will take."""
    found: dict[Cell, Estimate | NoEstimate] = {}
    known = []
    for cell in dict.fromkeys(cells):
        if cell[0] in knowledge.by_key:
            known.append(cell)
        else:
            found[cell] = no_estimate("no_history")
    if not known:
        return found
    outlook = knowledge.outlook([key for key, _ in known])
    said = outlook.predict(outlook.levels(works_array(known)))
    price = {key: rates.per_gpu_second(knowledge.by_key[key]) for key in {key for key, _ in known}}
    for cell, costs, basis in zip(
        known, _distributions(outlook, said), said.basis[:, WALL].tolist(), strict=True
    ):
        found[cell] = _estimate(knowledge.by_key[cell[0]], cell, costs, BASES[basis], price[cell[0]])
    return found


def works_of(scene: SceneRequest) -> Works:
    """The amounts of work that a scene is known to be."""
    segments, frames, said = segments_needed(scene), scene.frame_count or None, scene.parameters
    if not said:
        return Works(segments, frames)
    width, height = (_number(said.get(name), _MOST_PIXELS) for name in ("width", "height"))
    megapixel_frames = (frames or 0) * (width or 0) * (height or 0) / 1e6 or None  # of tiny numbers 0, too
    return Works(
        segments, frames, megapixel_frames, _number(said.get("input_duration_seconds"), _MOST_SECONDS)
    )


def works_array(cells: Sequence[Cell]) -> Array:
    """ln of the amounts of each cell: (m, WORKS), NaN where unknown."""
    found: Array = np.log(np.array([works for _, works in cells], np.float64))
    return found


def segments_needed(scene: SceneRequest) -> int:
    """ceil(target / segment); a quotient that is whole but for rounding (0.3 / 0.1) is whole."""
    return max(1, math.ceil(round(scene.target_seconds / scene.segment_seconds, 9)))


def default_tier(session: Session) -> str | None:
    """The studio's default tier's name."""
    return next((row["name"] for row in session.rows("estimates.tiers") if row["is_default"]), None)


def tier_of(scene: SceneRequest, default: str | None) -> str | None:
    """The tier that the scene names, none if it says null, the default if it says nothing."""
    return scene.tier if "tier" in scene.model_fields_set else default


def _number(value: object, most: float) -> float | None:
    """A parameter that may be an amount of work; all else is something else's."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value <= most else None  # type: ignore[operator,arg-type]


def _distributions(outlook: Outlook, said: Predicted) -> list[list[Distribution | None]]:
    """That of each cost of each cell, None where nothing is said."""
    with np.errstate(divide="ignore", invalid="ignore"):
        is_wide = np.maximum(said.p90 / said.p50, said.p50 / np.maximum(said.p10, 1e-300)) > _WIDEST
    found = np.stack([said.mean, said.p10, said.p50, said.p90], axis=2)
    found[is_wide & (said.p50 > 0), 1::2] = np.nan
    # The median of what is often nothing is nothing or of the rest.
    found[outlook.is_at_times_nothing, 2] = np.nan
    found[np.isnan(said.p50)] = np.nan
    ends = found.astype(object)
    ends[np.isnan(found)] = None
    return [[None if one[0] is None else Distribution(*one) for one in cell] for cell in ends.tolist()]


def _estimate(
    history: Known, cell: Cell, costs: Sequence[Distribution | None], basis: str, price: float | None
) -> Estimate | NoEstimate:
    wall, gpu, disk, energy, vram, rss = costs
    if wall is None:
        is_forgotten = history.record["counts"][WALL] == 0
        return no_estimate("raw_dropped" if is_forgotten else "no_segment_counts")
    reasons = (
        history.why_no_interval(cost) or "too_wide"
        for cost, one in enumerate(costs)
        if one is not None and one.p10 is None
    )
    return Estimate(
        segments_needed=cell[1].segments,
        gpu_seconds=gpu,
        wall_seconds=wall,
        disk_mb=disk,
        energy_joules=energy,
        vram_peak_mb=vram,
        rss_peak_mb=rss,
        cost=gpu.times(price) if gpu is not None and price is not None else None,
        confidence=history.confidence,
        sample_count=history.sample_count,
        basis=basis,
        interval_reason=next(reasons, None),
    )
