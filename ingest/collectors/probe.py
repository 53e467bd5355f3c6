"""Ask ffprobe, or ffmpeg itself where there is no ffprobe, what is in a media file. Each file is asked about once."""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ingest.collectors.ffmpeg import seconds

_PATIENCE_SECONDS = 10.0
_COUNT_LIMIT_BYTES = 512 * 2**20  # counting frames reads the whole file, which has just been written
_CACHE_VERSION = 1
_CACHE_DAYS = 90
_IMAGE_CODECS = {
    "png",
    "mjpeg",
    "webp",
    "bmp",
    "tiff",
    "exr",
    "dpx",
    "jpegxl",
    "jpeg2000",
    "gif",
    "targa",
    "ppm",
    "pgm",
}

_DURATION = re.compile(r"^  Duration: (\d+:\d+:\d+(?:\.\d+)?)", re.MULTILINE)
_BITRATE = re.compile(r"^  Duration: .*, bitrate: (\d+) kb/s", re.MULTILINE)
_STREAM = re.compile(r"^ {2,4}Stream #0:\d+[^:\n]*: (Video|Audio): ([^\n]*)", re.MULTILINE)
_SIZE = re.compile(r", (\d+)x(\d+)")
_FRAMES = re.compile(r"frame=\s*(\d+)")


@dataclass(frozen=True, slots=True)
class Media:
    """What is in a media file; None is unknown or not there. bitrate_kbps counts 1000 bits."""

    duration_seconds: float | None = None
    video_codec: str | None = None
    audio_codec: str | None = None
    width: int | None = None
    height: int | None = None
    bitrate_kbps: float | None = None
    frame_count: int | None = None


@dataclass(frozen=True, slots=True)
class Tools:
    """Paths of the programs to ask; None where there is none."""

    ffprobe: str | None
    ffmpeg: str | None

    @classmethod
    def find(cls, program: str | None = None) -> "Tools":
        """Those beside the ffmpeg that the command names, on PATH, or in the imageio-ffmpeg package."""
        named = shutil.which(program) if program else None
        ffmpeg = named or shutil.which("ffmpeg") or _packaged_ffmpeg()
        beside = shutil.which("ffprobe", path=str(Path(ffmpeg).parent)) if ffmpeg else None
        return cls(beside or shutil.which("ffprobe"), ffmpeg)


class Prober:
    """Probes files within a budget of time, and remembers what it found in a folder."""

    def __init__(self, tools: Tools, cache_dir: Path, *, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self._tools = tools
        self._cache_dir = cache_dir
        self._ends = time.monotonic() + patience_seconds

    def media(self, path: str, *, is_counting: bool = False) -> Media | None:
        """What is in a local file; None where nobody can tell. `is_counting`: with its number of video frames."""
        try:
            found = os.stat(path)  # noqa: PTH116 - the path may hold bytes that are no text
        except (OSError, ValueError):
            return None
        key = _key(path, found)
        media = self._remembered(key)
        if media is None:
            media = self._ask(path)
            if media is None:
                return None
            self._remember(key, media)
        if is_counting and media.frame_count is None:
            counted = self._count(path, media, found.st_size)
            if counted is not None:
                media = replace(media, frame_count=counted)
                self._remember(key, media)
        return media

    def _ask(self, path: str) -> Media | None:
        if self._tools.ffprobe is not None:
            options = ["-v", "error", "-print_format", "json", "-show_format", "-show_streams"]
            text = self._run([self._tools.ffprobe, *options, "-i", f"file:{path}"], is_stdout=True)
            media = None if text is None else from_ffprobe(text)
            if media is not None:
                return media
        if self._tools.ffmpeg is not None:
            text = self._run([self._tools.ffmpeg, "-hide_banner", "-nostdin", "-i", f"file:{path}"])
            return None if text is None else from_ffmpeg(text)
        return None

    def _count(self, path: str, media: Media, size: int) -> int | None:
        """Count packets without decoding: each holds a frame."""
        if media.video_codec is None or self._tools.ffmpeg is None or size > _COUNT_LIMIT_BYTES:
            return None
        words = [
            "-hide_banner",
            "-nostdin",
            "-i",
            f"file:{path}",
            "-map",
            "0:v:0",
            "-c",
            "copy",
            "-f",
            "null",
            "-",
        ]
        text = self._run([self._tools.ffmpeg, *words])
        found = _FRAMES.findall(text or "")
        return int(found[-1]) if found else None

    def _run(self, argv: list[str], *, is_stdout: bool = False) -> str | None:
        import subprocess  # noqa: PLC0415 - needed only when a file is not known yet

        patience = self._ends - time.monotonic()
        if patience <= 0:
            return None
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if is_stdout else subprocess.DEVNULL,
                stderr=subprocess.DEVNULL if is_stdout else subprocess.PIPE,
                timeout=patience,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return ((done.stdout if is_stdout else done.stderr) or b"").decode("utf-8", "replace")

    def _remembered(self, key: str) -> Media | None:
        try:
            kept = json.loads((self._cache_dir / f"{key}.json").read_bytes())
            return _sound(Media(**kept["media"])) if kept["version"] == _CACHE_VERSION else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _remember(self, key: str, media: Media) -> None:
        """Keep an answer, whole or not at all; a home that cannot be written only costs asking again."""
        path = self._cache_dir / f"{key}.json"
        draft = path.with_suffix(f".{os.getpid()}.draft")
        try:
            self._cache_dir.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps({"version": _CACHE_VERSION, "media": asdict(media)}))
            draft.replace(path)
        except OSError:
            return
        if key.startswith("00"):  # one in 256
            _sweep(self._cache_dir)


