"""`framehouse run`: what passes through unchanged, and what the attempt says."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO

import pytest

from tests.ingest.listener import Listener, listening
from tests.ingest.runs import FRAMEHOUSE, NOWHERE, Runner, checked, python, running


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    with running(tmp_path / "home") as runner:
        yield runner


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listening() as listener:
        yield listener


def test_an_attempt_is_sent_in_silence(tmp_path: Path, listener: Listener) -> None:
    runner = Runner(tmp_path, listener.url)
    done = runner.run(["sh", "-c", "echo out; echo err >&2"])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out\n", b"err\n")
    ((path, _, body),) = listener.requests
    event = checked(body)
    assert path == "/api/events"
    assert event["schema_version"] == 1
    assert event["outcome"] == "succeeded"
    assert event["workflow"] == "sh"
    assert event["attempt"] == 1
    assert event["gpu_count"] == event["gpu_seconds"] == 0
    assert event["commands"] == ["sh -c 'echo out; echo err >&2'"]
    assert event["worker"] == event["host"]["hostname"]
    assert event["host"]["cpu_count"] == os.cpu_count()
    started, finished = (datetime.fromisoformat(event[name]) for name in ("started_at", "finished_at"))
    assert (finished - started).total_seconds() == pytest.approx(event["wall_seconds"], abs=1e-5)
    assert not (tmp_path / "spool").exists()


def test_a_warehouse_that_is_down_does_not_fail_the_job(runner: Runner) -> None:
    done = runner.run(["true"])
    assert (done.returncode, done.stdout) == (0, b"")
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(
        f"framehouse: the attempt waits in {runner.home}/spool/events.ndjson for `framehouse load`"
    )
    assert NOWHERE in line
    assert runner.event["workflow"] == "true"


def test_a_home_that_cannot_be_written_does_not_fail_the_job(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("no folder")
    done = Runner(home).run(["sh", "-c", "exit 3"])
    assert done.returncode == 3
    told, event = done.stderr.decode().splitlines()
    assert "lost" in told
    assert checked(event.encode())["error_code"] == "exit_3"  # at least the job's log has it


def test_a_refused_attempt_is_kept_and_said(tmp_path: Path, listener: Listener) -> None:
    error = {"path": "tier", "message": "no such tier", "expected": "draft"}
    listener.status = 422
    listener.answer = {"results": [{"status": "rejected", "code": "unknown_tier", "errors": [error]}]}
    done = Runner(tmp_path, listener.url).run(["true"], "--tier", "huge")
    assert done.returncode == 0
    assert b"tier: no such tier (draft)" in done.stderr
    assert json.loads((tmp_path / "spool" / "rejected.ndjson").read_bytes())["tier"] == "huge"


@pytest.mark.parametrize("code", [1, 2, 7, 125, 126, 127, 130, 143, 254, 255])
def test_exit_codes_pass_through(runner: Runner, code: int) -> None:
    done = runner.run(["sh", "-c", f"exit {code}"])
    assert done.returncode == code
    event = runner.event
    assert (event["outcome"], event["error_code"]) == ("failed", f"exit_{code}")
    assert done.stderr.count(b"framehouse: ") == 1  # only that the attempt waits
    assert event["error_message"] == f"the command exited with {code}"


@pytest.mark.parametrize(
    "name", ["SIGKILL", "SIGTERM", "SIGINT", "SIGSEGV", "SIGABRT", "SIGHUP", "SIGPIPE", "SIGUSR1"]
)
def test_a_command_that_a_signal_ends_ends_us_the_same_way(runner: Runner, name: str) -> None:
    done = runner.run(["sh", "-c", f"ulimit -c 0; kill -{name.removeprefix('SIG')} $$"])
    assert done.returncode == -signal.Signals[name]
    event = runner.event
    assert event["outcome"] == ("canceled" if name in {"SIGTERM", "SIGINT"} else "failed")
    assert event["error_code"] == f"signal_{name}"


def test_a_real_time_signal_ends_us_the_same_way(runner: Runner) -> None:
    assert runner.run(["sh", "-c", "kill -40 $$"]).returncode == -40
    assert runner.event["error_code"] == "signal_40"


def test_a_shell_sees_137_after_a_kill(runner: Runner) -> None:
    words = " ".join(f"'{word}'" for word in runner.argv(["sh", "-c", "kill -9 $$"]))
    done = subprocess.run(["sh", "-c", f"{words}; echo $?"], env=runner.env, capture_output=True, check=True)
    assert done.stdout == b"137\n"


def test_a_command_that_is_not_there_is_127(runner: Runner) -> None:
    done = runner.run(["no-such-command-here", "-x"])
    assert done.returncode == 127
    assert b"framehouse: the command no-such-command-here was not found\n" in done.stderr
    event = runner.event
    assert (event["outcome"], event["error_code"]) == ("failed", "exit_127")
    assert event["workflow"] == "no-such-command-here"


def test_a_command_that_cannot_be_executed_is_126(runner: Runner, tmp_path: Path) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_text("no program")
    for command in (plain, tmp_path):
        assert runner.run([command]).returncode == 126
    assert [event["error_code"] for event in runner.events] == ["exit_126", "exit_126"]


def test_a_script_without_an_interpreter_line_runs_as_in_a_shell(runner: Runner, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$0 $1"; exit 4\n')
    script.chmod(0o755)
    done = runner.run([script, "word"])
    assert (done.returncode, done.stdout) == (4, f"{script} word\n".encode())


def test_standard_input_and_output_pass_through_byte_by_byte(runner: Runner) -> None:
    data = bytes(range(256)) * 8192
    done = runner.run(["cat"], input=data)
    assert done.stdout == data


def test_a_pipe_s_other_end_sees_the_command_close_it(runner: Runner) -> None:
    """Nothing of ours keeps the command's stdin or stdout open while the command runs on."""
    code = "import os, sys; os.close(1); os.close(0); open(sys.argv[1]).read()"
    gate = runner.home.with_name("gate")
    os.mkfifo(gate)
    process = runner.start(python(code, str(gate)), stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None
    assert select.select([process.stdout], [], [], 30)[0]
    assert process.stdout.read() == b""  # the end of file, although the command still waits at the gate
    assert process.poll() is None
    with pytest.raises(BrokenPipeError):
        _fill(process.stdin)
    gate.write_text("go on")
    _finish(process)
    assert process.returncode == 0


def test_a_consumer_that_leaves_ends_the_command(runner: Runner) -> None:
    words = " ".join(f"'{word}'" for word in runner.argv(["yes"]))
    script = f"{{ {words}; echo $? >&2; }} | head -1"
    done = subprocess.run(["sh", "-c", script], env=runner.env, capture_output=True, check=True, timeout=60)
    assert done.stdout == b"y\n"
    assert done.stderr.endswith(b"141\n")  # 128 + SIGPIPE, as without us
    assert runner.event["error_code"] == "signal_SIGPIPE"


def test_a_closed_standard_error_is_no_trouble(runner: Runner) -> None:
    words = " ".join(f"'{word}'" for word in runner.argv(["sh", "-c", "exit 5"], "--show"))
    done = subprocess.run(["sh", "-c", f"{words} 2>&-"], env=runner.env, check=False)
    assert done.returncode == 5
    assert runner.event["error_code"] == "exit_5"


def test_a_standard_error_that_nobody_reads_is_no_trouble(runner: Runner) -> None:
    process = runner.start(["sh", "-c", "sleep 0.2; exit 5"], "--show")
    assert process.stderr is not None
    process.stderr.close()
    assert process.wait(timeout=60) == 5
    assert process.stdout is not None
    process.stdout.close()
    assert runner.event["error_code"] == "exit_5"


def test_other_inherited_files_and_the_folder_and_variables_pass_through(
    runner: Runner, tmp_path: Path
) -> None:
    inner = runner.argv(["sh", "-c", "pwd; echo $GREETING; echo three >&3; echo five >&5"])
    words = " ".join(f"'{word}'" for word in inner)
    subprocess.run(
        ["sh", "-c", f"{words} 3>three 5>five >out"],
        env={**runner.env, "GREETING": "hello"},
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert (tmp_path / "out").read_text() == f"{tmp_path}\nhello\n"
    assert (tmp_path / "three").read_text() == "three\n"
    assert (tmp_path / "five").read_text() == "five\n"


def test_closed_standard_files_stay_closed(runner: Runner) -> None:
    code = "import os\nfor n in (0, 1):\n    try: os.fstat(n)\n    except OSError: os.write(2, b'%d closed\\n' % n)"
    words = " ".join(f'"{word}"' for word in runner.argv([sys.executable, "-I", "-S", "-c"]))
    script = f'{words} "$CODE" <&- >&-'
    done = subprocess.run(
        ["sh", "-c", script], env={**runner.env, "CODE": code}, capture_output=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr.startswith(b"0 closed\n1 closed\n")


def test_metrics_off_replaces_us_by_the_command(tmp_path: Path) -> None:
    runner = Runner(tmp_path / "home", FRAMEHOUSE_METRICS="0")
    process = runner.start(["sh", "-c", "echo $$; exit 9"])
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 9
    assert int(out) == process.pid
    assert not (tmp_path / "home").exists()
    assert runner.run(["no-such-command-here"]).returncode == 127
    assert runner.run([tmp_path]).returncode == 126


def test_names_reach_the_command_as_bytes_and_the_event_as_text(runner: Runner, tmp_path: Path) -> None:
    code = "import os, sys; print([os.fsencode(a) for a in sys.argv[1:]])"
    words = [
        b"with space",
        "größe 漢字 😀".encode(),
        b"not utf-8 \xff\xfe",
        b"new\nline\x01",
        b"",
        b"--",
        b"-x",
        b"'\"",
    ]
    done = runner.run([*python(code), *words], "--workflow", "größe", "--scene", os.fsdecode(b"sc\xff"))
    assert done.stdout.decode().strip() == str(words)
    event = runner.event
    assert event["workflow"] == "größe"
    assert event["scene"] == "sc\ufffd"
    assert "größe 漢字 😀" in event["commands"][0]
    assert "not utf-8 \ufffd\ufffd" in event["commands"][0]
    assert "new\nline\ufffd" in event["commands"][0]


def test_a_program_whose_name_is_no_text_is_named_all_the_same(runner: Runner, tmp_path: Path) -> None:
    program = os.fsencode(tmp_path) + b"/re\xffnder"
    with open(program, "wb") as file:  # noqa: PTH123
        file.write(b"#!/bin/sh\nexit 0\n")
    os.chmod(program, 0o755)  # noqa: PTH101
    assert runner.run([program]).returncode == 0
    assert runner.event["workflow"] == "re\ufffdnder"


def test_a_very_long_command_is_kept_in_part(runner: Runner) -> None:
    assert runner.run(["true", "x" * 100_000]).returncode == 0
    (command,) = runner.event["commands"]
    assert len(command) == 10_000
    assert command.endswith("…")


def test_secrets_do_not_leave_the_host(runner: Runner) -> None:
    words = [
        "sh",
        "-c",
        "true",
        "--password",
        "hunter2",
        "https://me:hunter3@host/a?token=hunter4&w=1",
        "-headers",
        "hunter5",
    ]
    assert (
        runner.run(
            words, "--parameter", "api_key=hunter6", "--parameter", "url=https://a:hunter7@b/"
        ).returncode
        == 0
    )
    text = json.dumps(runner.event)
    assert "hunter" not in text
    assert "https://***@host/a?token=***&w=1" in text


def test_every_label_reaches_the_event(runner: Runner) -> None:
    given = {
        "--workflow": "wf", "--tier": "draft", "--project": "p", "--character": "c", "--scene": "s",
        "--scene-type": "t", "--variant": "v", "--worker": "w", "--job-id": "j", "--attempt": "3", "--scene-key": "k",
        "--estimate-id": "8C5C1B1E-5F0B-4C53-9E8B-9A1B6E1B2C3D", "--queued-at": "2026-03-01T12:00:00+01:00",
        "--eligible-at": "2026-03-01T12:00:00Z", "--segments": "4", "--frames": "81",
        "--width": "640", "--height": "360", "--gpu-count": "2", "--gpu-seconds": "7.5",
    }  # fmt: skip
    options = [word for pair in given.items() for word in pair]
    options += ["--parameter", "steps=20", "--parameter", "cfg=7.5", "--parameter", "sampler=euler=a"]
    options += ["--parameter", "is_hires=true", "--parameter", "seed=NaN", "--score", "likeness=0.92"]
    assert runner.run(["true"], *options).returncode == 0
    event = runner.event
    expected = {
        "workflow": "wf", "tier": "draft", "project": "p", "character": "c", "scene": "s", "scene_type": "t",
        "variant": "v", "worker": "w", "job_id": "j", "attempt": 3, "scene_key": "k",
        "estimate_id": "8c5c1b1e-5f0b-4c53-9e8b-9a1b6e1b2c3d", "queued_at": "2026-03-01T11:00:00+00:00",
        "eligible_at": "2026-03-01T12:00:00+00:00", "segment_count": 4, "frame_count": 81, "width": 640, "height": 360,
        "gpu_count": 2, "gpu_seconds": 7.5, "quality_scores": {"likeness": 0.92},
        "parameters": {"steps": 20, "cfg": 7.5, "sampler": "euler=a", "is_hires": True, "seed": "NaN"},
    }  # fmt: skip
    assert {name: event[name] for name in expected} == expected


def test_gpus_are_occupied_as_long_as_the_command_runs(runner: Runner) -> None:
    assert runner.run(["true"], "--gpu-count", "4").returncode == 0
    event = runner.event
    assert event["gpu_seconds"] == pytest.approx(4 * event["wall_seconds"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--no-such-option"], "--no-such-option"),
        (["--attempt", "0"], "--attempt"),
        (["--score", "likeness=nan"], "finite"),
        (["--score", "likeness=1e400"], "finite"),
        (["--parameter", "steps"], "NAME=VALUE"),
        (["--workflow", " "], "1 to 200"),
        (["--workflow", "a\nb"], "control characters"),
        (["--queued-at", "2026-03-01T12:00:00"], "2026-03-01T12:00:00Z"),
        (["--gpu-seconds", "5"], "--gpu-count"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_125_and_starts_nothing(
    runner: Runner, tmp_path: Path, options: list[str], told: str
) -> None:
    done = runner.run(["touch", tmp_path / "started"], *options)
    assert done.returncode == 125
    assert told in done.stderr.decode()
    assert not (tmp_path / "started").exists()


def test_wrong_settings_are_125(tmp_path: Path) -> None:
    done = Runner(tmp_path, FRAMEHOUSE_PORT="many").run(["true"])
    assert done.returncode == 125
    assert b"FRAMEHOUSE_PORT is 'many'" in done.stderr


def test_no_command_is_wrong_usage(runner: Runner) -> None:
    done = subprocess.run([FRAMEHOUSE, "run"], env=runner.env, capture_output=True, check=False)
    assert done.returncode == 125


def test_show_prints_what_was_measured(runner: Runner) -> None:
    done = runner.run(["echo", "hello"], "--show")
    assert done.stdout == b"hello\n"
    shown = dict(line.split(None, 1) for line in done.stderr.decode().splitlines() if line.startswith("  "))
    assert shown["outcome"] == "succeeded"
    assert shown["commands"] == "echo hello"
    assert shown["host.cpu_count"] == str(os.cpu_count())


def test_the_command_starts_before_anything_heavy_is_imported() -> None:
    code = "import sys, framehouse.cli.run, ingest.collectors.process; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"rich", "pydantic", "psutil", "numpy", "psycopg", "subprocess", "asyncio"} & set(
        done.stdout.split()
    )


def _fill(pipe: IO[bytes]) -> None:
    """Write more than any pipe holds."""
    for _ in range(1000):
        pipe.write(b"x" * 65536)


def _finish(process: subprocess.Popen[bytes]) -> None:
    for file in (process.stdin, process.stdout, process.stderr):
        if file is not None:
            try:
                file.close()
            except BrokenPipeError:
                continue
    process.wait(timeout=60)
