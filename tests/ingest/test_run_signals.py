"""`framehouse run` and signals: every one reaches the command once, whoever sent it to whom."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import psutil
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from ingest.collectors import kernel
from tests.ingest.runs import Runner, python, running

FFMPEG = get_ffmpeg_exe()

# Counts the signals it gets; after the first it leaves room for a second one, and then says the count of each.
COUNTER = """
import signal, sys, time
names, seen = sys.argv[1:], []
for name in names:
    signal.signal(getattr(signal, name), lambda number, frame: seen.append(signal.Signals(number).name))
print("ready", flush=True)
while not seen:
    time.sleep(0.02)
time.sleep(0.6)
print(*seen, flush=True)
sys.exit(int(255))
"""
# What the command finds: the signals that are ignored, and those that are blocked.
DISPOSITIONS = """
import signal
print(*sorted(n for n in range(1, 65) if n not in (9, 19, 32, 33) and signal.getsignal(n) == signal.SIG_IGN))
print(*signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    with running(tmp_path / "home") as runner:
        yield runner


def started(runner: Runner, *names: str) -> subprocess.Popen[bytes]:
    process = runner.start(python(COUNTER, *names))
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def eventually(check: Callable[[], bool]) -> None:
    patience_ends = time.monotonic() + 30
    while not check():
        assert time.monotonic() < patience_ends, "it never came to be"
        time.sleep(0.02)


@pytest.mark.parametrize(
    "name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT"]
)
def test_a_signal_to_us_alone_is_passed_on_once(runner: Runner, name: str) -> None:
    process = started(runner, name)
    process.send_signal(signal.Signals[name])
    out, _ = process.communicate(timeout=60)
    assert out == f"{name}\n".encode()
    assert process.returncode == 255


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGCONT"])
def test_a_signal_to_the_whole_group_reaches_the_command_once(runner: Runner, name: str) -> None:
    process = started(runner, name)
    os.killpg(process.pid, signal.Signals[name])
    out, _ = process.communicate(timeout=60)
    assert out == f"{name}\n".encode()


def test_a_signal_to_us_and_then_to_the_group_reaches_the_command_once(runner: Runner) -> None:
    """That is how `timeout` does it."""
    process = started(runner, "SIGTERM")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert out == b"SIGTERM\n"


def test_group_and_single_signals_are_told_apart_again_and_again(runner: Runner) -> None:
    code = (
        "import os, signal, sys, time\n"
        "def say(number, frame): os.write(1, signal.Signals(number).name.encode() + b'\\n')\n"
        "for name in ('SIGUSR1', 'SIGUSR2'): signal.signal(getattr(signal, name), say)\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.02)\n"
    )
    process = runner.start(python(code))
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    for _ in range(3):
        os.killpg(process.pid, signal.SIGUSR1)
        assert process.stdout.readline() == b"SIGUSR1\n"
        process.send_signal(signal.SIGUSR2)
        assert (
            process.stdout.readline() == b"SIGUSR2\n"
        )  # the lower number comes first: we are done with SIGUSR1
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == b"SIGUSR1\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert out == b""  # and none came twice
    assert process.returncode == 0


def test_without_its_witness_single_signals_still_pass(runner: Runner) -> None:
    process = started(runner, "SIGTERM")
    witness = next(one for one in psutil.Process(process.pid).children() if one.name() == "sleep")
    witness.kill()
    eventually(lambda: not witness.is_running())
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert out == b"SIGTERM\n"


def test_a_command_that_dies_of_our_signal_is_canceled(runner: Runner) -> None:
    process = runner.start(["sleep", "1000"])
    eventually(lambda: "sleep" in _commands(process.pid, "1000"))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    event = runner.event
    assert (event["outcome"], event["error_code"]) == ("canceled", "signal_SIGTERM")


def test_a_shell_that_tidies_up_after_our_signal_is_canceled(runner: Runner) -> None:
    process = runner.start(["sh", "-c", "trap 'exit 143' TERM; echo ready; while :; do sleep 0.05; done"])
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert runner.event["outcome"] == "canceled"


def test_a_kill_takes_the_command_with_us(runner: Runner) -> None:
    process = runner.start(["sleep", "1000"])
    eventually(lambda: "sleep" in _commands(process.pid, "1000"))
    below = psutil.Process(process.pid).children(recursive=True)
    assert len(below) == 2  # the command and the witness
    process.kill()
    process.communicate(timeout=60)
    eventually(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in below))


