"""`framehouse estimate`: what will this batch take?"""

import csv
import io
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from framehouse.cli.client import invalid, post
from framehouse.cli.submission import REFUSED, show_budgets, show_submission, submitted, tell_refusal
from framehouse.errors import BudgetExceededError, ContractError

if TYPE_CHECKING:
    from framehouse.config import Settings

_NUMBERS = {"target_seconds": float, "segment_seconds": float, "frame_count": int}
_NO_TIER = "-"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option(
    "--workers", type=click.IntRange(1, 10_000), help="How many workers will do it.  [the live pool]"
)
@click.option("--no-store", is_flag=True, help="Do not keep the estimate to be scored later.")
@click.option("--project", metavar="NAME", help="Whose work it is; says how its budgets would stand.")
@click.option(
    "--submit", "is_submitted", is_flag=True, help="Commit it to its budgets, unless one blocks it."
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")
@click.option(
    "--server", is_flag=True, help="Ask the API at FRAMEHOUSE_URL, even where the warehouse is at hand."
)
def estimate(
    file: str,
    workers: int | None,
    no_store: bool,
    project: str | None,
    is_submitted: bool,
    as_json: bool,
    server: bool,
) -> None:
    """Estimate the batch of scenes in FILE before anyone submits it: GPU and wall time, disk, when it will be done.

    FILE is JSON (the body of POST /api/estimates, or a list of scenes) or CSV with a column for each field; - reads
    standard input. In CSV an empty tier is the default tier (draft), and "-" means no tier, as null does in JSON.

    \b
    framehouse estimate batch.json
    framehouse estimate scenes.csv --workers 6
    framehouse estimate scenes.csv --project film --submit
    echo '[{"workflow": "portrait", "target_seconds": 30, "segment_seconds": 5}]' | framehouse estimate -

    Exit codes: 0 everything was estimated, 3 some scenes have no history and are listed, 4 a budget has no room for the
    submission, 1 the batch is invalid.
    """
    from framehouse.config import settings

    if is_submitted and no_store:
        raise click.UsageError("--submit needs the stored estimate that --no-store leaves out")
    request = read_request(file)
    if workers is not None:
        request["pool"] = {"worker_count": workers}
    if no_store:
        request["store"] = False
    if project is not None:
        request["project"] = project
    is_remote = server or not _has_warehouse()
    url = f"{settings().api_url}/api/estimates"
    answer = post(url, request) if is_remote else _ask(settings(), request)
    refusal = None
    if is_submitted:
        try:
            answer["submission"] = submitted(settings(), answer["estimate_id"], is_remote=is_remote)
        except BudgetExceededError as error:
            refusal, answer["submission"] = error, None
    _print(answer, as_json=as_json)
    if refusal is not None:
        tell_refusal(refusal)
        sys.exit(REFUSED)
    sys.exit(3 if answer["unknown"] else 0)


def _print(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    show(answer)
    show_budgets(answer["budgets"])
    show_submission(answer.get("submission"))


def read_request(file: str) -> dict[str, Any]:
    """The request in a file. Raises ContractError with what is wrong and where."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(
            f"{file} cannot be read: {error}", hint="give a JSON or CSV file in UTF-8"
        ) from None
    is_json = text.lstrip().startswith(("{", "[")) or not re.search(r"[,\n]", text.strip())
    if file.lower().endswith(".csv") or not is_json:
        return {"scenes": _csv(text)}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ContractError(f"{file} is not JSON: {error}", hint="see `framehouse estimate --help`") from None
    if isinstance(value, list):
        return {"scenes": value}
    if not isinstance(value, dict):
        raise ContractError(
            f"{file} holds neither a list of scenes nor an object", hint="see --help for both"
        )
    return value


def show(answer: dict[str, Any]) -> None:
    """Print an answer for people: what is known by workflow and tier, what is not, and the totals."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from framehouse.cli.console import WIDE, for_wide_tables, out

    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for scene in answer["scenes"]:
        if scene["estimate"] is not None:
            groups.setdefault((scene["workflow"], scene["tier"] or "-"), []).append(scene)
    if groups:
        console = for_wide_tables()
        # On a narrow terminal GPU and disk are in the totals only, and long names fold.
        is_wide = console.width >= WIDE
        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
        table.add_column("workflow", overflow="fold")
        table.add_column("tier", overflow="fold")
        for name in ("scenes", "wall", "P10 - P90 each", *(("GPU", "disk") if is_wide else ())):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("from", no_wrap=True)
        for (workflow, tier), scenes in sorted(groups.items()):
            # Names come from people: nothing in them is markup.
            cells = _cells([scene["estimate"] for scene in scenes], is_wide=is_wide)
            table.add_row(escape(workflow), escape(tier), str(len(scenes)), *cells)
        console.print(table)
        out.print()
    _show_totals(answer)


def _cells(known: list[dict[str, Any]], *, is_wide: bool) -> list[str]:
    low = [e["wall_seconds"]["p10"] for e in known]
    high = [e["wall_seconds"]["p90"] for e in known]
    is_interval = None not in low and None not in high
    count = known[0]["sample_count"]
    return [
        seconds(sum(e["wall_seconds"]["mean"] for e in known)),
        f"{seconds(min(low))} - {seconds(max(high))}"
        if is_interval
        else known[0]["interval_reason"].replace("_", " "),
        *([seconds(_sum(known, "gpu_seconds")), mib(_sum(known, "disk_mb"))] if is_wide else []),
        f"{count} sample{'s' if count != 1 else ''}",
    ]


def _sum(known: list[dict[str, Any]], quantity: str) -> float | None:
    values = [e[quantity]["mean"] if e[quantity] else None for e in known]
    return None if None in values else sum(value for value in values if value is not None)


def _show_totals(answer: dict[str, Any]) -> None:
    from rich.markup import escape

    from framehouse.cli.console import out

    clock = answer["wall_clock_hours"]
    lines = [
        ("confidence", answer["confidence"] or "none"),
        ("estimated", f"{answer['estimated_scenes']} of {answer['total_scenes']} scenes"),
        ("GPU time", seconds(_times(answer["total_gpu_hours"], 3600))),
        ("work", seconds(_times(answer["total_wall_hours"], 3600))),
        ("disk", mib(_times(answer["total_disk_gb"], 1024))),
    ]
    if clock is not None:
        workers = answer["worker_count"]
        done = f"P50 {seconds(clock['p50'] * 3600)}, P90 {seconds(clock['p90'] * 3600)}"
        done = f"{done} on {workers} worker{'s' if workers != 1 else ''}"
        lines.append(("done in", f"{done}, without what is unknown" if answer["unknown"] else done))
    else:
        lines.append(("done in", f"no wall clock: {answer['wall_clock_reason'].replace('_', ' ')}"))
    for name, value in lines:
        out.print(f"  [bold]{name:<10}[/] {value}")
    for unknown in answer["unknown"]:
        tier = f" at {escape(unknown['tier'])}" if unknown["tier"] else ""
        count = unknown["scene_count"]
        out.print(
            f"  [yellow]No estimate available[/] for {count} scene{'s' if count != 1 else ''} of "
            f"{escape(unknown['workflow'])}{tier}: {unknown['reason'].replace('_', ' ')}; not in the totals"
        )
    if answer["estimate_id"]:
        out.print(f"  [bold]{'id':<10}[/] {answer['estimate_id']}")


def seconds(value: float | None) -> str:
    """A duration as people read it."""
    if value is None:
        return "unknown"
    if value < 120:
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def mib(value: float | None) -> str:
    """A size in MiB as people read it."""
    if value is None:
        return "unknown"
    return f"{value:.2f} MiB" if value < 1024 else f"{value / 1024:.1f} GiB"


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _csv(text: str) -> list[dict[str, Any]]:
    scenes = []
    for number, row in enumerate(csv.DictReader(io.StringIO(text)), start=2):
        scene: dict[str, Any] = {}
        for name, cell in row.items():
            if name is None or cell is None:
                raise ContractError(f"line {number} has another number of columns than the first line")
            if cell.strip() == "" or (name == "tier" and cell.strip() == _NO_TIER):
                if cell.strip() == _NO_TIER:
                    scene["tier"] = None
                continue
            try:
                scene[name] = _NUMBERS[name](cell) if name in _NUMBERS else cell.strip()
            except ValueError:
                raise ContractError(f"line {number}: {name} is {cell!r}", hint="give a number") from None
        scenes.append(scene)
    if not scenes:
        raise ContractError("the file has no scenes", hint="the first line of CSV names the columns")
    return scenes


def _has_warehouse() -> bool:
    from importlib.util import find_spec

    return find_spec("psycopg") is not None


def _ask(settings: "Settings", request: dict[str, Any]) -> dict[str, Any]:
    """Estimate in this process, straight from the warehouse."""
    from pydantic import ValidationError

    from framehouse.embedded import database_url
    from framehouse.estimates.batch import estimate_batch
    from framehouse.estimates.wire import BatchRequest, as_json
    from framehouse.events import problems
    from framehouse.warehouse import Warehouse

    try:
        batch = BatchRequest.model_validate(request)
    except ValidationError as error:
        raise invalid("the batch", problems(error)) from None
    with Warehouse(database_url(settings)) as warehouse:
        try:
            answer: dict[str, Any] = as_json(estimate_batch(warehouse, batch))
        except ContractError as error:
            raise invalid("the batch", error.problems) from None
    return answer
