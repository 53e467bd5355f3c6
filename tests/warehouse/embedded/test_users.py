"""Who starts the server: root, whose server runs as a user of its own, and ordinary users, each with their own."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from framehouse.config import Settings, environment
from framehouse.embedded.account import DEDICATED
from framehouse.embedded.places import server_dir
from framehouse.embedded.programs import Programs
from tests.warehouse.embedded.conftest import Framehouse
from tests.warehouse.embedded.mirror import Mirror

ORDINARY = "nobody"
_COMMAND = ("-c", "from framehouse.cli.main import cli; cli()")

As = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def ordinary() -> pwd.struct_passwd:
    """An ordinary user; as one, the other tests are about oneself already."""
    if os.geteuid() != 0:
        pytest.skip("running as another user takes root")
    return pwd.getpwnam(ORDINARY)


@pytest.fixture
def their_home(ordinary: pwd.struct_passwd, chosen: Settings, programs: Programs) -> Iterator[Path]:
    """A home that the ordinary user owns, closed to everybody else."""
    assert programs.bin_dir.exists()
    folder = Path(tempfile.mkdtemp(prefix="framehouse ordinary "))
    (folder / "server").symlink_to(server_dir(chosen))
    shutil.chown(folder, ordinary.pw_uid, ordinary.pw_gid)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def as_ordinary(ordinary: pwd.struct_passwd, their_home: Path) -> Iterator[As]:
    """Runs the command as the ordinary user, on their home or another."""
    packages = [path for path in sys.path if path and not path.startswith(sys.base_prefix)]
    python = _python_for(ordinary)

    def run(
        *arguments: str, home: Path = their_home, program: Sequence[str] = _COMMAND
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [python, *program, *arguments],
            env=environment(
                FRAMEHOUSE_HOME=str(home),
                FRAMEHOUSE_DATABASE_URL=None,
                HOME="/nonexistent",
                PYTHONPATH=os.pathsep.join(packages),
                PATH=os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]),
            ),
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            user=ordinary.pw_uid,
            group=ordinary.pw_gid,
            extra_groups=[],
        )

    if (told := run("--help")).returncode != 0:
        pytest.skip(f"the user {ORDINARY} cannot run what is installed here: {told.stderr}")
    yield run
    run("down")


def _python_for(user: pwd.struct_passwd) -> str:
    """This interpreter where that user can run it (root's may lie in root's home), else the system's of its version."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/python{version}"):
        try:
            subprocess.run([python, "-c", ""], user=user.pw_uid, cwd="/", check=True)
        except OSError:
            continue
        return python
    pytest.skip(f"the user {ORDINARY} can run no Python {version} here")


def test_an_ordinary_users_server_runs_as_that_user(as_ordinary: As, their_home: Path) -> None:
    started = as_ordinary("up")
    assert started.returncode == 0, started.stderr
    found = json.loads(as_ordinary("status", "--json").stdout)
    assert (found["state"], found["account"]) == ("running", ORDINARY)
    assert psutil.Process(found["pid"]).username() == ORDINARY
    asked = as_ordinary("psql", "-Atc", "select current_user, inet_server_addr() is null")
    assert asked.stdout.strip() == "framehouse|t"
    assert as_ordinary("down").returncode == 0
    assert json.loads(as_ordinary("status", "--json").stdout)["state"] == "stopped"


def test_an_ordinary_user_installs_without_root(as_ordinary: As, their_home: Path, mirror: Mirror) -> None:
    (their_home / "server").unlink()
    installed = as_ordinary(program=mirror.up(their_home))
    assert installed.returncode == 0, installed.stderr
    assert json.loads(as_ordinary("status", "--json").stdout)["account"] == ORDINARY


def test_roots_server_runs_as_a_user_of_its_own_and_is_no_ordinary_users(
    framehouse: Framehouse, home: Path, as_ordinary: As
) -> None:
    assert framehouse("up").returncode == 0
    found = json.loads(framehouse("status", "--json").stdout)
    assert psutil.Process(found["pid"]).username() == DEDICATED
    for command in ("up", "down"):
        refused = as_ordinary(command, home=home)
        assert refused.returncode == 1
        assert "try: " in refused.stderr
        assert "Traceback" not in refused.stderr
    assert json.loads(framehouse("status", "--json").stdout)["pid"] == found["pid"]


def test_root_leaves_an_ordinary_users_server_alone(as_ordinary: As, their_home: Path) -> None:
    assert as_ordinary("up").returncode == 0
    script = Path(sysconfig.get_path("scripts")) / "framehouse"
    env = environment(FRAMEHOUSE_HOME=str(their_home), FRAMEHOUSE_DATABASE_URL=None)
    for command in ("up", "down"):
        refused = subprocess.run([script, command], env=env, capture_output=True, text=True, check=False)
        assert refused.returncode == 1
        assert "try: " in refused.stderr
    assert json.loads(as_ordinary("status", "--json").stdout)["state"] == "running"
