"""What a batch consists of, what it costs, and what would change if it were done otherwise."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from framehouse.errors import ContractError
from framehouse.estimates.batch import estimate_batch
from framehouse.estimates.learning import learn
from framehouse.estimates.wire import BatchAnswer, BatchRequest, Breakdown
from framehouse.warehouse import Warehouse
from framehouse.warehouse.rates import Rate, set_rate
from tests.builders import NOON, event, store
from tests.estimates.test_batch import batch, scene

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def attempts(
    warehouse: Warehouse, count: int = 60, level: float = 10.0, sd: float = 0.2, **fields: Any
) -> None:
    """Attempts of one segment, as many GPU as wall seconds, five megabytes and two kilojoules a second each."""
    rng = np.random.default_rng([count, round(level)])
    said: dict[str, Any] = {
        "tier": "draft",
        "segment_count": 1,
        "gpu_count": 1,
        "host": {"gpu_model": "A100"},
    }
    costs = (level * rng.lognormal(0, sd, count)).tolist()
    store(
        warehouse,
        [
            event(
                **(said | {"finished_at": (NOON + timedelta(minutes=minute)).isoformat()} | fields),
                wall_seconds=cost, gpu_seconds=cost, output_mb=5.0, energy_joules=2000 * cost,
            )
            for minute, cost in enumerate(costs)
        ],
    )  # fmt: skip


def ask(warehouse: Warehouse, *scenes: dict[str, Any], **fields: Any) -> BatchAnswer:
    return estimate_batch(warehouse, batch(*scenes, **({"store": False} | fields)))


def test_a_total_is_surer_than_its_parts_and_less_sure_than_if_they_were_independent(
    warehouse: Warehouse,
) -> None:
    attempts(warehouse)
    learn(warehouse)
    one, many = (ask(warehouse, *[scene(target_seconds=2.0)] * count).totals.wall_hours for count in (1, 100))
    assert one is not None
    assert many is not None
    assert None not in (one.p10, one.p90, many.p10, many.p90)
    widths = [math.log(total.p90 / total.p10) for total in (one, many) if total.p10 and total.p90]
    assert many.mean == pytest.approx(100 * one.mean)
    assert widths[0] / math.sqrt(100) < 0.7 * widths[1] < widths[1] < widths[0]
    assert many.p10 is not None
    assert many.p90 is not None
    assert many.p10 < 100 * 10 * math.exp(0.02) / 3600 < many.p90


def test_a_total_has_no_interval_where_a_part_has_none(warehouse: Warehouse) -> None:
    attempts(warehouse)
    attempts(warehouse, 2, workflow="rare")
    totals = ask(warehouse, scene(), scene(workflow="rare")).totals
    assert totals.interval_reason == "too_few_samples"
    assert totals.wall_hours is not None
    assert totals.wall_hours.mean > 0
    assert totals.wall_hours.p90 is None


def test_parts_within_parts_sum_to_the_whole(warehouse: Warehouse) -> None:
    attempts(warehouse)
    attempts(warehouse, level=40.0, tier="production")
    scenes = [
        scene(scene_type=kind, tier=tier, character=name, variant="night" if name else None)
        for kind in ("dialogue", "action")
        for tier in ("draft", "production")
        for name in ("Ada", None)
    ]
    answer = ask(warehouse, *scenes, scene(workflow="new"), drill_down=["scene_type", "tier", "character"])
    assert [share.name for share in answer.by_variant] == ["night", None]

    def check(parts: tuple[Breakdown, ...], scene_count: int, wall_hours: float | None) -> None:
        assert sum(part.scene_count for part in parts) == scene_count
        assert math.fsum(part.wall_hours or 0 for part in parts) == pytest.approx(wall_hours or 0)
        for part in parts:
            if part.parts:
                check(part.parts, part.scene_count, part.wall_hours)

    check(answer.breakdown, 9, answer.total_wall_hours)
    action = answer.breakdown[0]
    assert (action.name, action.dimension) == ("action", "scene_type")
    assert [(part.name, part.dimension) for part in action.parts] == [
        ("draft", "tier"),
        ("production", "tier"),
    ]
    assert [part.name for part in action.parts[0].parts] == ["Ada", None]
    assert action.parts[0].parts[0].parts == ()
    assert [part.name for part in answer.breakdown] == ["action", "dialogue", None]
    with pytest.raises(ValidationError, match="twice"):
        BatchRequest.model_validate({"scenes": [scene()], "drill_down": ["tier", "tier"]})


def test_money_and_energy(warehouse: Warehouse) -> None:
    attempts(warehouse)
    asked = [scene(target_seconds=2.0)] * 10
    unpriced = ask(warehouse, *asked)
    assert (unpriced.total_cost, unpriced.totals.cost_reason) == (None, "gpu_model_without_rate")
    set_rate(warehouse, Rate("A100", LONG_AGO, 3.6, "EUR"))
    set_rate(warehouse, Rate("A100", datetime.now(UTC) + timedelta(days=1), 99.0, "EUR"))
    answer = ask(warehouse, *asked)
    assert answer.total_gpu_hours is not None
    assert answer.total_cost == pytest.approx(3.6 * answer.total_gpu_hours)
    assert (answer.totals.currency, answer.totals.cost_reason) == ("EUR", None)
    assert answer.total_energy_kwh == pytest.approx(answer.total_gpu_hours * 2, rel=0.01)
    [first] = {share.cost for share in answer.by_workflow}
    assert first == pytest.approx(answer.total_cost)
    attempts(warehouse, 20, host={"gpu_model": "H100"}, finished_at=(NOON + timedelta(days=1)).isoformat())
    assert ask(warehouse, *asked).totals.cost_reason == "gpu_model_without_rate", "H100 has no rate"
    set_rate(warehouse, Rate("H100", LONG_AGO, 7.2, "EUR"))
    mixed = ask(warehouse, *asked)
    assert mixed.total_cost is not None
    assert mixed.total_gpu_hours is not None
    assert 3.6 < mixed.total_cost / mixed.total_gpu_hours < 7.2
    attempts(warehouse, 5, host=None, finished_at=(NOON + timedelta(days=2)).isoformat())
    assert ask(warehouse, *asked).totals.cost_reason == "gpu_model_unknown"


def test_gpu_time_of_nothing_costs_nothing(warehouse: Warehouse) -> None:
    set_rate(warehouse, Rate("A100", LONG_AGO, 3.6, "EUR"))
    store(warehouse, [event(tier="draft", gpu_count=0, segment_count=1) for _ in range(5)])
    assert ask(warehouse, scene()).total_cost == 0


def test_what_if(warehouse: Warehouse) -> None:
    attempts(warehouse)
    attempts(warehouse, level=40.0, tier="production")
    attempts(warehouse, level=5.0, workflow="portrait_fast")
    answer = ask(
        warehouse,
        *[scene(target_seconds=2.0)] * 24,
        pool={"worker_count": 2},
        what_if=[
            {"tier": "production"},
            {"name": "the fast one", "workflow": "portrait_fast"},
            {"pool": {"worker_count": 4}},
            {"tier": "preview"},
        ],
    )
    production, fast, pool, preview = answer.what_if
    assert (production.name, fast.name) == ("variation-1", "the fast one")
    assert production.gpu_hours_change_ratio == pytest.approx(3, rel=0.15)
    assert production.wall_clock_change_ratio == pytest.approx(3, rel=0.2)
    assert fast.gpu_hours_change_ratio == pytest.approx(-0.5, abs=0.05)
    assert (pool.worker_count, pool.gpu_hours_change_ratio) == (4, 0)
    assert pool.wall_clock_change_ratio == pytest.approx(-0.5, abs=0.1)
    assert (preview.estimated_scenes, preview.gpu_hours_change_ratio) == (0, None)
    assert [unknown.reason for unknown in preview.unknown] == ["no_history"]
    with pytest.raises(ContractError) as refusal:
        ask(warehouse, scene(), what_if=[{"pool": {"worker_count": 1}}, {"tier": "8k"}])
    assert [problem.path for problem in refusal.value.problems] == ["what_if[1].tier"]
    with pytest.raises(ValidationError, match="one of them"):
        BatchRequest.model_validate({"scenes": [scene()], "what_if": [{"name": "nothing"}]})


def test_unequal_workers_and_one_more(warehouse: Warehouse) -> None:
    """A pool of the slow one takes twice as long as a pool of the fast one."""
    rng = np.random.default_rng(5)
    store(
        warehouse,
        [
            event(
                tier="draft", segment_count=1, worker=worker,
                finished_at=(NOON + timedelta(minutes=minute)).isoformat(),
                wall_seconds=float({"fast": 10, "slow": 20}[worker] * rng.lognormal(0, 0.05)),
            )
            for minute in range(120)
            for worker in ("fast", "slow")
        ],
    )  # fmt: skip
    learn(warehouse)
    asked = [scene(target_seconds=2.0)] * 30
    fast, slow, both = (
        ask(warehouse, *asked, pool={"workers": names}).wall_clock_hours
        for names in (["fast"], ["slow"], ["fast", "slow"])
    )
    assert fast is not None
    assert slow is not None
    assert both is not None
    assert fast.p50 == pytest.approx(30 * 10 / 3600, rel=0.1)
    assert slow.p50 == pytest.approx(30 * 20 / 3600, rel=0.1)
    assert both.p50 == pytest.approx(20 * 10 / 3600, rel=0.1), "two of three jobs go to the fast one"
    assert both.p50_with_one_more is not None
    assert both.p50_with_one_more < 0.8 * both.p50


def test_frames_and_size_say_what_segments_do_not(warehouse: Warehouse) -> None:
    rng = np.random.default_rng(6)
    frames = rng.integers(10, 500, 80).tolist()
    store(
        warehouse,
        [
            event(
                tier="draft", segment_count=1, frame_count=count, finished_at=(NOON + timedelta(minutes=n)).isoformat(),
                wall_seconds=0.1 * count,
            )
            for n, count in enumerate(frames)
        ],
    )  # fmt: skip
    learn(warehouse)
    short, long = (
        ask(warehouse, scene(target_seconds=2.0, frame_count=count)).scenes[0].estimate for count in (50, 400)
    )
    assert short is not None
    assert long is not None
    assert (short.basis, long.basis) == ("frames", "frames")
    assert short.wall_seconds.p50 == pytest.approx(5, rel=0.05)
    assert long.wall_seconds.p50 == pytest.approx(40, rel=0.05)
    unsaid = ask(warehouse, scene(target_seconds=2.0)).scenes[0].estimate
    assert unsaid is not None
    assert unsaid.basis != "frames"


def test_a_worker_that_only_some_attempts_name_stops_no_wall_clock(warehouse: Warehouse) -> None:
    """Those that name theirs say nothing of segments, and those that do name none."""
    rng = np.random.default_rng(7)
    store(
        warehouse,
        [
            event(
                tier="draft", finished_at=(NOON + timedelta(minutes=n)).isoformat(),
                **({"worker": f"w{n % 2}", "frame_count": 50} if n % 4 else {"segment_count": 1, "frame_count": 50}),
                wall_seconds=float((1 + n % 2) * rng.lognormal(2, 0.05)),
            )
            for n in range(160)
        ],
    )  # fmt: skip
    learn(warehouse)
    answer = ask(warehouse, scene(target_seconds=2.0), pool={"workers": ["w0", "w1"]})
    assert answer.estimated_scenes == 1
    assert answer.wall_clock_hours is not None


def test_only_the_same_scenes_are_compared(warehouse: Warehouse) -> None:
    attempts(warehouse, workflow="a")
    attempts(warehouse, level=900.0, workflow="b", tier="preview")
    answer = ask(warehouse, scene(workflow="a"), scene(workflow="b"), what_if=[{"tier": "preview"}])
    [other] = answer.what_if
    assert (answer.estimated_scenes, other.estimated_scenes) == (1, 1)
    assert other.gpu_hours_change_ratio is None


def test_the_order_of_scenes_changes_no_wall_clock(warehouse: Warehouse) -> None:
    rng = np.random.default_rng(8)
    store(
        warehouse,
        [
            event(
                tier="draft", segment_count=1, frame_count=count, finished_at=(NOON + timedelta(minutes=n)).isoformat(),
                wall_seconds=float(0.1 * count * rng.lognormal(0, 0.02)),
            )
            for n, count in enumerate(rng.integers(10, 500, 120).tolist())
        ],
    )  # fmt: skip
    learn(warehouse)
    known = [scene(target_seconds=2.0, frame_count=250)] * 20
    first, last = (
        ask(warehouse, *scenes, pool={"worker_count": 1}).wall_clock_hours
        for scenes in ([scene(target_seconds=2.0), *known], [*known, scene(target_seconds=2.0)])
    )
    assert first is not None
    assert last is not None
    assert first.p90 == pytest.approx(last.p90, rel=0.05)


def test_sizes_that_no_picture_has_are_no_work(warehouse: Warehouse) -> None:
    attempts(warehouse, frame_count=50, width=512, height=512)
    said = {"width": 1e200, "height": 10**400, "input_duration_seconds": -1}
    answer = ask(warehouse, scene(frame_count=50, parameters=said))
    assert answer.total_wall_hours is not None
    assert answer.total_wall_hours < 1


def test_one_scene_has_its_own_interval_as_the_total(warehouse: Warehouse) -> None:
    attempts(warehouse)
    answer = ask(warehouse, scene(target_seconds=2.0))
    [only] = answer.scenes
    assert only.estimate is not None
    assert answer.totals.wall_hours is not None
    assert answer.totals.wall_hours.p90 == pytest.approx((only.estimate.wall_seconds.p90 or 0) / 3600)


def test_an_unnamed_worker_is_a_usual_one(warehouse: Warehouse) -> None:
    """Of five workers from half to twice the usual time, whichever came first."""
    factors = {"w2": 2.0, "w1": 1.4, "w0": 0.5, "w3": 1.0, "w4": 0.7}
    rng = np.random.default_rng(9)
    store(
        warehouse,
        [
            event(
                tier="draft", segment_count=1, worker=worker, wall_seconds=float(10 * factor * rng.lognormal(0, 0.05)),
                finished_at=(NOON + timedelta(minutes=n)).isoformat(),
            )
            for n in range(40)
            for worker, factor in factors.items()
        ],
    )  # fmt: skip
    learn(warehouse)
    asked = [scene(target_seconds=2.0)] * 20
    for pool in ({"worker_count": 1}, {"workers": ["new"]}):
        clock = ask(warehouse, *asked, pool=pool).wall_clock_hours
        assert clock is not None
        assert 20 * 7 / 3600 < clock.p50 < 20 * 13 / 3600
        assert clock.p90 > 1.2 * clock.p50, "nobody knows which one it is"


def test_what_is_known_of_one_worker_is_not_known_of_all(warehouse: Warehouse) -> None:
    """That one of three is busy, and who it is, makes the others no surer."""
    rng = np.random.default_rng(10)
    store(
        warehouse,
        [
            event(
                tier="draft", segment_count=1, worker=f"w{n % 3}",
                wall_seconds=float(10 * (0.5, 1.0, 2.0)[n % 3] * rng.lognormal(0, 0.05)),
                finished_at=(NOON + timedelta(minutes=n)).isoformat(),
            )
            for n in range(120)
        ],
    )  # fmt: skip
    learn(warehouse)
    running = {"worker": "w0", "workflow": "portrait", "tier": "draft", "segment_count": 1}
    running["started_at"] = datetime.now(UTC) - timedelta(seconds=4)
    asked = [scene(target_seconds=2.0)] * 2
    idle, busy = (
        ask(warehouse, *asked, pool={"worker_count": 3}, queue={"running": jobs}).wall_clock_hours
        for jobs in ([], [running])
    )
    assert idle is not None
    assert busy is not None
    assert busy.p90 == pytest.approx(idle.p90, rel=0.1)


def test_workers_of_other_work_are_not_usual_ones(warehouse: Warehouse) -> None:
    """Nobody knows how hosts that only make thumbnails would do at portraits; and one that is known to be slow by other
    work does not make a new one slow."""
    rng = np.random.default_rng(11)
    factors = {"w0": 0.8, "w1": 1.0, "w2": 1.25}
    store(
        warehouse,
        [
            event(
                workflow=workflow, tier="draft", segment_count=1, worker=worker, wall_seconds=seconds,
                finished_at=(NOON + timedelta(minutes=n)).isoformat(),
            )
            for n in range(40)
            for workflow, worker, seconds in [
                ("thumbnail", f"cpu{n % 2}", 1.0 if n else 50.0),
                ("proof", *(("w1", 1.0), ("slow", 20.0))[n % 2]),
                *(("portrait", name, float(10 * factor * rng.lognormal(0, 0.05))) for name, factor in factors.items()),
            ]
        ],
    )  # fmt: skip
    learn(warehouse)
    asked = [scene(target_seconds=2.0)] * 20
    pools = ["w1"], ["w1", "new"], ["w1", "cpu0", "cpu1"], ["w1", "slow"]
    known, new, hosts, slow = (
        ask(warehouse, *asked, pool={"workers": names}).wall_clock_hours for names in pools
    )
    assert known is not None
    assert new is not None
    assert hosts is not None
    assert slow is not None
    assert new.p50 == pytest.approx(known.p50 / 2, rel=0.15)
    assert hosts.p50 == pytest.approx(known.p50 / 3, rel=0.15)
    assert slow.p50 > known.p50 * 0.9
