"""`framehouse up | down | status | psql`: the database of this machine."""

import dataclasses
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from framehouse.config import Settings, environment, settings
from framehouse.errors import ConfigError, NoServerError

if TYPE_CHECKING:
    from framehouse.embedded import Server, Status

#: What systemctl answers for a service that does not run.
NOT_RUNNING = 3

_ORIGINS = {
    "given": "given by FRAMEHOUSE_DATABASE_URL",
    "machine": "found on this machine",
    "installed": "installed by framehouse from Debian's packages",
}


@click.command()
@click.option("--tcp", is_flag=True, help="Also listen on 127.0.0.1, with a generated password.")
def up(tcp: bool) -> None:
    """Start the embedded TimescaleDB and bring its schema up to date.

    What is missing is installed first, into FRAMEHOUSE_HOME: no root, no container, no compiler. Run it as often as
    you like; a server that runs is left alone. Without --tcp only this account (and root) can connect, over a Unix
    socket. With FRAMEHOUSE_DATABASE_URL set, that server is used and only its schema is brought up to date.

    \b
    framehouse up                  a server for this machine
    framehouse up --tcp            ... that other accounts' programs can reach with a password
    FRAMEHOUSE_HOME=/mnt/nvme/framehouse framehouse up      ... with its data on another disk
    """
    from framehouse.cli.console import TerminalReporter
    from migrations import upgrade

    chosen = settings()
    with TerminalReporter() as report:
        server = _embedded().up(chosen, report, tcp=tcp)
        applied = upgrade(server.url, report)
    _print_server(chosen, server, len(applied))


@click.command()
def down() -> None:
    """Stop the embedded TimescaleDB. Its data stays.

    Clients are disconnected, everything that was acknowledged is on disk.

    \b
    framehouse down
    framehouse up                  the same data again
    """
    from framehouse.cli.console import TerminalReporter

    chosen = settings()
    with TerminalReporter() as report:
        was_running = _embedded().down(chosen, report)
    click.echo("the embedded database is stopped" if was_running else "no embedded database was running")
    if chosen.database_url is not None:
        click.echo("the server of FRAMEHOUSE_DATABASE_URL is not framehouse's to stop")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Say what runs, where, and in which version. Exits 0 when the database runs, 3 when it does not.

    \b
    framehouse status
    framehouse status --json | jq -r .url
    """
    found: Status = _embedded().status(settings())
    if as_json:
        click.echo(json.dumps(_record(found), indent=2))
    else:
        for label, text in _lines(found):
            click.echo(f"{click.style(f'{label:<12}', dim=True)}{text}")
    if not found.is_running:
        ctx.exit(NOT_RUNNING)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> None:
    """Open psql on the warehouse. Every further argument is psql's own.

    \b
    framehouse psql                                       a session
    framehouse psql -c 'select count(*) from telemetry.performance_metrics'
    framehouse psql -f report.sql --csv
    framehouse psql -- --help                             psql's own help
    """
    connection = _embedded().connection(settings())
    if connection.psql is None:
        raise NoServerError(
            "there is no psql on this machine",
            hint="apt-get install postgresql-client (FRAMEHOUSE_DATABASE_URL names a server, not its programs)",
        )
    os.execve(  # noqa: S606 - psql takes this process's place: its terminal, its exit status
        connection.psql,
        [str(connection.psql), *connection.arguments, *arguments],
        environment(**connection.variables),
    )


def _embedded() -> ModuleType:
    try:
        from framehouse import embedded
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"this installation is the client alone: {error.name} is missing",
            hint="pip install 'framehouse[demo]'",
        ) from error
    return embedded


def _print_server(chosen: Settings, server: "Server", applied: int) -> None:
    version = f"PostgreSQL {server.version}, " if server.version else ""
    click.secho("the warehouse is up", fg="green")
    click.echo(f"  server    {version}{_ORIGINS[server.origin]}")
    if server.origin != "given":
        click.echo(f"  data      {chosen.home / 'data'}")
    click.echo(f"  url       {_shown(server.url)}")
    if server.origin != "given" and "127.0.0.1" in server.url:
        click.echo(f"  password  in {chosen.home / 'password'}")
    click.echo(f"  schema    {f'{applied} migrations applied' if applied else 'up to date'}")
    click.echo("  next      framehouse status | psql | serve | down")


def _lines(found: "Status") -> list[tuple[str, str]]:
    color = {"running": "green", "starting": "yellow"}.get(found.state, "red")
    state = click.style(found.state, fg=color, bold=True)
    if found.started_at is not None:
        state += f" for {_ago(found.started_at)}" + (f" (pid {found.pid})" if found.pid else "")
    lines: list[tuple[str, str | Path | None]] = [
        ("database", state),
        ("server", _ORIGINS.get(found.origin or "")),
        ("PostgreSQL", found.version),
        ("TimescaleDB", f"{found.timescaledb} ({found.edition} edition)" if found.timescaledb else None),
        ("size", f"{found.size_mb:,.1f} MiB" if found.size_mb is not None else None),
        ("url", _shown(found.url) if found.url else None),
        ("tcp", f"{found.tcp} (password in {found.home}/password)" if found.tcp else None),
        ("account", found.account),
        ("home", found.home),
        ("data", found.data_dir),
        ("log", found.log_dir),
        ("programs", found.bin_dir),
        ("next", "framehouse up" if found.state in {"stopped", "absent", "starting"} else None),
    ]
    return [(label, str(text)) for label, text in lines if text]


def _record(found: "Status") -> dict[str, Any]:
    record = {key: _plain(value) for key, value in dataclasses.asdict(found).items()}
    return {**record, "url": _shown(found.url) if found.url else None}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value) if isinstance(value, Path) else value


def _shown(url: str) -> str:
    """A URL as it may be shown: its password is nobody's to read over a shoulder."""
    from framehouse.embedded.client import split_password

    return split_password(url)[0]


def _ago(instant: datetime) -> str:
    seconds = int((datetime.now(UTC) - instant).total_seconds())
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if (count := seconds // size) > 0:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "less than a minute"
