"""The group commit: what it combines, what it keeps apart, what it refuses, how it ends."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError

import pytest

from framehouse.errors import BusyError, UnreachableError
from framehouse.events import Event
from framehouse.warehouse import Warehouse
from ingest.body import Element
from ingest.service import Batcher
from ingest.verdict import Status
from ingest.writer import Result, write

Store = Callable[[Sequence[Element]], list[Result]]


def elements(*names: str) -> list[Element]:
    """Elements that only carry a name."""
    return [Element(name, name.encode()) for name in names]


class Desk:
    """A store under the test's control: it waits at a gate, remembers its batches, and refuses some names."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.failing: dict[str, Exception] = {}
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)

    def __call__(self, batch: Sequence[Element]) -> list[Result]:
        self.entered.release()
        assert self.gate.wait(60)
        names = [element.value for element in batch]
        for name in names:
            if name in self.failing:
                raise self.failing[name]
        self.batches.append(names)
        return [Result(job_id=name) for name in names]


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.gate.set()


def test_what_waits_becomes_one_batch(desk: Desk) -> None:
    with Batcher(desk) as batcher:
        first = batcher.submit(elements("a"))
        assert desk.entered.acquire(timeout=60)
        others = [batcher.submit(elements(f"{n}x", f"{n}y")) for n in range(3)]
        assert batcher.waiting == 6
        desk.gate.set()
        assert [result.job_id for result in first.result(60)] == ["a"]
        for n, future in enumerate(others):
            assert [result.job_id for result in future.result(60)] == [f"{n}x", f"{n}y"]
    assert desk.batches == [["a"], ["0x", "0y", "1x", "1y", "2x", "2y"]]


def test_a_batch_has_a_size_and_requests_stay_whole(desk: Desk) -> None:
    with Batcher(desk, batch_elements=3) as batcher:
        batcher.submit(elements("first"))
        assert desk.entered.acquire(timeout=60)
        futures = [batcher.submit(elements(*names)) for names in ("ab", "c", "de", "fghij", "k")]
        desk.gate.set()
        assert all(future.result(60) for future in futures)
    assert desk.batches == [["first"], ["a", "b", "c"], ["d", "e"], ["f", "g", "h", "i", "j"], ["k"]]


def test_one_request_that_fails_does_not_fail_the_others(desk: Desk) -> None:
    desk.failing["bad"] = RuntimeError("no")
    with Batcher(desk) as batcher:
        batcher.submit(elements("first"))
        assert desk.entered.acquire(timeout=60)
        good = batcher.submit(elements("a", "b"))
        bad = batcher.submit(elements("bad", "c"))
        late = batcher.submit(elements("d"))
        desk.gate.set()
        assert len(good.result(60)) == 2
        assert len(late.result(60)) == 1
        with pytest.raises(RuntimeError, match="no"):
            bad.result(60)
        assert len(batcher.submit(elements("after")).result(60)) == 1
    assert desk.batches == [["first"], ["a", "b"], ["d"], ["after"]]


def test_an_outage_fails_who_waits_and_is_survived(desk: Desk) -> None:
    desk.failing["down"] = UnreachableError("away")
    with Batcher(desk, batch_elements=2) as batcher:
        futures = [batcher.submit(elements("down"))]
        assert desk.entered.acquire(timeout=60)
        futures += [batcher.submit(elements(name)) for name in "abcde"]
        desk.gate.set()
        for future in futures:
            with pytest.raises(UnreachableError):
                future.result(60)
        assert batcher.waiting == 0
        assert len(batcher.submit(elements("after")).result(60)) == 1
    assert desk.batches == [["after"]]


def test_too_much_is_refused_and_nothing_is_lost(desk: Desk) -> None:
    with Batcher(desk, queue_elements=4) as batcher:
        batcher.submit(elements("first"))
        assert desk.entered.acquire(timeout=60)
        large = batcher.submit(elements(*"abcdef"))  # an empty queue takes what will never fit
        with pytest.raises(BusyError):
            batcher.submit(elements("g"))
        desk.gate.set()
        assert len(large.result(60)) == 6
        assert len(batcher.submit(elements("g")).result(60)) == 1


def test_closing_writes_what_waits_and_takes_nothing_more(desk: Desk) -> None:
    batcher = Batcher(desk)
    batcher.start()
    batcher.submit(elements("first"))
    assert desk.entered.acquire(timeout=60)
    waiting = batcher.submit(elements("a"))
    closer = threading.Thread(target=batcher.close)
    closer.start()
    desk.gate.set()
    closer.join(60)
    assert len(waiting.result(0)) == 1
    with pytest.raises(BusyError):
        batcher.submit(elements("b"))


def test_closing_does_not_wait_for_ever(desk: Desk) -> None:
    batcher = Batcher(desk)
    batcher.start()
    batcher.submit(elements("first"))
    assert desk.entered.acquire(timeout=60)
    waiting = batcher.submit(elements("a"))
    batcher.close(timeout_seconds=0.01)
    with pytest.raises(BusyError):
        waiting.result(0)


def test_a_request_that_nobody_waits_for_is_not_written(desk: Desk) -> None:
    with Batcher(desk) as batcher:
        batcher.submit(elements("first"))
        assert desk.entered.acquire(timeout=60)
        left = batcher.submit(elements("left"))
        stays = batcher.submit(elements("stays"))
        assert left.cancel()
        desk.gate.set()
        assert len(stays.result(60)) == 1
        with pytest.raises(CancelledError):
            left.result(0)
    assert desk.batches == [["first"], ["stays"]]


def test_whole_requests_are_told_apart_on_a_real_warehouse(warehouse: Warehouse) -> None:
    finished = "2026-03-01T12:00:00Z"

    def event(job_id: str, **fields: object) -> Element:
        value = {
            "job_id": job_id,
            "workflow": "w",
            "outcome": "succeeded",
            "finished_at": finished,
            "wall_seconds": 1,
        }
        value |= fields
        return Element(value, Event.model_validate(value).model_dump_json().encode())

    def store(batch: Sequence[Element]) -> list[Result]:
        if any(element.value["job_id"] == "poison" for element in batch):
            with warehouse.session() as session:
                session.run_text("select 1 / 0")
        return write(warehouse, batch)

    sizes: list[int] = []
    with Batcher(store, on_batch=lambda size, _: sizes.append(size), linger_seconds=0.5) as batcher:
        futures = [
            batcher.submit([event("a"), event("b")]),
            batcher.submit([event("a")]),
            batcher.submit([event("poison")]),
            batcher.submit([event("b", wall_seconds=2)]),
        ]
        assert [result.status for result in futures[0].result(60)] == [Status.ACCEPTED, Status.ACCEPTED]
        assert [result.status for result in futures[1].result(60)] == [Status.DUPLICATE]
        assert futures[2].exception(60) is not None
        assert [result.code for result in futures[3].result(60)] == ["conflict"]
    assert sum(sizes) == 4
    with warehouse.session() as session:
        assert session.table("select job_id from ops.attempt_ledger order by 1")[1] == [("a",), ("b",)]
