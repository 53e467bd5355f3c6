"""A Debian mirror on loopback, made of what is installed here and signed with a key of its own.

It can be told to misbehave as networks do: to drop a connection in the middle of a package, to stall, to go away, to
bring other bytes than those that were signed.
"""

import functools
import hashlib
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from framehouse.embedded.apt import SUITE
from framehouse.embedded.places import read_json
from framehouse.embedded.programs import Programs

#: Which part of the installed tree is whose; the first package takes what is left.
PACKAGES: Mapping[str, Sequence[str]] = {
    "postgresql-17": (),
    "postgresql-17-timescaledb": ("usr/*/postgresql/17/*/timescaledb*",),
    "postgresql-client-17": ("usr/lib/postgresql/17/bin/p[gs]_[dr]*", "usr/lib/postgresql/17/bin/psql"),
    "libc6": tuple(f"usr/lib/*-linux-gnu*/{name}*" for name in ("ld-linux", "libc.so", "libm.so")),
}


#: `framehouse up` with the mirror's key in the place of Debian's and none of the machine's own servers.
_UP = """
import sys
from dataclasses import replace
from pathlib import Path
from framehouse import embedded
from framehouse.config import settings
from framehouse.embedded import apt
class Printer:
    def step(self, text): print(text, flush=True)
    def advance(self, done, total, text=""): pass
home, mirror, apt._KEYRINGS = Path(sys.argv[1]), sys.argv[2], (sys.argv[3],)
chosen = replace(settings(), database_url=None, home=home, debian_mirror=mirror)
print(embedded.up(chosen, Printer(), machine_folders=[]).url, flush=True)
"""


def make_repository(folder: Path, programs: Programs) -> Path:
    """Lay out a signed repository with the packages of an installation; returns the keyring that trusts it."""
    installed = programs.bin_dir.parents[4]
    versions = read_json(installed / "framehouse.json")["packages"]
    tree = folder / "tree"
    shutil.copytree(installed / "usr", tree / "usr", symlinks=True)
    architecture = _said("dpkg", "--print-architecture")
    index = ""
    # The first package last: the others have taken what is theirs by then.
    for name, patterns in reversed(PACKAGES.items()):
        part = folder / "part" if patterns else tree
        for path in [path for pattern in patterns for path in sorted(tree.glob(pattern))]:
            into = part / path.relative_to(tree)
            into.parent.mkdir(parents=True, exist_ok=True)
            path.rename(into)
        (part / "DEBIAN").mkdir(parents=True)
        depends = ", ".join(other for other in PACKAGES if other != name)
        # Where the machine's own C library did, the packages' is older than it.
        control = (
            f"Package: {name}\nVersion: {versions.get(name, '2.0-1')}\nArchitecture: {architecture}\n"
            f"Maintainer: nobody <nobody@example.invalid>\nDescription: {name}\n"
            + (f"Depends: {depends}\n" if not patterns else "")
        )
        (part / "DEBIAN" / "control").write_text(control, encoding="utf-8")
        version = versions.get(name, "2.0-1").replace(":", "%3a")
        file = folder / "pool" / f"{name}_{version}_{architecture}.deb"
        file.parent.mkdir(exist_ok=True)
        _said("dpkg-deb", "--root-owner-group", "-Znone", "--build", part, file)
        shutil.rmtree(part)
        index += (
            f"{control}Filename: pool/{file.name}\nSize: {file.stat().st_size}\nSHA256: {_sha256(file)}\n\n"
        )
    suite = folder / "dists" / SUITE
    packages = suite / "main" / f"binary-{architecture}" / "Packages"
    packages.parent.mkdir(parents=True)
    packages.write_text(index, encoding="utf-8")
    (suite / "Release").write_text(
        f"Suite: {SUITE}\nCodename: {SUITE}\nComponents: main\nArchitectures: {architecture}\n"
        f"Date: {_said('date', '-u', '-R')}\n"
        f"SHA256:\n {_sha256(packages)} {packages.stat().st_size} {packages.relative_to(suite)}\n",
        encoding="utf-8",
    )
    return _sign(folder, suite)