def test_ignored_and_blocked_signals_are_inherited(runner: Runner) -> None:
    plain = subprocess.run(python(DISPOSITIONS), capture_output=True, check=True)
    assert runner.run(python(DISPOSITIONS)).stdout == plain.stdout

    prepare = (
        "import os, signal, sys\n"
        "for n in (signal.SIGHUP, signal.SIGINT, signal.SIGCHLD): signal.signal(n, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    command = python(DISPOSITIONS)
    plain = subprocess.run([*python(prepare), *command], capture_output=True, check=True)
    ours = subprocess.run(
        [*python(prepare), *runner.argv(command)], env=runner.env, capture_output=True, check=True
    )
    assert ours.stdout == plain.stdout
    assert plain.stdout.splitlines()[0].split() >= [b"1"]


def test_ffmpeg_finishes_its_file_when_the_group_is_interrupted(runner: Runner, tmp_path: Path) -> None:
    """A second signal would have it stop without the trailer, and the file could not be read."""
    out = tmp_path / "out.mp4"
    process = runner.start(_endless(out))
    eventually(lambda: out.exists() and out.stat().st_size > 0)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 255
    event = runner.event
    assert (event["outcome"], event["error_code"]) == ("canceled", "signal_SIGINT")
    assert event["frame_count"] > 0
    assert (event["width"], event["height"]) == (64, 64)


def test_timeout_ends_ffmpeg_in_order(runner: Runner, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    command = ["timeout", "--signal", "TERM", "5", *runner.argv(_endless(out))]
    done = subprocess.run(command, env=runner.env, capture_output=True, check=False, timeout=60)
    assert done.returncode == 124
    event = runner.event
    assert event["outcome"] == "canceled"
    assert event["frame_count"] > 0


class Terminal:
    """A terminal with a program as its session's leader."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self._master, slave = os.openpty()
        self.text = ""
        words = ["setsid", "--ctty", *argv]
        self.process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, env=env)
        os.close(slave)

    def send(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait_for(self, text: str) -> None:
        """Read until a text appears; what came before it is forgotten."""
        while text not in self.text:
            readable, _, _ = select.select([self._master], [], [], 30)
            assert readable, f"{text!r} did not appear in {self.text!r}"
            try:
                self.text += os.read(self._master, 65536).decode(errors="replace")
            except OSError:  # every other end is closed
                raise AssertionError(f"{text!r} never appeared in {self.text!r}") from None
        self.text = self.text.partition(text)[2]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._master)  # hangs up: whatever is left in the session gets SIGHUP
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def close(self) -> int:
        """Read to the end; the exit code of the leader."""
        try:
            while os.read(self._master, 65536):
                pass
        except OSError:
            pass
        return self.process.wait(timeout=60)


def test_ctrl_c_reaches_the_command_once(runner: Runner) -> None:
    with Terminal(runner.argv(python(COUNTER, "SIGINT")), runner.env) as terminal:
        terminal.wait_for("ready")
        terminal.send("\x03")
        terminal.wait_for("SIGINT\r\n")
        assert terminal.close() == 255


def test_ctrl_c_of_a_plain_command_ends_us_by_sigint(runner: Runner) -> None:
    with Terminal(runner.argv(["sh", "-c", "echo ready; exec sleep 1000"]), runner.env) as terminal:
        terminal.wait_for("ready")
        terminal.send("\x03")
        assert terminal.close() == -signal.SIGINT
    assert runner.event["outcome"] == "canceled"


def test_ffmpeg_reads_q_from_the_terminal(runner: Runner, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    command = [word for word in _endless(out) if word != "-nostdin"]
    command[command.index("error")] = "info"
    with Terminal(runner.argv(command), runner.env) as terminal:
        terminal.wait_for("frame=")
        terminal.send("q")
        assert terminal.close() == 0
    event = runner.event
    assert event["outcome"] == "succeeded"
    assert event["frame_count"] > 0


def test_ctrl_z_stops_us_and_fg_goes_on(runner: Runner) -> None:
    code = "import sys, time; print('re' + 'ady', flush=True); sys.stdin.readline(); print('b' + 'ye', flush=True)"
    words = " ".join(f'"{word}"' for word in runner.argv(python(code)))
    with Terminal(["bash", "--norc", "--noprofile", "-i"], {**runner.env, "PS1": "> "}) as terminal:
        terminal.send(f"{words}\n")
        terminal.wait_for("ready")
        shell = psutil.Process(terminal.process.pid)
        ours = next(one for one in shell.children(recursive=True) if one.parent() == shell)
        terminal.send("\x1a")
        terminal.wait_for("Stopped")
        assert ours.status() == psutil.STATUS_STOPPED
        terminal.send("fg\n")
        eventually(lambda: ours.status() != psutil.STATUS_STOPPED)
        terminal.send("\n")
        terminal.wait_for("bye")
        terminal.send("echo code=$?\n")
        terminal.wait_for("code=0\r\n")
        terminal.send("exit\n")
        assert terminal.close() == 0
    assert runner.event["outcome"] == "succeeded"


def test_a_stop_for_the_command_alone_leaves_us_awake(runner: Runner) -> None:
    """Nobody would wake us: whoever stops the command by hand wakes the command."""
    process = started(runner, "SIGTERM")
    command = next(one for one in psutil.Process(process.pid).children() if one.name() != "sleep")
    command.suspend()
    eventually(lambda: command.status() == psutil.STATUS_STOPPED)
    time.sleep(0.2)
    assert psutil.Process(process.pid).status() != psutil.STATUS_STOPPED
    command.resume()
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert out == b"SIGTERM\n"


def test_pending_signals_are_read_from_the_kernel() -> None:
    code = (
        "import os, signal, sys, time\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGRTMAX])\n"
        "os.kill(os.getpid(), signal.SIGUSR1); os.kill(os.getpid(), signal.SIGRTMAX)\n"
        "print('ready', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(python(code), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert kernel.pending_signals(process.pid) == {signal.SIGUSR1, signal.SIGRTMAX}


def _endless(out: Path) -> list[str]:
    source = ["-re", "-f", "lavfi", "-i", "testsrc=size=64x64:rate=25"]
    return [FFMPEG, "-nostdin", "-v", "error", *source, "-c:v", "mpeg4", "-flush_packets", "1", str(out)]


def _commands(pid: int, word: str) -> set[str]:
    """Names of the programs below a process that have a word on their command line."""
    found = set()
    for one in psutil.Process(pid).children(recursive=True):
        try:
            if word in one.cmdline():
                found.add(one.name())
        except psutil.Error:
            continue
    return found
