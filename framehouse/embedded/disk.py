"""The disk under a home: how much room it has, and errors that name it when it has none."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from framehouse.embedded.places import nearest_folder
from framehouse.errors import EmbeddedError, StartError, UnreachableError

#: What every program and the kernel say of a full disk.
FULL = "No space left"

#: PostgreSQL writes its log ahead in files of this size: with less room a start may fail without a word.
_SEGMENT_MB = 16
_FREE = "MiB free"


def check_room(folder: Path, needed_mb: int, purpose: str, kind: type[EmbeddedError]) -> None:
    """Raise an error of that kind when the disk of a folder has less room than `purpose` takes."""
    if _free_mb(folder) < needed_mb:
        raise kind(
            f"{_room(folder)}, and {purpose} takes {needed_mb} MiB",
            hint="make room there, or set FRAMEHOUSE_HOME to a folder on another disk",
        )


@contextmanager
def disk_errors_named(folder: Path, needed_mb: int, kind: type[EmbeddedError] = StartError) -> Iterator[None]:
    """What a disk refuses, us or a program we run, as an error that says which disk it is and what mends it."""
    room = f"make at least {needed_mb} MiB of room on that disk, then run `framehouse up` again"
    try:
        yield
    except OSError as error:
        words = f"{error.filename or folder}: {error.strerror or error}"
        if error.errno == errno.ENOSPC:
            raise kind(f"{words}\n{_room(folder)}", hint=room) from error
        raise kind(words, hint="mend that, then run `framehouse up` again") from error
    except (EmbeddedError, UnreachableError) as error:
        # What was named further in has a disk of its own.
        if FULL not in str(error) or _FREE in str(error):
            raise
        raise type(error)(f"{error}\n{_room(folder)}", hint=room) from error


def is_full(folder: Path) -> bool:
    """Whether PostgreSQL may lack the room to write anything there, even its own last words."""
    return _free_mb(folder) < _SEGMENT_MB


def _room(folder: Path) -> str:
    return f"the disk at {_mount_point(folder)} has {_free_mb(folder):.0f} {_FREE}"


def _free_mb(folder: Path) -> float:
    return shutil.disk_usage(nearest_folder(folder)).free / 2**20


def _mount_point(folder: Path) -> Path:
    return next(path for path in (folder.resolve(), *folder.resolve().parents) if os.path.ismount(path))