def from_ffprobe(text: str) -> Media | None:
    """What `ffprobe -print_format json -show_format -show_streams` printed."""
    try:
        told = json.loads(text)
        streams = [
            one for one in told.get("streams", []) if not one.get("disposition", {}).get("attached_pic")
        ]
        container = told.get("format", {})
        video: dict[str, Any] = next((one for one in streams if one.get("codec_type") == "video"), {})
        audio: dict[str, Any] = next((one for one in streams if one.get("codec_type") == "audio"), {})
        if not video and not audio:
            return None
        bits = _number(container.get("bit_rate"))
        frames = _number(video.get("nb_frames"))
        return _sound(
            Media(
                duration_seconds=_number(container.get("duration"))
                or _number((video or audio).get("duration")),
                video_codec=video.get("codec_name"),
                audio_codec=audio.get("codec_name"),
                width=video.get("width") or None,
                height=video.get("height") or None,
                bitrate_kbps=None if bits is None else bits / 1000,
                frame_count=None if frames is None else int(frames),
            )
        )
    except (ValueError, AttributeError, TypeError):
        return None


def from_ffmpeg(text: str) -> Media | None:
    """What `ffmpeg -i FILE` says of a file before it complains that there is no output."""
    streams = [(kind, rest) for kind, rest in _STREAM.findall(text) if "(attached pic)" not in rest]
    video = next((rest for kind, rest in streams if kind == "Video"), None)
    audio = next((rest for kind, rest in streams if kind == "Audio"), None)
    if video is None and audio is None:
        return None
    duration = _DURATION.search(text)
    bitrate = _BITRATE.search(text)
    size = _SIZE.search(video or "")
    return _sound(
        Media(
            duration_seconds=seconds(duration[1]) if duration else None,
            video_codec=_codec(video),
            audio_codec=_codec(audio),
            width=int(size[1]) if size else None,
            height=int(size[2]) if size else None,
            bitrate_kbps=float(bitrate[1]) if bitrate else None,
        )
    )


def _sound(media: Media) -> Media:
    """Without the length of a still image, which is only the demuxer's idea of one frame."""
    numbers = (media.duration_seconds, media.width, media.height, media.bitrate_kbps, media.frame_count)
    if not all(value is None or (isinstance(value, int | float) and 0 <= value < 1e12) for value in numbers):
        raise ValueError("a probe's figures are numbers from 0")
    if not all(isinstance(value, str | None) for value in (media.video_codec, media.audio_codec)):
        raise ValueError("a codec is a name")
    is_still = media.video_codec in _IMAGE_CODECS and media.audio_codec is None
    if is_still and (media.duration_seconds or 0) <= 0.04 and media.duration_seconds is not None:
        return replace(media, duration_seconds=None, bitrate_kbps=None)
    return media


def _codec(description: str | None) -> str | None:
    found = re.match(r"[\w.-]+", description or "")
    return found[0] if found and found[0] not in {"none", "unknown"} else None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 <= number < 1e12 else None


def _key(path: str, found: os.stat_result) -> str:
    absolute = os.fsencode(os.path.realpath(path))
    return hashlib.sha256(b"%b\0%d\0%d" % (absolute, found.st_size, found.st_mtime_ns)).hexdigest()


def _sweep(folder: Path) -> None:
    """Forget what was not asked again since it was found long ago."""
    oldest = time.time() - _CACHE_DAYS * 86400
    for path in folder.iterdir():
        try:
            if path.stat().st_mtime < oldest:
                path.unlink()
        except OSError:
            continue


def _packaged_ffmpeg() -> str | None:
    """The ffmpeg that the imageio-ffmpeg package carries. Importing it would start that ffmpeg to see if it runs."""
    try:
        package = importlib.util.find_spec("imageio_ffmpeg")
    except (ImportError, ValueError):
        return None
    if package is None or package.origin is None:
        return None
    found = sorted((Path(package.origin).parent / "binaries").glob("ffmpeg-*"))
    return str(found[0]) if found else None
