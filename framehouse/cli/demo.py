"""`framehouse demo`: the whole road, on real ffmpeg jobs, from an empty machine to a scored estimate."""

import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any

import click

from framehouse.cli.client import get, post
from framehouse.cli.console import TerminalReporter, out
from framehouse.cli.demo_tables import show_averages, show_scores
from framehouse.config import Settings, environment, settings
from framehouse.errors import CollectError, FramehouseError, StartError

if TYPE_CHECKING:
    from framehouse.progress import Reporter
    from framehouse.warehouse import Warehouse

_SIZES = {"draft": (512, 512), "preview": (768, 768), "production": (1920, 1080)}
_PRESETS = {"draft": "veryfast", "preview": "veryfast", "production": "ultrafast"}
_SECONDS_PER_SEGMENT = 2


@dataclass(frozen=True, slots=True)
class Cell:
    """A workflow at a tier, and how many samples of it the demo wants."""

    workflow: str
    tier: str | None
    samples: int


CELLS = (
    Cell("create_video_export", "draft", 10),
    Cell("create_video_export", "preview", 3),
    Cell("create_video_export", "production", 3),
    Cell("upload_edit_proxy", "draft", 5),
    Cell("upload_edit_proxy", "preview", 4),
    Cell("upload_edit_proxy", "production", 3),
    Cell("upload_thumb", None, 6),
    Cell("upload_audio_envelope", None, 6),
)

#: The batch that is estimated and then run: workflow, tier, segments.
BATCH = (
    ("create_video_export", "draft", 3),
    ("create_video_export", "draft", 4),
    ("create_video_export", "preview", 3),
    ("create_video_export", "production", 3),
    ("upload_edit_proxy", "draft", 4),
    ("upload_edit_proxy", "preview", 4),
    ("upload_edit_proxy", "production", 3),
    ("upload_thumb", None, 3),
    ("upload_audio_envelope", None, 4),
)

#: Part of each batch, in a version that has never been seen.
NEW_WORKFLOW = "create_title_card"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--verbose", is_flag=True, help="Show what the server says.")
def demo(verbose: bool) -> None:
    """Run real ffmpeg jobs, roll their metrics up, estimate a new batch, run it, and compare.

    Everything it makes is kept: a second run reuses the database, the clips and the history, and only adds to it.

    \b
    framehouse demo
    FRAMEHOUSE_HOME=/tmp/try framehouse demo        somewhere else than your own warehouse
    """
    began = time.monotonic()
    chosen = settings()
    from framehouse.warehouse import Warehouse

    with TerminalReporter() as report:
        url = _database(chosen, report)
        ffmpeg = find_ffmpeg()
        clips = make_clips(ffmpeg, chosen.home / "demo", report)
        with Warehouse(url) as warehouse, _server(chosen, url, report, verbose) as api:
            jobs = Jobs(ffmpeg, clips, chosen.home / "demo", api)
            _history(warehouse, jobs, report)
            _roll_up(warehouse, report)
            averages = _averages(warehouse)
            answer = _estimate(api, averages, report)
            _run_batch(jobs, answer, report)
            _roll_up(warehouse, report)
            scored = get(f"{api}/api/estimates/{answer['estimate_id']}")
    show_averages(averages)
    show_scores(answer, scored["scenes"])
    _show_end(chosen, time.monotonic() - began)


def _database(chosen: Settings, report: "Reporter") -> str:
    import migrations
    from framehouse import embedded
    from framehouse.warehouse import Warehouse
    from framehouse.warehouse.build import ensure_built

    url = chosen.database_url or embedded.up(chosen, report).url
    migrations.upgrade(url, report)
    with Warehouse(url) as warehouse:
        ensure_built(warehouse, log_dir=chosen.log_dir, studio_zone=chosen.studio_zone, report=report)
    return url


def find_ffmpeg() -> str:
    """The machine's ffmpeg, or the one in the imageio-ffmpeg wheel. Raises CollectError."""
    if found := which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        raise CollectError(
            "there is no ffmpeg", hint="pip install 'framehouse[ffmpeg]', or install ffmpeg"
        ) from None


