"""What a writer tells of its batches: once a transaction, of nothing but what is new, and in few bytes."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from framehouse.errors import ContractError
from framehouse.warehouse import Warehouse
from framehouse.warehouse.written import MOST_NAMES, Written
from ingest import heartbeats, writer
from ingest.load import load
from ingest.queue import put_queue
from tests.ingest.samples import NOW, batch, beat, event, tell

Heard = Callable[[], list[dict[str, Any]]]
CHECK = "alter table telemetry.performance_metrics add constraint no_such_job check (job_id not like 'bad%')"


@pytest.fixture
def payloads(database_url: str) -> Iterator[Callable[[], list[str]]]:
    """Gives what was told since it was asked before."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("listen framehouse_written")

        def told() -> list[str]:
            # Notifications come in the order of the commits, so nothing comes after this one.
            connection.execute("select pg_notify('framehouse_written', 'the end')")
            found: list[str] = []
            for notification in connection.notifies():
                if notification.payload == "the end":
                    break
                found.append(notification.payload)
            return found

        yield told


@pytest.fixture
def told(payloads: Callable[[], list[str]]) -> Heard:
    """The same, read."""
    return lambda: [json.loads(payload) for payload in payloads()]


def test_a_batch_is_told_once_and_a_duplicate_never(warehouse: Warehouse, told: Heard) -> None:
    first, last = NOW - timedelta(hours=3), NOW - timedelta(hours=2)
    sent = batch(
        [
            event("a", worker="gpu-2", finished_at=last.isoformat()),
            event("b", worker="gpu-1", finished_at=first.isoformat(), workflow="upscale"),
            event("a", worker="gpu-2", finished_at=last.isoformat()),
            event("c", finished_at=last.isoformat()),
            {"job_id": "no event"},
        ]
    )
    writer.write(warehouse, sent)
    assert told() == [
        {
            "kind": "attempts",
            "count": 3,
            "first_at": first.isoformat().replace("+00:00", "Z"),
            "last_at": last.isoformat().replace("+00:00", "Z"),
            "workflows": ["upscale", "wan_i2v"],
            "workers": ["gpu-1", "gpu-2"],
        }
    ]
    writer.write(warehouse, sent)
    writer.write(warehouse, batch([event("a", wall_seconds=1), event("d", tier="8k")]))
    assert told() == []


def test_what_is_rolled_back_is_not_told(warehouse: Warehouse, database_url: str, told: Heard) -> None:
    tell(database_url, CHECK)
    writer.write(warehouse, batch([event("bad")]))
    assert told() == []
    # The batch is refused as a whole, and then written one by one: three transactions, of which two store something.
    writer.write(warehouse, batch([event("a"), event("bad-too"), event("b")]))
    assert [one["count"] for one in told()] == [1, 1]


def test_heartbeats_tell_what_was_new_of_them(warehouse: Warehouse, told: Heard) -> None:
    heartbeats.write_heartbeats(warehouse, batch([beat("gpu-2", 0, 5), beat("gpu-1", 5, 10)]))
    [found] = told()
    assert (found["kind"], found["count"], found["workers"]) == ("heartbeats", 2, ["gpu-1", "gpu-2"])
    assert (found["first_at"][11:], found["last_at"][11:]) == ("12:00:00Z", "12:10:00Z")
    known = [beat("gpu-2", 0, 5), beat("gpu-1", 6, 9)]
    heartbeats.write_heartbeats(warehouse, batch(known))
    assert told() == []
    heartbeats.write_heartbeats(warehouse, batch([*known, beat("gpu-3", 0, 1)]))
    assert [(one["count"], one["workers"]) for one in told()] == [(1, ["gpu-3"])]


def test_the_queue_tells_of_nobody_in_particular(warehouse: Warehouse, told: Heard) -> None:
    put_queue(warehouse, {"waiting": [{"workflow": "wan_i2v"}]})
    with pytest.raises(ContractError):
        put_queue(warehouse, {"waiting": [{"workflow": "wan_i2v", "tier": "8k"}]})
    put_queue(warehouse, {})
    found = told()
    assert [(one["kind"], one["count"]) for one in found] == [("queue", 1), ("queue", 0)]
    assert {one["workflows"] for one in found} == {None}


def test_a_file_is_told_batch_by_batch(warehouse: Warehouse, told: Heard, tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text("".join(json.dumps(event(f"job-{number}")) + "\n" for number in range(1001)))
    load(warehouse, file, home=tmp_path / "home")
    assert [one["count"] for one in told()] == [1000, 1]


@pytest.mark.parametrize(
    ("count", "name"),
    [
        (MOST_NAMES, "{:03}" + "n" * 180),
        (MOST_NAMES, "{:03}" + '"\\' * 90),
        (MOST_NAMES, "{:03}" + "\N{SNOWMAN}" * 180),
        (400, "{:03}" + "\N{CLAPPER BOARD}" * 197),
        (400, "{:03}"),
    ],
    ids=["long", "escaped", "wide", "many and wide", "many"],
)
def test_long_names_stay_within_what_can_be_told(
    warehouse: Warehouse, payloads: Callable[[], list[str]], count: int, name: str
) -> None:
    names = [name.format(number) for number in range(count)]
    writer.write(warehouse, batch(event(one, workflow=one, worker=one) for one in names))
    [payload] = payloads()
    assert len(payload.encode()) < 8000
    found = Written.model_validate_json(payload)
    assert (found.count, found.workflows, found.workers) == (count, None, None)


def test_as_many_names_as_fit_are_told(warehouse: Warehouse, payloads: Callable[[], list[str]]) -> None:
    names = [f"{number:02}" + '"' * 32 for number in range(MOST_NAMES)]
    writer.write(warehouse, batch(event(one, workflow=one, worker=one) for one in names))
    [payload] = payloads()
    assert 6000 < len(payload.encode()) < 8000
    found = Written.model_validate_json(payload)
    assert (found.workflows, found.workers) == (names, names)
