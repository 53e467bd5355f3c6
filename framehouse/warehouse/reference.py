"""Reference data: resolution tiers, and the workflows, workers and projects that events have named."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from framehouse.errors import ContractError, NotFoundError, Problem, TakenError
from framehouse.warehouse.pool import Json, Warehouse

MAX_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Tier:
    """A resolution tier. `speed_factor` is how many times faster than production it is."""

    id: int
    name: str
    width: int
    height: int
    quality_settings: dict[str, Any]
    speed_factor: float
    is_default: bool
    sort_order: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Named:
    """A workflow, worker or project."""

    id: int
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Identity:
    """The id and the name of something that has both."""

    id: int
    name: str


class Kind(StrEnum):
    """What can be listed by name."""

    WORKFLOWS = "workflows"
    WORKERS = "workers"
    PROJECTS = "projects"


def tiers(warehouse: Warehouse) -> list[Tier]:
    """All tiers in use, in their order."""
    with warehouse.session() as session:
        return session.records(Tier, "reference.tiers")


def create_tier(
    warehouse: Warehouse,
    *,
    name: str,
    width: int,
    height: int,
    speed_factor: float,
    quality_settings: Mapping[str, Any] | None = None,
    is_default: bool = False,
    sort_order: int = 0,
) -> Tier:
    """Add a tier; as the default it takes the place of the present one. Raises TakenError."""
    with warehouse.session() as session:
        session.run("reference.lock_tiers")
        if session.value("reference.has_tier", [name]):
            raise TakenError(
                f"there is a tier {name!r} already",
                [Problem("name", "taken", "a name that no tier has had")],
                hint="history refers to tiers by name, so a name is never given twice",
            )
        if is_default:
            session.run("reference.clear_default_tier")
        values = {
            "name": name,
            "width": width,
            "height": height,
            "quality_settings": Json(dict(quality_settings or {})),
            "speed_factor": speed_factor,
            "is_default": is_default,
            "sort_order": sort_order,
        }
        return session.records(Tier, "reference.create_tier", values)[0]


def page(
    warehouse: Warehouse, kind: Kind, *, cursor: str | None = None, limit: int = 100
) -> tuple[list[Named], str | None]:
    """Rows in the order of their names, and the cursor of the next page (None at the end).

    Raises ContractError for a cursor that no page gave.
    """
    limit = min(limit, MAX_PAGE)
    params = {"after": _name_in(cursor), "limit": limit + 1}
    with warehouse.session() as session:
        rows = session.records(Named, f"reference.{kind}", params)
    return rows[:limit], _cursor_at(rows[limit - 1].name) if len(rows) > limit else None


def named(warehouse: Warehouse, dimension: str, asked: str) -> Identity:
    """The workflow, worker, project or tier of a name, or else of an id. Raises NotFoundError."""
    with warehouse.session() as session:
        found = session.records(Identity, f"reference.named_{dimension}", {"asked": asked})
    if not found:
        listed = "resolution-tiers" if dimension == "tier" else f"{dimension}s"
        raise NotFoundError(f"there is no {dimension} {asked!r}", hint=f"GET /api/{listed} lists them")
    return found[0]


def _cursor_at(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _name_in(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    try:
        raw = cursor.encode("ascii")
        name = base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True).decode()
    except (UnicodeError, binascii.Error):
        name = "\x00"
    if "\x00" in name:
        raise ContractError(
            "the cursor is not one of this list's",
            [Problem("cursor", "not a cursor", "next_cursor of the page before, or none")],
        )
    return name
