"""PostgreSQL programs that offer TimescaleDB: what they are, and where they are found on this machine."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from framehouse.embedded.account import Account

OLDEST_POSTGRESQL = 16
OLDEST_TIMESCALEDB = (2, 19)

#: Where Debian's, Ubuntu's and Timescale's packages put PostgreSQL, and where those for RPM systems do.
MACHINE_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")


@dataclass(frozen=True, slots=True)
class Programs:
    """One PostgreSQL with TimescaleDB. `origin` is "machine" or "installed", `edition` "apache" or "community"."""

    bin_dir: Path
    origin: str
    version: str
    timescaledb: str
    edition: str

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])

    def path(self, name: str) -> Path:
        """The full path of one program."""
        return self.bin_dir / name


@dataclass(frozen=True, slots=True)
class Unfit:
    """A PostgreSQL that cannot serve, and why."""

    bin_dir: Path
    reason: str


def inspect(bin_dir: Path, origin: str, account: Account) -> Programs | Unfit:
    """What the programs in a folder are, asked as the account that will run them."""
    version = _version(bin_dir, account)
    if isinstance(version, Unfit):
        return version
    if int(version.split(".")[0]) < OLDEST_POSTGRESQL:
        return Unfit(bin_dir, f"is PostgreSQL {version}, older than {OLDEST_POSTGRESQL}")
    share, library = _folders(bin_dir, account)
    timescaledb = _timescaledb(share / "extension" / "timescaledb.control")
    if timescaledb is None:
        return Unfit(bin_dir, f"is PostgreSQL {version} without TimescaleDB")
    if _numbers(timescaledb) < OLDEST_TIMESCALEDB:
        return Unfit(bin_dir, f"offers TimescaleDB {timescaledb}, older than 2.19")
    is_community = (library / f"timescaledb-tsl-{timescaledb}.so").exists()
    return Programs(bin_dir, origin, version, timescaledb, "community" if is_community else "apache")


def find_on_machine(
    account: Account, patterns: Iterable[str] = MACHINE_FOLDERS
) -> tuple[list[Programs], list[Unfit]]:
    """PostgreSQLs on this machine: those that can serve, the fullest and newest first, and those that cannot."""
    folders = [path for pattern in patterns for path in sorted(Path("/").glob(pattern.lstrip("/")))]
    if (config := shutil.which("pg_config")) is not None:
        told = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        if told.returncode == 0 and told.stdout.strip():
            folders.append(Path(told.stdout.strip()))
    fit: list[Programs] = []
    unfit: list[Unfit] = []
    # A folder with clients alone is no PostgreSQL that anybody meant to run: it is not worth a word.
    for folder in dict.fromkeys(path.resolve() for path in folders if (path / "postgres").exists()):
        match inspect(folder, "machine", account):
            case Programs() as programs:
                fit.append(programs)
            case Unfit() as other:
                unfit.append(other)
    fit.sort(key=lambda p: (p.edition == "community", p.major, _numbers(p.timescaledb)), reverse=True)
    return fit, unfit


def find_psql(server_dir: Path) -> Path | None:
    """The newest psql for a server elsewhere: installed under that folder, in the machine's folders, or on the PATH.

    The newest, because pg_dump, which lies beside it, refuses a server that is newer than itself.
    """
    found = sorted(server_dir.glob("*/usr/lib/postgresql/*/bin/psql"))
    for pattern in MACHINE_FOLDERS:
        found += sorted(Path("/").glob(f"{pattern.lstrip('/')}/psql"))
    if (on_path := shutil.which("psql")) is not None:
        found.append(Path(on_path))
    # Of equal ones the first. One that does not run is taken when there is no other, and says itself what it lacks.
    return max(found, key=_psql_major, default=None)


def _psql_major(psql: Path) -> int:
    try:
        said = subprocess.run([psql, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return 0
    version = re.search(r"\(PostgreSQL\) (\d+)", said)
    return int(version[1]) if version else 0


def is_at_least(version: str, other: str) -> bool:
    """Whether a dotted version is the other one or newer."""
    return _numbers(version) >= _numbers(other)


def _version(bin_dir: Path, account: Account) -> str | Unfit:
    missing = [name for name in ("postgres", "initdb", "psql", "createdb") if not (bin_dir / name).exists()]
    if missing:
        return Unfit(bin_dir, f"has no {', '.join(missing)}")
    try:
        said = account.run([bin_dir / "postgres", "--version"])
    except OSError as error:
        return Unfit(bin_dir, f"does not run: {error.strerror}")
    found = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)*)", said.stdout)
    if said.returncode != 0 or found is None:
        return Unfit(bin_dir, f"does not run: {said.stderr.strip() or said.stdout.strip()}")
    return found[1]


def _folders(bin_dir: Path, account: Account) -> tuple[Path, Path]:
    """The share and library folders that belong to a bin folder."""
    if (bin_dir / "pg_config").exists():
        told = account.run([bin_dir / "pg_config", "--sharedir", "--pkglibdir"]).stdout.splitlines()
        if len(told) == 2:
            return Path(told[0]), Path(told[1])
    root = bin_dir.parent
    return root.parents[2] / "share" / "postgresql" / root.name, root / "lib"


def _timescaledb(control: Path) -> str | None:
    try:
        text = control.read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"default_version\s*=\s*'([^']+)'", text)
    return found[1] if found else None


def _numbers(version: str) -> tuple[int, ...]:
    upstream, _, _ = version.partition("-")
    return tuple(int(part) for part in re.findall(r"\d+", upstream))
