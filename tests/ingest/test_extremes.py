"""Numbers at the edges of the contract: stored, rolled up and read without leaving what a double can hold."""

from datetime import timedelta
from uuid import uuid4

from framehouse import metrics
from framehouse.estimates.outcomes import history
from framehouse.warehouse import Warehouse
from framehouse.warehouse.maintain import maintain
from framehouse.windows import Window
from ingest.writer import Status, write_events
from tests.builders import NOON, event, store


def test_the_tiniest_numbers_are_nothing_and_stop_no_rollup(warehouse: Warehouse) -> None:
    """Squares, ratios and logarithms of what is stored stay within what a double can hold."""
    tiny, huge = 5e-324, 1e12
    bodies = [
        {
            "wall_seconds": 1e-200,
            "gpu_seconds": tiny,
            "output_mb": 1e-9,
            "frame_count": 2**31 - 1,
            "segment_count": 1,
        },
        {"wall_seconds": tiny, "frame_count": 2_000_000_000, "input": {"duration_seconds": huge}},
        {
            "wall_seconds": 1e-9,
            "segment_count": 2**31 - 1,
            "input": {"duration_seconds": huge},
            "cpu_seconds": huge,
        },
        {
            "wall_seconds": huge,
            "gpu_seconds": huge,
            "width": 2**20,
            "height": 2**20,
            "frame_count": 2**31 - 1,
        },
        {
            "wall_seconds": 1e-6,
            "gpu_seconds": 1e-9,
            "input": {"duration_seconds": huge},
            "cpu_mean_pct": tiny,
        },
    ]
    events = [event(**body) for body in bodies]
    assert {result.status for result in write_events(warehouse, events)} == {Status.ACCEPTED}
    assert maintain(warehouse) > 0
    window = Window(NOON - timedelta(days=1), NOON + timedelta(days=1))
    names = [m.name for m in metrics.METRICS if m.source.name == "attempts"]
    [rolled] = metrics.read(warehouse, names, window=window)
    [raw] = metrics.read(warehouse, names, window=window, is_raw=True)
    assert rolled["attempt_count"] == raw["attempt_count"] == len(bodies)
    assert rolled["min_wall_seconds"] == 0.0


def test_what_was_never_measured_has_no_spread(warehouse: Warehouse) -> None:
    store(warehouse, [event(segment_count=1) for _ in range(3)])
    window = Window(NOON - timedelta(days=1), NOON + timedelta(days=1))
    [row] = metrics.read(warehouse, ["sd_gpu_seconds", "sd_wall_seconds", "attempt_count"], window=window)
    assert row == {"sd_gpu_seconds": None, "sd_wall_seconds": 0.0, "attempt_count": 3}
    [cell] = history(warehouse).calibration
    assert (cell.sd_gpu_secs_per_segment, cell.sd_disk_mb_per_segment) == (None, None)


def test_no_attempts_are_none_and_not_unknown(warehouse: Warehouse) -> None:
    window = Window(NOON - timedelta(days=1), NOON)
    [row] = metrics.read(warehouse, ["attempt_count", "avg_wall_seconds", "failure_ratio"], window=window)
    assert row == {"attempt_count": 0, "avg_wall_seconds": None, "failure_ratio": None}


def test_an_actual_that_lacks_a_part_is_unknown_and_not_smaller(warehouse: Warehouse) -> None:
    tagged = {"estimate_id": str(uuid4()), "scene_key": "shot-1", "segment_count": 1}
    store(warehouse, [event(**tagged, gpu_seconds=100.0, output_mb=1.0)])
    store(warehouse, [event(**tagged, output_mb=2.0)])
    with warehouse.session() as session:
        _, rows = session.table("select gpu_seconds, wall_seconds, output_mb from ops.estimate_outcomes")
    assert rows == [(None, 20.0, 3.0)]
