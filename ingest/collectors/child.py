"""Start a command, stand aside, and see it end: whoever started us should not see a difference.

The command stays in our process group and keeps stdin, stdout, stderr and every other inherited file, so that
terminals, pipelines and job control work as they would without us.

A signal that somebody sent to us alone is passed on. A signal that went to the whole group (Ctrl-C, `timeout`, a
service manager) has reached the command already, and ffmpeg takes a second one as "stop without writing the trailer",
which leaves a broken file. What came in does not say which of the two it was. So a witness stands in the group too: a
sleeping process that blocks every signal. What is pending at the witness went to the group.
"""

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, Self

from ingest.collectors import kernel

_PASSED_ON = {
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH, signal.SIGALRM,
}  # fmt: skip
_JOB_CONTROL = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
_WATCHED = _PASSED_ON | {signal.SIGCHLD}
_FIRST_LOOKS_SECONDS = (0.05, 0.5, 1.0)  # a short job should have more than its start in its mean
_LOOK_EVERY_SECONDS = 2.0
# `timeout` and service managers signal the members of a group one after another, and a busy machine may put a pause in
# between. Only a signal that was meant for us alone waits this long.
_GROUP_DELAY_SECONDS = 0.25
_SI_KERNEL = 0x80


class Meter(Protocol):
    """Someone who measures while the command runs. What they raise is theirs to handle."""

    def look(self) -> None:
        """Look at the living tree."""

    def ending(self, pid: int) -> None:
        """The process `pid` has ended and can still be looked at."""

    def ended(self, pid: int, status: int, usage: Any) -> None:
        """It was waited for; `usage` is its rusage, with that of the children it has waited for."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How the command ended.

    exit_code   what it exited with; None when a signal ended it
    signal      the number of the signal that ended it
    received    the numbers of the signals that came to us while it ran
    """

    exit_code: int | None
    signal: int | None
    received: frozenset[int]

    def leave(self) -> NoReturn:
        """End this process the same way."""
        if self.signal is None:
            raise SystemExit(self.exit_code)
        die_of(self.signal)


class Child:
    """A running command. Signals stay blocked in this process from `start` on: `wait` takes them one by one."""

    def __init__(self, pid: int, witness: "Witness") -> None:
        self.pid = pid
        self._witness = witness
        self._received: set[int] = set()

    @classmethod
    def start(cls, argv: Sequence[str]) -> Self:
        """Run a command found on PATH, as a shell would. Raises the OSError that kept it from running.

        Our own stdin, stdout and other inherited files are let go of, so that a pipe's other end sees the command
        close it; stderr stays ours as well, for a word at the end.
        """
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        # A parent that ignores SIGCHLD passes that on; then nobody's end could be waited for.
        on_child = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        kernel.adopt_orphans()
        witness = Witness()
        try:
            pid = _start(argv, set(mask), on_child)
        except BaseException:
            witness.dismiss()
            raise
        _let_go()
        return cls(pid, witness)

    @property
    def own_pids(self) -> frozenset[int]:
        """Processes below this one that are no part of the command."""
        return frozenset({self._witness.pid} if self._witness.pid is not None else ())

    def wait(self, meter: Meter) -> Ending:
        """Pass signals on and have the meter look, until the command has ended."""
        began = time.monotonic()
        looks = 0
        next_look = began + _FIRST_LOOKS_SECONDS[0]
        while True:
            came = signal.sigtimedwait(_WATCHED, max(0.0, next_look - time.monotonic()))
            if came is None:
                meter.look()
                looks += 1
                if looks < len(_FIRST_LOOKS_SECONDS):
                    next_look = began + _FIRST_LOOKS_SECONDS[looks]
                else:
                    next_look = time.monotonic() + _LOOK_EVERY_SECONDS
            elif came.si_signo != signal.SIGCHLD:
                self._pass_on(came.si_signo, came.si_code)
            elif (status := self._reap(meter)) is not None:
                self._witness.dismiss()
                code = os.waitstatus_to_exitcode(status)
                received = frozenset(self._received)
                return Ending(code, None, received) if code >= 0 else Ending(None, -code, received)
            else:
                self._stop_with_it()

    def _reap(self, meter: Meter) -> int | None:
        """Wait for whatever has ended below us: the command (its wait status is the answer), or orphans."""
        status = None
        while status is None:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return None
            pid = ended.si_pid
            if pid == self._witness.pid:
                self._witness.dismiss()
                continue
            meter.ending(pid)
            _, ended_status, usage = os.wait4(pid, 0)
            meter.ended(pid, ended_status, usage)
            if pid == self.pid:
                status = ended_status
        return status

    def _pass_on(self, number: int, code: int) -> None:
        self._received.add(number)
        if not self._witness.has_seen(number, code):
            with contextlib.suppress(OSError):  # another user's process, after a change of user
                os.kill(self.pid, number)

    def _stop_with_it(self) -> None:
        """Where the terminal stopped the command (Ctrl-Z), stop too: the shell waits for us, not for it."""
        stopped = os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG)
        if stopped is None:
            return
        number = stopped.si_status
        # Programs that catch Ctrl-Z to tidy up stop themselves with SIGSTOP. A SIGSTOP from elsewhere is not for us:
        # nobody would wake us.
        if number in _JOB_CONTROL or (number == signal.SIGSTOP and signal.SIGTSTP in self._received):
            self._received.discard(signal.SIGTSTP)
            os.kill(os.getpid(), number)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
            signal.pthread_sigmask(signal.SIG_BLOCK, {number} & _WATCHED)


