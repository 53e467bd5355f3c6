"""What machine this is: cloud metadata, the GPU's driver, and how long an answer holds."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from framehouse.config import environment, read
from ingest.collectors import host

# A driver library of two GPUs, as far as it is asked.
NVML = r"""
#include <string.h>
int nvmlInit_v2(void) { return FAILS; }
int nvmlInitWithFlags(unsigned flags) { return FAILS; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = (void *)(size_t)(index + 1); return 0; }
int nvmlDeviceGetName(void *device, char *name, unsigned length) { strncpy(name, "NVIDIA H200", length); return 0; }
int nvmlSystemGetDriverVersion(char *version, unsigned length) { strncpy(version, "575.51.03", length); return 0; }
const char *nvmlErrorString(int result) { return "error"; }
"""


class Metadata(BaseHTTPRequestHandler):
    """Version 2 of the metadata service, or version 1 alone."""

    has_tokens = True
    answer = b"g5.2xlarge"
    asked: list[str]

    def do_PUT(self) -> None:
        self.asked.append(f"PUT {self.path}")
        is_asked_rightly = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "").isdigit()
        self._say(200 if self.has_tokens and is_asked_rightly else 404, b"the token")

    def do_GET(self) -> None:
        self.asked.append(f"GET {self.path}")
        is_allowed = not self.has_tokens or self.headers.get("X-aws-ec2-metadata-token") == "the token"
        self._say(200 if is_allowed and self.path == "/latest/meta-data/instance-type" else 401, self.answer)

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(**traits: Any) -> Iterator[tuple[tuple[str, int], list[str]]]:
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Traits", (Metadata,), {"asked": asked, **traits}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield ("127.0.0.1", server.server_port), asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_metadata_with_a_token() -> None:
    with serving() as (address, asked):
        assert host.ask_metadata(address, 5) == "g5.2xlarge"
    assert asked == ["PUT /latest/api/token", "GET /latest/meta-data/instance-type"]


def test_metadata_without_tokens() -> None:
    with serving(has_tokens=False, answer=b"c7g.large\n") as (address, _):
        assert host.ask_metadata(address, 5) == "c7g.large"


@pytest.mark.parametrize("answer", [b"<html>a captive portal</html>", b"", b"x" * 101, b"a\x00b"])
def test_an_answer_that_is_no_type_is_none(answer: bytes) -> None:
    with serving(answer=answer) as (address, _):
        assert host.ask_metadata(address, 5) is None


def test_no_metadata_service() -> None:
    assert host.ask_metadata(("127.0.0.1", 1), 0.3) is None


def test_an_answer_is_remembered_until_something_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read({"FRAMEHOUSE_HOME": str(tmp_path)})
    with serving() as (address, asked):
        assert host.hardware(settings, address).instance_type == "g5.2xlarge"
        assert host.hardware(settings, address).instance_type == "g5.2xlarge"
        assert len(asked) == 2
        kept = json.loads((tmp_path / "cache" / "host.json").read_text())
        kept["identity"][0] = "another boot"
        (tmp_path / "cache" / "host.json").write_text(json.dumps(kept))
        assert host.hardware(settings, address).instance_type == "g5.2xlarge"
        assert len(asked) == 4
        for broken in (
            "",
            "[]",
            "{}",
            '{"hardware": {"instance_type": 7, "gpu_model": null, "driver": null}}',
        ):
            (tmp_path / "cache" / "host.json").write_text(broken)
            assert host.hardware(settings, address).instance_type == "g5.2xlarge"
        assert len(asked) == 12


def test_no_cloud_is_asked_again_later(tmp_path: Path) -> None:
    settings = read({"FRAMEHOUSE_HOME": str(tmp_path)})
    assert host.hardware(settings, ("127.0.0.1", 1)).instance_type is None
    with serving() as (address, asked):
        assert host.hardware(settings, address).instance_type is None
        assert not asked
        kept = json.loads((tmp_path / "cache" / "host.json").read_text())
        (tmp_path / "cache" / "host.json").write_text(
            json.dumps({**kept, "asked_at": kept["asked_at"] - 7200})
        )
        assert host.hardware(settings, address).instance_type == "g5.2xlarge"


def test_what_the_settings_say_is_not_asked(tmp_path: Path) -> None:
    with serving() as (address, asked):
        known = read({"FRAMEHOUSE_HOME": str(tmp_path), "AWS_INSTANCE_TYPE": "p5.48xlarge"})
        assert host.hardware(known, address).instance_type == "p5.48xlarge"
        off = read({"FRAMEHOUSE_HOME": str(tmp_path), "FRAMEHOUSE_CLOUD_METADATA": "0"})
        assert host.hardware(off, address).instance_type is None
    assert not asked


@pytest.mark.parametrize(("fails", "expected"), [(0, "('NVIDIA H200', '575.51.03')"), (9, "(None, None)")])
def test_gpus_are_what_the_driver_says(tmp_path: Path, fails: int, expected: str) -> None:
    source = tmp_path / "nvml.c"
    source.write_text(NVML)
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", f"-DFAILS={fails}", "-o", library, source], check=True)
    done = subprocess.run(
        [sys.executable, "-c", "from ingest.collectors import host; print(host.gpu())"],
        env=environment(LD_LIBRARY_PATH=str(tmp_path)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected


def test_memory_is_in_gib() -> None:
    total_kib = int(Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0])
    assert host.memory_gb() == pytest.approx(total_kib / 2**20, rel=0.05)
