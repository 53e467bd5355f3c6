"""The settings, read once from FRAMEHOUSE_* and frozen. Nothing else in framehouse reads the environment.

Standard library alone: the engine-side client imports it inside other people's processes.
"""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from framehouse.errors import ConfigError, QueryError
from framehouse.zones import zone

DEFAULT_PORT = 8700
_OFF = {"0", "false", "no", "off"}
_ON = {"1", "true", "yes", "on", ""}


@dataclass(frozen=True, slots=True)
class Settings:
    """What FRAMEHOUSE_* says.

    home                 installed server, data, spool and logs (FRAMEHOUSE_HOME)
    database_url         a PostgreSQL to use instead of the embedded one (FRAMEHOUSE_DATABASE_URL)
    debian_mirror        where Debian's packages come from (FRAMEHOUSE_DEBIAN_MIRROR)
    api_url              where clients send events (FRAMEHOUSE_URL)
    host, port           where the API listens (FRAMEHOUSE_HOST, FRAMEHOUSE_PORT)
    studio_zone          IANA zone of the studio's days (FRAMEHOUSE_STUDIO_ZONE); fixed at the first build;
                         None: the zone already built, UTC on a new warehouse
    is_collecting        `framehouse run` measures (FRAMEHOUSE_METRICS, 0 switches it off)
    is_probing_cloud     ask the cloud's metadata service for the instance type (FRAMEHOUSE_CLOUD_METADATA)
    instance_type        AWS_INSTANCE_TYPE
    """

    home: Path
    database_url: str | None
    debian_mirror: str | None
    api_url: str
    host: str
    port: int
    studio_zone: str | None
    is_collecting: bool
    is_probing_cloud: bool
    instance_type: str | None

    @property
    def spool_dir(self) -> Path:
        """Where events wait that could not be sent."""
        return self.home / "spool"

    @property
    def log_dir(self) -> Path:
        return self.home / "log"


def read(env: Mapping[str, str]) -> Settings:
    """Settings from an environment. Raises ConfigError that names the variable and what would be right."""
    port = _port(env)
    host = env.get("FRAMEHOUSE_HOST", "127.0.0.1")
    return Settings(
        home=_home(env),
        database_url=_database_url(env),
        debian_mirror=env.get("FRAMEHOUSE_DEBIAN_MIRROR") or None,
        api_url=(env.get("FRAMEHOUSE_URL") or f"http://127.0.0.1:{port}").rstrip("/"),
        host=host,
        port=port,
        studio_zone=_zone(env),
        is_collecting=_flag(env, "FRAMEHOUSE_METRICS"),
        is_probing_cloud=_flag(env, "FRAMEHOUSE_CLOUD_METADATA"),
        instance_type=env.get("AWS_INSTANCE_TYPE") or None,
    )


@cache
def settings() -> Settings:
    """This process's settings."""
    return read(os.environ)


def environment(**overrides: str | None) -> dict[str, str]:
    """This process's environment for a child, with some variables set (or, with None, left out)."""
    env = dict(os.environ)
    for name, value in overrides.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = value
    return env


def _home(env: Mapping[str, str]) -> Path:
    if given := env.get("FRAMEHOUSE_HOME"):
        path = Path(given).expanduser()
        if not path.is_absolute():
            raise ConfigError(
                f"FRAMEHOUSE_HOME is {given!r}, a relative path",
                hint="give an absolute path such as /srv/framehouse",
            )
        return path
    if os.geteuid() == 0:
        # The server runs as a dedicated user, who cannot enter root's own home.
        return Path("/var/lib/framehouse")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "framehouse"
    data = env.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "framehouse"


def _database_url(env: Mapping[str, str]) -> str | None:
    """A PostgreSQL URL with one host, or None. Messages never repeat it: it may hold a password."""
    url = env.get("FRAMEHOUSE_DATABASE_URL")
    if not url:
        return None
    right = "give postgresql://user:password@host:port/database; special characters as %40 and so on"
    try:
        parts = urlsplit(url)
        is_right = parts.scheme in {"postgresql", "postgres"} and "," not in parts.netloc
        _ = parts.port
    except ValueError:
        is_right = False
    if not is_right or re.search(r"%(?![0-9a-fA-F]{2})", url):
        raise ConfigError("FRAMEHOUSE_DATABASE_URL is no PostgreSQL URL with one host", hint=right)
    return url


def _port(env: Mapping[str, str]) -> int:
    text = env.get("FRAMEHOUSE_PORT") or str(DEFAULT_PORT)
    if text.isascii() and text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    raise ConfigError(f"FRAMEHOUSE_PORT is {text!r}", hint="give a number from 1 to 65535")


def _zone(env: Mapping[str, str]) -> str | None:
    name = env.get("FRAMEHOUSE_STUDIO_ZONE")
    if not name:
        return None
    try:
        return zone(name).key
    except QueryError as error:
        raise ConfigError(f"FRAMEHOUSE_STUDIO_ZONE: {error}", hint=error.hint) from None


def _flag(env: Mapping[str, str], name: str) -> bool:
    text = env.get(name, "1").strip().lower()
    if text in _OFF:
        return False
    if text in _ON:
        return True
    raise ConfigError(f"{name} is {text!r}", hint="give 1 or 0")
