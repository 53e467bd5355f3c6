"""The `framehouse` command. Each command lives in a module of its own and is imported when it is called."""

import importlib
import sys
from typing import Any

import click

from framehouse import __version__
from framehouse.errors import FramehouseError

# command -> (module under framehouse.cli, one line of help); the order is the order of --help.
COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("database", "Start the embedded TimescaleDB and bring its schema up to date."),
    "down": ("database", "Stop the embedded TimescaleDB."),
    "status": ("database", "Say what runs, where, and in which version."),
    "psql": ("database", "Open psql on the warehouse."),
    "serve": ("serve", "Serve the API, take events, and keep the rollups up to date."),
    "maintain": ("maintain", "Bring the rollups' cells up to date."),
    "backup": ("backup", "Write the whole warehouse into a file."),
    "restore": ("backup", "Put a backup into an empty warehouse."),
    "retention": ("retention", "Say how long raw rows are kept, and drop older ones."),
    "migrate": ("maintain", "Bring the schema up to date."),
    "build": ("build", "Build the rollups and marts with dbt."),
    "demo": ("demo", "From nothing to a scored estimate, on real ffmpeg jobs."),
    "sql": ("sql", "Answer an analyst's query, from rollups where that is identical."),
    "estimate": ("estimate", "Say what a batch will take, before it runs."),
    "budget": ("budget", "What may be spent, how it stands, and what was refused."),
    "backtest": ("backtest", "Replay attempts, and say how good forecasts would have been."),
    "run": ("run", "Run a command, measure it, send the attempt."),
    "load": ("load", "Load files of events, or what waits in the spool."),
    "rates": ("rates", "What an hour of a GPU costs, from when on."),
    "quarantine": ("quarantine", "See why events were refused, and send them again."),
}


class _Lazy(click.Group):
    """A group whose commands are imported only when called, so that `framehouse run` starts fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"framehouse.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; our own errors become a sentence and a way out, never a traceback."""
        try:
            return super().invoke(ctx)
        except FramehouseError as error:
            click.secho(f"error: {error}", fg="red", err=True)
            if error.hint:
                click.echo(f"  try: {error.hint}", err=True)
            sys.exit(1)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="framehouse")
def cli() -> None:
    """framehouse: metrics of every job attempt, rolled up, compared, and estimated before you submit.

    \b
    framehouse up                                   start a private TimescaleDB
    framehouse serve                                API, ingest and maintenance
    framehouse run --workflow proxy -- ffmpeg ...   run and measure a job
    framehouse estimate batch.json                  what will this batch take?
    """


if __name__ == "__main__":
    cli()
