"""What went into a media command and what came out: the longest input, the bytes and frames written."""

import math
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from framehouse.units import mib_from_bytes
from ingest.collectors import ffmpeg
from ingest.collectors.ffmpeg import Medium
from ingest.collectors.probe import Media, Prober

_CLOCK_GRAIN_NS = (
    20_000_000  # file times come from the kernel's coarse clock, which may lag behind the fine one
)
_DEFAULT_FRAME_RATE = 25.0  # ffmpeg's own for numbered images
_LIST_LIMIT_BYTES = 2**20


def longest_input(inputs: Sequence[Medium], limit_seconds: float | None, prober: Prober) -> Media | None:
    """The input that lasts longest, its duration being what the command reads of it.

    `limit_seconds`: how much the outputs take at most. None without any input that can be told about.
    """
    found: list[Media] = []
    for medium in inputs:
        media = _describe(medium, prober)
        if media is None:
            continue
        read = ffmpeg.window(medium, media.duration_seconds)
        if read is not None and limit_seconds is not None:
            read = min(read, limit_seconds)
        found.append(replace(media, duration_seconds=None if read == math.inf else read))
    return max(
        found,
        key=lambda media: -1.0 if media.duration_seconds is None else media.duration_seconds,
        default=None,
    )


@dataclass(frozen=True, slots=True)
class Produced:
    """What a command wrote; None is unknown."""

    output_mb: float | None
    frame_count: int | None
    width: int | None
    height: int | None


class Outputs:
    """The files a command is going to write, remembered as they were before it."""

    def __init__(self, media: Sequence[Medium]) -> None:
        self._media = tuple(media)
        self._started_ns = time.time_ns() - _CLOCK_GRAIN_NS
        self._before = {path: _state(path) for medium in media if (path := medium.path) is not None}

    def produced(self, prober: Prober, *, is_counting: bool) -> Produced:
        """Look at what is there now. `is_counting`: count the video frames too."""
        size: int | None = 0 if self._media else None
        shown: Media | None = None
        for medium in self._media:
            files = self._written(medium)
            if files is None:
                size = None
                continue
            if size is not None:
                size += sum(_size(path) for path in files)
            if shown is None and files:
                shown = self._show(medium, files, prober, is_counting)
        return Produced(
            output_mb=None if size is None else mib_from_bytes(size),
            frame_count=shown.frame_count if shown else None,
            width=shown.width if shown else None,
            height=shown.height if shown else None,
        )

    def _show(self, medium: Medium, files: list[str], prober: Prober, is_counting: bool) -> Media | None:
        if medium.path is not None and Path(medium.path).is_dir():
            return None
        media = prober.media(files[0], is_counting=is_counting and not medium.is_sequence)
        if media is None or media.video_codec is None:
            return None
        if not medium.is_sequence:
            return media
        # Numbered images hold a frame each; numbered segments of a film do not say without reading them all.
        is_still = media.duration_seconds is None
        return replace(media, frame_count=len(files) if is_still else None)

    def _written(self, medium: Medium) -> list[str] | None:
        """The files that the command wrote; None where nobody can tell."""
        path = medium.path
        if medium.format == "null":
            return []
        if path is None or medium.format == "dash" or path.endswith(".mpd") or "strftime" in medium.options:
            return None
        if medium.is_sequence:
            folder = Path(path).parent
            pattern = ffmpeg.sequence_pattern(Path(path).name)
            return self._fresh(str(one) for one in _entries(folder) if pattern.match(one.name))
        if Path(path).is_dir():
            return self._fresh(str(one) for one in Path(path).rglob("*"))
        state = _state(path)
        if state is None or state == self._before.get(path):
            return []
        return [path, *self._fresh(_segments(path))] if path.endswith(".m3u8") else [path]

    def _fresh(self, paths: Iterator[str]) -> list[str]:
        found = []
        for path in sorted(paths):
            try:
                stat = os.stat(path)  # noqa: PTH116 - names may hold bytes that are no text
            except (OSError, ValueError):
                continue
            if stat.st_mtime_ns >= self._started_ns and not Path(path).is_dir():
                found.append(path)
        return found


