"""The race by itself, for as long as one likes: `python -m tests.conformance.race --seconds 600`."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import psycopg

import migrations
from framehouse import embedded
from framehouse.config import read
from framehouse.warehouse import Warehouse
from framehouse.warehouse.build import build
from tests.conformance.race import CAST, race
from tests.conftest import SERVER_VARIABLE, TestServer


@click.command()
@click.option("--seconds", type=float, default=600.0, show_default=True, help="How long.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of who is killed when.")
@click.pass_context
def run(ctx: click.Context, seconds: float, seed: int) -> None:
    """Race, say what was found, and exit 1 if anything was wrong."""
    with _database() as url:
        with psycopg.connect(url) as connection:
            row = connection.execute(
                """select version(), extversion, current_setting('timescaledb.license')
                   from pg_extension where extname = 'timescaledb'"""
            ).fetchone()
        click.echo("; ".join(row or ()))
        result = race(url, seconds, seed=seed, cast=(*CAST, "renew"), tell=click.echo)
        click.echo(result)
        for line in [*result.wrong[:20], *result.failures]:
            click.echo(line)
    ctx.exit(1 if result.wrong or result.failures or result.deadlocks else 0)


@contextmanager
def _database() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="framehouse-race-"))
    folder.chmod(0o755)  # as root the server runs as another user, who must be able to enter
    settings = read(os.environ)
    given = os.environ.get(SERVER_VARIABLE)
    try:
        server = TestServer(given or embedded.up(settings, home=folder).url, "")
        url = server.create()
        try:
            migrations.upgrade(url)
            with Warehouse(url) as warehouse:
                build(warehouse, log_dir=folder / "log")
            yield url
        finally:
            server.drop(url)
    finally:
        if given is None:
            embedded.down(settings, home=folder)
        shutil.rmtree(folder, ignore_errors=True)
