"""Debian's signed packages through the machine's own apt, with a state of our own.

apt checks every signature and hash. Nothing of the system changes: state, cache, sources and the list of what is
installed all lie in one folder that the caller gives and removes; no package is installed, none of its scripts runs.
"""

import os
import platform
import pwd
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from framehouse.config import environment
from framehouse.embedded.account import CLEAN_ENVIRONMENT
from framehouse.errors import InstallError, NoServerError

SUITE = "trixie"

_KEYRINGS = (
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
)
_MAIN_SUITES = {"stable", "oldstable", "testing", "unstable", "sid"}

#: The machine's hooks would act on the system's own cache.
_CONFIG = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear Acquire::IndexTargets::deb::DEP-11;
"""


@dataclass(frozen=True, slots=True)
class Package:
    """One package file that apt would fetch."""

    name: str
    version: str
    file: str
    size_bytes: int


def sources(mirror: str | None) -> list[str]:
    """The lines of a source list for Debian stable. Raises NoServerError with the reason when there is none."""
    for program in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(program) is None:
            raise NoServerError(f"Debian's packages need {program}, which this machine does not have")
    keyring = next((path for path in _KEYRINGS if Path(path).exists()), None)
    if keyring is None:
        raise NoServerError("Debian's keys are missing here (package debian-archive-keyring)")
    option = f"[signed-by={keyring}]"
    if mirror:
        return [f"deb {option} {mirror} {SUITE} main"]
    main, security = _machine_mirrors()
    lines = [f"deb {option} {main} {SUITE} main"]
    return lines + ([f"deb {option} {security} {SUITE}-security main"] if security else [])


class Apt:
    """apt with its state in one folder. Raises InstallError with apt's own words when it fails."""

    def __init__(self, folder: Path, source_lines: Iterable[str]) -> None:
        self.folder = folder
        for name in ("state/lists/partial", "cache/archives/partial", "packages"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        (folder / "apt.conf").write_text(_CONFIG, encoding="utf-8")
        (folder / "sources.list").write_text("\n".join(source_lines) + "\n", encoding="utf-8")
        _lend_to_sandbox(folder / "packages")

    def update(self) -> None:
        """Fetch the index of packages and check its signature."""
        self._run("apt-get", "-o", "APT::Update::Error-Mode=any", "update")

    def closure(self, names: Sequence[str], follows: Callable[[str], bool]) -> list[str]:
        """The names and, as far as `follows` says yes, what they depend on."""
        found = list(names)
        level = list(names)
        while level:
            said = self._run("apt-cache", "depends", "--important", *level)
            wanted = re.findall(r"^ [ |](?:Pre)?Depends: ([^<\s:]+)", said, re.MULTILINE)
            level = [name for name in dict.fromkeys(wanted) if name not in found and follows(name)]
            found += level
        return found

    def packages(self, names: Sequence[str]) -> list[Package]:
        """What `fetch` of those names would bring."""
        said = self._run("apt-get", "download", "--print-uris", *names)
        lines = re.findall(r"^'[^']+' (\S+) (\d+) (?:SHA256|SHA512):\S+", said, re.MULTILINE)
        if len(lines) != len(names):
            raise InstallError(f"apt names {len(lines)} signed files for {len(names)} packages")
        return [Package(*_name_and_version(file), file, int(size)) for file, size in lines]

    def fetch(self, packages: Sequence[Package], advance: Callable[[int, int], None]) -> list[Path]:
        """Fetch packages into the folder, telling bytes done and bytes in all."""
        into = self.folder / "packages"
        total = sum(package.size_bytes for package in packages)
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.2):
                advance(min(total, _size(into)), total)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            # A name with its version: exactly what was counted, should the index hold two.
            self._run("apt-get", "download", *(f"{p.name}={p.version}" for p in packages), cwd=into)
        finally:
            done.set()
            watcher.join()
        advance(total, total)
        files = [into / package.file for package in packages]
        for file, package in zip(files, packages, strict=True):
            if not file.exists() or file.stat().st_size != package.size_bytes:
                raise InstallError(f"apt did not bring {package.file}", hint="framehouse up (it begins anew)")
        return files

    def _run(self, program: str, *arguments: str, cwd: Path | None = None) -> str:
        options = {
            "Dir::State": self.folder / "state",
            "Dir::State::status": self.folder / "status",
            "Dir::Cache": self.folder / "cache",
            "Dir::Cache::pkgcache": "pkgcache.bin",
            "Dir::Etc::sourcelist": self.folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        flags = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
        done = subprocess.run(
            [program, "-c", str(self.folder / "apt.conf"), *flags, *arguments],
            env={**_proxies(), **CLEAN_ENVIRONMENT},
            cwd=cwd or self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            raise _failure(program, arguments, done.stderr)
        return done.stdout


def _proxies() -> dict[str, str]:
    return {name: value for name, value in environment().items() if name.lower().endswith("_proxy")}


def _machine_mirrors() -> tuple[str, str | None]:
    """The addresses of this machine's Debian mirror and, where it has one, of the security updates'."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    if release.get("ID") != "debian":
        raise NoServerError(
            f"this machine is {release.get('PRETTY_NAME', 'no Debian')}, whose mirror has no Debian packages "
            "(FRAMEHOUSE_DEBIAN_MIRROR can name one)"
        )
    said = subprocess.run(
        ["apt-get", "indextargets", "--no-release-info", "--format", "$(RELEASE) $(REPO_URI)"],
        env=dict(CLEAN_ENVIRONMENT),
        capture_output=True,
        text=True,
        check=False,
    )
    targets = dict(line.split(" ", 1) for line in reversed(said.stdout.splitlines()) if " " in line)
    targets = {suite: uri for suite, uri in targets.items() if not uri.startswith("cdrom:")}
    suites = [release.get("VERSION_CODENAME", ""), *sorted(_MAIN_SUITES)]
    suite = next((name for name in suites if name in targets), None)
    if suite is None:
        raise NoServerError("apt on this machine names no Debian mirror (FRAMEHOUSE_DEBIAN_MIRROR can)")
    return targets[suite], targets.get(f"{suite}-security")


def _failure(program: str, arguments: Sequence[str], stderr: str) -> InstallError:
    verb = next(name for name in ("update", "depends", "download") if name in arguments)
    lines = [line.partition(": ")[2] for line in stderr.splitlines() if line.startswith(("E:", "W:"))]
    text = "; ".join(dict.fromkeys(lines)) or stderr.strip() or "no word why"
    hint = "check the network, then run `framehouse up` again; FRAMEHOUSE_DEBIAN_MIRROR names another mirror"
    if "NO_PUBKEY" in stderr or "not signed" in stderr:
        hint = "Debian's keys here are too old: apt-get install debian-archive-keyring"
    elif "Hash Sum mismatch" in stderr:
        hint = "what came is not what Debian signed, and nothing of it was kept; " + hint
    elif "Unable to locate package" in stderr:
        hint = f"the mirror lacks them in {SUITE}; FRAMEHOUSE_DEBIAN_MIRROR names another"
    return InstallError(f"{program} {verb} failed: {text}", hint=hint)


def _name_and_version(file: str) -> tuple[str, str]:
    name, version = file.split("_")[:2]
    return name, version.replace("%3a", ":")


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:
            continue  # apt renamed it meanwhile
    return total


def _lend_to_sandbox(folder: Path) -> None:
    # As root, apt fetches as a user of its own where it may write.
    if os.geteuid() != 0:
        return
    try:
        os.chown(folder, pwd.getpwnam("_apt").pw_uid, -1)
    except KeyError:
        return
