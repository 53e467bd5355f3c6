"""Changed rollups: the new shape is built beside the old one and takes its place when its cells are computed.

`framehouse build --renew` has dbt make NAME_v2 (cells, view, all of raw pending, the history below the fence copied),
maintenance computes its cells, and `swap` puts all of them into their places at once. Readers see the old shape until
then. Interrupted anywhere, the next `framehouse build --renew` goes on. The old cells stay in the database, listed in
ops.retired_rollups, and nobody maintains them.
"""

import time
from contextlib import suppress
from dataclasses import dataclass

import psycopg

from framehouse.errors import BuildError, LockedError
from framehouse.warehouse.pool import Session, Warehouse


@dataclass(frozen=True, slots=True)
class _Beside:
    """A new shape, and the rollup whose place it is to take."""

    name: str
    renews: str
    cells: str
    view_select: str
    recompute: str | None


_TRIES = 20


def swap(warehouse: Warehouse) -> list[str]:
    """Let every new shape take its place, once the cells of all are computed; the rollups that were renewed.

    Raises BuildError where a view of somebody's reads a part that a new shape does not have, LockedError where somebody
    reads for so long that there is no moment for it.
    """
    for _ in range(_TRIES):
        with suppress(LockedError):
            return _swap(warehouse)
        time.sleep(1)
    raise LockedError(
        "somebody reads the rollups for long (a backup, say), and a renewal has to wait for that",
        hint="framehouse build --renew, later; it only has to be finished",
    )


def _swap(warehouse: Warehouse) -> list[str]:
    with warehouse.session() as session:
        session.run("renew.be_alone")
        session.run("renew.wait_briefly")
        session.run("renew.hold_rollups")
        session.run("renew.be_owner")
        beside = session.records(_Beside, "renew.beside")
        if not beside or not session.value("renew.is_backfilled"):
            return []
        columns = {new.renews: _columns(session, new) for new in beside}
        if not all(columns.values()):
            _drop_old_views(session, beside)
        for new in reversed(beside):
            session.drop_view("rollup", new.name)
        for new in beside:
            session.run("renew.release", {"name": new.name})
        for new in beside:
            session.run("renew.retire", {"name": new.renews})
            placed = {
                "name": new.name,
                "renews": new.renews,
                "view_select": _placed(new.view_select, beside),
                "recompute": None if new.recompute is None else _placed(new.recompute, beside),
            }
            session.run("renew.take_place", placed)
            session.put_view("rollup", new.renews, str(placed["view_select"]), columns[new.renews])
    return [new.renews for new in beside]


def abandon(warehouse: Warehouse) -> list[str]:
    """Remove new shapes that have not taken their places; the old ones are all there is again. What was removed."""
    with warehouse.session() as session:
        session.run("renew.be_alone")
        session.run("renew.be_owner")
        beside = session.records(_Beside, "renew.beside")
        is_community = session.value("maintain.is_community")
        for new in reversed(beside):
            session.drop_view("rollup", new.name)
            session.run("renew.forget", {"name": new.name})
            session.drop_cells(new.cells, is_aggregate=is_community)
    return [new.name for new in beside]


def _placed(text: str, beside: list[_Beside]) -> str:
    """SQL that speaks of new shapes, speaking of them in their places. Cells keep their names."""
    for new in beside:
        text = text.replace(f'"rollup"."{new.name}"', f'"rollup"."{new.renews}"')
        text = text.replace(f"rollup = '{new.name}'", f"rollup = '{new.renews}'")
    return text


def _columns(session: Session, new: _Beside) -> list[str] | None:
    """The old view's columns, then what is new, so that views which read it need not know; None where one is gone."""
    old, now = (
        list(session.value("renew.columns", {"view": f"rollup.{name}"})) for name in (new.renews, new.name)
    )
    return [*old, *(column for column in now if column not in old)] if set(old) <= set(now) else None


def _drop_old_views(session: Session, beside: list[_Beside]) -> None:
    """Drop the views whose places are taken, and the marts, which read them and are built anew right after."""
    try:
        for row in session.rows("renew.marts"):
            session.drop_view("mart", row["name"])
        for new in reversed(beside):
            session.drop_view("rollup", new.renews)
    except psycopg.errors.DependentObjectsStillExist as error:
        raise BuildError(
            f"a view reads a part that a new shape does not have: {error.diag.message_detail}",
            hint="drop that view, or keep the part; `framehouse build --renew` then goes on",
        ) from error
