"""`framehouse build`: rollups and marts, by dbt."""

from typing import TYPE_CHECKING

import click

from framehouse.config import Settings, settings
from framehouse.errors import ConfigError

if TYPE_CHECKING:
    from framehouse.progress import Reporter


@click.command()
@click.option("--test", "is_testing", is_flag=True, help="Also run dbt's tests of the models.")
def build(is_testing: bool) -> None:
    """Build the rollups and marts with dbt, and compute what is new in them.

    What did not change is left alone. A changed definition is refused, with the way out.

    \b
    framehouse build
    framehouse build --test
    """
    from framehouse import embedded
    from framehouse.cli.console import TerminalReporter

    chosen = settings()
    with TerminalReporter() as report:
        build_rollups(
            embedded.database_url(chosen), chosen, report, command=("build",) if is_testing else ("run",)
        )
    click.secho("the rollups are built", fg="green")


def build_rollups(
    url: str,
    chosen: Settings,
    report: "Reporter",
    *,
    command: tuple[str, ...] = ("run",),
    only_if_changed: bool = False,
) -> None:
    """Build, one builder of a database at a time.

    Raises ConfigError when dbt is needed and not installed, and what the build raises.
    """
    from framehouse.warehouse import Warehouse
    from framehouse.warehouse.build import build as run_build
    from framehouse.warehouse.build import ensure_built

    # The lock is held until its connection closes.
    with Warehouse(url, name="framehouse build") as warehouse, warehouse.autocommit() as session:
        session.value("reference.lock_build")
        zone = chosen.studio_zone
        try:
            if only_if_changed:
                ensure_built(warehouse, log_dir=chosen.log_dir, studio_zone=zone, report=report)
            else:
                run_build(warehouse, log_dir=chosen.log_dir, studio_zone=zone, command=command, report=report)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "dbt":
                raise
            raise ConfigError(
                "the rollups are not built, and dbt, which builds them, is not installed",
                hint="pip install 'framehouse[dbt]', or run `framehouse build` where it is",
            ) from error
