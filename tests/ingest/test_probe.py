"""What ffprobe and ffmpeg print of media files, and what is remembered of it."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from ingest.collectors import probe
from ingest.collectors.ffmpeg import Medium
from ingest.collectors.media import longest_input
from ingest.collectors.probe import Media, Prober, Tools

FFMPEG = get_ffmpeg_exe()
TOOLS = Tools(ffprobe=None, ffmpeg=FFMPEG)

# What ffprobe 5.1 printed of a film with cover art, shortened to the members that are read and some that are not.
FFPROBE = {
    "streams": [
        {"codec_name": "mjpeg", "codec_type": "video", "width": 600, "height": 600, "disposition": {"attached_pic": 1}},
        {
            "codec_name": "h264", "codec_type": "video", "width": 640, "height": 360, "r_frame_rate": "25/1",
            "duration": "6.000000", "bit_rate": "724098", "nb_frames": "150", "disposition": {"attached_pic": 0},
        },
        {"codec_name": "aac", "codec_type": "audio", "duration": "4.000000", "nb_frames": "174"},
    ],
    "format": {"format_name": "mov,mp4,m4a,3gp,3g2,mj2", "duration": "6.000000", "bit_rate": "778361"},
}  # fmt: skip
FILM = Media(6.0, "h264", "aac", 640, 360, 778.361, 150)

# What ffmpeg printed, in four versions of its format.
FFMPEG_9 = """
Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'Duration: 99:00:00.00, bitrate: 1 kb/s':
  Metadata:
    title           : Stream #0:0: Video: fake, 1x1
                    :   Duration: 88:00:00.00
    encoder         : Lavf63.1.102
  Duration: 00:00:02.00, start: 0.000000, bitrate: 130 kb/s
  Stream #0:0[0x1](und): Video: h264 (High 4:4:4 Predictive) (avc1 / 0x31637661), yuv444p(progressive), 320x240 [SAR 1:1 DAR 4:3], 47 kb/s, 25 fps, 25 tbr, 12800 tbn (default)
    Metadata:
      handler_name    : VideoHandler
  Stream #0:1[0x2](und): Audio: aac (LC) (mp4a / 0x6134706D), 44100 Hz, mono, fltp, 69 kb/s (default)
At least one output file must be specified
"""  # noqa: E501
FFMPEG_4 = """
Input #0, matroska,webm, from 'a.mkv':
  Duration: 01:02:03.45, start: 0.000000, bitrate: 1500 kb/s
    Stream #0:0(eng): Video: hevc (Main 10), yuv420p10le(tv), 3840x2160 [SAR 1:1 DAR 16:9], 23.98 fps
    Stream #0:1(eng): Audio: opus, 48000 Hz, 5.1, fltp
"""
FFMPEG_COVER = """
Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'cover.m4a':
  Duration: 00:00:02.00, start: 0.000000, bitrate: 97 kb/s
  Stream #0:0[0x2](und): Audio: aac (LC) (mp4a / 0x6134706D), 44100 Hz, mono, fltp, 69 kb/s (default)
  Stream #0:1[0x0]: Video: mjpeg (Baseline), yuvj444p(pc), 320x240 [SAR 1:1 DAR 4:3], 90k tbr (attached pic)
"""
FFMPEG_STILL = """
Input #0, image2, from 'a.jpg':
  Duration: 00:00:00.04, start: 0.000000, bitrate: 1820 kb/s
  Stream #0:0: Video: mjpeg (Baseline), yuvj444p(pc), 320x240 [SAR 1:1 DAR 4:3], 25 fps, 25 tbr, 25 tbn
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (FFMPEG_9, Media(2.0, "h264", "aac", 320, 240, 130.0)),
        (FFMPEG_4, Media(3723.45, "hevc", "opus", 3840, 2160, 1500.0)),
        (FFMPEG_COVER, Media(2.0, None, "aac", None, None, 97.0)),
        (FFMPEG_STILL, Media(None, "mjpeg", None, 320, 240, None)),
        (
            "  Duration: N/A, bitrate: N/A\n  Stream #0:0: Video: png, rgb24, 8x9, 25 fps\n",
            Media(None, "png", None, 8, 9),
        ),
        ("a.txt: Invalid data found when processing input\n", None),
        ("", None),
    ],
    ids=["9", "4", "cover", "still", "png", "no media", "nothing"],
)
def test_what_ffmpeg_prints(text: str, expected: Media | None) -> None:
    assert probe.from_ffmpeg(text) == expected


