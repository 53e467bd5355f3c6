"""`framehouse ...` in this process, on a test's own database."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from click.testing import CliRunner, Result

from framehouse.cli import backup, budget, build, rates, retention
from framehouse.cli.main import cli
from framehouse.config import Settings

Command = Callable[..., Result]


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command on a database: its result. Whatever goes wrong has to be said, never thrown."""

    def run(url: str, *arguments: object, answer: str | None = None, zone: str | None = None) -> Result:
        chosen = replace(settings, database_url=url, studio_zone=zone)
        for module in (backup, budget, build, rates, retention):
            monkeypatch.setattr(module, "settings", lambda: chosen)
        done = CliRunner().invoke(cli, [str(argument) for argument in arguments], input=answer)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return done

    return run
