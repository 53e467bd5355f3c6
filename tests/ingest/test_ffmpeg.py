"""Reading ffmpeg command lines, by ffmpeg's own rule."""

import math
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from ingest.collectors import ffmpeg
from ingest.collectors.ffmpeg import Medium

FFMPEG = get_ffmpeg_exe()


def parsed(line: str) -> ffmpeg.Invocation:
    found = ffmpeg.parse(line.split())
    assert found is not None
    return found


def paths(line: str) -> tuple[list[str], list[str]]:
    found = parsed(line)
    return [medium.address for medium in found.inputs], [medium.address for medium in found.outputs]


@pytest.mark.parametrize(
    ("line", "inputs", "outputs"),
    [
        ("ffmpeg -i a.mp4 b.mp4", ["a.mp4"], ["b.mp4"]),
        ("/opt/ffmpeg-7.1/bin/ffmpeg -y -i a.mp4 b.mp4", ["a.mp4"], ["b.mp4"]),
        ("ffmpeg-linux-x86_64-v9.0.2 -nostdin -i a b", ["a"], ["b"]),
        ("ffmpeg7 -i a b", ["a"], ["b"]),
        ("ffmpeg -hide_banner -y -i a.mp4 -an -vn b.mp4", ["a.mp4"], ["b.mp4"]),
        ("ffmpeg -i a -i b -i c -map 0:v out.mkv", ["a", "b", "c"], ["out.mkv"]),
        ("ffmpeg -i a -c copy one.mp4 -c copy two.mp4", ["a"], ["one.mp4", "two.mp4"]),
        ("ffmpeg -i a -shortest -autorotate:v -copyinkf:0 b.mp4", ["a"], ["b.mp4"]),
        ("ffmpeg -noautorotate -i a -nostats b.mp4", ["a"], ["b.mp4"]),
        ("ffmpeg -i a -metadata title=-i b.mp4 -y", ["a"], ["b.mp4"]),
        ("ffmpeg -i -weird.mp4 -- -out.mp4", ["-weird.mp4"], ["-out.mp4"]),
        ("ffmpeg -i - -f mp4 -", ["-"], ["-"]),
        ("ffmpeg -i a -f null -", ["a"], ["-"]),
        ("ffmpeg -i a -vf scale=-2:480 -af volume=-3dB -itsoffset -1 b", ["a"], ["b"]),
        ("ffmpeg -i a -dec 0:0 -filter_complex x b.mp4", ["a"], ["b.mp4"]),
        ("ffmpeg -i a -c", ["a"], []),
        ("ffmpeg -version", [], []),
        ("nice -n 5 ffmpeg -i a b", ["a"], ["b"]),
        ("env KEY=1 timeout 60 /usr/bin/ffmpeg -i a b", ["a"], ["b"]),
    ],
)
def test_inputs_and_outputs(line: str, inputs: list[str], outputs: list[str]) -> None:
    assert paths(line) == (inputs, outputs)


@pytest.mark.parametrize(
    "line",
    [
        "ffprobe a.mp4",
        "ffmpegthumbnailer -i a -o b",
        "python ffmpeg.py",
        "sh -c ffmpeg",
        "nice true",
        "echo ffmpeg",
        "ffmpeg-normalize a",
    ],
)
def test_other_commands_are_not_taken_for_ffmpeg(line: str) -> None:
    assert ffmpeg.parse(line.split()) is None


def test_options_belong_to_what_follows() -> None:
    found = parsed("ffmpeg -ss 1 -i a -t 5 -f lavfi -i b -r 24 out.mp4 -t 9 two.mp4")
    assert [dict(medium.options) for medium in found.inputs] == [{"ss": "1"}, {"t": "5", "f": "lavfi"}]
    assert [dict(medium.options) for medium in found.outputs] == [{"r": "24"}, {"t": "9"}]


