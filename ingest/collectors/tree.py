"""What a command's process tree uses: CPU, memory, storage I/O.

Children that live and die between two looks are not lost: the kernel adds what a process used to its parent when the
parent waits for it, and orphans become ours to wait for. So at any moment

    used = every living process, with the children it has waited for + everything that we have waited for

Only a process that tells the kernel to forget its children (SIGCHLD ignored) hides what they used after the last look
at them; the largest sum that was ever seen still stands.
"""

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from framehouse.units import mib_from_bytes
from ingest.collectors import kernel

if TYPE_CHECKING:
    import psutil

_PEAK_WINDOW_SECONDS = 0.4  # CPU times come in ticks of 10 ms: shorter windows would show the ticks
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command and its descendants used until the command ended.

    cpu_seconds                 user and system time
    cpu_mean_pct, cpu_max_pct   100 is one core busy; the maximum is that of the spans between two looks
    rss_mean_mb, rss_peak_mb    resident memory summed over the tree (pages shared by processes count in each);
                                None when it ended before the first look
    read_mb, write_mb           between the tree and storage; what the page cache served is no read. None where the
                                kernel does not tell
    """

    wall_seconds: float
    cpu_seconds: float
    cpu_mean_pct: float | None
    cpu_max_pct: float | None
    rss_mean_mb: float | None
    rss_peak_mb: float | None
    read_mb: float | None
    write_mb: float | None


class TreeMeter:
    """Looks at all descendants of this process (but for its own helpers) and adds up."""

    def __init__(self, pid: int, own_pids: Callable[[], Collection[int]], started: float) -> None:
        """Measure the command `pid`, which started at `started` (time.monotonic())."""
        self._pid = pid
        self._own_pids = own_pids
        self._started = started
        self._ended: float | None = None
        # A process that was forked counts its parent's memory of that moment as its own peak, so up to here the
        # kernel's figure is about us. (Ours, from getrusage, would be about whoever started us.)
        self._inherited_peak = kernel.peak_bytes()
        self._waited_cpu = 0.0
        self._waited_io = (0, 0)
        self._max_cpu = 0.0
        self._max_io: tuple[int, int] | None = None
        self._peak_rss = 0
        self._rss_looks: list[tuple[float, int]] = []
        self._window = (started, 0.0)
        self._max_pct: float | None = None

    def look(self) -> None:
        """Add up the living tree. A process that ends meanwhile is counted when it is waited for."""
        now = time.monotonic()
        cpu, io, rss = self._living()
        self._note(self._waited_cpu + cpu, io)
        if rss is not None:
            self._peak_rss = max(self._peak_rss, rss)
            self._rss_looks.append((now, rss))
        since, used = self._window
        if now - since >= _PEAK_WINDOW_SECONDS:
            self._close_window(now, since, used)

    def ending(self, pid: int) -> None:
        """Take the I/O of a process that has ended: it is gone once it is waited for."""
        if pid == self._pid:
            self._ended = time.monotonic()
        io = kernel.storage_bytes(pid)
        if io is not None:
            self._waited_io = (self._waited_io[0] + io[0], self._waited_io[1] + io[1])
            self._max_io = self._max_io or (0, 0)

    def ended(self, pid: int, status: int, usage: Any) -> None:
        """Take the CPU time and the peak of a process that was waited for."""
        self._waited_cpu += usage.ru_utime + usage.ru_stime
        peak = usage.ru_maxrss * _KIB
        if peak > self._inherited_peak:
            self._peak_rss = max(self._peak_rss, peak)
        self._note(self._waited_cpu, (0, 0))

    def finish(self) -> Usage:
        """The sums, once the command has ended; descendants that live on count up to now."""
        ended = self._ended if self._ended is not None else time.monotonic()
        wall = max(ended - self._started, 1e-6)
        if _has_children():
            cpu, io, _ = self._living()
            self._note(self._waited_cpu + cpu, io)
        since, used = self._window
        if ended - since >= _PEAK_WINDOW_SECONDS:
            self._close_window(ended, since, used)
        mean_pct = 100 * self._max_cpu / wall
        read, write = self._max_io or (None, None)
        return Usage(
            wall_seconds=wall,
            cpu_seconds=self._max_cpu,
            cpu_mean_pct=mean_pct,
            cpu_max_pct=max(mean_pct, self._max_pct or 0.0),
            rss_mean_mb=_mib(_mean(self._rss_looks)),
            rss_peak_mb=_mib(self._peak_rss or None),
            read_mb=_mib(read),
            write_mb=_mib(write),
        )

    def _living(self) -> tuple[float, tuple[int, int], int | None]:
        """CPU seconds, (read, written) bytes and resident bytes of the living tree."""
        import psutil  # noqa: PLC0415 - while the command is already running: it takes a while to load

        cpu, read, written, rss = 0.0, 0, 0, 0
        own = self._own_pids()
        tree = [one for one in psutil.Process(os.getpid()).children(recursive=True) if one.pid not in own]
        for one in tree:
            with contextlib.suppress(psutil.Error, OSError), one.oneshot():
                cpu += _cpu_seconds(one)
                if (io := kernel.storage_bytes(one.pid)) is not None:
                    read, written = read + io[0], written + io[1]
                    self._max_io = self._max_io or (0, 0)
                rss += one.memory_info().rss
        return cpu, (read, written), rss or None

    def _note(self, cpu: float, living_io: tuple[int, int]) -> None:
        self._max_cpu = max(self._max_cpu, cpu)
        if self._max_io is not None:
            read, written = (mine + theirs for mine, theirs in zip(self._waited_io, living_io, strict=True))
            self._max_io = (max(self._max_io[0], read), max(self._max_io[1], written))

    def _close_window(self, now: float, since: float, used: float) -> None:
        self._max_pct = max(self._max_pct or 0.0, 100 * (self._max_cpu - used) / (now - since))
        self._window = (now, self._max_cpu)


def _cpu_seconds(process: "psutil.Process") -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _mean(looks: list[tuple[float, int]]) -> float | None:
    """The mean over time of a value looked at now and then, taken as a straight line between two looks."""
    if not looks:
        return None
    span = looks[-1][0] - looks[0][0]
    if span <= 0:
        return looks[0][1]
    pairs = itertools.pairwise(looks)
    return sum((b - a) * (x + y) / 2 for (a, x), (b, y) in pairs) / span


def _mib(size: float | None) -> float | None:
    return None if size is None else mib_from_bytes(size)
