"""The scheduler's present queue: one snapshot, replaced as a whole."""

from typing import Any

from pydantic import ValidationError

from framehouse.errors import ContractError, DuplicateKeyError, Problem
from framehouse.events import Queue, QueuedJob, RunningJob, problems
from framehouse.warehouse import Session, Warehouse
from framehouse.warehouse.pool import Json
from framehouse.warehouse.written import WrittenKind, tell
from ingest import names
from ingest.body import Unreadable, duplicated_keys


def put_queue(warehouse: Warehouse, value: Any) -> Queue:
    """Replace the stored queue by a parsed JSON value, and return it as it was understood.

    Raises ContractError with every bad field; then the queue stays as it was.
    """
    if isinstance(value, Unreadable):
        raise ContractError("the queue does not keep the contract", [value.problem])
    if found := duplicated_keys(value):
        raise DuplicateKeyError("the queue names a key twice", found)
    try:
        queue = Queue.model_validate(value)
    except ValidationError as error:
        raise ContractError("the queue does not keep the contract", problems(error)) from None
    with warehouse.session() as session:
        if found := _unknown_tiers(session, queue):
            raise ContractError("the queue names a tier that does not exist", found)
        session.run(
            "ingest.put_queue",
            {
                "waiting": Json([job.model_dump(mode="json") for job in queue.waiting]),
                "running": Json([job.model_dump(mode="json") for job in queue.running]),
            },
        )
        # Of nobody in particular: who was in the queue before and is not any more is concerned too.
        tell(session, WrittenKind.QUEUE, len(queue.waiting) + len(queue.running))
    return queue


def _unknown_tiers(session: Session, queue: Queue) -> list[Problem]:
    known = names.tiers(session)
    jobs: list[tuple[str, QueuedJob | RunningJob]] = []
    jobs += [(f"waiting[{place}]", job) for place, job in enumerate(queue.waiting)]
    jobs += [(f"running[{place}]", job) for place, job in enumerate(queue.running)]
    return [
        names.unknown_tier(job.tier, known, f"{path}.tier")
        for path, job in jobs
        if job.tier is not None and job.tier not in known
    ]
