"""Judging elements by the contract and keeping what is refused: what events and heartbeats have in common."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel, ValidationError

from framehouse.errors import ContractError, Problem, RefusedError
from framehouse.events import printable, problems
from framehouse.warehouse import Session, Warehouse
from framehouse.warehouse.pool import Json, is_retryable
from framehouse.windows import EARLIEST
from ingest.body import Element, Unreadable, duplicated_keys

HTTP_REACH = timedelta(days=400)
CLOCK_SLACK = timedelta(hours=1)
MAX_PROBLEMS = 50
#: Where one of so few is refused, halves would cost more transactions than each by itself.
FEW = 8

C = TypeVar("C", bound=BaseModel)
J = TypeVar("J", bound="Judgement[Any]")
T = TypeVar("T")

_log = logging.getLogger(__name__)


class Status(StrEnum):
    """What became of one element."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


class Keep(StrEnum):
    """Whether refused bodies go to quarantine. ONCE: not when an open row of the same origin holds the same body."""

    ALWAYS = "always"
    ONCE = "once"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Reach:
    """How far back and ahead of now an instant may lie. None: as far back as the fence."""

    back: timedelta | None = HTTP_REACH
    ahead: timedelta = CLOCK_SLACK


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an element is refused: a stable code, and every bad field."""

    code: str
    problems: list[Problem]


@dataclass(frozen=True, slots=True)
class Judgement(Generic[C]):
    """An element and what the contract says of it: what it is, or why it is refused."""

    element: Element
    found: C | Refusal


@dataclass(slots=True)
class Verdict:
    """What became of one element; `code` and `errors` say why it was rejected."""

    status: Status = Status.ACCEPTED
    code: str | None = None
    errors: list[Problem] = field(default_factory=list)

    def refuse(self, code: str, *found: Problem) -> None:
        """Turn it into a rejection."""
        self.status, self.code, self.errors = Status.REJECTED, code, list(found)


def judge(element: Element, contract: type[C], reach: Reach, *, oldest: str, newest: str) -> C | Refusal:
    """The element as what the contract says, or why it is refused.

    `oldest` and `newest` name the contract's fields that must lie within reach.
    """
    if isinstance(element.value, Unreadable):
        return Refusal(element.value.code, [element.value.problem])
    if found := duplicated_keys(element.value):
        return Refusal("duplicate_key", _some(found))
    try:
        record = contract.model_validate(element.value)
    except ValidationError as error:
        return Refusal("invalid", _some(problems(error)))
    except TypeError as error:
        # A validator met a type that it did not think of: this element is refused, not its neighbours with it.
        return Refusal(
            "invalid", [Problem("", printable(f"a field has a type that cannot be read: {error}"))]
        )
    now = datetime.now(UTC)
    if getattr(record, newest) > now + reach.ahead:
        limit = f"at most {_words(reach.ahead)} ahead of the server's clock"
        return Refusal("in_future", [Problem(newest, "in the future", limit)])
    if reach.back is not None and getattr(record, oldest) < now - reach.back:
        limit = f"at most {_words(reach.back)} ago; `framehouse load` takes older ones"
        return Refusal("too_old", [Problem(oldest, "too long ago", limit)])
    if getattr(record, oldest) < EARLIEST:
        return Refusal("too_old", [Problem(oldest, "too long ago", f"{EARLIEST:%Y-%m-%d} or later")])
    return record


def below_fence(raw_from: datetime | None, instant: datetime, path: str) -> Problem | None:
    """What is wrong with an instant before `raw_from`, where raw data is gone and a recount would erase history."""
    if raw_from is None or instant >= raw_from:
        return None
    return Problem(path, "raw data of that time is gone", f"at or after {raw_from.isoformat()}")


def in_transaction(warehouse: Warehouse, work: Callable[[Session], T]) -> T:
    """Run `work` in one transaction, and once more where the database says that this may help."""
    try:
        with warehouse.session() as session:
            return work(session)
    except Exception as error:
        if not is_retryable(error.__cause__ or error):
            raise
    with warehouse.session() as session:
        return work(session)


def in_transactions(
    warehouse: Warehouse, batch: Sequence[J], work: Callable[[Session, Sequence[J]], list[T]]
) -> list[T]:
    """Run `work` on a batch in one transaction; one result per element, in order.

    Where the database refuses a value that the contract let through, the batch is tried again in halves, few elements
    one by one, until what is refused stands alone: its neighbours are stored all the same, and at the end `work` is
    given all that is refused as Refusals. Parts have transactions of their own, each locking in its own order:
    savepoints would keep the locks of the part before. Whatever else goes wrong refuses nobody.
    """
    parts = _apart(warehouse, batch, work)
    refused = [cast(J, part) for part in parts if isinstance(part, Judgement)]
    if not refused:
        return cast(list[T], parts)
    _log.warning(
        "the database refused %d that the contract lets through: %s",
        len(refused),
        sentence(refused[0].found.problems[0]),
    )
    told = iter(in_transaction(warehouse, lambda session: work(session, refused)))
    return [next(told) if isinstance(part, Judgement) else part for part in parts]


def _apart(
    warehouse: Warehouse, batch: Sequence[J], work: Callable[[Session, Sequence[J]], list[T]]
) -> list[T | J]:
    """The result of each element, or the element itself, refused."""
    try:
        return [*in_transaction(warehouse, lambda session: work(session, batch))]
    except RefusedError as error:
        if not batch:
            raise
        found = [Problem(problem.path, printable(problem.message)) for problem in error.problems]
    if len(batch) == 1:
        return [replace(batch[0], found=Refusal(RefusedError.code, found))]
    size = 1 if len(batch) <= FEW else (len(batch) + 1) // 2
    starts = range(0, len(batch), size)
    return [part for start in starts for part in _apart(warehouse, batch[start : start + size], work)]


def quarantine(
    session: Session, refused: Sequence[tuple[bytes, Verdict]], origin: str, keep: Keep = Keep.ALWAYS
) -> None:
    """Keep refused bodies, byte for byte, with their verdicts."""
    if not refused or keep is Keep.NEVER:
        return
    session.run(
        "ingest.quarantine" if keep is Keep.ALWAYS else "ingest.quarantine_once",
        {
            "origin": origin,
            "codes": [verdict.code for _, verdict in refused],
            "bodies": [raw for raw, _ in refused],
            "problems": [Json([asdict(problem) for problem in verdict.errors]) for _, verdict in refused],
        },
    )


def quarantine_body(warehouse: Warehouse, raw: bytes, error: ContractError, origin: str) -> list[Problem]:
    """Keep a body that could not even be split into elements; what was wrong with it."""
    found = error.problems or [Problem("", str(error))]
    with warehouse.session() as session:
        quarantine(session, [(raw, Verdict(Status.REJECTED, error.code, found))], origin)
    return found


def sentence(problem: Problem) -> str:
    """A problem in one line for people."""
    told = f"{problem.path}: {problem.message}" if problem.path else problem.message
    return visible(f"{told} ({problem.expected})" if problem.expected else told)


def visible(text: str) -> str:
    """Text for a terminal: what it would obey or not show stands as an escape; lines and tabs stay."""
    return "".join(mark if mark.isprintable() or mark in "\n\t" else f"\\x{ord(mark):02x}" for mark in text)


def _some(found: list[Problem]) -> list[Problem]:
    """The first problems; a list of thousands helps nobody and would be kept in quarantine."""
    if len(found) <= MAX_PROBLEMS:
        return found
    return [*found[:MAX_PROBLEMS], Problem("", f"and {len(found) - MAX_PROBLEMS} more problems")]


def _words(duration: timedelta) -> str:
    hours = round(duration.total_seconds() / 3600)
    return f"{hours // 24} days" if hours >= 48 else f"{hours} h"
