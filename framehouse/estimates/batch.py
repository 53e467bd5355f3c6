"""The estimate of a batch: totals, parts, what is unknown, when the pool will be done with it, and what would change if
it were done otherwise."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from framehouse.errors import ContractError, Problem
from framehouse.estimates.alarms import open_alarms
from framehouse.estimates.clock import Surroundings, surroundings, wall_clock
from framehouse.estimates.known import Confidence, Knowledge, knowledge
from framehouse.estimates.prices import Prices, prices
from framehouse.estimates.scene import Cell, estimates, tier_of, works_of
from framehouse.estimates.spending import told
from framehouse.estimates.store import store
from framehouse.estimates.sums import Shares, totals, unknown
from framehouse.estimates.totals import Distribution
from framehouse.estimates.wire import (
    BatchAnswer,
    BatchRequest,
    Dimension,
    Estimate,
    NoEstimate,
    Outcome,
    SceneAnswer,
    SceneRequest,
    Variation,
    Varied,
)
from framehouse.warehouse import Session, Warehouse

_ORDER: tuple[Confidence, ...] = ("low", "medium", "high")


def estimate_batch(warehouse: Warehouse, request: BatchRequest) -> BatchAnswer:
    """What a batch will take. Stored, to be scored later, unless the request says otherwise.

    Raises ContractError for a tier that does not exist and for scene keys that stand twice.
    """
    keys = _scene_keys(request.scenes)
    with warehouse.session(is_snapshot=True) as session:
        tiers = _tiers(session, request)
        around = surroundings(session, request.pool, request.queue, [other.pool for other in request.what_if])
        workflows = {scene.workflow for scene in request.scenes} | around.workflows
        workflows |= {other.workflow for other in request.what_if if other.workflow is not None}
        known = _Known(knowledge(session, workflows), prices(session))
        alarms = open_alarms(
            session, {(scene.workflow, tier) for scene, tier in zip(request.scenes, tiers, strict=True)}
        )
    scenes, outcome = known.outcome(request.scenes, keys, tiers, around)
    shares = Shares(list(zip(request.scenes, scenes, strict=True)))
    whole = outcome.totals
    of_budgets = {"gpu_hours": whole.gpu_hours, "cost": whole.cost, "disk_gb": whole.disk_gb}
    budgets = told(
        warehouse, request.project, of_budgets, unknown_scenes=len(scenes) - outcome.estimated_scenes
    )
    answer = BatchAnswer(
        **_fields(outcome),
        estimate_id=uuid4() if request.store else None,
        created_at=datetime.now(UTC),
        total_scenes=len(scenes),
        total_gpu_hours=_mean(whole.gpu_hours),
        total_wall_hours=_mean(whole.wall_hours),
        total_disk_gb=_mean(whole.disk_gb),
        total_energy_kwh=_mean(whole.energy_kwh),
        total_cost=_mean(whole.cost),
        queue_depth=None if around.queue is None else len(around.queue.waiting),
        by_scene_type=shares.by(Dimension.SCENE_TYPE),
        by_character=shares.by(Dimension.CHARACTER),
        by_variant=shares.by(Dimension.VARIANT),
        by_tier=shares.by(Dimension.TIER),
        by_workflow=shares.by(Dimension.WORKFLOW),
        breakdown=shares.breakdown(request.drill_down),
        what_if=tuple(
            known.varied(place, variation, request.scenes, keys, tiers, around, (scenes, outcome))
            for place, variation in enumerate(request.what_if, start=1)
        ),
        scenes=tuple(scenes),
        budgets=budgets,
        alarms=alarms,
    )
    if request.store:
        store(warehouse, request, answer)
    return answer


@dataclass(frozen=True, slots=True)
class _Known:
    """What a batch is estimated from, as of one instant."""

    knowledge: Knowledge
    prices: Prices

    def outcome(
        self,
        requests: Sequence[SceneRequest],
        keys: Sequence[str],
        tiers: Sequence[str | None],
        around: Surroundings,
    ) -> tuple[list[SceneAnswer], Outcome]:
        """Every scene's answer, and what they take together."""
        cells: list[Cell] = [
            ((request.workflow, tier), works_of(request))
            for request, tier in zip(requests, tiers, strict=True)
        ]
        found = estimates(cells, self.knowledge, self.prices)
        scenes = [_answer(key, cell, found[cell]) for key, cell in zip(keys, cells, strict=True)]
        estimated = [cell for cell in cells if isinstance(found[cell], Estimate)]
        clock, reason = wall_clock(estimated, self.knowledge, around)
        confidences = [scene.estimate.confidence for scene in scenes if scene.estimate is not None]
        return scenes, Outcome(
            estimated_scenes=len(estimated),
            totals=totals(scenes, self.knowledge, self.prices),
            wall_clock_hours=clock,
            wall_clock_reason=reason,
            worker_count=None if around.workers is None else len(around.workers),
            confidence=min(confidences, key=_ORDER.index, default=None),
            unknown=unknown(scenes),
        )

    def varied(
        self,
        place: int,
        variation: Variation,
        requests: Sequence[SceneRequest],
        keys: Sequence[str],
        tiers: Sequence[str | None],
        around: Surroundings,
        as_it_is: tuple[Sequence[SceneAnswer], Outcome],
    ) -> Varied:
        """The batch done otherwise, beside the batch as it is."""
        scenes, own = as_it_is
        if variation.tier is not None:
            tiers = [None if tier is None else variation.tier for tier in tiers]
        if variation.workflow is not None:
            requests = [scene.model_copy(update={"workflow": variation.workflow}) for scene in requests]
        others, other = self.outcome(requests, keys, tiers, around.with_pool(variation.pool))
        is_comparable = _estimated(others) == _estimated(scenes)

        def change(before: float | None, after: float | None) -> float | None:
            return after / before - 1 if is_comparable and before and after is not None else None

        clocks = [one.wall_clock_hours.p50 if one.wall_clock_hours else None for one in (own, other)]
        return Varied(
            **_fields(other),
            name=variation.name or f"variation-{place}",
            gpu_hours_change_ratio=change(_mean(own.totals.gpu_hours), _mean(other.totals.gpu_hours)),
            cost_change_ratio=change(_mean(own.totals.cost), _mean(other.totals.cost)),
            wall_clock_change_ratio=change(*clocks),
        )


