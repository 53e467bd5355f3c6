"""Send a job attempt to the warehouse; where the warehouse cannot take it, keep it on disk.

For code inside an engine or a render script, so the standard library alone:

    from ingest.emit import emit
    emit({"job_id": "7f3a", "workflow": "wan_i2v_v2", "outcome": "succeeded",
          "finished_at": "2026-03-01T12:00:00Z", "wall_seconds": 81.2})

A warehouse that is down never fails the job. The event is appended to `spool/events.ndjson` in framehouse's home, one
event a line, and fsynced; `framehouse load` takes that file. What the warehouse refuses goes to
`spool/rejected.ndjson`, in the same form, to be mended and loaded.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from framehouse.config import Settings
from framehouse.config import settings as process_settings
from framehouse.errors import Problem

_PATH = "/api/events"
_ANSWER_LIMIT_BYTES = 2**20
_LOCK_PATIENCE_SECONDS = 10.0
_JUDGED = {200, 409, 422}  # the answers that say what became of the event; any other keeps it for later


class Delivery(StrEnum):
    """What became of an event."""

    SENT = "sent"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    SPOOLED = "spooled"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an event.

    delivery   sent: stored by the warehouse. duplicate: it had it already. rejected: it refuses it, `problems` say why.
               spooled: it waits on disk. lost: neither the warehouse nor the disk took it
    path       the file that holds the event now (rejected, spooled)
    reason     why it was not stored, in words for people (rejected, spooled, lost)
    code       the warehouse's stable word for a refusal (rejected)
    """

    delivery: Delivery
    path: Path | None = None
    reason: str | None = None
    code: str | None = None
    problems: tuple[Problem, ...] = ()


def emit(
    event: Mapping[str, Any], *, settings: Settings | None = None, timeout_seconds: float = 5
) -> Receipt:
    """Send one event and wait for the answer, at most `timeout_seconds`.

    Never raises for what the warehouse, the network, the disk or the event's values do; the receipt tells. What is
    not stored is also logged as a warning, which Python shows on stderr unless logging is set up otherwise.
    """
    receipt = deliver(event, settings=settings, timeout_seconds=timeout_seconds)
    if receipt.reason is not None:
        import logging  # noqa: PLC0415 - only trouble needs it, and `framehouse run` should start fast

        logging.getLogger(__name__).warning("%s", sentence(receipt))
    return receipt


def deliver(
    event: Mapping[str, Any], *, settings: Settings | None = None, timeout_seconds: float = 5
) -> Receipt:
    """`emit` without a word: the caller tells people what the receipt says."""
    settings = settings or process_settings()
    line, flaw = _encode(event)
    if flaw is not None:
        receipt = Receipt(Delivery.REJECTED, reason=flaw.message, code="invalid", problems=(flaw,))
    else:
        receipt = _send(settings.api_url, line, timeout_seconds)
    names = {Delivery.REJECTED: "rejected.ndjson", Delivery.SPOOLED: "events.ndjson"}
    if receipt.delivery not in names:
        return receipt
    path = settings.spool_dir / names[receipt.delivery]
    try:
        _append(path, line)
    except OSError as error:
        reason = f"{receipt.reason}; and {path} cannot be written: {error.strerror or error}"
        return Receipt(Delivery.LOST, reason=reason, code=receipt.code, problems=receipt.problems)
    return Receipt(receipt.delivery, path, receipt.reason, receipt.code, receipt.problems)


def spool(event: Mapping[str, Any], *, settings: Settings | None = None) -> Path:
    """Keep one event on disk without asking the warehouse; it is fsynced when this returns.

    Returns the file it was appended to (a flawed event goes to `rejected.ndjson`). Raises OSError when the disk does
    not take it.
    """
    settings = settings or process_settings()
    line, flaw = _encode(event)
    path = settings.spool_dir / ("events.ndjson" if flaw is None else "rejected.ndjson")
    _append(path, line)
    return path


def sentence(receipt: Receipt) -> str:
    """What a person needs to know of an event that was not stored."""
    told = f"{receipt.reason}"
    for problem in receipt.problems:
        if problem.message != receipt.reason:
            told += f"; {problem.path}: {problem.message}"
        if problem.expected:
            told += f" ({problem.expected})"
    if receipt.delivery is Delivery.SPOOLED:
        return f"the attempt waits in {receipt.path} for `framehouse load`: {told}"
    if receipt.delivery is Delivery.REJECTED:
        return f"the warehouse refuses the attempt, which is kept in {receipt.path}: {told}"
    return f"the attempt is {receipt.delivery}: {told}"


