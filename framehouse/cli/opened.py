"""The warehouse as a command has it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from framehouse.config import Settings

if TYPE_CHECKING:
    from framehouse.warehouse import Warehouse


@contextmanager
def opened(chosen: Settings, command: str) -> "Iterator[Warehouse]":
    """The warehouse that the settings lead to, for one command at a time; the server knows it by the command's name."""
    from framehouse import embedded
    from framehouse.warehouse import Warehouse

    with Warehouse(embedded.database_url(chosen), max_size=2, name=f"framehouse {command}") as warehouse:
        yield warehouse
