"""The server process: finding it, starting it, waiting for it, stopping it.

A pid in `postmaster.pid` proves nothing: after a reboot it may name anybody. A process is this cluster's server only
when it runs as the account that owns the data and has the data folder as its working folder, as PostgreSQL does.
"""

import contextlib
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from framehouse.embedded.account import Account
from framehouse.embedded.disk import FULL, is_full
from framehouse.embedded.places import Places
from framehouse.embedded.programs import Programs
from framehouse.errors import StartError
from framehouse.progress import Reporter

_POLL_SECONDS = 0.03
_PATIENCE_SECONDS = 2.0
_ORPHAN_GRACE_SECONDS = 3.0

#: The shell hands the server to init, so that nobody has to wait for it, and prints its pid.
_DETACH = 'log=$1; shift; "$@" </dev/null >"$log" 2>&1 & echo $!'


@dataclass(frozen=True, slots=True)
class PidFile:
    """What `postmaster.pid` says."""

    pid: int
    socket: Path
    port: int
    address: str
    state: str


@dataclass(frozen=True, slots=True)
class Running:
    """This cluster's live server."""

    pid: int
    socket: Path
    port: int
    tcp: bool
    is_ready: bool
    started_at: datetime


def find(places: Places, account: Account) -> Running | None:
    """This cluster's server, if it lives."""
    file = _pid_file(places)
    if file is None or not _is_ours(file.pid, places, account):
        return None
    try:
        started_at = datetime.fromtimestamp(psutil.Process(file.pid).create_time(), UTC)
    except psutil.NoSuchProcess:
        return None
    return Running(
        pid=file.pid,
        socket=file.socket,
        port=file.port,
        tcp=bool(file.address),
        is_ready=file.state == "ready",
        started_at=started_at,
    )


def start(programs: Programs, places: Places, account: Account, report: Reporter) -> Running:
    """Start the server and wait until it takes connections, however long its recovery needs.

    Raises StartError with the server's own last words.
    """
    _end_orphans(places, account, report)
    if (running := find(places, account)) is not None:
        return wait_until_ready(running.pid, places, account, report)
    _clear_stale(places, account, report)
    command = [
        str(programs.path("postgres")),
        *("-D", str(places.data)),
        *("-c", f"config_file={places.settings / 'postgresql.conf'}"),
    ]
    report.step("starting PostgreSQL")
    began_at = time.time()
    started = account.run(["/bin/sh", "-c", _DETACH, "sh", places.startup_log, *command], is_detached=True)
    if started.returncode != 0 or not started.stdout.strip().isdigit():
        raise StartError(f"PostgreSQL could not be run: {started.stderr.strip()}")
    return wait_until_ready(int(started.stdout), places, account, report, since=began_at)


def wait_until_ready(
    pid: int,
    places: Places,
    account: Account,
    report: Reporter,
    *,
    since: float = 0.0,
    is_open: Callable[[Running], bool] = lambda _: True,
) -> Running:
    """Wait for a server that is starting; after a crash this takes as long as its log is long, and says so.

    `since` (Unix time) is when it was started: older logs are not its own. `is_open` asks the server itself: its file
    says "ready" also while it recovers from the end of one of its processes. Raises StartError with its last words.
    """
    began = time.monotonic()
    told = ""
    while True:
        running = find(places, account)
        # A killed starter's server may have come up meanwhile: then ours ends, and that one is waited for.
        if running is not None and running.is_ready and is_open(running):
            return running
        if running is None and not _is_alive(pid):
            raise _start_failure(places, since)
        if time.monotonic() - began > _PATIENCE_SECONDS and (news := _progress(places, since)) != told:
            told = news
            report.step(f"waiting for PostgreSQL: {told}")
        time.sleep(_POLL_SECONDS)


