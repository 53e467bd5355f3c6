"""The server's configuration files, written anew at every start from what the machine has."""

from dataclasses import dataclass
from pathlib import Path

import psutil

from framehouse.embedded.account import Account
from framehouse.embedded.places import Places, make_folder, write_file

SUPERUSER = "framehouse"
DATABASE = "framehouse"
MAX_CONNECTIONS = 200
#: TimescaleDB keeps one worker for each database; a test run has many.
TIMESCALEDB_WORKERS = 128
#: Besides those: TimescaleDB's launcher and logical replication's, and PostgreSQL's own parallel workers.
OTHER_WORKERS = 24

_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the server listens: its socket folder, its port, and whether TCP on loopback is on."""

    socket: Path
    port: int
    tcp: bool


def write_configuration(places: Places, listen: Listen, account: Account) -> None:
    """Write postgresql.conf, pg_hba.conf and pg_ident.conf into the home's `conf` folder; local.conf only once."""
    make_folder(places.settings)
    if not (places.settings / "local.conf").exists():
        write_file(places.settings / "local.conf", _LOCAL)
    write_file(places.settings / "postgresql.conf", server_settings(places, listen, memory_mb()))
    write_file(places.settings / "pg_hba.conf", _HBA)
    write_file(places.settings / "pg_ident.conf", _identities(account))


def server_settings(places: Places, listen: Listen, memory: int) -> str:
    """The text of postgresql.conf for a machine with so many MiB of memory."""
    values: dict[str, str | int] = {
        "cluster_name": "framehouse",
        # Who may come in, and where.
        "listen_addresses": "127.0.0.1" if listen.tcp else "",
        "port": listen.port,
        "unix_socket_directories": _quoted_folder(listen.socket),
        "unix_socket_permissions": "0700",
        "hba_file": str(places.settings / "pg_hba.conf"),
        "ident_file": str(places.settings / "pg_ident.conf"),
        "password_encryption": "scram-sha-256",
        "max_connections": MAX_CONNECTIONS,
        # A client that was killed in the middle of a long statement gives its locks back, not only at its end.
        "client_connection_check_interval": "2s",
        # TimescaleDB.
        "shared_preload_libraries": "timescaledb",
        "timescaledb.telemetry_level": "off",
        "timescaledb.max_background_workers": TIMESCALEDB_WORKERS,
        "max_worker_processes": TIMESCALEDB_WORKERS + OTHER_WORKERS,
        "max_locks_per_transaction": 256,
        "jit": "off",
        # Durability is never traded for speed.
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        # After a checkpoint the first change of a page writes all of it, and the ledger's keys fall on pages at random.
        "checkpoint_timeout": "15min",
        "max_wal_size": "4GB",
        # Memory: the machine's GPUs and encoders want theirs too.
        "shared_buffers": f"{min(max(memory // 8, 128), 4096)}MB",
        "effective_cache_size": f"{max(memory // 2, 512)}MB",
        "maintenance_work_mem": f"{min(max(memory // 32, 64), 1024)}MB",
        "work_mem": "16MB",
        "random_page_cost": "1.1",
        # Days belong to the studio's zone, which queries name; the server speaks UTC.
        "timezone": "UTC",
        "log_timezone": "UTC",
        # A week of logs, overwritten day by day.
        "logging_collector": "on",
        "log_directory": str(places.log),
        "log_filename": "postgresql-%a.log",
        "log_truncate_on_rotation": "on",
        "log_rotation_age": "1d",
        "log_rotation_size": 0,
        "log_line_prefix": "%m [%p] %q%u@%d/%a ",
        "log_lock_waits": "on",
    }
    lines = "\n".join(f"{name} = '{_escaped(str(value))}'" for name, value in values.items())
    return (
        "# Written by framehouse at every start. Settings of your own belong into local.conf beside this file.\n"
        f"include_if_exists = '{_escaped(str(places.data / 'postgresql.conf'))}'\n"
        f"{lines}\n"
        "include 'local.conf'\n"
    )


def memory_mb() -> int:
    """The memory this process may count on, in MiB: the machine's, or the container's where that is less."""
    found = [psutil.virtual_memory().total]
    for path in _MEMORY_LIMITS:
        try:
            found.append(int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue  # no such controller, or "max"
    return int(min(found)) // 2**20


_LOCAL = """\
# Settings of your own: the last word, and never overwritten. For example: shared_buffers = '8GB'
# They count from the next `framehouse down` and `framehouse up` on.
"""

_HBA = """\
# Written by framehouse at every start.
# The socket's folder lets in the server's account and root alone; peer tells which of the two it is.
local   all             all                     peer map=framehouse
local   replication     all                     peer map=framehouse
host    all             all     127.0.0.1/32    scram-sha-256
"""


def _identities(account: Account) -> str:
    names = dict.fromkeys([account.name, "root"])
    lines = [f'framehouse "{name}" all' for name in names]
    return "# Written by framehouse at every start.\n" + "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    return value.replace("'", "''")


def _quoted_folder(folder: Path) -> str:
    # A list of folders: a comma or a space would end this one.
    return '"' + str(folder).replace('"', '""') + '"'
