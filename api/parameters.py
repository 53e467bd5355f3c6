"""What several routes share: a time zone, a window, what is kept of it; and that nothing else is asked."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypedDict

from fastapi import Depends, Path, Query, Request
from pydantic import AfterValidator

from framehouse.errors import ContractError, Problem, QueryError
from framehouse.events import Instant, Name, Outcome, printable
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
Previous = Annotated[
    Name | None,
    Query(alias="compare", description="`previous`: the period before beside it.", pattern="^previous$"),
]


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

    def scope(self, warehouse: Warehouse, **own: str) -> Scope:
        """What every report takes; `own` is the one thing that the answer is of. Raises NotFoundError, and
        ContractError where the query names another one."""
        where = self.where(warehouse)
        for dimension, name in own.items():
            if set(where.get(dimension, [name])) != {name}:
                wrong = Problem(dimension, "not the one that the answer is of", f"{name}, or leave it out")
                raise ContractError(f"the answer is of the {dimension} {name!r} alone", [wrong])
            where[dimension] = [name]
        return {"window": self.window, "zone_name": self.zone_name, "where": where}


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


def nothing_else(request: Request) -> None:
    """Of every question: what it does not take is refused, not ignored, and so is a second value where one is taken.

    What it takes is what the OpenAPI document says. Raises ContractError.
    """
    if request.method != "GET" or not request.query_params:
        return
    path = request.scope["route"].path_format
    operation = request.app.openapi()["paths"][path]["get"]
    taken = {one["name"]: one for one in operation.get("parameters", ()) if one["in"] == "query"}
    if wrong := list(_wrong(Counter(name for name, _ in request.query_params.multi_items()), taken, path)):
        raise ContractError(f"wrong parameters: {', '.join(one.path for one in wrong)}", wrong)


def _wrong(given: Mapping[str, int], taken: Mapping[str, Any], path: str) -> Iterator[Problem]:
    listed = f"one of: {', '.join(taken)}" if taken else "no parameters"
    for name, count in given.items():
        if name not in taken:
            yield Problem(printable(name), f"GET {path} does not take it", listed)
        elif count > 1 and not _is_list(taken[name]["schema"]):
            yield Problem(name, f"given {count} times", "one value")


def _is_list(schema: Mapping[str, Any]) -> bool:
    return any(one.get("type") == "array" for one in (schema, *schema.get("anyOf", ())))


def place_in(cursor: str | None) -> int:
    """Where a page begins, in a list whose cursors are numbers. Raises ContractError."""
    if cursor is None:
        return 0
    if cursor.isascii() and cursor.isdigit() and int(cursor) < 2**63:
        return int(cursor)
    wrong = Problem("cursor", "not a cursor", "next_cursor of the page before, or none")
    raise ContractError("the cursor is not one of this list's", [wrong])
