"""`framehouse serve`: API, ingest and maintenance."""

import gc
import ipaddress
import logging
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from framehouse.cli.maintain import Keeper, log_to_stderr, stop_on_signals
from framehouse.config import Settings, settings
from framehouse.errors import ConfigError, UnreachableError

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

PATIENCE_SECONDS = 5.0
#: A request makes thousands of objects and hardly a cycle: to look for those after every 700 takes a quarter longer.
_OBJECTS_BETWEEN_COLLECTIONS = 50_000


@click.command()
@click.option("--host", help="Address to listen on.  [default: FRAMEHOUSE_HOST or 127.0.0.1]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 takes a free one.  [default: FRAMEHOUSE_PORT or 8700]",
)
@click.option(
    "--only",
    type=click.Choice(["api", "ingest", "maintenance"]),
    help="Serve one part: api (all routes), ingest (events, heartbeats, queue, quarantine), or maintenance.",
)
@click.option(
    "--maintain-every",
    "maintain_seconds",
    type=click.FloatRange(min=0.1, max=86400),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Rest between two rounds of maintenance.",
)
@click.option("--access-log", is_flag=True, help="Log every request.")
def serve(
    host: str | None, port: int | None, only: str | None, maintain_seconds: float, access_log: bool
) -> None:
    """Serve the API, take events, and keep the rollups up to date.

    Without FRAMEHOUSE_DATABASE_URL the embedded database is started (and stays up afterwards). A schema or rollups
    that are missing are made first. There is no login: listen on other addresses only behind a proxy that has one,
    and that limits slow connections.

    \b
    framehouse serve
    framehouse serve --port 8080 --access-log
    framehouse serve --only ingest --port 8701
    """
    chosen = settings()
    listener = (
        None if only == "maintenance" else _listen(host or chosen.host, chosen.port if port is None else port)
    )
    url = _prepared(chosen)
    log_to_stderr()
    keeper = Keeper(lambda: _alive(chosen), maintain_seconds) if only in {None, "maintenance"} else None
    if listener is None:
        assert keeper is not None
        stop_on_signals(keeper.stop)
        click.echo(f"maintaining the warehouse every {maintain_seconds:g} s")
        keeper.run()
        return
    maintenance = (
        threading.Thread(target=keeper.run, name="framehouse maintenance", daemon=True) if keeper else None
    )
    try:
        _serve(chosen, url, listener, maintenance, access_log=access_log, is_ingest_only=only == "ingest")
    finally:
        if keeper is not None and maintenance is not None and maintenance.is_alive():
            keeper.stop()
            maintenance.join(PATIENCE_SECONDS)  # it may be killed at any moment, so nobody waits long for it


def _alive(chosen: Settings) -> str:
    """The URL of the database; an embedded server that died is started again, one that was stopped is not."""
    from framehouse import embedded

    try:
        return embedded.database_url(chosen)
    except UnreachableError:
        if not embedded.has_died(chosen):
            raise
        return embedded.up(chosen).url


def _prepared(chosen: Settings) -> str:
    """The URL of a running database with schema and rollups."""
    from framehouse import embedded
    from framehouse.cli.build import build_rollups
    from framehouse.cli.console import TerminalReporter
    from migrations import upgrade

    with TerminalReporter() as report:
        server = embedded.up(chosen, report)
        upgrade(server.url, report)
        build_rollups(server.url, chosen, report, only_if_changed=True)
    return server.url


def _listen(host: str, port: int) -> socket.socket:
    """A socket with the address, taken before anything slow begins; it listens later. Raises ConfigError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ConfigError(
            f"there is no address {host!r}: {error.strerror}", hint="--host 127.0.0.1"
        ) from error
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {_shown(host, port)}: {error.strerror}",
            hint="another --port (or FRAMEHOUSE_PORT), such as --port 0 for any free one",
        ) from error
    listener.set_inheritable(True)
    return listener


def _serve(
    chosen: Settings,
    url: str,
    listener: socket.socket,
    maintenance: threading.Thread | None,
    *,
    access_log: bool,
    is_ingest_only: bool,
) -> None:
    from api import create_app

    app = create_app(chosen, url=url, is_ingest_only=is_ingest_only)
    host, port = listener.getsockname()[:2]
    where = f"http://{_shown(host, port)}"

    def announce() -> None:
        click.secho(f"framehouse listens on {where}", fg="green")
        click.echo(f"  docs     {where}/docs")
        click.echo(f"  health   {where}/readyz   {where}/metrics")
        if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            click.secho(
                "  anyone who can reach this address can read and write: there is no login", fg="yellow"
            )
        if maintenance is not None:
            maintenance.start()

    server = _server(app, access_log, announce)
    gc.collect()
    gc.freeze()  # what is there now stays until the end
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, *gc.get_threshold()[1:])
    # While uvicorn runs it has handlers of its own, and raises the signal again when it has stopped.
    stop_on_signals(lambda: setattr(server, "should_exit", True))
    server.run(sockets=[listener])
    click.echo("framehouse stopped")


def _server(app: "FastAPI", access_log: bool, announce: Callable[[], None]) -> "uvicorn.Server":
    from api.server import Server

    class Announcing(Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                announce()

    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    return Announcing(app, access_log=access_log)


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
