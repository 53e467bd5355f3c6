"""`framehouse load`: files of events, and the events that wait in the spool."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from framehouse.config import settings
from framehouse.errors import FramehouseError

if TYPE_CHECKING:
    from ingest.load import Tally

#: What the command answers when some events were refused (and 1 for an error, 130 for Ctrl-C).
SOME_REFUSED = 2


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--dry-run", is_flag=True, help="Check the files by the contract; store nothing, ask no database."
)
@click.option("--again", is_flag=True, help="Read files from their start although they were loaded before.")
def load(files: tuple[Path, ...], dry_run: bool, again: bool) -> None:
    """Load files of events; without FILES, the events that wait in the spool.

    .ndjson, .jsonl, .json and .csv (each also as .gz) and .parquet. Columns are named by the contract's fields, nested
    ones as input.duration_seconds, host.hostname, quality_scores.likeness, parameters.steps; an empty cell is unknown.

    Interrupt it whenever you like and run it again: it goes on where it stopped, and no row is ever stored twice. What
    is refused goes to quarantine and the rest goes on. Exits 0, or 2 when something was refused.

    \b
    framehouse load                              what `framehouse run` and ingest.emit could not send
    framehouse load 2025-*.ndjson.gz             a year of history
    framehouse load --dry-run render_farm.csv    is this file sound?
    framehouse load spool/rejected.ndjson        refused events, after they were mended
    """
    _require(files)
    try:
        tallies = _checked(files) if dry_run else _loaded(files, is_again=again)
    except KeyboardInterrupt:
        click.echo("stopped; what was stored stays stored: run the same command again to go on", err=True)
        sys.exit(130)
    if not tallies:
        click.echo("nothing waits in the spool")
    for tally in tallies:
        _print(tally, is_dry=dry_run)
    if refused := sum(tally.refused_count for tally in tallies if not tally.was_done):
        click.echo(f"{refused:,} refused" + ("" if dry_run else ", see framehouse quarantine list"))
        sys.exit(SOME_REFUSED)


def _require(files: tuple[Path, ...]) -> None:
    """Refuse a wrong path before the first file is begun."""
    from ingest.files import require

    for path in files:
        require(path)


def _loaded(files: tuple[Path, ...], *, is_again: bool) -> "list[Tally]":
    from framehouse.cli.console import TerminalReporter
    from framehouse.embedded import database_url
    from framehouse.warehouse import Warehouse
    from ingest.load import load as load_file
    from ingest.load import load_spool

    chosen = settings()
    done: list[Tally] = []
    with TerminalReporter() as report, Warehouse(database_url(chosen)) as warehouse:
        if not files:
            return load_spool(warehouse, chosen.spool_dir, home=chosen.home, report=report)
        for path in files:
            try:
                done.append(load_file(warehouse, path, home=chosen.home, report=report, is_again=is_again))
            except (FramehouseError, KeyboardInterrupt):
                for tally in done:
                    _print(tally, is_dry=False)
                raise
    return done


def _checked(files: tuple[Path, ...]) -> "list[Tally]":
    from framehouse.cli.console import TerminalReporter
    from ingest.load import check, spooled

    with TerminalReporter() as report:
        return [check(path, report=report) for path in files or spooled(settings().spool_dir)]


def _print(tally: "Tally", *, is_dry: bool) -> None:
    if tally.was_done:
        click.echo(f"{tally.path.name}: was loaded before, {_counts(tally)}; --again reads it anew")
        return
    told = (
        f"{tally.read:,} read, {tally.stored:,} sound, {tally.refused_count:,} refused"
        if is_dry
        else _counts(tally)
    )
    resumed = f" (went on after {tally.resumed_after:,})" if tally.resumed_after else ""
    click.echo(f"{tally.path.name}: {told}{resumed}")
    for code, count in tally.refused.most_common():
        click.echo(f"  {count:>9,} {code:<14} {tally.examples[code]}")


def _counts(tally: "Tally") -> str:
    told = f"{tally.read:,} read, {tally.stored:,} stored, {tally.known:,} already known"
    return f"{told}, {tally.refused_count:,} refused"
