"""Where things lie: the home, the cluster in it, and the short runtime folder of its socket."""

import hashlib
import json
import os
import shutil
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framehouse.config import Settings
from framehouse.embedded.account import Account
from framehouse.errors import ConfigError, StartError

_DRAFT = ".new"
_UNQUOTABLE = frozenset('"$`\\\n\r')


@dataclass(frozen=True, slots=True)
class Places:
    """One cluster's folders and files under its home."""

    home: Path

    @property
    def data(self) -> Path:
        """PostgreSQL's data folder; it exists only when initdb has finished."""
        return self.home / "data"

    @property
    def settings(self) -> Path:
        """The server's configuration, written anew at every start."""
        return self.home / "conf"

    @property
    def log(self) -> Path:
        return self.home / "log" / "postgresql"

    @property
    def startup_log(self) -> Path:
        """What the server says before its own log is open."""
        return self.log / "startup.log"

    @property
    def lock(self) -> Path:
        return self.home / ".up.lock"

    @property
    def password(self) -> Path:
        """The password for TCP, readable by its owner alone."""
        return self.home / "password"

    @property
    def memory(self) -> Path:
        """What is remembered of the cluster: its programs, its versions, its TCP port."""
        return self.home / "cluster.json"

    def socket(self, account: Account) -> Path:
        """The runtime folder of the Unix socket: short (107 bytes is the limit) whatever the home's path is."""
        key = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        run = Path("/run")
        if account.is_dedicated and os.access(run, os.W_OK):
            return run / f"framehouse-{key}"
        # XDG_RUNTIME_DIR would go away when its user logs out, and the server with it.
        return Path("/tmp") / f"framehouse-{account.uid}-{key}"  # noqa: S108


def places_of(settings: Settings, home: Path | None = None) -> Places:
    """The cluster of these settings, or the one whose data lies in another home.

    Raises ConfigError for a path that PostgreSQL's own programs could not quote for the shell they use.
    """
    places = Places((home or settings.home).expanduser().absolute())
    if bad := sorted(set(str(places.home)) & _UNQUOTABLE):
        raise ConfigError(
            f"the home {str(places.home)!r} has {' and '.join(map(repr, bad))} in its path, "
            "which PostgreSQL's programs do not stand",
            hint="set FRAMEHOUSE_HOME to a path without them (spaces are fine)",
        )
    return places


def server_dir(settings: Settings) -> Path:
    """Where programs are installed, whichever home the data has."""
    return places_of(settings).home / "server"


def nearest_folder(path: Path) -> Path:
    """The path itself, or the nearest parent that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def make_folder(path: Path) -> None:
    """Make a folder and its missing parents; those made for root can be entered by the server's user."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        try:
            folder.mkdir(exist_ok=True)
            if os.geteuid() == 0:
                folder.chmod(0o755)
        except OSError as error:
            raise StartError(
                f"{folder} cannot be made: {error.strerror}",
                hint="set FRAMEHOUSE_HOME to a folder that you may write",
            ) from error


def make_private_folder(path: Path, account: Account) -> None:
    """Make a folder that only the server's account (and root) can enter.

    Raises StartError when someone else made it first: in a shared folder that may be an attack.
    """
    try:
        path.mkdir(mode=0o700)
        account.own(path)
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {account.uid, os.geteuid()}:
            raise StartError(
                f"{path} is there already and belongs to someone else", hint=f"remove {path}"
            ) from None
        account.own(path)
        path.chmod(0o700)
    except OSError as error:
        raise StartError(f"{path} cannot be made: {error.strerror}") from error


def remove_folder(path: Path) -> None:
    """Remove a folder in which a killed starter's programs may still write: they end once their files are gone.

    What does not go within two seconds stays, for the next time.
    """
    for _ in range(40):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(0.05)


def write_file(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace a file's content at once: a reader or a power cut sees the old text or the new, whole."""
    draft = path.with_name(f".{path.name}.{os.getpid()}{_DRAFT}")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def remove_drafts(folder: Path) -> None:
    """Remove what killed writers of files left in a folder."""
    for left in folder.glob(f".*{_DRAFT}"):
        left.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty when the file is missing or was damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, value: dict[str, Any]) -> None:
    """A JSON object into a file, at once."""
    write_file(path, json.dumps(value, indent=2, sort_keys=True) + "\n")