def _describe(medium: Medium, prober: Prober) -> Media | None:
    if medium.format == "lavfi":
        duration, size = ffmpeg.generated(medium.address)
        is_endless = duration is None and "movie=" not in medium.address
        width, height = size or (None, None)
        return Media(duration_seconds=math.inf if is_endless else duration, width=width, height=height)
    if medium.address.startswith("concat:"):
        files = medium.address.removeprefix("concat:").split("|")
        return _joined([(file, None) for file in files], prober)
    path = medium.path
    if path is None or medium.is_sequence:
        return _sequence(medium, path, prober) if path is not None else None
    if medium.format == "concat":
        return _joined(_concat_list(path), prober)
    media = prober.media(path)
    if media is not None and media.duration_seconds is None and medium.options.get("loop") == "1":
        return replace(media, duration_seconds=math.inf)  # a still image, shown again and again
    return media


def _joined(files: list[tuple[str, float | None]], prober: Prober) -> Media | None:
    """Files played one after another; a length that is given is not looked up."""
    if not files:
        return None
    first = prober.media(files[0][0])
    total = 0.0
    for path, given in files:
        length = given
        if length is None:
            media = prober.media(path)
            length = media.duration_seconds if media else None
        if length is None:
            return first and replace(first, duration_seconds=None, bitrate_kbps=None)
        total += length
    return replace(first or Media(), duration_seconds=total, bitrate_kbps=None)


def _concat_list(path: str) -> list[tuple[str, float | None]]:
    """The files of a list for ffmpeg's concat demuxer, with the seconds that the list gives them."""
    try:
        with Path(path).open("rb") as file:
            text = os.fsdecode(file.read(_LIST_LIMIT_BYTES))
    except OSError:
        return []
    found: list[tuple[str, float | None]] = []
    begin = 0.0
    for line in text.splitlines():
        words = _words(line)
        if len(words) < 2:
            continue
        value = ffmpeg.seconds(words[1])
        if words[0] == "file":
            found.append((str(Path(path).parent / words[1].removeprefix("file:")), None))
            begin = 0.0
        elif found and value is not None:
            if words[0] == "inpoint":
                begin = value
            elif words[0] in {"outpoint", "duration"}:
                found[-1] = (found[-1][0], max(0.0, value - begin if words[0] == "outpoint" else value))
    return found


def _words(line: str) -> list[str]:
    reader = shlex.shlex(line, posix=True)
    reader.whitespace_split, reader.commenters, reader.quotes = True, "", "'"
    try:
        words = list(reader)
    except ValueError:
        return []
    return [] if words and words[0].startswith("#") else words


def _sequence(medium: Medium, path: str, prober: Prober) -> Media | None:
    """Numbered images: as long as there are images at their frame rate."""
    pattern = ffmpeg.sequence_pattern(Path(path).name)
    files = sorted(str(one) for one in _entries(Path(path).parent) if pattern.match(one.name))
    if not files:
        return None
    rate = _rate(medium.options.get("framerate") or medium.options.get("r"))
    first = prober.media(files[0]) or Media()
    return replace(first, duration_seconds=len(files) / rate, bitrate_kbps=None)


def _rate(text: str | None) -> float:
    above, _, below = (text or "").partition("/")
    try:
        rate = float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        return _DEFAULT_FRAME_RATE
    return rate if 0 < rate < math.inf else _DEFAULT_FRAME_RATE


def _segments(playlist: str) -> Iterator[str]:
    """The files that an HLS playlist names."""
    with Path(playlist).open("rb") as file:
        text = os.fsdecode(file.read(_LIST_LIMIT_BYTES))
    names = {line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")}
    return (str(Path(playlist).parent / name) for name in names)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _state(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - names may hold bytes that are no text
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
