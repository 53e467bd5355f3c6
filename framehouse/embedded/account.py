"""Who the server runs as: the person who starts it, or for root a dedicated user.

PostgreSQL refuses to run as root. Nothing here widens the permission of a folder that framehouse did not make.
"""

import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from framehouse.errors import StartError

DEDICATED = "framehouse"

#: What the server's programs see of the environment: a stray PGDATA or LD_LIBRARY_PATH must not reach them.
CLEAN_ENVIRONMENT: Mapping[str, str] = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True)
class Account:
    """An account of this machine. `is_dedicated`: it differs from the one this process runs as."""

    name: str
    uid: int
    gid: int
    is_dedicated: bool

    def run(
        self, argv: Sequence[str | Path], *, is_detached: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this account, in the root folder, with a clean environment; its output is kept.

        What a detached one leaves running is out of reach of this terminal's Ctrl-C and hang-up.
        """
        return subprocess.run(
            [str(part) for part in argv],
            env=dict(CLEAN_ENVIRONMENT),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            start_new_session=is_detached,
            user=self.uid if self.is_dedicated else None,
            group=self.gid if self.is_dedicated else None,
            extra_groups=[] if self.is_dedicated else None,
        )

    def own(self, path: Path) -> None:
        """Hand a file or folder that framehouse made to this account."""
        if self.is_dedicated:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def check_can_enter(self, folder: Path) -> None:
        """Raise StartError that names the first parent this account may not pass through."""
        if not self.is_dedicated or self._enters(folder):
            return
        for parent in (*reversed(folder.parents), folder):
            if not self._enters(parent):
                raise StartError(
                    f"the database's user {self.name} may not enter {parent}, so it cannot use {folder}",
                    hint="set FRAMEHOUSE_HOME to a folder that every user can reach, such as "
                    "/var/lib/framehouse (framehouse does not widen permissions of folders it did not make)",
                )

    def _enters(self, folder: Path) -> bool:
        return self.run(["/bin/sh", "-c", 'cd -- "$1"', "sh", folder]).returncode == 0


def server_account(*, create: bool) -> Account:
    """The account that owns the server's data. For root, `create` makes the dedicated user when it is missing.

    Raises StartError when there is no such account and none can be made.
    """
    if os.geteuid() != 0:
        return _own_account()
    try:
        entry = pwd.getpwnam(DEDICATED)
    except KeyError:
        if not create:
            raise StartError(
                f"there is no user {DEDICATED}, so no database was ever started here by root",
                hint="framehouse up",
            ) from None
        _add_user()
        entry = pwd.getpwnam(DEDICATED)
    if entry.pw_uid == 0:
        raise StartError(f"the user {DEDICATED} is root", hint="give it a user id of its own")
    return Account(DEDICATED, entry.pw_uid, entry.pw_gid, is_dedicated=True)


def _own_account() -> Account:
    uid = os.geteuid()
    try:
        return Account(pwd.getpwuid(uid).pw_name, uid, os.getegid(), is_dedicated=False)
    except KeyError:
        raise StartError(
            f"user id {uid} has no name on this machine, and PostgreSQL insists on one",
            hint=f"add a line for user id {uid} to /etc/passwd, or start the container as another user",
        ) from None


def _add_user() -> None:
    command = ["useradd", "--system", "--no-create-home", "--home-dir", "/", "--shell", _no_shell()]
    command += ["--gid", DEDICATED] if _has_group() else ["--user-group"]
    by_hand = " ".join([*command, DEDICATED])
    if shutil.which(command[0]) is None:
        raise StartError(
            f"PostgreSQL does not run as root, and there is no useradd here to make the user {DEDICATED}",
            hint=f"make a system user and group {DEDICATED} by hand, or start framehouse as an ordinary user",
        )
    done = subprocess.run([*command, DEDICATED], capture_output=True, text=True, check=False)
    # 9: the name exists by now; another framehouse was faster.
    if done.returncode not in {0, 9}:
        raise StartError(
            f"the user {DEDICATED} could not be made: {done.stderr.strip()}",
            hint=f"as root: {by_hand}",
        )


def _has_group() -> bool:
    try:
        grp.getgrnam(DEDICATED)
    except KeyError:
        return False
    return True


def _no_shell() -> str:
    return shutil.which("nologin", path="/usr/sbin:/sbin:/usr/bin:/bin") or "/bin/false"
