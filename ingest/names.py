"""Names that the warehouse knows by id. Unseen ones are registered when something is stored; tiers never are."""

from collections.abc import Iterable, Mapping, Sequence

from framehouse.errors import Problem
from framehouse.warehouse import Session

#: What is registered when it is first seen, in the order in which every writer registers (so that none deadlock).
REGISTERED = ("workflow", "project", "character", "scene", "scene_type", "worker")


def tiers(session: Session) -> dict[str, int]:
    """The ids of all tiers in use, by name, in the order people see them."""
    return {row["name"]: row["id"] for row in session.rows("ingest.tiers")}


def unknown_tier(name: str, known: Iterable[str], path: str = "tier") -> Problem:
    """What is wrong with a tier that does not exist: the message names those that do."""
    return Problem(path, f"there is no tier {name!r}", f"null or one of: {', '.join(known)}")


def ids(session: Session, wanted: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], int]:
    """The ids of names by (kind, name); unseen names are registered."""
    asked = {kind: list(wanted.get(kind, ())) for kind in REGISTERED}
    known = _known(session, asked)
    unseen = {kind: [name for name in asked[kind] if (kind, name) not in known] for kind in REGISTERED}
    if not any(unseen.values()):
        return known
    for kind, found in unseen.items():
        if found:
            session.run(f"ingest.register_{kind}", [found])
    return _known(session, asked)


def _known(session: Session, asked: dict[str, list[str]]) -> dict[tuple[str, str], int]:
    return {(row["kind"], row["name"]): row["id"] for row in session.rows("ingest.ids_by_name", asked)}
