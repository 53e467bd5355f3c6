"""`framehouse sql`: an analyst's query, answered from rollups where that is identical."""

import json
import math
import sys
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

import click

from framehouse.config import settings
from framehouse.errors import ConfigError, ContractError, QueryError

if TYPE_CHECKING:
    from framehouse.metrics.analysts import SqlTable
    from framehouse.metrics.rewrite import Reading

#: What a table on a terminal shows; files and pipes get every row.
SHOWN_ROWS = 200
#: What --why shows of the windows of one SELECT.
MOST_SPANS = 20
_BINARY = ("parquet", "arrow")


@click.command()
@click.argument("query", required=False)
@click.option(
    "--file", "-f", "file", type=click.Path(dir_okay=False, allow_dash=True), help="Read it from a file."
)
@click.option("--why", "is_why", is_flag=True, help="Say how it would be answered, and do not answer.")
@click.option("--raw", "is_raw", is_flag=True, help="Leave it as it is, on raw rows.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "csv", "json", *_BINARY]),
    help="What the answer comes as.  [table; with --output, by the file's ending]",
)
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Write it to a file.")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(0.001, 86400),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the database may take.",
)
@click.option(
    "--rows", "most", type=click.IntRange(1), default=SHOWN_ROWS, show_default=True, help="Rows of a table."
)
def sql(
    query: str | None,
    file: str | None,
    is_why: bool,
    is_raw: bool,
    format_: str | None,
    output: Path | None,
    timeout_seconds: float,
    most: int,
) -> None:
    """Answer a SELECT; - reads it from standard input. Nothing can be written, and times are UTC.

    An aggregate over performance_metrics is answered from the coarsest rollup that gives the identical answer. Which
    that was, or why it was raw rows, is said on standard error; --why says it in full, with the SQL that would run.

    \b
    framehouse sql "select workflow_id, avg(wall_seconds) from performance_metrics group by 1"
    framehouse sql --why "select count(*) from performance_metrics where finished_at > now() - interval '1 day'"
    framehouse sql --file report.sql --format csv > report.csv
    framehouse sql --output month.parquet - < month.sql

    Ctrl-C ends it on the server, too.
    """
    from framehouse.connection import connect
    from framehouse.embedded import database_url

    text = _text(query, file)
    kind = _kind(format_, output)
    with connect(database_url(settings())) as warehouse:
        if is_why:
            explained = warehouse.explain(text, is_raw=is_raw, timeout_seconds=timeout_seconds)
            _say_why(explained.readings, explained.rewritten)
            return
        table = warehouse.sql(text, is_raw=is_raw, timeout_seconds=timeout_seconds)
    for reading in table.readings:
        click.secho(_said(reading), err=True, dim=True)
    if output is None:
        _write(table, kind, sys.stdout, sys.stdout.buffer, most)
        return
    try:
        with (
            output.open("wb") if kind in _BINARY else output.open("w", encoding="utf-8", newline="") as stream
        ):
            _write(table, kind, stream, stream, most)  # type: ignore[arg-type]
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error.strerror}", hint="name another file") from None
    click.secho(f"{len(table)} row{'s' if len(table) != 1 else ''} in {output}", err=True, dim=True)


def _text(query: str | None, file: str | None) -> str:
    if (query is None) == (file is None):
        raise QueryError("give a query, or --file with one", hint='framehouse sql "select ..."')
    if query is not None and query != "-":
        return query
    try:
        return sys.stdin.read() if file in {None, "-"} else Path(str(file)).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(
            f"{file or 'standard input'} cannot be read: {error}", hint="give UTF-8"
        ) from None


def _kind(format_: str | None, output: Path | None) -> str:
    if format_ is None and output is not None:
        format_ = {".csv": "csv", ".json": "json", ".parquet": "parquet", ".arrow": "arrow"}.get(
            output.suffix.lower(), "table"
        )
    if format_ in _BINARY and output is None and sys.stdout.isatty():
        raise QueryError(f"{format_} is nothing to look at", hint="--output FILE, or a pipe")
    return format_ or "table"


def _write(table: "SqlTable", kind: str, text: TextIO, binary: BinaryIO, most: int) -> None:
    if kind == "table":
        _show(table, text, most)
    elif kind == "csv":
        import csv

        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([column.name for column in table.columns])
        writer.writerows([_plain(value) for value in row] for row in table.rows)
    elif kind == "json":
        rows = [{name: _json(value) for name, value in row.items()} for row in table]
        json.dump(rows, text, indent=2, ensure_ascii=False)
        text.write("\n")
    else:
        _write_arrow(table, kind, binary)


def _write_arrow(table: "SqlTable", kind: str, binary: BinaryIO) -> None:
    found = table.to_arrow()
    if kind == "parquet":
        import pyarrow.parquet as pq

        pq.write_table(found, binary)
        return
    import pyarrow as pa

    with pa.ipc.new_file(binary, found.schema) as writer:
        writer.write_table(found)


def _show(table: "SqlTable", text: TextIO, most: int) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from framehouse.cli.console import for_wide_tables

    console = for_wide_tables() if text is sys.stdout else Console(file=text, width=200, highlight=False)

    def said(value: Any) -> Text:
        # Names come from people: nothing in them is markup, and nothing moves the cursor.
        plain = "" if value is None else str(_plain(value))
        return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in plain))

    shown = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    numbers = {"int2", "int4", "int8", "float4", "float8", "numeric"}
    for column in table.columns:
        shown.add_column(
            said(column.name), justify="right" if column.type in numbers else "left", overflow="fold"
        )
    for row in table.rows[:most]:
        shown.add_row(*map(said, row))
    console.print(shown)
    if len(table) > most:
        click.secho(f"{most} of {len(table)} rows; --rows shows more, --format csv all", err=True, dim=True)


def _json(value: Any) -> Any:
    """A value as JSON has it: numbers as numbers, those that are none as words."""
    if isinstance(value, list):
        return [_json(one) for one in value]
    if isinstance(value, Decimal):
        value = int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, bool) else _plain(value)


def _plain(value: Any) -> Any:
    """A value as text has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime | date | time):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False, default=_plain)
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value)


def _said(reading: "Reading") -> str:
    if reading.plan is None:
        return f"from raw rows: {reading.why_raw}"
    why = f" ({reading.why_raw})" if reading.why_raw else ""
    return f"from {', '.join(reading.sources)}{why}"


def _say_why(readings: "tuple[Reading, ...]", rewritten: str) -> None:
    """Which arms over which windows for each SELECT, and the SQL."""
    if not readings:
        click.echo("it reads no raw facts, and runs as it is")
    for reading in readings:
        click.secho(reading.excerpt, bold=True)
        if reading.plan is None:
            click.echo(f"  raw rows: {reading.why_raw}")
            continue
        for name, start, end in _spans(reading):
            click.echo(f"  {start}  to  {end}  {name}")
        if len(reading.plan.arms) > MOST_SPANS:
            click.echo(f"  ... and {len(reading.plan.arms) - MOST_SPANS} more like these")
        if reading.why_raw:
            click.echo(f"  raw rows are among them because {reading.why_raw}")
    click.echo(f"\n{rewritten}")


def _spans(reading: "Reading") -> list[tuple[str, str, str]]:
    assert reading.plan is not None
    return [
        (arm.name, f"{arm.window.start:%Y-%m-%d %H:%M:%S}", f"{arm.window.end:%Y-%m-%d %H:%M:%S}")
        for arm in reading.plan.arms[:MOST_SPANS]
    ]
