"""Days and instants as people type them."""

from datetime import datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from framehouse.warehouse import Warehouse


def instant(warehouse: "Warehouse", text: str, option: str) -> datetime:
    """A day of the studio's zone, or an instant (of that zone, if it names none)."""
    from framehouse.metrics.read import studio_zone
    from framehouse.zones import zone

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no day; say 2026-07-01, or an instant such as 2026-07-01T08:00:00+02:00",
            param_hint=option,
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=zone(studio_zone(warehouse)))
