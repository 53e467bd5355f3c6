"""up, down, status: the ordinary life of an embedded server."""

import stat
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from framehouse import embedded
from framehouse.config import Settings
from framehouse.embedded import client, postmaster
from framehouse.embedded.account import Account
from framehouse.embedded.places import Places
from framehouse.embedded.programs import Programs
from framehouse.errors import ConfigError, StartError, UnreachableError
from tests.warehouse.embedded.conftest import Listener, Psql, Up


def test_the_second_up_finds_the_first_ones_server(
    up: Up, home: Path, chosen: Settings, listener: Listener
) -> None:
    assert embedded.status(chosen, home=home).state == "absent"
    first = up()
    pid = embedded.status(chosen, home=home).pid
    second = up(listener)
    assert second == first
    assert listener.steps == []
    assert embedded.status(chosen, home=home).pid == pid


def test_down_stops_and_up_brings_the_same_data_back(
    up: Up, home: Path, chosen: Settings, psql: Psql
) -> None:
    psql(up().url, "create table kept as select 42 as answer")
    assert embedded.down(chosen, home=home) is True
    assert embedded.status(chosen, home=home).state == "stopped"
    assert embedded.down(chosen, home=home) is False
    assert psql(up().url, "select answer from kept") == "42"


def test_status_tells_what_runs(
    up: Up, chosen: Settings, programs: Programs, places: Places, account: Account
) -> None:
    server = up()
    found = embedded.status(chosen, home=places.home)
    assert found.is_running
    assert (found.url, found.version, found.bin_dir) == (server.url, server.version, programs.bin_dir)
    assert (found.timescaledb, found.edition) == (programs.timescaledb, programs.edition)
    assert (found.home, found.data_dir, found.log_dir) == (places.home, places.data, places.log)
    assert found.account == account.name
    assert found.tcp is None
    assert found.size_mb is not None
    assert found.size_mb > 1


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("data_checksums", "on"),
        ("jit", "off"),
        ("timezone", "UTC"),
        ("server_encoding", "UTF8"),
        ("password_encryption", "scram-sha-256"),
        ("listen_addresses", ""),
        ("max_connections", "200"),
        ("timescaledb.telemetry_level", "off"),
    ],
)
def test_settings_are_durable_and_private(server_url: str, psql: Psql, setting: str, value: str) -> None:
    assert psql(server_url, f"show {setting}") == value


def test_text_sorts_the_same_whatever_the_machine(server_url: str, psql: Psql) -> None:
    assert (
        psql(server_url, "select string_agg(x, '' order by x) from unnest('{é,b,Z,a}'::text[]) x") == "Zabé"
    )
    assert psql(server_url, "select upper('é')") == "É"


def test_the_socket_is_nobody_elses(up: Up, places: Places, account: Account) -> None:
    up()
    for folder in (places.socket(account), places.data, places.log):
        found = folder.stat()
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (account.uid, 0o700)
    longest = str(places.socket(account) / ".s.PGSQL.65535.lock")
    assert len(longest.encode()) < 107


def test_tcp_takes_the_generated_password_and_no_other(
    up: Up, places: Places, psql: Psql, chosen: Settings, home: Path
) -> None:
    by_socket = up().url
    psql(by_socket, "create table kept ()")
    url = up(tcp=True).url
    parts = urlsplit(url)
    assert parts.hostname == "127.0.0.1"
    assert parts.password == places.password.read_text(encoding="ascii").strip()
    assert stat.S_IMODE(places.password.stat().st_mode) == 0o600
    assert psql(url, "select count(*) from kept") == "0"
    with pytest.raises(subprocess.CalledProcessError) as refused:
        psql(url.replace(str(parts.password), "wrong"), "select 1")
    assert "password authentication failed" in refused.value.stderr
    embedded.down(chosen, home=home)
    assert up(tcp=True).url == url
    assert embedded.status(chosen, home=home).tcp == f"127.0.0.1:{parts.port}"


def test_any_role_can_be_taken_over_the_socket(server_url: str, psql: Psql) -> None:
    psql(server_url, "create role analyst login")
    assert psql(server_url.replace("user=framehouse", "user=analyst"), "select current_user") == "analyst"
    psql(server_url, "drop role analyst")


def test_a_postgresql_of_the_machine_comes_first(
    up: Up, programs: Programs, home: Path, chosen: Settings
) -> None:
    server = up(machine_folders=[str(programs.bin_dir)])
    assert (server.origin, server.bin_dir) == ("machine", programs.bin_dir)
    assert embedded.status(chosen, home=home).origin == "machine"


def test_a_second_database_beside_the_first(up: Up, psql: Psql) -> None:
    assert psql(up(database="other one").url, "select current_database()") == "other one"
    assert psql(up().url, "select extname from pg_extension where extname = 'timescaledb'") == "timescaledb"


def test_local_settings_have_the_last_word(up: Up, places: Places, chosen: Settings, psql: Psql) -> None:
    up()
    embedded.down(chosen, home=places.home)
    (places.settings / "local.conf").write_text("work_mem = '5MB'\n", encoding="utf-8")
    assert psql(up().url, "show work_mem") == "5MB"


def test_a_mistake_in_local_settings_is_said_in_the_servers_words(
    up: Up, places: Places, chosen: Settings
) -> None:
    up()
    embedded.down(chosen, home=places.home)
    (places.settings / "local.conf").write_text("work_memory = 5\n", encoding="utf-8")
    with pytest.raises(StartError, match="unrecognized configuration parameter") as failure:
        up()
    assert failure.value.hint is not None
    assert "local.conf" in failure.value.hint


def test_no_server_no_url(chosen: Settings, home: Path) -> None:
    from dataclasses import replace

    with pytest.raises(UnreachableError) as failure:
        embedded.database_url(replace(chosen, home=home))
    assert failure.value.hint == "framehouse up"


def test_a_home_that_cannot_be_quoted_is_refused_at_once(chosen: Settings, home: Path) -> None:
    with pytest.raises(ConfigError, match="'\\$'"):
        embedded.up(chosen, home=home / "a$b")
    assert list(home.iterdir()) == []


def test_a_given_server_is_used_as_it_is(server_url: str, chosen: Settings) -> None:
    from dataclasses import replace

    given = replace(chosen, database_url=server_url)
    server = embedded.up(given)
    assert (server.url, server.origin) == (server_url, "given")
    assert embedded.database_url(given) == server_url
    assert embedded.status(given).state == "running"
    gone = replace(chosen, database_url=server_url.replace("port=", "port=1"))
    assert embedded.status(gone).state == "unreachable"
    with pytest.raises(UnreachableError) as failure:
        embedded.up(gone)
    assert "FRAMEHOUSE_DATABASE_URL" in str(failure.value.hint)


def test_the_pid_is_the_postmasters(up: Up, places: Places, account: Account) -> None:
    up()
    running = postmaster.find(places, account)
    assert running is not None
    assert running.is_ready
    url = client.socket_url(running, "framehouse")
    assert url.endswith("user=framehouse")


@pytest.fixture(scope="module")
def server_url(chosen: Settings, programs: Programs, account: Account) -> object:
    """One server for the tests that only look at it."""
    import shutil
    import tempfile

    from framehouse.embedded.places import places_of

    home = Path(tempfile.mkdtemp(prefix="framehouse-look-"))
    home.chmod(0o755)
    try:
        yield embedded.up(chosen, home=home).url
    finally:
        embedded.down(chosen, home=home)
        shutil.rmtree(places_of(chosen, home).socket(account), ignore_errors=True)
        shutil.rmtree(home)
