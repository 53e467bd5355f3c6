"""`framehouse build`: rollups and marts, by dbt."""

from typing import TYPE_CHECKING

import click

from framehouse.config import Settings, settings
from framehouse.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from framehouse.progress import Reporter


@click.command()
@click.option("--test", "is_testing", is_flag=True, help="Also run dbt's tests of the models.")
@click.option("--renew", "is_renewing", is_flag=True, help="Build changed rollups anew, beside the old ones.")
@click.option(
    "--abandon", "is_abandoning", is_flag=True, help="Remove new shapes that are not in their places."
)
def build(is_testing: bool, is_renewing: bool, is_abandoning: bool) -> None:
    """Build the rollups and marts with dbt, and compute what is new in them.

    What did not change is left alone, and a changed definition is refused. With --renew the new shape is built beside
    the old one, keeps the history whose raw rows are gone, and takes its place when its cells are computed; readers
    see the old one until then. Stopped at any moment, the next --renew goes on, and --abandon goes back.

    \b
    framehouse build
    framehouse build --test
    framehouse build --renew
    """
    from framehouse import embedded
    from framehouse.cli.console import TerminalReporter

    chosen = settings()
    url = embedded.database_url(chosen)
    if is_abandoning:
        _abandon(url)
        return
    with TerminalReporter() as report:
        build_rollups(
            url, chosen, report, command=("build",) if is_testing else ("run",), is_renewing=is_renewing
        )
    click.secho("the rollups are built", fg="green")


def _abandon(url: str) -> None:
    from framehouse.warehouse import Warehouse
    from framehouse.warehouse.renew import abandon

    with Warehouse(url, name="framehouse build") as warehouse, warehouse.autocommit() as session:
        session.value("reference.lock_build")
        removed = abandon(warehouse)
    click.echo(f"removed: {', '.join(removed)}" if removed else "nothing stands beside the rollups")


def build_rollups(
    url: str,
    chosen: Settings,
    report: "Reporter",
    *,
    command: tuple[str, ...] = ("run",),
    is_renewing: bool = False,
    only_if_changed: bool = False,
    extra_models: "Mapping[str, str] | None" = None,
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
                run_build(
                    warehouse,
                    log_dir=chosen.log_dir,
                    studio_zone=zone,
                    command=command,
                    is_renewing=is_renewing,
                    extra_models=extra_models,
                    report=report,
                )
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "dbt":
                raise
            raise ConfigError(
                "the rollups are not built, and dbt, which builds them, is not installed",
                hint="pip install 'framehouse[dbt]', or run `framehouse build` where it is",
            ) from error
