"""The few calls to the Linux kernel that Python's `os` does not offer, and what /proc tells beside them."""

import ctypes
import os
import signal
from collections.abc import Iterable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, so that a SIGKILL passes through to it too."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the call
        os.kill(os.getpid(), signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def pending_signals(pid: int) -> set[int]:
    """Signals that were sent to a process and that it blocks."""
    found: set[int] = set()
    for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
        if line.startswith((b"SigPnd:", b"ShdPnd:")):
            bits = int(line.split()[1], 16)
            found |= {number for number in range(1, 65) if bits >> (number - 1) & 1}
    return found


def storage_bytes(pid: int) -> tuple[int, int] | None:
    """Bytes (read, written) between a process, with the children it has waited for, and storage.

    It can be asked of a zombie too. None where the kernel does not tell (another user's process, or it is gone).
    """
    try:
        text = Path(f"/proc/{pid}/io").read_bytes()
    except OSError:
        return None
    fields = dict(line.split(b": ") for line in text.splitlines())
    return int(fields[b"read_bytes"]), int(fields[b"write_bytes"])


def peak_bytes() -> int:
    """The most memory that this process was resident in since it became this program."""
    for line in Path("/proc/self/status").read_bytes().splitlines():
        if line.startswith(b"VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def inherited_files(keep: Iterable[int]) -> list[int]:
    """File descriptors that a new program would inherit from this process, but for those to keep."""
    kept = set(keep)
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are wanted, thousands of them at worst
        number = int(name)
        try:
            if number not in kept and os.get_inheritable(number):
                found.append(number)
        except OSError:  # the descriptor of the listing itself
            continue
    return found
