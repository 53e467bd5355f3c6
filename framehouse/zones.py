"""Time zones by their names, as far as PostgreSQL and Python mean the same by them. Standard library alone."""

import re
from zoneinfo import ZoneInfo

from framehouse.errors import QueryError

#: `Area/Place`. Other names PostgreSQL may read as abbreviations, which have no changes of clocks (`CET`), or they are
#: this machine's own (`localtime`), as are those in folders of the zones' database (`right/...`), in lower case.
_OF_A_PLACE = re.compile(r"[A-Z][^/]*/.+|UTC|GMT")


def zone(name: str) -> ZoneInfo:
    """The IANA zone of that name: `Area/Place`, UTC or GMT. Raises QueryError for all others."""
    try:
        if _OF_A_PLACE.fullmatch(name):
            return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        pass  # there is none, or it is no name of one
    raise QueryError(
        f"{name!r} is not the name of a place's time zone",
        hint="give an IANA name such as Europe/Brussels or Asia/Kolkata, or UTC",
    )
