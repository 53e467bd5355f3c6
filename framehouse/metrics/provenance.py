"""What a number rests on: how many attempts, how fresh they are, and what was read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from framehouse.metrics.answers import Answer
from framehouse.metrics.rollups import Source
from framehouse.metrics.table import Value

FRESHNESS = "newest_recorded_at"


@dataclass(frozen=True, slots=True)
class Provenance:
    """What an answer rests on.

    count                attempts in it, however they ended (of what only heartbeats tell, those)
    newest_recorded_at   when the last of them was stored; None where there is none
    sources              the rollups (or raw) that were read
    why_raw              why raw was among them
    """

    count: int = 0
    newest_recorded_at: datetime | None = None
    sources: tuple[str, ...] = ()
    why_raw: str | None = None


def parts_told(source: Source) -> tuple[str, ...]:
    """The parts that an answer has to have so that `provenance` can tell."""
    return (source.parts[0].name, *((FRESHNESS,) if FRESHNESS in source.part else ()))


def provenance(answer: Answer, source: Source) -> Provenance:
    """Of an answer that has `parts_told`."""
    rows: Iterable[Mapping[str, Value]] = answer.values.values()
    count, newest = 0, None
    for row in rows:
        counted, recorded = row[source.parts[0].name], row.get(FRESHNESS)
        count += counted if isinstance(counted, int) else 0
        if isinstance(recorded, datetime) and (newest is None or recorded > newest):
            newest = recorded
    return Provenance(count, newest, answer.sources, answer.why_raw)


def resting_on(counted: Iterable[Provenance], read: Iterable[Provenance]) -> Provenance:
    """Of attempts, each counted once, and of all that was read of them."""
    every = together(read)
    return replace(together(counted), sources=every.sources, why_raw=every.why_raw)


def together(found: Iterable[Provenance]) -> Provenance:
    """Of several answers of different rows."""
    listed = list(found)
    return Provenance(
        sum(one.count for one in listed),
        max((one.newest_recorded_at for one in listed if one.newest_recorded_at), default=None),
        tuple(dict.fromkeys(source for one in listed for source in one.sources)),
        next((one.why_raw for one in listed if one.why_raw), None),
    )
