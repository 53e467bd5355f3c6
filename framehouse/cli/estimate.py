"""`framehouse estimate`: what will this batch take?"""

import csv
import io
import json
import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from framehouse.cli.client import invalid, post
from framehouse.cli.estimate_tables import show
from framehouse.cli.submission import REFUSED, show_budgets, show_submission, submitted, tell_refusal
from framehouse.errors import BudgetExceededError, ContractError

if TYPE_CHECKING:
    from framehouse.config import Settings

_NUMBERS = {"target_seconds": float, "segment_seconds": float, "frame_count": int}
_NO_TIER = "-"
_PARAMETERS = "parameters."


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option(
    "--workers", type=click.IntRange(1, 10_000), help="How many workers will do it.  [the live pool]"
)
@click.option(
    "--by",
    "drill_down",
    metavar="NAMES",
    help="Break it down, such as scene_type,tier: also by character, variant, workflow.",
)
@click.option(
    "--what-if",
    "what_if",
    multiple=True,
    metavar="NAME=VALUE,...",
    help="Estimate it otherwise too: tier=preview, workflow=NAME, workers=6.  [repeatable]",
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
    drill_down: str | None,
    what_if: tuple[str, ...],
    no_store: bool,
    project: str | None,
    is_submitted: bool,
    as_json: bool,
    server: bool,
) -> None:
    """Estimate the batch of scenes in FILE before anyone submits it: GPU and wall time, disk, when it will be done.

    FILE is JSON (the body of POST /api/estimates, or a list of scenes) or CSV with a column for each field, such as
    frame_count and parameters.width; - reads standard input. In CSV an empty tier is the default tier (draft), and "-"
    means no tier, as null does in JSON.

    \b
    framehouse estimate batch.json
    framehouse estimate scenes.csv --workers 6
    framehouse estimate scenes.csv --by scene_type,tier
    framehouse estimate scenes.csv --what-if tier=preview --what-if workers=8,workflow=portrait_v2
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
    if drill_down is not None:
        request["drill_down"] = [name.strip() for name in drill_down.split(",") if name.strip()]
    if what_if:
        request["what_if"] = [variation(text) for text in what_if]
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
    for alarm in answer["alarms"]:
        click.secho(f"  lately off: {alarm['sentence']}", fg="yellow")
    show_budgets(answer["budgets"])
    show_submission(answer.get("submission"))


def variation(text: str) -> dict[str, Any]:
    """`tier=preview,workers=8` as a variation of the request. Raises ContractError."""
    found: dict[str, Any] = {"name": text}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        name, value = name.strip(), value.strip()
        if equals and value and name in {"tier", "workflow"}:
            found[name] = value
        elif name == "workers" and value.isdecimal():
            found["pool"] = {"worker_count": int(value)}
        else:
            raise ContractError(
                f"--what-if {text}: {part.strip()!r} says nothing to vary",
                hint="give tier=NAME, workflow=NAME or workers=NUMBER, several with commas",
            )
    return found


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
            if name.startswith(_PARAMETERS):
                scene.setdefault("parameters", {})[name.removeprefix(_PARAMETERS)] = _parameter(cell.strip())
                continue
            try:
                scene[name] = _NUMBERS[name](cell) if name in _NUMBERS else cell.strip()
            except ValueError:
                raise ContractError(f"line {number}: {name} is {cell!r}", hint="give a number") from None
        scenes.append(scene)
    if not scenes:
        raise ContractError("the file has no scenes", hint="the first line of CSV names the columns")
    return scenes


def _parameter(cell: str) -> float | str:
    """A number where it is one in JSON, else text."""
    try:
        value = json.loads(cell)
    except ValueError:
        return cell
    return value if type(value) in {int, float} and math.isfinite(value) else cell


def _has_warehouse() -> bool:
    from importlib.util import find_spec

    return find_spec("psycopg") is not None


def _ask(settings: "Settings", request: dict[str, Any]) -> dict[str, Any]:
    """Estimate in this process, straight from the warehouse."""
    from framehouse.embedded import database_url
    from framehouse.estimates.batch import estimate_batch
    from framehouse.estimates.wire import as_json, batch_request
    from framehouse.warehouse import Warehouse

    try:
        batch = batch_request(request)
        with Warehouse(database_url(settings)) as warehouse:
            answer: dict[str, Any] = as_json(estimate_batch(warehouse, batch))
    except ContractError as error:
        raise invalid("the batch", error.problems) from None
    return answer