class Witness:
    """A sleeping member of the process group that blocks every signal and so remembers what the group was sent."""

    def __init__(self) -> None:
        self.pid: int | None = _start_witness()

    def has_seen(self, number: int, code: int) -> bool:
        """Whether a signal that came to us went to the whole group."""
        if self.pid is None:
            return (
                code == _SI_KERNEL
            )  # without a witness: the terminal signals groups, people single processes
        patience_ends = time.monotonic() + _GROUP_DELAY_SECONDS
        while True:
            try:
                seen = number in kernel.pending_signals(self.pid)
            except OSError:
                return code == _SI_KERNEL
            if seen:
                self.dismiss()  # it cannot forget, so a fresh one takes its place
                self.pid = _start_witness()
                _forget(number)
                return True
            if time.monotonic() > patience_ends:
                return False
            time.sleep(0.002)

    def dismiss(self) -> None:
        """End it."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = None


def _forget(number: int) -> None:
    """Drop our own copy of a signal to the group, where one to us alone came just before it, as `timeout` does it."""
    if number in signal.sigpending():
        signal.sigwait({number})


def replace_with(argv: Sequence[str]) -> NoReturn:
    """Become the command. Raises the OSError that kept it from running."""
    _restore_python_signals()
    _exec(argv)


def die_of(number: int) -> NoReturn:
    """End this process by a signal, so that a shell sees what it would have seen of the command."""
    import resource  # noqa: PLC0415 - not needed before the end

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the command has left its core already
    if number not in {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # the first process of a container cannot be killed by itself


def _start(argv: Sequence[str], mask: set[int], on_child: Any) -> int:
    """Fork and exec. `os.posix_spawn` would be quicker but cannot tie the child's life to ours."""
    parent = os.getpid()
    failed, say = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            kernel.die_with(parent)
            if on_child == signal.SIG_IGN:
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            _restore_python_signals()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            _exec(argv)
        except OSError as error:
            os.write(say, b"%d" % (error.errno or 0))
        finally:
            os._exit(127)
    os.close(say)
    with os.fdopen(failed, "rb") as pipe:
        number = pipe.read()
    if number:
        os.waitpid(pid, 0)
        raise OSError(int(number), os.strerror(int(number)), argv[0])
    return pid


def _exec(argv: Sequence[str]) -> NoReturn:
    import errno  # noqa: PLC0415 - after the fork only

    try:
        os.execvp(argv[0], list(argv))  # noqa: S606 - to run what was asked for is the task
    except OSError as error:
        # A script without a first line that names its interpreter: shells run it themselves.
        if error.errno != errno.ENOEXEC:
            raise
        import shutil  # noqa: PLC0415

        path = argv[0] if os.sep in argv[0] else shutil.which(argv[0]) or argv[0]
        os.execv("/bin/sh", ["/bin/sh", path, *argv[1:]])  # noqa: S606


def _restore_python_signals() -> None:
    """Undo what Python changed when it started; ignored signals would stay ignored in the command."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def _start_witness() -> int | None:
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            kernel.die_with(parent)
            signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
            _let_go(stderr_too=True)
            os.chdir("/")
            os.execvp("sleep", ["sleep", "2147483647"])  # noqa: S606
        finally:
            os._exit(127)
    return pid


def _let_go(*, stderr_too: bool = False) -> None:
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for number in (0, 1, 2) if stderr_too else (0, 1):
        os.dup2(nothing, number)
    os.close(nothing)
    for number in kernel.inherited_files(keep={0, 1, 2}):
        os.close(number)
