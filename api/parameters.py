"""Query parameters that several routes share: a time zone, a window, what is kept of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypedDict

from fastapi import Depends, Path, Query
from pydantic import AfterValidator

from framehouse.errors import ContractError, Problem, QueryError
from framehouse.events import Instant, Name, Outcome
from framehouse.metrics.answers import Filter
from framehouse.warehouse import Warehouse, reference
from framehouse.windows import Window
from framehouse.zones import zone


def _is_zone(name: str) -> str:
    try:
        return zone(name).key
    except QueryError as error:
        raise ValueError(f"{error}; {error.hint}") from None


Zone = Annotated[Name, AfterValidator(_is_zone)]


def window_of(length: timedelta, *, ahead: timedelta = timedelta()) -> Callable[..., Window]:
    """The window `from`..`to`; without an end until now (or so long after), without a start so long before the end."""

    def window(
        start: Annotated[
            Instant | None, Query(alias="from", description=f"{length.days} days before the end.")
        ] = None,
        end: Annotated[Instant | None, Query(alias="to", description="Now.")] = None,
    ) -> Window:
        until = end or datetime.now(UTC) + ahead
        return Window(start or until - length, until)

    return window


Month = Annotated[Window, Depends(window_of(timedelta(days=30)))]


#: How a filter names attempts that have none of a dimension.
NONE = "-"
Names = Annotated[
    list[Name] | None, Query(max_length=50, description="Names or ids, repeated; `-` for none given; all.")
]


Workflow = Annotated[Name, Path(alias="id", description="A workflow's name or id.")]


class Scope(TypedDict):
    """Which rows a report is of."""

    window: Window
    zone_name: str | None
    where: Mapping[str, Filter]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the query asks for: a window, a zone (None: the studio's), and what is kept of it, by name."""

    window: Window
    zone_name: str | None
    filters: Mapping[str, Sequence[str | None]]

    def where(self, warehouse: Warehouse) -> dict[str, list[str | None]]:
        """The filters, with names for ids. Raises NotFoundError."""
        return {
            dimension: [
                reference.named(warehouse, dimension, name).name if name and dimension in _WITH_IDS else name
                for name in names
            ]
            for dimension, names in self.filters.items()
        }

    def scope(self, warehouse: Warehouse) -> Scope:
        """What every report takes. Raises NotFoundError."""
        return {"window": self.window, "zone_name": self.zone_name, "where": self.where(warehouse)}


_WITH_IDS = {"project", "tier", "workflow", "worker"}


def _asked(
    window: Month,
    tz: Zone | None = None,
    project: Names = None,
    tier: Names = None,
    workflow: Names = None,
    worker: Names = None,
    gpu_model: Names = None,
    outcome: Annotated[list[Outcome] | None, Query(max_length=3)] = None,
) -> Asked:
    given = {
        "project": project,
        "tier": tier,
        "workflow": workflow,
        "worker": worker,
        "gpu_model": gpu_model,
        "outcome": [str(one) for one in outcome] if outcome else None,
    }
    filters = {
        dimension: [None if name == NONE else name for name in names]
        for dimension, names in given.items()
        if names
    }
    return Asked(window, tz, filters)


Wanted = Annotated[Asked, Depends(_asked)]


def place_in(cursor: str | None) -> int:
    """Where a page begins, in a list whose cursors are numbers. Raises ContractError."""
    if cursor is None:
        return 0
    if cursor.isascii() and cursor.isdigit() and int(cursor) < 2**63:
        return int(cursor)
    wrong = Problem("cursor", "not a cursor", "next_cursor of the page before, or none")
    raise ContractError("the cursor is not one of this list's", [wrong])
