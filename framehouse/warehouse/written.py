"""What a writer tells of a batch: what kind, how much, of when, of whom.

One notification a transaction, sent within it: nobody hears of what was rolled back, and whoever hears of a batch can
read it. It says what to read again, not what is there now.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict

from framehouse.warehouse.pool import Session

#: PostgreSQL takes less than 8000 bytes. Two lists of names, and what stands around them, stay below that.
MOST_NAMES = 50
MOST_NAME_BYTES = 3500

UtcTime = Annotated[AwareDatetime, AfterValidator(lambda value: value.astimezone(UTC))]


class WrittenKind(StrEnum):
    """What was written."""

    ATTEMPTS = "attempts"
    HEARTBEATS = "heartbeats"
    QUEUE = "queue"


class Written(BaseModel):
    """Something new is stored and can be read; duplicates are not new."""

    # Fields that a newer writer sends are not an older reader's business.
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, extra="ignore")

    kind: WrittenKind
    count: int
    """New attempts; heartbeats of which something was new; jobs in the queue, waiting and running."""
    first_at: UtcTime | None
    """The first `finished_at` of the attempts, the first `covered_from` of the heartbeats; null for the queue."""
    last_at: UtcTime | None
    """The last `finished_at`, or the last `covered_to`; null for the queue."""
    workflows: list[str] | None
    """The names of those concerned. Null: any may be (there are too many to name, or a queue took another's place)."""
    workers: list[str] | None
    """Likewise."""


def tell(
    session: Session,
    kind: WrittenKind,
    count: int,
    *,
    span: tuple[datetime, datetime] | None = None,
    workflows: Iterable[str] | None = None,
    workers: Iterable[str] | None = None,
) -> None:
    """Tell everyone who listens, once the session's transaction is committed."""
    first_at, last_at = span or (None, None)
    written = Written(
        kind=kind,
        count=count,
        first_at=first_at,
        last_at=last_at,
        workflows=_few(workflows),
        workers=_few(workers),
    )
    session.run("written.tell", [written.model_dump_json()])


def _few(names: Iterable[str] | None) -> list[str] | None:
    """The names in order, or None where they are too many or too long to be told."""
    if names is None:
        return None
    found = sorted(set(names))
    if len(found) > MOST_NAMES or len(json.dumps(found, ensure_ascii=False).encode()) > MOST_NAME_BYTES:
        return None
    return found
