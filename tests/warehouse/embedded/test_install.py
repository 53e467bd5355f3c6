"""Finding and installing programs: what is taken, what is refused, and in which words."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock

from framehouse import embedded
from framehouse.config import Settings
from framehouse.embedded import install as installation
from framehouse.embedded import programs
from framehouse.embedded.account import Account
from framehouse.embedded.apt import sources
from framehouse.embedded.client import split_password
from framehouse.embedded.configuration import Listen, server_settings
from framehouse.embedded.install import install, installed
from framehouse.embedded.lock import locked
from framehouse.embedded.places import Places, read_json, write_json
from framehouse.embedded.programs import Programs, Unfit, find_on_machine, find_psql, inspect, is_at_least
from framehouse.errors import EmbeddedError, InstallError, StartError
from framehouse.progress import SILENT
from tests.warehouse.embedded.conftest import Listener


def test_what_was_installed_runs_and_needs_no_network(
    chosen: Settings, unpacked: Programs, account: Account
) -> None:
    server_dir = chosen.home / "server"
    assert installed(server_dir, account)[0] == unpacked
    nowhere = "file:/nowhere/at/all"
    assert install(server_dir, nowhere, account, SILENT) == unpacked
    assert find_psql(server_dir) == unpacked.path("psql")


def test_a_mirror_that_is_not_there_is_named(home: Path, account: Account) -> None:
    with pytest.raises(InstallError, match="/nowhere/at/all") as failure:
        install(home / "server", "file:/nowhere/at/all", account, SILENT)
    assert failure.value.hint is not None
    assert "FRAMEHOUSE_DEBIAN_MIRROR" in failure.value.hint
    assert [path.name for path in (home / "server").iterdir()] == [".install.lock"]


def test_an_unsigned_mirror_is_refused(home: Path, account: Account) -> None:
    suite = home / "mirror" / "dists" / "trixie"
    (suite / "main" / "binary-amd64").mkdir(parents=True)
    (suite / "main" / "binary-amd64" / "Packages").touch()
    (suite / "Release").write_text("Suite: trixie\nCodename: trixie\nComponents: main\n", encoding="utf-8")
    with pytest.raises(InstallError, match="not signed"):
        install(home / "server", f"file:{home / 'mirror'}".replace(" ", "%20"), account, SILENT)


def test_an_interrupted_installation_counts_for_nothing_and_is_removed(
    home: Path, unpacked: Programs, account: Account
) -> None:
    server_dir = home / "server"
    tree = unpacked.bin_dir.parents[4]
    unfinished = server_dir / tree.name
    unfinished.mkdir(parents=True)
    shutil.copytree(unpacked.bin_dir, unfinished / "usr" / "lib" / "postgresql" / "17" / "bin")
    (server_dir / ".unpacking-abc" / "tree").mkdir(parents=True)
    assert installed(server_dir, account) == []
    with pytest.raises(InstallError):
        install(server_dir, "file:/nowhere/at/all", account, SILENT)
    assert [path.name for path in server_dir.iterdir()] == [".install.lock"]


def test_programs_count_only_where_they_were_installed(
    home: Path, unpacked: Programs, account: Account
) -> None:
    tree = unpacked.bin_dir.parents[4]
    manifest = read_json(tree / "framehouse.json")
    assert manifest["path"] == str(tree.resolve())
    moved = home / "server" / tree.name
    moved.mkdir(parents=True)
    write_json(moved / "framehouse.json", manifest)
    assert installed(home / "server", account) == []


def test_too_little_room_is_said_before_anything_is_fetched(
    home: Path, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    free_mb = shutil.disk_usage(home).free // 2**20
    monkeypatch.setattr(installation, "NEEDED_MB", free_mb + 2**20)
    with pytest.raises(InstallError, match="MiB free") as failure:
        install(home / "server", "file:/nowhere/at/all", account, SILENT)
    assert "make room" in str(failure.value.hint)


def test_the_source_list_names_a_given_mirror_and_checks_signatures() -> None:
    (line,) = sources("file:/srv/debian")
    assert line.startswith("deb [signed-by=/")
    assert line.endswith("] file:/srv/debian trixie main")


def test_a_folder_without_timescaledb_is_unfit(home: Path, unpacked: Programs, account: Account) -> None:
    bare = home / "usr" / "lib" / "postgresql" / "17" / "bin"
    bare.mkdir(parents=True)
    for name in ("postgres", "initdb", "psql", "createdb"):
        (bare / name).symlink_to(unpacked.path(name))
    fit, unfit = find_on_machine(account, [str(bare)])
    assert bare.resolve() not in [programs.bin_dir for programs in fit]
    assert Unfit(bare.resolve(), f"is PostgreSQL {unpacked.version} without TimescaleDB") in unfit
    assert inspect(home, "machine", account) == Unfit(home, "has no postgres, initdb, psql, createdb")


def test_a_home_that_the_servers_user_cannot_enter_is_not_widened(
    home: Path, chosen: Settings, account: Account
) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    if not account.is_dedicated:  # an ordinary user is its own server's user
        assert embedded.up(chosen, home=closed / "home").origin in {"machine", "installed"}
        assert embedded.down(chosen, home=closed / "home") is True
        return
    with pytest.raises(StartError, match="may not enter") as failure:
        embedded.up(chosen, home=closed / "home")
    assert str(closed) in str(failure.value)
    assert closed.stat().st_mode & 0o777 == 0o700
    assert list(closed.iterdir()) == []


def test_who_waits_says_for_what(tmp_path: Path, listener: Listener) -> None:
    held = FileLock(tmp_path / "lock", is_singleton=False)

    class LetGo(Listener):
        def step(self, text: str) -> None:
            super().step(text)
            held.release()

    waiter = LetGo()
    held.acquire()
    with locked(tmp_path / "lock", waiter, purpose="installing the database"):
        assert waiter.steps == ["waiting: another framehouse is installing the database"]
    with locked(tmp_path / "lock", listener, purpose="installing the database"):
        assert listener.steps == []


def test_a_lock_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path, listener: Listener) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError), locked(tmp_path / "file" / "lock", listener, purpose="starting"):
        raise AssertionError("the lock was taken")


@pytest.mark.parametrize(
    ("url", "bare", "password"),
    [
        ("postgresql://a:s%40c@h:1/d?sslmode=require", "postgresql://a@h:1/d?sslmode=require", "s@c"),
        ("postgresql:///d?host=%2Frun%2Fx&user=a&password=p", "postgresql:///d?host=%2Frun%2Fx&user=a", "p"),
        ("postgresql:///d?host=%2Frun%2Fx", "postgresql:///d?host=%2Frun%2Fx", None),
        ("postgresql://a:p@h1:1,h2:2/d", "postgresql://a@h1:1,h2:2/d", "p"),
    ],
)
def test_passwords_stay_out_of_arguments(url: str, bare: str, password: str | None) -> None:
    assert split_password(url) == (bare, password)


@pytest.mark.parametrize(
    ("memory", "shared_buffers"), [(512, "128MB"), (24576, "3072MB"), (524288, "4096MB")]
)
def test_shared_buffers_follow_the_memory(memory: int, shared_buffers: str) -> None:
    text = server_settings(Places(Path("/srv/it's")), Listen(Path("/run/x"), 5432, tcp=False), memory)
    assert f"shared_buffers = '{shared_buffers}'" in text
    assert "log_directory = '/srv/it''s/log/postgresql'" in text


@pytest.mark.parametrize(
    ("version", "other", "is_newer"),
    [("2.41", "2.41-12+deb13u4", True), ("2.36", "2.41-12", False), ("2.100", "2.41-1", True)],
)
def test_versions_compare_by_number(version: str, other: str, is_newer: bool) -> None:
    assert is_at_least(version, other) is is_newer


def test_an_installation_into_another_home_finds_its_own(chosen: Settings, home: Path) -> None:
    assert embedded.status(replace(chosen, home=home)).state == "absent"
    assert list(home.iterdir()) == []


def test_the_newest_psql_is_taken_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pg_dump lies beside it, and refuses a server that is newer than itself."""

    def put(folder: Path, version: str) -> Path:
        folder.mkdir(parents=True)
        path = folder / "psql"
        path.write_text(f"#!/bin/sh\necho 'psql (PostgreSQL) {version} (Debian)'\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    server_dir, machine, on_path = (tmp_path / name for name in ("server", "machine", "path"))
    monkeypatch.setattr(programs, "MACHINE_FOLDERS", (f"{machine}/*/bin",))
    monkeypatch.setattr(programs.shutil, "which", partial(shutil.which, path=str(on_path)))
    assert find_psql(server_dir) is None
    put(machine / "9" / "bin", "9.6")
    fifteen = put(machine / "15" / "bin", "15.18")
    assert find_psql(server_dir) == fifteen
    first = put(on_path, "15.18")
    assert find_psql(server_dir) == fifteen
    put(on_path.with_name("newer"), "17.2").replace(first)
    assert find_psql(server_dir) == first
    own = put(server_dir / "a" / "usr" / "lib" / "postgresql" / "17" / "bin", "17.6")
    assert find_psql(server_dir) == own
    eighteen = put(machine / "18" / "bin", "18beta1")
    assert find_psql(server_dir) == eighteen
    eighteen.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    assert find_psql(server_dir) == own