def _answer(scene_key: str, cell: Cell, found: Estimate | NoEstimate) -> SceneAnswer:
    (workflow, tier), works = cell
    return SceneAnswer(
        scene_key=scene_key,
        workflow=workflow,
        tier=tier,
        segments_needed=works.segments,
        estimate=found if isinstance(found, Estimate) else None,
        reason=found.reason if isinstance(found, NoEstimate) else None,
    )


def _estimated(scenes: Sequence[SceneAnswer]) -> set[str]:
    return {scene.scene_key for scene in scenes if scene.estimate is not None}


def _fields(outcome: Outcome) -> dict[str, Any]:
    return {field.name: getattr(outcome, field.name) for field in fields(outcome)}


def _mean(found: Distribution | None) -> float | None:
    return None if found is None else found.mean


def _scene_keys(scenes: Sequence[SceneRequest]) -> list[str]:
    keys = [scene.scene_key or f"scene-{number}" for number, scene in enumerate(scenes, start=1)]
    twice = {key for key, count in Counter(keys).items() if count > 1}
    if twice:
        found = [
            Problem(f"scenes[{index}].scene_key", f"{key!r} stands twice", "a key of its own")
            for index, key in enumerate(keys)
            if key in twice
        ]
        raise ContractError("two scenes have the same key", found[:20])
    return keys


def _tiers(session: Session, request: BatchRequest) -> list[str | None]:
    """Each scene's tier. Raises ContractError for one that does not exist, also in the request's queue."""
    rows = session.rows("estimates.tiers")
    exists = {row["name"] for row in rows}
    default = next((row["name"] for row in rows if row["is_default"]), None)
    tiers = [tier_of(scene, default) for scene in request.scenes]
    named = [(f"scenes[{index}]", tier) for index, tier in enumerate(tiers)]
    if request.queue is not None:
        named += [(f"queue.waiting[{index}]", job.tier) for index, job in enumerate(request.queue.waiting)]
        named += [(f"queue.running[{index}]", job.tier) for index, job in enumerate(request.queue.running)]
    named += [(f"what_if[{index}]", other.tier) for index, other in enumerate(request.what_if)]
    found = [
        Problem(f"{path}.tier", f"there is no tier {tier!r}", f"null or one of: {', '.join(sorted(exists))}")
        for path, tier in named
        if tier is not None and tier not in exists
    ]
    if found:
        raise ContractError("the batch names a tier that does not exist", found[:20])
    return tiers