def make_clips(ffmpeg: str, folder: Path, report: "Reporter") -> list[Path]:
    """Source clips with picture and sound, made once."""
    folder.mkdir(parents=True, exist_ok=True)
    # Each of them is equally busy from its first second to its last, and none as busy as another.
    sources = {
        "bars.mp4": "testsrc2=size=1280x720:rate=24",
        "gradients.mp4": "gradients=size=1280x720:rate=24:speed=0.02",
        "grain.mp4": "testsrc2=size=1280x720:rate=24,noise=alls=8:allf=t",
    }
    clips: list[Path] = []
    for name, source in sources.items():
        clip = folder / name
        if not clip.exists():
            report.step(f"making a source clip with ffmpeg: {name}")
            half = folder / f"half-{name}"
            sound = "sine=frequency=330:sample_rate=48000"
            inputs = ["-f", "lavfi", "-i", source, "-f", "lavfi", "-i", sound, "-t", "12"]
            codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"]
            _ffmpeg([ffmpeg, "-y", *inputs, *codecs, str(half)])
            half.replace(clip)
        clips.append(clip)
    return clips


class Jobs:
    """The demo's kinds of jobs, each run through `framehouse run`."""

    def __init__(self, ffmpeg: str, clips: list[Path], folder: Path, api: str) -> None:
        self._ffmpeg = ffmpeg
        self._clips = clips
        self._output = folder / "output"
        self._output.mkdir(parents=True, exist_ok=True)
        self._env = environment(FRAMEHOUSE_URL=api, FRAMEHOUSE_CLOUD_METADATA="0")

    def run(self, workflow: str, tier: str | None, segments: int, extra: tuple[str, ...] = ()) -> None:
        """Run one job of so many segments and send its attempt."""
        clip = random.choice(self._clips)  # noqa: S311 - what a job gets to see is nobody's secret
        target = self._output / f"{workflow}-{tier or 'plain'}"
        command = self._command(workflow, tier, segments, clip, target)
        wrapped = [
            sys.executable,
            "-m",
            "framehouse.cli.main",
            "run",
            "--workflow",
            workflow,
            "--project",
            "demo",
        ]
        if tier is not None:
            wrapped += ["--tier", tier]
        wrapped += ["--segments", str(segments), *extra, "--", *command]
        _ffmpeg(wrapped, self._env)

    def _command(self, workflow: str, tier: str | None, segments: int, clip: Path, target: Path) -> list[str]:
        start = [self._ffmpeg, "-hide_banner", "-loglevel", "error", "-nostdin", "-y"]
        length = ["-t", str(segments * _SECONDS_PER_SEGMENT), "-i", str(clip)]
        if workflow.startswith(NEW_WORKFLOW):
            return [
                *start,
                *length,
                "-vf",
                "scale=512:512",
                "-c:v",
                "libx264",
                "-preset",
                "veryfast",
                f"{target}.mp4",
            ]
        if workflow == "upload_thumb":
            return [*start, *length, "-vf", "fps=1/2,scale=320:-2", f"{target}-%02d.jpg"]
        if workflow == "upload_audio_envelope":
            return [*start, *length, "-vn", "-ac", "1", "-ar", "8000", f"{target}.wav"]
        assert tier is not None
        width, height = _SIZES[tier]
        fit = f"scale={width}:{height}:force_original_aspect_ratio=decrease,pad={width}:{height}:-1:-1"
        video = ["-vf", fit, "-c:v", "libx264", "-preset", _PRESETS[tier]]
        if workflow == "upload_edit_proxy":
            return [*start, *length, *video, "-crf", "32", "-g", "1", "-c:a", "aac", f"{target}.mov"]
        return [*start, *length, *video, "-crf", "20", "-c:a", "aac", f"{target}.mp4"]


def _history(warehouse: "Warehouse", jobs: Jobs, report: "Reporter") -> None:
    """Run what the cells lack of their samples."""
    have = {(row["workflow"], row["tier"]): int(row["succeeded_count"]) for row in _averages(warehouse)}
    todo = [
        (cell, number)
        for number in range(max(cell.samples for cell in CELLS))
        for cell in CELLS
        if have.get((cell.workflow, cell.tier), 0) + number < cell.samples
    ]
    if not todo:
        return
    report.step(f"running {len(todo)} ffmpeg jobs through `framehouse run`")
    for done, (cell, number) in enumerate(todo):
        report.advance(done, len(todo), f"{cell.workflow} {cell.tier or ''}")
        jobs.run(cell.workflow, cell.tier, 2 + number % 3)