def _sign(folder: Path, suite: Path) -> Path:
    """Sign the release with a new key, as Debian signs its own."""
    secrets, keyring = folder / "gnupg", folder / "keyring.gpg"
    secrets.mkdir(mode=0o700)
    gpg = (
        "gpg",
        "--homedir",
        secrets,
        "--batch",
        "--quiet",
        "--passphrase",
        "",
        "--pinentry-mode",
        "loopback",
    )
    try:
        _said(*gpg, "--quick-generate-key", "mirror@example.invalid", "rsa2048", "sign", "never")
        _said(*gpg, "--output", keyring, "--export")
        _said(*gpg, "--output", suite / "InRelease", "--clearsign", suite / "Release")
    finally:
        _said("gpgconf", "--homedir", secrets, "--kill", "all")
    return keyring


class Mirror:
    """The repository over HTTP. `is_forging`: packages come with one byte changed."""

    #: An interrupted answer ends after so many bytes.
    INTERRUPTED_AFTER = 500_000

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_forging = False
        self.requests: list[str] = []
        self.is_stalling = threading.Event()
        self._drops = 0
        self._is_gone = False
        self._going_on = threading.Event()
        self._going_on.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def up(self, home: Path) -> list[str]:
        """Python's arguments for an `up` that installs from this mirror; it prints its steps, then the url."""
        return ["-c", _UP, str(home), self.url, str(self.folder / "keyring.gpg")]

    def drop(self, *, is_gone_then: bool) -> None:
        """Close the next connection in the middle of a package; then serve as ever, or have no package any more."""
        self._drops, self._is_gone = 1, is_gone_then

    def stall(self) -> None:
        """Stop sending in the middle of a package, until `let_go`."""
        self._going_on.clear()

    def let_go(self) -> None:
        """Misbehave no longer."""
        self._drops, self._is_gone, self.is_forging = 0, False, False
        self._going_on.set()

    def close(self) -> None:
        self.let_go()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def has(self, path: str) -> bool:
        is_gone = self._is_gone and not self._drops and path.endswith(".deb")
        return not is_gone and (self.folder / path).is_file()

    def body(self, path: str, start: int) -> Iterator[bytes]:
        """The bytes of a file from `start` on, as the network lets them through."""
        data = bytearray((self.folder / path).read_bytes())
        if not path.endswith(".deb"):
            yield bytes(data[start:])
            return
        if self.is_forging:
            data[-1] ^= 1
        middle = start + self.INTERRUPTED_AFTER
        yield bytes(data[start:middle])
        if self._drops:
            self._drops -= 1
            return
        if not self._going_on.is_set():
            self.is_stalling.set()
            self._going_on.wait(60)
        yield bytes(data[middle:])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, mirror: Mirror, *arguments: Any) -> None:
        self._mirror = mirror
        super().__init__(*arguments)

    def do_GET(self) -> None:
        path = unquote(self.path).lstrip("/")
        file = self._mirror.folder / path
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        self._mirror.requests.append(f"{path} from {start}")
        if not self._mirror.has(path):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        size = file.stat().st_size
        self.send_response(HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        try:
            sent = 0
            for part in self._mirror.body(path, start):
                self.wfile.write(part)
                self.wfile.flush()
                sent += len(part)
        except OSError:
            pass  # who asked was killed
        if sent < size - start:
            self.close_connection = True

    def log_message(self, *arguments: Any) -> None:
        """Say nothing: `requests` has it."""


@contextmanager
def served(folder: Path) -> Iterator[Mirror]:
    mirror = Mirror(folder)
    try:
        yield mirror
    finally:
        mirror.close()


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _said(*command: str | Path) -> str:
    env = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