def test_what_ffprobe_prints() -> None:
    assert probe.from_ffprobe(json.dumps(FFPROBE)) == FILM


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"streams": 7}', '{"streams": [7]}',
     '{"streams": [{"codec_type": "video", "width": "wide"}]}',
     '{"streams": [{"codec_type": "video", "width": -3}]}', '{"streams": [{"codec_type": "audio", "codec_name": 7}]}'],
)  # fmt: skip
def test_what_no_ffprobe_prints_is_nothing(text: str) -> None:
    assert probe.from_ffprobe(text) is None


def test_figures_that_are_none_are_unknown() -> None:
    told = {
        "streams": [{"codec_type": "audio", "codec_name": "aac"}],
        "format": {"duration": "N/A", "bit_rate": "nan"},
    }
    assert probe.from_ffprobe(json.dumps(told)) == Media(audio_codec="aac")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "fi:lm é.mp4"
    make(path, "testsrc=size=96x64:rate=25:d=2", "sine=d=1")
    return path


def make(path: Path, *graphs: str) -> None:
    sources = [word for graph in graphs for word in ("-f", "lavfi", "-i", graph)]
    words = [
        FFMPEG,
        "-nostdin",
        "-v",
        "error",
        "-y",
        *sources,
        "-c:v",
        "mpeg4",
        "-c:a",
        "aac",
        f"file:{path}",
    ]
    subprocess.run(words, check=True)


def test_a_real_film(film: Path, tmp_path: Path) -> None:
    media = Prober(TOOLS, tmp_path / "cache").media(str(film), is_counting=True)
    assert media is not None
    assert media.bitrate_kbps is not None
    assert replace(media, bitrate_kbps=None) == Media(2.0, "mpeg4", "aac", 96, 64, None, 50)