def test_every_flag_is_a_flag_to_ffmpeg_itself(tmp_path: Path) -> None:
    """ffmpeg says of a last word that wants a value that the value is missing; our list says which do not want one."""
    text = subprocess.run(
        [FFMPEG, "-hide_banner", "-h", "full"], capture_output=True, text=True, check=True
    ).stdout
    own = text.partition("AVCodecContext AVOptions")[0]
    options = sorted({match[1] for match in re.finditer(r"^-([^\s\[]+)", own, re.MULTILINE)})
    assert len(options) > 150

    def wants_value(option: str) -> bool:
        words = [FFMPEG, "-hide_banner", f"-{option}"]
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd=tmp_path,  # -report writes a file where it stands
        )
        return "Missing argument" in done.stderr

    with ThreadPoolExecutor(2) as pool:
        wanting = dict(zip(options, pool.map(wants_value, options), strict=True))
    assert {option for option, wants in wanting.items() if not wants} == ffmpeg.FLAGS & set(options)
    assert ffmpeg.FLAGS - set(options) == {"deinterlace", "intra", "psnr", "qphist"}  # of earlier versions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12", 12), ("12.5", 12.5), (".5", 0.5), ("1500ms", 1.5), ("20us", pytest.approx(2e-5)), ("3s", 3), ("-4", -4),
        ("01:30", 90), ("1:02:03.5", 3723.5), ("-00:00:10", -10), ("100:00:00", 360000),
        ("", None), ("now", None), ("1:2:3:4", None), ("12:", None), ("nan", None), ("1e3", None), ("5 s", None),
    ],
)  # fmt: skip
def test_ways_to_write_a_time(text: str, expected: float | None) -> None:
    assert ffmpeg.seconds(text) == expected


@pytest.mark.parametrize(
    ("options", "length", "expected"),
    [
        ({}, 60.0, 60),
        ({"ss": "10"}, 60.0, 50),
        ({"ss": "90"}, 60.0, 0),
        ({"t": "5"}, 60.0, 5),
        ({"t": "90"}, 60.0, 60),
        ({"ss": "10", "to": "25"}, 60.0, 15),
        ({"ss": "10", "to": "25", "t": "3"}, 60.0, 3),
        ({"sseof": "-8"}, 60.0, 8),
        ({"stream_loop": "2"}, 60.0, 180),
        ({"stream_loop": "-1"}, 60.0, math.inf),
        ({"stream_loop": "-1", "t": "100"}, 60.0, 100),
        ({}, math.inf, math.inf),
        ({"t": "7"}, math.inf, 7),
        ({"t": "7"}, None, None),
        ({"stream_loop": "x", "t": "y", "ss": "z"}, 60.0, 60),
    ],
)
def test_how_much_of_an_input_is_read(
    options: dict[str, str], length: float | None, expected: float | None
) -> None:
    assert ffmpeg.window(Medium("a", options), length) == expected


@pytest.mark.parametrize(
    ("line", "limit"),
    [
        ("ffmpeg -i a b", None),
        ("ffmpeg -i a -t 5 b", 5),
        ("ffmpeg -i a -ss 2 -t 5 b", 7),
        ("ffmpeg -i a -to 5 b", 5),
        ("ffmpeg -i a -t 5 b -t 9 c", 9),
        ("ffmpeg -i a -t 5 b c", None),
        ("ffmpeg -i a", None),
    ],
)
def test_how_much_the_outputs_take(line: str, limit: float | None) -> None:
    assert parsed(line).output_limit_seconds == limit


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ("testsrc", (None, None)),
        ("testsrc=duration=4:size=320x240:rate=24", (4, (320, 240))),
        ("testsrc2=s=64x48:d=00\\:01", (None, (64, 48))),
        ("color=c=red:s=1920x1080:d=2.5[a];sine=d=9[b]", (9, (1920, 1080))),
        ("anullsrc=r=48000:cl=stereo", (None, None)),
        ("mandelbrot=duration=1500ms", (1.5, None)),
    ],
)
def test_what_a_graph_says(graph: str, expected: tuple[float | None, tuple[int, int] | None]) -> None:
    assert ffmpeg.generated(graph) == expected


@pytest.mark.parametrize(
    ("address", "forced", "path"),
    [
        ("a.mp4", None, "a.mp4"),
        ("/a b/c:d.mp4", None, "/a b/c:d.mp4"),
        ("file:a:b.mp4", None, "a:b.mp4"),
        ("pipe:0", None, None),
        ("-", None, None),
        ("https://host/a.mp4", None, None),
        ("rtmp://host/live", "flv", None),
        ("testsrc", "lavfi", None),
        ("x.mp4", "null", None),
        ("[f=mp4]a.mp4|[f=hls]b.m3u8", "tee", None),
    ],
)
def test_which_addresses_are_files(address: str, forced: str | None, path: str | None) -> None:
    assert Medium(address, {} if forced is None else {"f": forced}).path == path


def test_names_of_numbered_files() -> None:
    pattern = ffmpeg.sequence_pattern("shot (1).%04d.png")
    assert pattern.match("shot (1).0042.png")
    assert not pattern.match("shot (1).a.png")
    assert not pattern.match("shot (1).0042.png.part")
    assert ffmpeg.sequence_pattern("100%%_%d.png").match("100%_7.png")
