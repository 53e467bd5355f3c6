"""A cluster: its data folder, the programs it was made with, its databases."""

import contextlib
import os
import secrets
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from framehouse.embedded import postmaster
from framehouse.embedded.account import Account
from framehouse.embedded.configuration import SUPERUSER, Listen, write_configuration
from framehouse.embedded.disk import check_room
from framehouse.embedded.places import (
    Places,
    make_folder,
    make_private_folder,
    read_json,
    remove_drafts,
    remove_folder,
    write_file,
    write_json,
)
from framehouse.embedded.programs import Programs, is_at_least
from framehouse.errors import InstallError, StartError
from framehouse.progress import Reporter

#: The Unix socket's folder belongs to one cluster, so its number need not differ from another's.
SOCKET_PORT = 5432
#: What a new cluster and its schema take, with room to spare.
NEEDED_MB = 128
_DRAFT = ".making-"


def is_made(places: Places) -> bool:
    """Whether the cluster's data exists. Raises StartError for a folder that holds something else."""
    try:
        entries = [path.name for path in places.data.iterdir()]
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StartError(
            f"{places.data} cannot be read: {error.strerror}",
            hint="start framehouse as the account that made it",
        ) from error
    if not entries:
        return False
    if "PG_VERSION" not in entries:
        raise StartError(
            f"{places.data} is no data folder of PostgreSQL",
            hint="move it away, or set FRAMEHOUSE_HOME to another folder",
        )
    return True


def major_of(places: Places) -> int:
    """The major version of PostgreSQL that the cluster's data was made with."""
    text = (places.data / "PG_VERSION").read_text(encoding="ascii").strip()
    if not text.isdigit():
        raise StartError(
            f"{places.data} was made by PostgreSQL {text!r}, which framehouse does not know",
            hint="move it away, or set FRAMEHOUSE_HOME to another folder",
        )
    return int(text)


def check_owner(places: Places, account: Account) -> None:
    """Raise StartError when the data belongs to another account than the one the server would run as."""
    owner = places.data.stat().st_uid
    if owner != account.uid:
        raise StartError(
            f"{places.data} belongs to user id {owner}, and the server would run as {account.name}",
            hint="start framehouse as the account that made it (as root: the one made by root), "
            "or set FRAMEHOUSE_HOME to another folder",
        )


def remembered(places: Places) -> dict[str, Any]:
    """What was kept of the cluster's programs: bin_dir, origin, version, timescaledb, edition, tcp_port."""
    return read_json(places.memory)


def remember(places: Places, programs: Programs) -> None:
    """Keep the programs that the cluster runs with."""
    known = remembered(places)
    now = {
        "bin_dir": str(programs.bin_dir),
        "origin": programs.origin,
        "version": programs.version,
        "timescaledb": programs.timescaledb,
        "edition": programs.edition,
    }
    if any(known.get(key) != value for key, value in now.items()):
        write_json(places.memory, {**known, **now})


def misfit(places: Places, programs: Programs) -> str | None:
    """Why those programs cannot run the cluster's data, or None when they can."""
    known = remembered(places)
    if programs.major != (major := major_of(places)):
        return f"{programs.bin_dir} is PostgreSQL {programs.major}, the data was made by {major}"
    if known.get("edition") == "community" and programs.edition == "apache":
        return f"{programs.bin_dir} offers TimescaleDB's Apache edition, the data needs Community"
    if not is_at_least(programs.timescaledb, str(known.get("timescaledb", "0"))):
        return (
            f"{programs.bin_dir} offers TimescaleDB {programs.timescaledb}, "
            f"older than the data's {known['timescaledb']}"
        )
    return None


def clean(places: Places) -> None:
    """Remove drafts that a killed starter left. The lock has to be held."""
    for left in places.home.glob(f"{_DRAFT}*"):
        remove_folder(left)
    for folder in (places.home, places.settings):
        remove_drafts(folder)


def make(programs: Programs, places: Places, account: Account, report: Reporter) -> None:
    """Run initdb into a draft and rename it into place: the data folder is there whole, or not at all."""
    check_room(places.home, NEEDED_MB, "a new database", StartError)
    report.step("making the data folder")
    draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=places.home))
    try:
        account.own(draft)
        done = account.run(
            [
                programs.path("initdb"),
                *("--pgdata", draft, "--username", SUPERUSER, "--encoding", "UTF8", "--data-checksums"),
                *("--auth-local", "peer", "--auth-host", "scram-sha-256", "--no-instructions"),
                *_locale(programs),
            ]
        )
        if done.returncode != 0:
            raise InstallError(
                f"initdb failed: {done.stderr.strip() or done.stdout.strip()}",
                hint="framehouse up (it begins anew)",
            )
        remember(places, programs)
        with contextlib.suppress(FileNotFoundError):
            places.data.rmdir()  # an empty folder, made by hand
        draft.rename(places.data)
        _sync_folder(places.home)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def launch(
    programs: Programs, places: Places, account: Account, report: Reporter, *, tcp: bool
) -> postmaster.Running:
    """Write the configuration and start the server."""
    make_folder(places.log.parent)
    make_private_folder(places.log, account)
    socket_dir = places.socket(account)
    make_private_folder(socket_dir, account)
    port = _tcp_port(places) if tcp else SOCKET_PORT
    write_configuration(places, Listen(socket_dir, port, tcp), account)
    return postmaster.start(programs, places, account, report)


def password(places: Places) -> str:
    """The password for TCP, made when first asked for."""
    try:
        found = places.password.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        found = ""
    if not found:
        found = secrets.token_urlsafe(24)
        write_file(places.password, found + "\n", mode=0o600)
    return found


def _locale(programs: Programs) -> list[str]:
    # PostgreSQL's own C.UTF-8 sorts the same whatever C library the machine has or gets.
    if programs.major >= 17:
        return ["--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
    return ["--locale", "C.UTF-8"]


def _tcp_port(places: Places) -> int:
    """The port that the cluster had before while it is free, otherwise a free one, remembered."""
    known = remembered(places)
    for wanted in (int(known.get("tcp_port") or 0), 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            port = int(probe.getsockname()[1])
        if port != wanted:
            write_json(places.memory, {**known, "tcp_port": port})
        return port
    raise StartError("127.0.0.1 has no free port", hint="framehouse up (without --tcp)")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
