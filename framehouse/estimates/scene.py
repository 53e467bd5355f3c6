"""The estimate of one scene."""

import math
from collections.abc import Sequence

import numpy as np

from framehouse.estimates.candidates import BASES, Array
from framehouse.estimates.known import Key, Knowledge, Known, knowledge
from framehouse.estimates.learning import WALL
from framehouse.estimates.memory import ln_works
from framehouse.estimates.prices import Prices, prices
from framehouse.estimates.totals import Distribution
from framehouse.estimates.wire import Estimate, NoEstimate, SceneRequest, no_estimate
from framehouse.warehouse import Session, Warehouse

#: P90 over P50, or P50 over P10, from which an interval says nothing.
_WIDEST = 1e6
#: Of one side of a picture, and of a medium.
_MOST_PIXELS, _MOST_SECONDS = 100_000, 1e7

#: What a scene is of: its workflow and tier, and the amounts of work by name, segments first.
Cell = tuple[Key, tuple[tuple[str, float], ...]]


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
    numbers = np.stack([said.mean, said.p10, said.p50, said.p90], axis=2).tolist()
    price = {key: rates.per_gpu_second(knowledge.by_key[key]) for key in {key for key, _ in known}}
    for cell, four, basis in zip(known, numbers, said.basis[:, WALL].tolist(), strict=True):
        found[cell] = _estimate(knowledge.by_key[cell[0]], cell, four, BASES[basis], price[cell[0]])
    return found


def works_of(scene: SceneRequest) -> tuple[tuple[str, float], ...]:
    """The amounts of work that a scene is known to be."""
    said = scene.parameters or {}
    width, height = (_number(said.get(name), _MOST_PIXELS) for name in ("width", "height"))
    duration = _number(said.get("input_duration_seconds"), _MOST_SECONDS)
    found: list[tuple[str, float]] = [("segments", segments_needed(scene))]
    if scene.frame_count:
        found.append(("frames", scene.frame_count))
        if width and height:
            found.append(("megapixel_frames", scene.frame_count * width * height / 1e6))
    if duration:
        found.append(("input_seconds", duration))
    return tuple(found)


def works_array(cells: Sequence[Cell]) -> Array:
    """ln of the amounts of each cell: (m, WORKS)."""
    return np.array([ln_works(dict(works)) for _, works in cells])


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


def _estimate(
    history: Known, cell: Cell, numbers: list[list[float]], basis: str, price: float | None
) -> Estimate | NoEstimate:
    """`numbers` are mean, P10, P50 and P90 of each cost."""
    wall, gpu, disk, energy, vram, rss = found = [
        _distribution(history, cost, *four) for cost, four in enumerate(numbers)
    ]
    if wall is None:
        is_forgotten = history.record["counts"][WALL] == 0
        return no_estimate("raw_dropped" if is_forgotten else "no_segment_counts")
    reasons = (
        history.why_no_interval(cost) or "too_wide"
        for cost, one in enumerate(found)
        if one is not None and one.p10 is None
    )
    return Estimate(
        segments_needed=int(cell[1][0][1]),
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


def _distribution(
    history: Known, cost: int, mean: float, low: float, middle: float, high: float
) -> Distribution | None:
    if math.isnan(middle):
        return None
    if math.isnan(low):
        return Distribution(mean, None, None if history.is_at_times_nothing(cost) else middle, None)
    if middle > 0 and max(high / middle, middle / max(low, 1e-300)) > _WIDEST:
        return Distribution(mean, None, middle, None)
    return Distribution(mean, low, middle, high)
