"""`framehouse run`: the figures, held against what the commands say of themselves and what the kernel says of all."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from ingest.collectors import tree
from ingest.collectors.tree import TreeMeter
from tests.ingest.runs import Runner, python, running

FFMPEG = get_ffmpeg_exe()
BURN = "import time\nwhile time.process_time() < {}: sum(range(1000))\n"


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    with running(tmp_path / "home") as runner:
        yield runner


def test_cpu_of_children_that_live_and_die_between_two_looks_counts(runner: Runner) -> None:
    script = 'for i in 1 2 3 4 5 6; do "$@"; done'
    assert runner.run(["sh", "-c", script, "sh", *python(BURN.format(0.15))]).returncode == 0
    assert runner.event["cpu_seconds"] >= 6 * 0.15


def test_cpu_of_orphans_counts(runner: Runner, tmp_path: Path) -> None:
    """Children of a process that has ended are waited for by nobody in the tree: they become ours."""
    code = BURN.format(0.3) + "import sys; open(sys.argv[1], 'w').close()\n"
    script = f'cd {tmp_path}; ("$@" a &); ("$@" b &); while [ ! -e a ] || [ ! -e b ]; do sleep 0.02; done'
    assert runner.run(["sh", "-c", script, "sh", *python(code)]).returncode == 0
    assert runner.event["cpu_seconds"] >= 0.6


def test_nothing_counts_twice(runner: Runner) -> None:
    """Processes that were looked at while they lived, and then waited for, are in both figures only once."""
    burn = python(BURN.format(1.3))
    process = runner.start(["sh", "-c", '"$@" & "$@"; wait', "sh", *burn])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    for file in (process.stdout, process.stderr):
        assert file is not None
        file.close()
    event = runner.event
    assert 2 * 1.3 <= event["cpu_seconds"] <= usage.ru_utime + usage.ru_stime
    assert event["cpu_mean_pct"] == pytest.approx(100 * event["cpu_seconds"] / event["wall_seconds"])
    assert event["cpu_max_pct"] >= event["cpu_mean_pct"]


def test_memory_of_a_child_is_seen(runner: Runner) -> None:
    code = "import time; block = b'x' * (200 * 2**20); time.sleep(1.2)"
    assert runner.run(python(code)).returncode == 0
    event = runner.event
    assert 200 <= event["rss_peak_mb"] <= 230
    assert 0 < event["rss_mean_mb"] <= event["rss_peak_mb"]


def test_memory_and_cpu_of_the_tree_are_summed() -> None:
    """The meter itself, which looks when it is told to."""
    helpers = frozenset(one.pid for one in psutil.Process().children(recursive=True))
    hold = "block = b'x' * (100 * 2**20)\n" + BURN.format(0.2) + "print('ready', flush=True); input()"
    code = (
        "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-I', '-S', '-c', sys.argv[1]]))"
    )
    started = time.monotonic()
    commands = [python(hold), [sys.executable, "-c", code, hold]]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(commands[0], **pipes) as one, subprocess.Popen(commands[1], **pipes) as other:  # type: ignore[call-overload]
        meter = TreeMeter(one.pid, lambda: helpers, started)
        for process in (one, other):
            assert process.stdout.readline() == b"ready\n"
        meter.look()
        time.sleep(0.02)
        meter.look()
        usage = meter.finish()
        one.communicate(b"\n")
        other.communicate(b"\n")
    assert usage.rss_peak_mb is not None
    assert usage.rss_mean_mb is not None
    assert 200 <= usage.rss_mean_mb <= usage.rss_peak_mb <= 260
    assert usage.cpu_seconds >= 0.4 - 4 * 0.01  # the kernel cuts each of a living process's times to a tick
    assert usage.cpu_mean_pct == pytest.approx(100 * usage.cpu_seconds / usage.wall_seconds)


def test_the_mean_weighs_by_time() -> None:
    assert tree._mean([]) is None
    assert tree._mean([(5.0, 70)]) == 70
    assert tree._mean([(0.0, 0), (1.0, 100), (3.0, 100)]) == pytest.approx(250 / 3)


def test_a_peak_between_two_looks_is_seen(runner: Runner) -> None:
    code = "import time; time.sleep(1.2); block = b'x' * (150 * 2**20); del block; time.sleep(0.1)"
    assert runner.run(python(code)).returncode == 0
    assert 150 <= runner.event["rss_peak_mb"] <= 180


def test_the_memory_of_whoever_starts_us_changes_nothing(runner: Runner) -> None:
    """A process takes the peak of the one that started it along, through fork and exec."""
    starter = "import subprocess, sys; block = b'x' * (500 * 2**20); sys.exit(subprocess.call(sys.argv[1:]))"
    code = "import time; time.sleep(0.6); block = b'x' * (150 * 2**20); del block; time.sleep(0.1)"
    command = [sys.executable, "-c", starter, *runner.argv(python(code))]
    subprocess.run(command, env=runner.env, check=True, capture_output=True)
    assert 150 <= runner.event["rss_peak_mb"] <= 180


def test_a_tiny_command_is_not_credited_with_our_own_memory(runner: Runner) -> None:
    assert runner.run(["true"]).returncode == 0
    assert runner.event.get("rss_peak_mb", 0.0) < 8


def test_bytes_written_by_descendants_count_once(runner: Runner, tmp_path: Path) -> None:
    code = (
        "import os, sys, time\n"
        "with open(sys.argv[1], 'wb') as file:\n"
        "    file.write(os.urandom(24 * 2**20)); file.flush(); os.fsync(file.fileno())\n"
        "time.sleep(0.7)\n"
        "print(open('/proc/self/io').read().split('write_bytes: ')[1].split()[0])\n"
    )
    writer = python(code)
    script = f'"$@" {tmp_path}/a & "$@" {tmp_path}/b; wait'
    done = runner.run(
        ["sh", "-c", script, "sh", *writer], "--output", f"{tmp_path}/a", "--output", f"{tmp_path}/b"
    )
    written = [int(word) for word in done.stdout.split()]
    event = runner.event
    assert len(written) == 2
    assert sum(written) / 2**20 <= event["write_mb"] <= sum(written) / 2**20 + 1
    assert event["output_mb"] == 48
    assert event["read_mb"] >= 0


def test_two_thousand_quick_children(runner: Runner) -> None:
    loop = "i=0; while [ $i -lt {} ]; do {}; i=$((i+1)); done;"
    script = loop.format(2000, "/bin/true") + loop.format(200, "(/bin/true &)")
    done = runner.run(["sh", "-c", script])
    assert (done.returncode, done.stdout) == (0, b"")
    assert runner.event["outcome"] == "succeeded"
    assert runner.event["cpu_seconds"] > 0.2


def test_we_do_not_wait_for_what_the_command_leaves_running(runner: Runner) -> None:
    script = "sleep 1000 >&- 2>&- <&- & echo $!"
    done = runner.run(["sh", "-c", script])
    left = psutil.Process(int(done.stdout))
    try:
        assert left.name() == "sleep"
        assert done.returncode == 0
        assert runner.event["outcome"] == "succeeded"
    finally:
        left.send_signal(signal.SIGKILL)
        psutil.wait_procs([left], timeout=30)


def test_a_change_of_user_below_us_is_no_trouble(runner: Runner) -> None:
    if os.geteuid() != 0:
        command = ["sh", "-c", "sleep 0.2"]
    else:
        command = ["setpriv", "--reuid", "65534", "--clear-groups", "sh", "-c", "sleep 0.2"]
    done = runner.run(command)
    assert done.returncode == 0
    assert b"could be measured" not in done.stderr
    assert runner.event["cpu_seconds"] > 0


def test_ffmpeg_generates_a_film(runner: Runner, tmp_path: Path) -> None:
    out = tmp_path / "größe 100%25 clip.mp4"
    sources = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=24:d=3", "-f", "lavfi", "-i", "sine=d=2"]
    assert runner.run([FFMPEG, "-v", "error", "-y", *sources, "-c:v", "mpeg4", out]).returncode == 0
    event = runner.event
    assert event["workflow"] == "ffmpeg"
    assert event["input"] == {"duration_seconds": 3.0, "width": 320, "height": 180}
    assert event["output_mb"] == pytest.approx(out.stat().st_size / 2**20)
    assert (event["frame_count"], event["width"], event["height"]) == (72, 320, 180)
    assert event["cpu_seconds"] > 0
    assert event["read_mb"] >= 0


def test_the_longest_input_is_described_and_probed_once(runner: Runner, tmp_path: Path) -> None:
    short, long, out = (tmp_path / name for name in ("short.mp4", "long.mkv", "out.mp4"))
    make_film(short, 1, "size=64x64")
    make_film(long, 4, "size=160x120")
    command = [
        FFMPEG,
        "-v",
        "error",
        "-y",
        "-i",
        short,
        "-i",
        long,
        "-map",
        "1:v",
        "-map",
        "0:a",
        "-c",
        "copy",
        out,
    ]
    for _ in range(2):
        assert runner.run(command).returncode == 0
    first, second = runner.events
    assert first["input"] == second["input"]
    described = dict(first["input"])
    assert described.pop("duration_seconds") == pytest.approx(4, abs=0.1)
    assert described.pop("bitrate_kbps") > 1
    assert described == {"video_codec": "mpeg4", "audio_codec": "aac", "width": 160, "height": 120}
    remembered = list((runner.home / "cache" / "media").glob("*.json"))
    assert len(remembered) == 4  # two inputs once; the output, which was written twice, twice


def test_only_what_is_read_counts_as_input(runner: Runner, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    make_film(film, 5, "size=64x64")
    base = [FFMPEG, "-v", "error", "-y"]
    null = ["-f", "null", "-"]
    for options in (["-ss", "1", "-t", "2", "-i", film, *null], ["-i", film, "-t", "00:00:01.5", *null]):
        assert runner.run([*base, *options]).returncode == 0
    first, second = runner.events
    assert first["input"]["duration_seconds"] == 2
    assert second["input"]["duration_seconds"] == 1.5
    assert first["output_mb"] == 0
    assert "frame_count" not in first


def test_a_pipe_in_and_out_passes_through_and_stays_unknown(runner: Runner, tmp_path: Path) -> None:
    film = tmp_path / "film.mkv"
    make_film(film, 1, "size=64x64")
    words = ["-i", "pipe:0", "-c", "copy", "-bitexact", "-f", "nut", "pipe:1"]
    command = [FFMPEG, "-v", "error", *words]
    plain = subprocess.run(command, input=film.read_bytes(), capture_output=True, check=True)
    ours = runner.run(command, input=film.read_bytes())
    assert ours.stdout == plain.stdout
    assert len(plain.stdout) > 1000
    assert not {"input", "output_mb", "frame_count"} & runner.event.keys()


def test_numbered_images_are_counted(runner: Runner, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    (tmp_path / "f_0099.png").write_bytes(b"of an earlier job")
    os.utime(tmp_path / "f_0099.png", (1, 1))
    make_film(film, 1, "size=64x64")
    pattern = tmp_path / "f_%04d.png"
    assert runner.run([FFMPEG, "-v", "error", "-i", film, pattern]).returncode == 0
    back = [
        FFMPEG,
        "-v",
        "error",
        "-y",
        "-framerate",
        "5",
        "-start_number",
        "1",
        "-i",
        pattern,
        tmp_path / "back.mp4",
    ]
    (tmp_path / "f_0099.png").unlink()
    assert runner.run(back).returncode == 0
    out, into = runner.events
    assert (out["frame_count"], out["width"]) == (25, 64)
    images = sum(path.stat().st_size for path in tmp_path.glob("f_*.png"))
    assert out["output_mb"] == pytest.approx(images / 2**20)
    assert into["input"] == {"duration_seconds": 5.0, "video_codec": "png", "width": 64, "height": 64}
    assert into["frame_count"] == 25


def test_a_failed_ffmpeg_wrote_nothing_new(runner: Runner, tmp_path: Path) -> None:
    old = tmp_path / "old.mp4"
    make_film(old, 1, "size=64x64")
    runner.run([FFMPEG, "-v", "error", "-n", "-i", old, "-c", "copy", old])  # refused, with exit code 0 or 1
    assert (
        runner.run([FFMPEG, "-v", "error", "-i", tmp_path / "none.mp4", tmp_path / "out.mp4"]).returncode != 0
    )
    first, second = runner.events
    assert second["outcome"] == "failed"
    assert first["output_mb"] == second["output_mb"] == 0
    assert "frame_count" not in first
    assert "input" not in second


def test_other_commands_say_what_they_read_and_write(runner: Runner, tmp_path: Path) -> None:
    film, copy, folder = tmp_path / "film.mp4", tmp_path / "copy.mp4", tmp_path / "folder"
    make_film(film, 2, "size=96x64")
    (folder / "deep").mkdir(parents=True)
    (folder / "old").write_bytes(b"x" * 5000)
    os.utime(folder / "old", (1, 1))
    script = f"cp {film} {copy}; head -c 2097152 /dev/zero > {folder}/deep/new"
    labels = ["--input", str(film), "--output", str(copy), "--output", str(folder)]
    assert runner.run(["sh", "-c", script], *labels).returncode == 0
    event = runner.event
    assert event["input"]["video_codec"] == "mpeg4"
    assert (event["frame_count"], event["width"], event["height"]) == (50, 96, 64)
    assert event["output_mb"] == pytest.approx(copy.stat().st_size / 2**20 + 2)


def test_the_parts_of_a_playlist_count(runner: Runner, tmp_path: Path) -> None:
    film, playlist = tmp_path / "film.mp4", tmp_path / "live.m3u8"
    make_film(film, 3, "size=64x64")
    command = [
        FFMPEG,
        "-v",
        "error",
        "-i",
        film,
        "-c:v",
        "mpeg2video",
        "-g",
        "25",
        "-f",
        "hls",
        "-hls_time",
        "1",
        playlist,
    ]
    assert runner.run(command).returncode == 0
    parts = [playlist, *tmp_path.glob("live*.ts")]
    assert len(parts) > 2
    assert runner.event["output_mb"] == pytest.approx(sum(path.stat().st_size for path in parts) / 2**20)


def test_a_remembered_probe_that_is_broken_is_asked_again(runner: Runner, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    make_film(film, 1, "size=64x64")
    command = [FFMPEG, "-v", "error", "-i", film, "-f", "null", "-"]
    assert runner.run(command).returncode == 0
    (remembered,) = (runner.home / "cache" / "media").iterdir()
    for broken in ("", "{", "[]", '{"version": 1, "media": {"width": "wide"}}', '{"version": 1, "media": 7}'):
        remembered.write_text(broken)
        assert runner.run(command).returncode == 0
    assert len({str(event["input"]) for event in runner.events}) == 1
    assert remembered.read_text() != broken


def test_without_any_ffmpeg_the_rest_is_still_measured(tmp_path: Path) -> None:
    """A build of ffmpeg that cannot probe (here: none at all) costs what probing would say, and no more."""
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nprintf 123456789012 > out.bin\n")
    program.chmod(0o755)
    (tmp_path / "in.mp4").write_bytes(b"no film")
    runner = Runner(tmp_path / "home")
    assert runner.run([program, "-i", "in.mp4", "out.bin"], cwd=tmp_path).returncode == 0
    event = runner.event
    assert event["output_mb"] == pytest.approx(12 / 2**20, rel=1e-3)
    assert not {"input", "frame_count", "width"} & event.keys()


def make_film(path: Path, duration: int, options: str) -> None:
    sources = [
        "-f",
        "lavfi",
        "-i",
        f"testsrc={options}:d={duration}",
        "-f",
        "lavfi",
        "-i",
        f"sine=d={duration}",
    ]
    subprocess.run(
        [FFMPEG, "-v", "error", "-y", *sources, "-c:v", "mpeg4", "-c:a", "aac", path],
        check=True,
        stdin=subprocess.DEVNULL,
    )