def test_a_film_is_asked_about_once(film: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = Prober(TOOLS, cache).media(str(film), is_counting=True)
    deaf = Prober(Tools(None, None), cache)
    assert deaf.media(str(film), is_counting=True) == first
    make(film, "testsrc=size=64x64:rate=25:d=1")
    assert deaf.media(str(film)) is None  # another film under the same name
    assert len(list(cache.iterdir())) == 1


def test_an_ffprobe_beside_ffmpeg_is_preferred(film: Path, tmp_path: Path) -> None:
    """The programs here are scripts that print what real ones printed: what is tested is who is asked, and how."""
    script = f"#!/bin/sh\nfor last; do :; done\ncat > /dev/null\n[ \"$last\" = 'file:{film}' ] && cat <<'E'\n{{}}\nE\n"
    for name in ("ffmpeg", "ffprobe"):
        (tmp_path / name).write_text(
            script.format(json.dumps(FFPROBE)) if name == "ffprobe" else "#!/bin/sh\nexit 1\n"
        )
        (tmp_path / name).chmod(0o755)
    tools = Tools.find(str(tmp_path / "ffmpeg"))
    assert tools == Tools(str(tmp_path / "ffprobe"), str(tmp_path / "ffmpeg"))
    assert Prober(tools, tmp_path / "cache").media(str(film), is_counting=True) == FILM


def test_an_ffprobe_that_fails_leaves_ffmpeg(film: Path, tmp_path: Path) -> None:
    media = Prober(Tools("/bin/false", FFMPEG), tmp_path / "cache").media(str(film))
    assert media is not None
    assert media.video_codec == "mpeg4"


def test_the_packaged_ffmpeg_is_found() -> None:
    assert probe._packaged_ffmpeg() == FFMPEG


def test_a_program_that_hangs_costs_its_patience_only(film: Path, tmp_path: Path) -> None:
    hanging = tmp_path / "hang"
    hanging.write_text("#!/bin/sh\nexec sleep 1000\n")
    hanging.chmod(0o755)
    prober = Prober(Tools(None, str(hanging)), tmp_path / "cache", patience_seconds=0.3)
    assert prober.media(str(film)) is None
    assert prober.media(str(film)) is None  # without any patience left


@pytest.mark.parametrize("name", ["none.mp4", "folder", "text.mp4", "empty.mp4", "nul\0.mp4"])
def test_what_is_no_film_is_unknown(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.mp4").write_text("no film")
    (tmp_path / "empty.mp4").write_text("")
    assert Prober(TOOLS, tmp_path / "cache").media(str(tmp_path / name)) is None


def test_names_that_are_no_text(film: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.mp4")
    os.link(film, odd)
    media = Prober(TOOLS, tmp_path / "cache").media(odd)
    assert media is not None


def test_a_cache_that_cannot_be_written_is_no_trouble(film: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert Prober(TOOLS, tmp_path / "cache").media(str(film)) is not None


def test_what_was_not_asked_for_long_is_forgotten(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text("{}")
    new.write_text("{}")
    os.utime(old, (1, 1))
    probe._sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["new.json"]


def test_lists_of_films_are_as_long_as_their_films(film: Path, tmp_path: Path) -> None:
    prober = Prober(TOOLS, tmp_path / "cache")
    (tmp_path / "it's.mp4").write_bytes(film.read_bytes())

    def length(text: str) -> float | None:
        (tmp_path / "list.txt").write_text(text)
        media = longest_input([Medium(str(tmp_path / "list.txt"), {"f": "concat"})], None, prober)
        return media.duration_seconds if media else None

    assert (
        length(
            f"ffconcat version 1.0\n# all\nfile '{film.name}'\n\nfile {film}\n".replace(
                str(film), f"'{film}'"
            )
        )
        == 4
    )
    assert length("file 'it'\\''s.mp4'\ninpoint 0.5\noutpoint 1.5\nfile it\\'s.mp4\n") == 3
    assert length(f"file '{film.name}'\nduration 1.25\nfile none.mp4\nduration 00:00:10\n") == 11.25
    assert length(f"file '{film.name}'\nfile none.mp4\n") is None
    assert length("file 'unclosed\n") is None
    joined = longest_input([Medium(f"concat:{tmp_path}/it's.mp4|{tmp_path}/it's.mp4")], None, prober)
    assert joined is not None
    assert joined.duration_seconds == 4
    assert joined.video_codec == "mpeg4"


def test_stills_and_generators_last_as_long_as_they_are_told(film: Path, tmp_path: Path) -> None:
    still = tmp_path / "still.png"
    subprocess.run(
        [FFMPEG, "-nostdin", "-v", "error", "-i", f"file:{film}", "-frames:v", "1", still], check=True
    )
    prober = Prober(TOOLS, tmp_path / "cache")

    def length(medium: Medium, limit: float | None) -> float | None:
        media = longest_input([medium], limit, prober)
        assert media is not None
        return media.duration_seconds

    assert length(Medium(str(still)), 5) is None
    assert length(Medium(str(still), {"loop": "1"}), 5) == 5
    assert length(Medium(str(still), {"loop": "1", "t": "3"}), None) == 3
    assert length(Medium("testsrc", {"f": "lavfi"}), None) is None
    assert length(Medium("testsrc", {"f": "lavfi"}), 8) == 8
    assert length(Medium("movie=a.mp4", {"f": "lavfi"}), 8) is None
    assert longest_input([Medium("pipe:0"), Medium("https://host/a.mp4")], 5, prober) is None