def is_ending(running: Running, places: Places, account: Account) -> bool:
    """Whether a server that does not answer is gone, or goes within moments: its socket goes before its process."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while is_there := _is_ours(running.pid, places, account):
        if time.monotonic() > until:
            break
        time.sleep(_POLL_SECONDS)
    return not is_there


def stop(running: Running, places: Places, account: Account, report: Reporter) -> None:
    """Stop the server: its clients are disconnected, everything is written. Waits until the process is gone."""
    report.step("stopping PostgreSQL (its clients are disconnected)")
    began = time.monotonic()
    is_told = False
    while _is_ours(running.pid, places, account):
        if not is_told:
            _signal(running.pid, signal.SIGINT)
            is_told = True
        time.sleep(_POLL_SECONDS)
        if is_told and time.monotonic() - began > _PATIENCE_SECONDS:
            report.step("waiting for PostgreSQL: it writes its last checkpoint")
            began = float("inf")


def last_words(places: Places, *, since: float = 0.0, lines: int = 6) -> str:
    """The last lines that the server wrote, from its newest log that was written since then (Unix time)."""
    written = {path: path.stat().st_mtime for path in places.log.glob("*.log")}
    for path in sorted(written, key=written.__getitem__, reverse=True):
        # A file's time comes from the kernel's coarse clock, which may be a tick behind.
        if written[path] < since - 1:
            break
        found = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if found:
            return "\n".join(found[-lines:])
    return ""


def _end_orphans(places: Places, account: Account, report: Reporter) -> None:
    """Wait for what a killed server left running, and end what does not end; a living server is left alone."""
    left = _orphans(places, account)
    if not left:
        return
    report.step(f"waiting for {len(left)} processes of a killed server to end")
    until = time.monotonic() + _ORPHAN_GRACE_SECONDS
    while left and time.monotonic() < until:
        # They may be one that a killed starter left, which has only now written its pid.
        if find(places, account) is not None:
            return
        _, left = psutil.wait_procs(left, timeout=10 * _POLL_SECONDS)
    # What they still do the server's recovery will do again or undo: end them, as their postmaster would have.
    for name in (signal.SIGQUIT, signal.SIGKILL):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(name)
        _, left = psutil.wait_procs(left, timeout=_ORPHAN_GRACE_SECONDS)
    if left:
        raise StartError(
            f"processes of a killed server do not end: {', '.join(str(p.pid) for p in left)}",
            hint="end them (they may hang in the disk), then run `framehouse up` again",
        )


def _clear_stale(places: Places, account: Account, report: Reporter) -> None:
    """Remove what a kill or a reboot left, where PostgreSQL itself would stumble over it."""
    path, file = places.data / "postmaster.pid", _pid_file(places)
    # PostgreSQL takes any living process of that number for its own, and what it cannot read for a server's.
    if file is None and path.exists():
        report.step("the last server is gone (what it wrote of itself is torn)")
        path.unlink()
    elif file is not None and psutil.pid_exists(file.pid):
        report.step(f"the last server is gone (its number {file.pid} is another program's now)")
        path.unlink(missing_ok=True)
    for lock in places.socket(account).glob(".s.PGSQL.*.lock"):
        lock.unlink(missing_ok=True)


def _orphans(places: Places, account: Account) -> list[psutil.Process]:
    """Server processes that still work in the data folder though their postmaster is gone."""
    return [process for process in psutil.process_iter() if _is_ours(process.pid, places, account)]


def _is_ours(pid: int, places: Places, account: Account) -> bool:
    try:
        process = psutil.Process(pid)
        return (
            process.status() != psutil.STATUS_ZOMBIE
            and process.uids().effective == account.uid
            and "postgres" in process.name()
            and Path(process.cwd()) == places.data.resolve()
        )
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(pid: int, name: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).send_signal(name)


def _pid_file(places: Places) -> PidFile | None:
    """Lines: pid, data folder, start time, port, socket folder, address, shared memory, state."""
    try:
        lines = (places.data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
        lines += [""] * (8 - len(lines))
        return PidFile(int(lines[0]), Path(lines[4]), int(lines[3] or 0), lines[5].strip(), lines[7].strip())
    except (OSError, ValueError):
        return None


def _progress(places: Places, since: float) -> str:
    words = last_words(places, since=since, lines=1)
    return words.rpartition("LOG:  ")[2].strip() or "it has not said anything yet"


#: What the server's words mean for the person who reads them.
_HINTS: Sequence[tuple[str, str]] = (
    (
        "could not map anonymous shared memory",
        "set shared_buffers lower in conf/local.conf under FRAMEHOUSE_HOME",
    ),
    ("Address already in use", "another program has this port: run `framehouse up` again for a free one"),
    ("Permission denied", "give the data back to the account that framehouse started with"),
    ("configuration file", "mend conf/local.conf under FRAMEHOUSE_HOME"),
)


def _start_failure(places: Places, since: float) -> StartError:
    words = last_words(places, since=since) or "it said nothing"
    if FULL not in words and is_full(places.data):
        words += f"\n{FULL} on its disk"
    hint = next((hint for sign, hint in _HINTS if sign in words), f"read the log in {places.log}")
    return StartError(f"PostgreSQL does not start:\n{words}", hint=hint)