def _roll_up(warehouse: "Warehouse", report: "Reporter") -> None:
    from framehouse.warehouse.maintain import backlog, maintain

    report.step("rolling up")
    while backlog(warehouse).total:
        if not maintain(warehouse, report):
            time.sleep(0.1)  # the server's own maintenance is at it


def _averages(warehouse: "Warehouse") -> list[dict[str, Any]]:
    from framehouse import metrics
    from framehouse.windows import Window

    now = datetime.now(UTC)
    names = [
        "succeeded_count",
        "avg_wall_seconds_per_segment",
        "avg_output_mb_per_segment",
        "avg_rtf",
    ]
    window = Window(now - timedelta(days=3650), now + timedelta(days=1))
    return list(metrics.read(warehouse, names, by=("workflow", "tier"), window=window))


def _estimate(api: str, averages: list[dict[str, Any]], report: "Reporter") -> dict[str, Any]:
    report.step("estimating a new batch, before it runs")
    version = 1 + sum(row["workflow"].startswith(NEW_WORKFLOW) for row in averages)
    batch = (*BATCH, (f"{NEW_WORKFLOW}_v{version}", "draft", 2))
    scenes = [
        {
            "workflow": workflow,
            "tier": tier,
            "target_seconds": float(segments * _SECONDS_PER_SEGMENT),
            "segment_seconds": float(_SECONDS_PER_SEGMENT),
            "scene_key": f"shot-{number:02d}",
        }
        for number, (workflow, tier, segments) in enumerate(batch, start=1)
    ]
    answer: dict[str, Any] = post(f"{api}/api/estimates", {"scenes": scenes, "pool": {"worker_count": 1}})
    return answer


def _run_batch(jobs: Jobs, answer: dict[str, Any], report: "Reporter") -> None:
    """Run the batch, each job tagged with the estimate and its scene."""
    report.step(f"running the batch of {len(answer['scenes'])}")
    for done, scene in enumerate(answer["scenes"]):
        report.advance(done, len(answer["scenes"]), scene["workflow"])
        known = ("--estimate-id", answer["estimate_id"], "--scene-key", scene["scene_key"])
        jobs.run(scene["workflow"], scene["tier"], scene["segments_needed"], known)


def _show_end(chosen: Settings, took: float) -> None:
    out.print(f"\nDone in {took:.0f} s. The warehouse is in {chosen.home} and keeps running:")
    out.print("  framehouse status      what runs, and where")
    out.print("  framehouse serve       API, ingest and maintenance (docs at /docs)")
    out.print("  framehouse run -- ...  measure a job of your own")
    out.print("  framehouse down        stop the database")


@contextmanager
def _server(chosen: Settings, url: str, report: "Reporter", verbose: bool) -> Iterator[str]:
    """`framehouse serve` on a free port; its URL."""
    report.step("starting framehouse serve")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    api = f"http://127.0.0.1:{port}"
    chosen.log_dir.mkdir(parents=True, exist_ok=True)
    log = chosen.log_dir / "demo-serve.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "framehouse.cli.main",
                "serve",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
            ],
            env=environment(FRAMEHOUSE_DATABASE_URL=url),
            stdin=subprocess.DEVNULL,
            stdout=None if verbose else sink,
            stderr=None if verbose else subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C ends the demo, which then ends the server
        )
        try:
            _wait_until_ready(api, process, log)
            yield api
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(api: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if process.poll() is not None:
            raise StartError(f"the server ended with code {process.returncode}", hint=f"its log is {log}")
        try:
            get(f"{api}/readyz")
        except FramehouseError:
            time.sleep(0.1)
        else:
            return
    raise StartError("the server is not ready after a minute", hint=f"its log is {log}")


def _ffmpeg(command: list[str], env: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        env=env or environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CollectError(f"{Path(command[0]).name} failed: {done.stderr.strip()[-500:]}")