def _encode(event: Mapping[str, Any]) -> tuple[bytes, Problem | None]:
    """One line of JSON; with a problem where the event is not JSON, and then the nearest JSON to it."""
    try:
        return json.dumps(dict(event), allow_nan=False, separators=(",", ":")).encode(), None
    except (TypeError, ValueError, RecursionError) as error:
        flaw = Problem("", f"the event is not JSON: {error}", "text, finite numbers, lists, objects")
    try:
        return json.dumps(dict(event), default=repr, skipkeys=True, separators=(",", ":")).encode(), flaw
    except (TypeError, ValueError, RecursionError):
        return json.dumps(repr(event)).encode(), flaw


def _send(api_url: str, body: bytes, timeout_seconds: float) -> Receipt:
    try:
        status, answer = _post(api_url + _PATH, body, timeout_seconds)
    except (OSError, HTTPException, ValueError) as error:
        return Receipt(
            Delivery.SPOOLED, reason=f"{api_url} cannot be reached: {error or type(error).__name__}"
        )
    found = _judgement(status, answer)
    return found or Receipt(Delivery.SPOOLED, reason=f"{api_url} answered HTTP {status}")


def _post(url: str, body: bytes, timeout_seconds: float) -> tuple[int, bytes]:
    """Status and body of the answer. The time limit holds for all of it, however slowly the other side drips."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("that is no http:// or https:// address (FRAMEHOUSE_URL)")
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=timeout_seconds)
    late = threading.Event()

    def cut() -> None:
        late.set()
        if connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(timeout_seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        connection.connect()
        if late.is_set():
            raise TimeoutError
        connection.request("POST", parts.path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read(_ANSWER_LIMIT_BYTES)
        if late.is_set():
            raise TimeoutError
        return response.status, answer
    except (OSError, HTTPException) as error:
        if late.is_set() or isinstance(error, TimeoutError):
            raise TimeoutError(f"no answer within {timeout_seconds:g} s") from None
        raise
    finally:
        timer.cancel()
        connection.close()


def _judgement(status: int, answer: bytes) -> Receipt | None:
    """What the warehouse says of the event; None when this is not an answer of a framehouse."""
    if status not in _JUDGED:
        return None
    try:
        said = json.loads(answer)
        result = said["results"][0] if said.get("results") else said
        verdict = result.get("status")
        if verdict in {"accepted", "duplicate"}:
            return Receipt(Delivery.SENT if verdict == "accepted" else Delivery.DUPLICATE)
        if verdict != "rejected" and (status == 200 or "code" not in result):
            return None
        problems = tuple(
            Problem(str(item["path"]), str(item["message"]), item.get("expected"))
            for item in result.get("errors") or ()
        )
        code = str(result.get("code") or "invalid")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None
    return Receipt(Delivery.REJECTED, reason=f"HTTP {status}, {code}", code=code, problems=problems)


def _append(path: Path, line: bytes) -> None:
    """Add one line to a file that others append to and a loader renames away, and fsync it."""
    _make_folder(path.parent)
    handle = _locked(path)
    try:
        size = os.fstat(handle).st_size
        # A line cut short by a crash or a full disk must not swallow this one.
        torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        data = (b"\n" if torn else b"") + line + b"\n"
        written = os.write(handle, data)
        if written != len(data):
            os.ftruncate(handle, size)
            raise OSError(errno.ENOSPC, "no space left on the device")
        os.fsync(handle)
    finally:
        os.close(handle)
    if size == 0:
        _sync_folder(path.parent)


def _locked(path: Path) -> int:
    """The file at a path, open to append and locked; opened again when a loader took it away meanwhile."""
    patience_ends = time.monotonic() + _LOCK_PATIENCE_SECONDS
    while True:
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _lock(handle, patience_ends)
            if _is_at(handle, path):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int, patience_ends: float) -> None:
    """Lock a file. Whoever holds it should let go at once, but a stopped process must not hold up the job."""
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > patience_ends:
                raise TimeoutError(errno.ETIMEDOUT, "another process keeps it locked") from None
            time.sleep(0.002)
        else:
            return


def _is_at(handle: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(handle), there)


def _make_folder(folder: Path) -> None:
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _sync_folder(made.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
