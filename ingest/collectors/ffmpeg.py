"""Read an ffmpeg command line: which inputs, which outputs, which part of the inputs.

ffmpeg's own rule is followed: what does not begin with `-` is an output, every option but the flags below takes the
next word, and options belong to the input or output that comes after them.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

# fmt: off
# Options without a value. Each also exists with `no` in front (-nostdin). Held against a real ffmpeg by a test.
FLAGS = frozenset({
    "?", "L", "accurate_seek", "an", "auto_conversion_filters", "autorotate", "autoscale", "benchmark",
    "benchmark_all", "bitexact", "bsfs", "buildconf", "codecs", "colors", "copy_unknown", "copyinkf",
    "copyts", "debug_ts", "decoders", "deinterlace", "demuxers", "devices", "display_hflip",
    "display_vflip", "dispositions", "dn", "dump", "encoders", "filters", "find_stream_info",
    "fix_sub_duration", "fix_sub_duration_heartbeat", "force_fps", "formats", "h", "help", "-help",
    "hex", "hide_banner", "hwaccels", "ignore_unknown", "intra", "layouts", "license", "muxers", "n",
    "pix_fmts", "print_graphs", "protocols", "psnr", "qphist", "re", "recast_media", "report",
    "sample_fmts", "shortest", "sinks", "sn", "sources", "start_at_zero", "stats", "stdin", "version",
    "vn", "vstats", "xerror", "y",
})

# Programs that run another one; ffmpeg is looked for among their words.
_RUNNERS = frozenset({
    "chrt", "env", "ionice", "nice", "nohup", "numactl", "setsid", "stdbuf", "sudo", "taskset", "time",
    "timeout", "unbuffer", "xvfb-run",
})
# fmt: on
_NAME = re.compile(r"ffmpeg(?:[-_.]?[0-9]|-(?:linux|macos|win)|_g$|\.exe$|$)")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_SEXAGESIMAL = re.compile(r"(-?)(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d*)?)$")
_DECIMAL = re.compile(r"(-?(?:\d+\.?\d*|\.\d+))(s|ms|us)?$")
_SCALE = {None: 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}
_SEQUENCE = re.compile(r"%0?\d*d")


@dataclass(frozen=True, slots=True)
class Medium:
    """An input or output: its address as written and the options before it (the last of each name)."""

    address: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def format(self) -> str | None:
        """The forced format (`-f`)."""
        return self.options.get("f")

    @property
    def path(self) -> str | None:
        """The local file, if it is one; it may hold a pattern such as frame_%04d.png."""
        address = self.address
        if address == "-" or self.format in {"lavfi", "null", "tee"}:
            return None
        if address.startswith("file:"):
            return address.removeprefix("file:").removeprefix("//")
        return None if _SCHEME.match(address) else address

    @property
    def is_sequence(self) -> bool:
        """Whether the path stands for numbered files."""
        return self.path is not None and _SEQUENCE.search(self.path) is not None

    def seconds(self, option: str) -> float | None:
        """The value of an option that is a time."""
        text = self.options.get(option)
        return None if text is None else seconds(text)


@dataclass(frozen=True, slots=True)
class Invocation:
    """One ffmpeg command line."""

    program: str
    inputs: tuple[Medium, ...]
    outputs: tuple[Medium, ...]

    @property
    def output_limit_seconds(self) -> float | None:
        """How much of the inputs the outputs take at most; None where one of them takes all there is."""
        limits = [_reach(output) for output in self.outputs]
        known = [limit for limit in limits if limit is not None]
        return max(known, default=None) if len(known) == len(limits) else None


def parse(argv: Sequence[str]) -> Invocation | None:
    """The ffmpeg invocation in a command (also behind nice, env, timeout and the like); None if there is none."""
    at = _find(argv)
    if at is None:
        return None
    inputs: list[Medium] = []
    outputs: list[Medium] = []
    options: dict[str, str] = {}
    words = list(argv[at + 1 :])
    is_address = False  # after `--`, whatever it looks like
    while words:
        word = words.pop(0)
        if is_address or not word.startswith("-") or word == "-":
            outputs.append(Medium(word, options))
            options, is_address = {}, False
        elif word == "--":
            is_address = True
        elif _is_flag(word[1:]):
            options[word[1:]] = ""
        elif words:
            value = words.pop(0)
            if word == "-i":
                inputs.append(Medium(value, options))
                options = {}
            elif word == "-dec":
                options = {}
            else:
                options[word[1:]] = value
    return Invocation(argv[at], tuple(inputs), tuple(outputs))


def window(medium: Medium, length_seconds: float | None) -> float | None:
    """How many seconds of an input are read: its length less what -ss, -t, -to, -sseof and -stream_loop change.

    An endless input has the length `math.inf`. None where the length is not known: a limit alone tells no length.
    """
    if length_seconds is None:
        return None
    begin = medium.seconds("ss") or 0.0
    if (from_end := medium.seconds("sseof")) is not None and length_seconds < math.inf:
        begin = max(0.0, length_seconds + from_end)
    loops = medium.options.get("stream_loop", "0")
    loop_count = int(loops) if re.fullmatch(r"-?\d+", loops) else 0
    total = math.inf if loop_count < 0 else length_seconds * (loop_count + 1)
    read = max(0.0, total - begin)
    if (limit := medium.seconds("t")) is not None:
        return min(read, limit)
    if (until := medium.seconds("to")) is not None:
        return min(read, max(0.0, until - begin))
    return read


def seconds(text: str) -> float | None:
    """ffmpeg's ways to write a time (12.5, 01:02:03.5, 1500ms) as seconds; None for anything else."""
    if match := _SEXAGESIMAL.match(text):
        sign, hours, minutes, rest = match.groups()
        value = int(hours or 0) * 3600 + int(minutes) * 60 + float(rest)
        return -value if sign else value
    if match := _DECIMAL.match(text):
        return float(match[1]) * _SCALE[match[2]]
    return None


def generated(graph: str) -> tuple[float | None, tuple[int, int] | None]:
    """Duration in seconds and size in pixels that a lavfi graph says: testsrc2=size=320x240:d=4."""
    durations = [seconds(found) for found in re.findall(r"[=:](?:duration|d)=([\w.:]+?)(?=[:,;\[]|$)", graph)]
    size = re.search(r"[=:](?:size|s)=(\d+)x(\d+)", graph)
    known = [value for value in durations if value is not None]
    return max(known, default=None), (int(size[1]), int(size[2])) if size else None


def sequence_pattern(name: str) -> re.Pattern[str]:
    """A file name with %04d in it, as an expression that its files match."""
    parts = _SEQUENCE.split(name)
    return re.compile(r"\d+".join(re.escape(part.replace("%%", "%")) for part in parts) + r"\Z")


def _find(argv: Sequence[str]) -> int | None:
    if _NAME.match(PurePath(argv[0]).name):
        return 0
    if PurePath(argv[0]).name not in _RUNNERS:
        return None
    named = (index for index, word in enumerate(argv) if _NAME.match(PurePath(word).name))
    return next(named, None)


def _is_flag(option: str) -> bool:
    name = option.partition(":")[0]
    return name in FLAGS or (name.startswith("no") and name.removeprefix("no") in FLAGS)


def _reach(output: Medium) -> float | None:
    begin = output.seconds("ss") or 0.0
    if (limit := output.seconds("t")) is not None:
        return begin + limit
    return output.seconds("to")
