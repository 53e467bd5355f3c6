"""`python -m benchmarks`: fill warehouses of some sizes, measure, print tables."""

import re
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks import api, cells, databases, estimates, ingest, load, reads, refresh, scale
from benchmarks import report as reporting
from benchmarks.databases import Place
from benchmarks.measure import Figure
from framehouse.cli.console import TerminalReporter, err, for_wide_tables, out
from framehouse.progress import Reporter

#: In this order: what counts the traffic first, what adds to it last.
BENCHMARKS: dict[str, tuple[str, Callable[[Sequence[Place], Reporter], list[Figure]]]] = {
    "cells": ("Rollups beside raw rows", cells.measure),
    "reads": ("metrics.read from rollups beside raw", reads.measure),
    "refresh": ("Bringing one touched bucket up to date", refresh.measure),
    "scale": ("Overview, planning, building, columnstore", scale.measure),
    "api": ("The performance API", api.measure),
    "estimates": ("Estimates beside a GET of one row", estimates.measure),
    "ingest": ("Ingest beside binary COPY", ingest.measure),
}
_ROWS_A_DAY = 90_000
_SCALES = {"": 1, "k": 1_000, "m": 1_000_000}


def size(text: str) -> tuple[int, int]:
    """A number of rows and of days: 1M, 8M/90. Raises BadParameter."""
    found = re.fullmatch(r"(\d+)([km]?)(?:/(\d+))?", text.strip().lower())
    count = int(found[1]) * _SCALES[found[2]] if found else 0
    days = int(found[3]) if found and found[3] else max(2, round(count / _ROWS_A_DAY))
    if count < 100_000 or not 2 <= days <= 390:
        raise click.BadParameter(
            f"{text!r} is no number of rows from 100k up, such as 1M, or 8M/90 for 90 days (2 to 390)"
        )
    return count, days


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
@click.option(
    "--rows",
    "sizes",
    type=size,
    multiple=True,
    default=("1M", "8M/90"),
    show_default=True,
    metavar="ROWS[/DAYS]",
    help="Attempts in a warehouse, and over how many days (90,000 a day); once for each warehouse.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of the traffic.")
@click.option(
    "--database-url",
    help="A server to make the databases on.  [default: FRAMEHOUSE_TEST_DATABASE_URL, or a cluster of their own]",
)
@click.option(
    "--keep", is_flag=True, help="Leave the databases on the given server; the next run takes them."
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the figures here.",
)
@click.option(
    "--markdown",
    "markdown_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the tables here.",
)
def main(
    names: tuple[str, ...],
    sizes: tuple[tuple[int, int], ...],
    seed: int,
    database_url: str | None,
    keep: bool,
    json_file: Path | None,
    markdown_file: Path | None,
) -> None:
    """Run the benchmarks NAMES (all, unless some are named) beside their baselines.

    \b
    python -m benchmarks
    python -m benchmarks --rows 100k reads cells
    python -m benchmarks --rows 8M/90 --rows 8M/365 reads
    python -m benchmarks --database-url postgresql://postgres@127.0.0.1/postgres --keep --json figures.json
    """
    # Stopped in the middle it cleans up just the same.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with ExitStack() as stack:
        report = stack.enter_context(TerminalReporter(err))
        server = stack.enter_context(databases.server(database_url, report))
        about = databases.described(server)
        out.print(", ".join(f"{name} {value}" for name, value in about.items()))
        places = []
        for row_count, day_count in sorted(set(sizes)):
            name = f"framehouse_bench_{row_count}_{day_count}_{seed}"
            if not keep:
                stack.callback(server.drop, name)
            places.append(load.fill(server, name, row_count, day_count, seed, report))
        for place in places:
            size_gb = databases.size_gb(place.url)
            about[f"size_gb_{place.row_count}_{place.day_count}"] = round(size_gb, 2)
            out.print(
                f"{place.row_count:,} attempts of {place.day_count} days take {size_gb:.1f} GiB with all rollups"
            )
        found = {
            name: run(places, report) for name, (_, run) in BENCHMARKS.items() if name in names or not names
        }
    for name, figures in found.items():
        reporting.show(for_wide_tables(), BENCHMARKS[name][0], figures)
    if json_file is not None:
        reporting.write_json(json_file, about, found)
    if markdown_file is not None:
        titled = {BENCHMARKS[name][0]: figures for name, figures in found.items()}
        reporting.write_markdown(markdown_file, about, titled)


if __name__ == "__main__":
    main()
