"""Events as a studio would send them, with what a test is about filled in."""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from framehouse.events import Event
from framehouse.warehouse import Warehouse
from ingest.writer import Status, write_events

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def event(**fields: Any) -> Event:
    """A succeeded attempt of `portrait`, unless `fields` say otherwise."""
    said: dict[str, Any] = {
        "job_id": uuid.uuid4().hex,
        "workflow": "portrait",
        "outcome": "succeeded",
        "finished_at": NOON.isoformat(),
        "wall_seconds": 10.0,
    }
    return Event.model_validate(said | fields)


def store(warehouse: Warehouse, events: Iterable[Event]) -> None:
    """Store events; all of them must be accepted."""
    results = write_events(warehouse, list(events))
    refused = [result for result in results if result.status is not Status.ACCEPTED]
    assert not refused, refused
