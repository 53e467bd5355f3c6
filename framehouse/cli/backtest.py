"""`framehouse backtest`: how good forecasts would have been."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from framehouse.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from framehouse.estimates.backtest import Backtest, Score
    from framehouse.estimates.trace import Columns, Trace

_CONTRACT_KEYS = "workflow,tier"


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--key",
    default=_CONTRACT_KEYS,
    show_default=True,
    metavar="COLUMNS",
    help="What has a history of its own, by its columns.",
)
@click.option("--worker", default="worker", show_default=True, metavar="COLUMN", help="Who did it.")
@click.option(
    "--cost",
    default="wall_seconds",
    show_default=True,
    metavar="EXPRESSION",
    help="What is forecast: a column, or arithmetic over columns.",
)
@click.option(
    "--work",
    "works",
    multiple=True,
    metavar="NAME=EXPRESSION",
    help="How much work it was: segments, frames, megapixel_frames, input_seconds.  [the contract's columns]",
)
@click.option(
    "--time", "time_", default="finished_at", show_default=True, metavar="COLUMN", help="When it ended."
)
@click.option(
    "--order",
    type=click.Choice(["time", "random", "file"]),
    default="time",
    show_default=True,
    help="The order in which attempts become known.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the random order.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def backtest(
    file: Path,
    key: str,
    worker: str,
    cost: str,
    works: tuple[str, ...],
    time_: str,
    order: str,
    seed: int,
    as_json: bool,
) -> None:
    """Replay the attempts in FILE in order, each forecast from those before it alone, and say how good that was.

    FILE holds events as `framehouse load` takes them, or any table whose columns the options name: .csv, .ndjson,
    .jsonl, .json (each also as .gz) or .parquet. Attempts that did not succeed are left out. Beside the forecasts
    stand the plain mean, the exponentially weighted mean and the median of the same history, on the same rows.

    \b
    framehouse backtest events-2025.ndjson.gz
    framehouse backtest events.parquet --cost output_mb
    framehouse backtest renders.csv --key scene,preset --worker host --time ended --cost minutes*60
    framehouse backtest encodes.csv.gz --key video,codec --order random --cost seconds --work frames=frame_count
    """
    from framehouse.cli.console import TerminalReporter
    from framehouse.estimates.backtest import backtest as replay
    from framehouse.estimates.trace import CONTRACT_WORKS, Columns, read_trace

    columns = Columns(
        keys=tuple(name.strip() for name in key.split(",") if name.strip()),
        worker=worker or None,
        order_by=time_ if order == "time" else None,
        cost=cost,
        works=_works(works) or CONTRACT_WORKS,
    )
    with TerminalReporter() as report:
        report.step(f"reading {file}")
        trace = read_trace(file, columns, shuffled_by=seed if order == "random" else None)
        report.step("forecasting each attempt from those before it")
        found = replay(trace.attempts, report)
    if not trace.is_in_order:
        click.echo(
            f"There is no column {time_}: attempts are taken as they stand in the file (--time names another column).",
            err=True,
        )
    left_out = _left_out(trace, columns)
    if as_json:
        click.echo(json.dumps(asdict(found) | {"answered_ratio": found.answered_ratio}, indent=2))
        if left_out:
            click.echo(left_out, err=True)
    else:
        _show(found, columns, left_out)


def _works(said: tuple[str, ...]) -> dict[str, str]:
    from framehouse.estimates.candidates import WORKS

    found = {}
    for one in said:
        name, equals, expression = one.partition("=")
        if not equals or name not in WORKS or name == "jobs":
            raise ConfigError(
                f"--work {one} is not NAME=EXPRESSION",
                hint="NAME is segments, frames, megapixel_frames or input_seconds",
            )
        found[name] = expression
    return found


def _left_out(trace: "Trace", columns: "Columns") -> str:
    """Which rows were not replayed, and why; nothing where all were."""
    left = [
        f"{count:,} {why}"
        for count, why in (
            (trace.repeated_count, "that stand twice"),
            (trace.unsuccessful_count, "that did not succeed"),
            (trace.costless_count, f"without a finite {columns.cost} of 0 or more"),
        )
        if count
    ]
    return f"Left out: {', '.join(left)}." if left else ""


def _show(found: "Backtest", columns: "Columns", left_out: str) -> None:
    from framehouse.cli.console import out

    if not found.attempt_count:
        out.print("No succeeded attempt has a cost: there is nothing to forecast.")
    if found.answered_count:
        out.print(_table(found, columns))
    if found.answered_ratio is not None:
        out.print(
            f"{found.answered_ratio:.1%} of the attempts had a history, {found.interval_count:,} had an interval."
        )
    if found.batch_error_ratio is not None and found.batch_coverage_ratio is not None:
        batches = (
            "1 batch of 200," if found.batch_count == 1 else f"{found.batch_count:,} batches of 200, each"
        )
        out.print(
            f"{batches} foreseen as a whole before its first attempt: the total was "
            f"{found.batch_error_ratio:.1%} off (median), and within its P10-P90 in {found.batch_coverage_ratio:.1%}."
        )
    if left_out:
        out.print(left_out, markup=False)


def _table(found: "Backtest", columns: "Columns") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{escape(columns.cost)}, {found.attempt_count:,} attempts", title_justify="left")
    table.add_column("", no_wrap=True)
    for name in ("MdAPE", "P90 loss", "P10-P90 covers", "200 in a row", "bias"):
        table.add_column(name, justify="right", no_wrap=True)
    for score in found.scores:
        table.add_row(score.name, *_cells(score))
    return table


def _cells(score: "Score") -> list[str]:
    ratios = (score.mdape_ratio, None, score.coverage_ratio, score.total_error_ratio, score.bias_ratio)
    cells = ["unknown" if ratio is None else f"{100 * ratio:.1f} %" for ratio in ratios]
    cells[1] = "unknown" if score.p90_loss is None else f"{score.p90_loss:,.4g}"
    return cells
