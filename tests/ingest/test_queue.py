"""The scheduler's queue: one snapshot, replaced as a whole or not at all."""

from typing import Any

import pytest

from framehouse.errors import ContractError
from framehouse.warehouse import Warehouse
from ingest.body import elements
from ingest.queue import put_queue
from tests.ingest.samples import ask

WAITING = {"workflow": "wan_i2v", "tier": "draft", "segment_count": 3, "priority": 5}
RUNNING = {"worker": "gpu-1", "workflow": "wan_i2v", "tier": None, "started_at": "2026-11-01T14:00:00+02:00"}


def test_the_last_snapshot_replaces_the_one_before(warehouse: Warehouse, database_url: str) -> None:
    put_queue(warehouse, {"waiting": [WAITING, WAITING], "running": [RUNNING]})
    assert ask(database_url, "select waiting from studio.queue") == [WAITING, WAITING]
    stored = ask(database_url, "select running from studio.queue")
    assert stored == [RUNNING | {"started_at": "2026-11-01T12:00:00Z", "segment_count": 1}]
    queue = put_queue(warehouse, {"waiting": [{"workflow": "thumbnail"}]})
    assert [(job.workflow, job.tier, job.segment_count) for job in queue.waiting] == [("thumbnail", None, 1)]
    assert (
        ask(
            database_url,
            "select jsonb_array_length(waiting) * 10 + jsonb_array_length(running) from studio.queue",
        )
        == 10
    )
    assert ask(database_url, "select count(*) from studio.queue") == 1


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (None, ""),
        ([], ""),
        ({"waiting": {}}, "waiting"),
        ({"jobs": []}, "jobs"),
        ({"waiting": [WAITING, {}]}, "waiting[1].workflow"),
        ({"waiting": [WAITING | {"segment_count": 0}]}, "waiting[0].segment_count"),
        ({"waiting": [WAITING | {"segment_count": True}]}, "waiting[0].segment_count"),
        ({"waiting": [WAITING | {"workflow": "\ud800"}]}, "waiting[0].workflow"),
        ({"running": [RUNNING | {"started_at": "yesterday"}]}, "running[0].started_at"),
        ({"running": [WAITING]}, "running[0].worker"),
        ({"waiting": [WAITING, WAITING | {"tier": "huge"}], "running": [RUNNING]}, "waiting[1].tier"),
        ({"running": [RUNNING | {"tier": "huge"}]}, "running[0].tier"),
    ],
)
def test_a_bad_queue_is_refused_and_the_stored_one_stays(
    warehouse: Warehouse, database_url: str, value: Any, path: str
) -> None:
    put_queue(warehouse, {"waiting": [WAITING]})
    with pytest.raises(ContractError) as refusal:
        put_queue(warehouse, value)
    assert path in [problem.path for problem in refusal.value.problems]
    assert ask(database_url, "select waiting from studio.queue") == [WAITING]


def test_an_unknown_tier_is_told_which_there_are(warehouse: Warehouse) -> None:
    with pytest.raises(ContractError) as refusal:
        put_queue(warehouse, {"waiting": [WAITING | {"tier": "huge"}]})
    assert refusal.value.problems[0].expected == "null or one of: draft, preview, production"


@pytest.mark.parametrize(
    "body",
    [b'{"waiting": [], "waiting": []}', b"[" * 2 + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"]" * 2],
)
def test_what_only_a_parser_sees(warehouse: Warehouse, body: bytes) -> None:
    with pytest.raises(ContractError) as refusal:
        put_queue(warehouse, elements(body)[0].value)
    assert refusal.value.problems
