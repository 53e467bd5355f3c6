"""`framehouse backup` and `framehouse restore`: the warehouse in a file, and back."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from framehouse.cli.opened import opened
from framehouse.config import settings
from framehouse.errors import BackupError, NoServerError

if TYPE_CHECKING:
    from framehouse.warehouse.backup import Programs

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
def backup(file: Path, force: bool) -> None:
    """Write the whole warehouse into FILE, as of one instant, and read it back.

    Raw rows, cells, marks, quarantine, estimates: everything. Services go on meanwhile. The file appears when it is
    complete; it is pg_dump's custom format, and `framehouse restore` puts it into a warehouse of either edition.

    \b
    framehouse backup studio.backup
    framehouse backup /mnt/nas/framehouse-$(date +%F).backup
    """
    from framehouse.cli.console import TerminalReporter
    from framehouse.warehouse.backup import backup as write

    if file.exists() and not force:
        raise BackupError(f"{file} is there already", hint="another name, or --force to replace it")
    if not file.absolute().parent.is_dir():
        raise BackupError(f"there is no folder {file.absolute().parent}", hint="make it first")
    programs = _programs()
    with opened(settings(), "backup") as warehouse, TerminalReporter() as report:
        written = write(warehouse, file, programs=programs, report=report)
    click.secho(f"{file} is complete ({written.size_bytes / 2**20:,.1f} MiB)", fg="green")
    if written.left_out:
        click.echo(f"in the file, but a restore leaves it out: {', '.join(written.left_out)}")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def restore(file: Path) -> None:
    """Put the backup in FILE into an empty warehouse.

    The schema and the rollups are made first, as this version and the server's edition have them; rollups that only
    an older version knew are made again by their stored definitions. All of it is restored or, if anything goes wrong,
    none.

    \b
    FRAMEHOUSE_HOME=/srv/framehouse framehouse restore studio.backup
    FRAMEHOUSE_DATABASE_URL=postgresql://... framehouse restore studio.backup
    """
    from framehouse import embedded
    from framehouse.cli.build import build_rollups
    from framehouse.cli.console import TerminalReporter
    from framehouse.warehouse.restore import restore as bring_back
    from migrations import upgrade

    chosen = settings()
    with TerminalReporter() as report:
        url = embedded.up(chosen, report).url
        with opened(settings(), "backup") as warehouse:
            rows = bring_back(
                warehouse,
                file,
                pg_restore=_programs().pg_restore,
                upgrade=lambda: upgrade(url, report),
                build=lambda models: build_rollups(url, chosen, report, extra_models=models),
                report=report,
            )
    click.secho(f"{rows:,} rows are restored; next: framehouse serve", fg="green")


def _programs() -> "Programs":
    from framehouse import embedded
    from framehouse.config import environment
    from framehouse.warehouse.backup import Programs

    found = embedded.connection(settings())
    if found.psql is None or not found.psql.with_name("pg_dump").exists():
        raise NoServerError(
            "there is no pg_dump on this machine",
            hint="apt-get install postgresql-client (FRAMEHOUSE_DATABASE_URL names a server, not its programs)",
        )
    return Programs(found.psql.parent, found.arguments, environment(**found.variables))
