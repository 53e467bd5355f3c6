"""From a measured command to the row in the warehouse: through the API, and through the spool when it is down."""

from pathlib import Path

import httpx
from imageio_ffmpeg import get_ffmpeg_exe

from api import create_app
from framehouse.config import Settings, read
from framehouse.warehouse import Warehouse
from ingest.emit import Delivery, deliver
from ingest.load import load_spool
from tests.api.conftest import serving
from tests.ingest.runs import NOWHERE, Runner

FFMPEG = get_ffmpeg_exe()
FILM = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:d=2", "-c:v", "mpeg4"]


def test_an_ffmpeg_job_is_measured_sent_and_read_back(
    database_url: str, settings: Settings, tmp_path: Path
) -> None:
    with serving(create_app(settings, url=database_url)) as url:
        runner = Runner(tmp_path / "run", url)
        labels = ["--workflow", "proxy", "--tier", "draft", "--job-id", "film-1", "--score", "likeness=0.9"]
        done = runner.run([FFMPEG, "-v", "error", "-y", *FILM, tmp_path / "film.mp4"], *labels)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        (attempt,) = httpx.get(f"{url}/api/jobs/film-1/attempts").raise_for_status().json()["attempts"]
    assert attempt["outcome"] == "succeeded"
    assert attempt["workflow"] == "proxy"
    assert attempt["tier"] == "draft"
    assert attempt["frame_count"] == 50
    assert attempt["input"]["duration_seconds"] == 2
    assert attempt["rtf"] > 0
    assert attempt["quality_scores"] == {"likeness": 0.9}
    assert not (tmp_path / "run" / "spool").exists()


def test_the_warehouse_s_answers_are_understood(
    database_url: str, settings: Settings, tmp_path: Path
) -> None:
    down = Runner(tmp_path / "run", NOWHERE)
    assert down.run(["true"], "--job-id", "j").returncode == 0
    event = down.event
    with serving(create_app(settings, url=database_url)) as url:
        there = read({"FRAMEHOUSE_HOME": str(tmp_path / "emit"), "FRAMEHOUSE_URL": url})
        assert deliver(event, settings=there).delivery is Delivery.SENT
        assert deliver(event, settings=there).delivery is Delivery.DUPLICATE
        other = deliver({**event, "outcome": "failed"}, settings=there)
        wrong = deliver({**event, "job_id": "k", "wall_seconds": "long"}, settings=there)
    assert (other.delivery, other.code) == (Delivery.REJECTED, "conflict")
    assert wrong.delivery is Delivery.REJECTED
    assert [problem.path for problem in wrong.problems] == ["wall_seconds"]
    assert (tmp_path / "emit" / "spool" / "rejected.ndjson").read_bytes().count(b"\n") == 2


def test_what_waited_in_the_spool_is_loaded(warehouse: Warehouse, tmp_path: Path) -> None:
    runner = Runner(tmp_path, NOWHERE)
    for number in range(3):
        assert runner.run(["sh", "-c", f"exit {number}"], "--job-id", f"job-{number}").returncode == number
    (tally,) = load_spool(warehouse, tmp_path / "spool", home=tmp_path)
    assert (tally.read, tally.stored, tally.refused_count) == (3, 3, 0)
    assert not list((tmp_path / "spool").iterdir())
