"""One at a time: a lock that dies with its process, and says for whom it waits."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from framehouse.errors import EmbeddedError
from framehouse.progress import Reporter

_LIMIT_SECONDS = 1800.0


@contextmanager
def locked(path: Path, report: Reporter, *, purpose: str) -> Iterator[None]:
    """Hold the lock of that file; `purpose` says what its present holder does.

    The kernel holds the lock, so a killed holder leaves nothing behind. Raises EmbeddedError after half an hour.
    """
    lock = FileLock(path)
    try:
        try:
            lock.acquire(timeout=0.1)
        except Timeout:
            report.step(f"waiting: another framehouse is {purpose}")
            lock.acquire(timeout=_LIMIT_SECONDS, poll_interval=0.1)
    except Timeout:
        raise EmbeddedError(
            f"another framehouse has been {purpose} for half an hour",
            hint=f"see who holds {path} (fuser -v) and end it",
        ) from None
    except OSError as error:
        raise EmbeddedError(
            f"{path} cannot be locked: {error.strerror}",
            hint="start framehouse as the account that made it, or set FRAMEHOUSE_HOME to a folder you may write",
        ) from error
    try:
        yield
    finally:
        lock.release()
