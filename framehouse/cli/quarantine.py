"""`framehouse quarantine list | show | replay | discard`: what was refused, why, and another try or none."""

import json
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from framehouse.cli.opened import opened
from framehouse.config import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from framehouse.warehouse import Warehouse
    from ingest.quarantine import Refused, Replay, Summary

#: What `replay` answers when something is still refused.
STILL_REFUSED = 2


@click.group()
def quarantine() -> None:
    """Refused events and heartbeats: see why, and send them again.

    Whatever ingest refuses is kept byte for byte. Mend the cause (add the tier, say) and replay it, or replay a
    mended body in its place.

    \b
    framehouse quarantine list
    framehouse quarantine show 17
    framehouse quarantine replay --all --code unknown_tier
    framehouse quarantine show 17 --body > event.json     mend event.json, then
    framehouse quarantine replay 17 --body event.json
    """


@quarantine.command("list", short_help="List what was refused, and why.")
@click.option("--all", "include_replayed", is_flag=True, help="Also those that were replayed since.")
@click.option("--code", help="Only those refused with this code, such as unknown_tier.")
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="ID", help="Only ids above this one.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of a table.")
def list_(include_replayed: bool, code: str | None, after: int, limit: int, as_json: bool) -> None:
    """List what was refused, the oldest first.

    \b
    framehouse quarantine list --code conflict
    framehouse quarantine list --json | jq -r '.problems[].path' | sort | uniq -c
    """
    from ingest.quarantine import count_open, page

    with opened(settings(), "quarantine") as warehouse:
        rows = page(warehouse, after, limit, include_replayed, code=code)
        waiting = count_open(warehouse)
    if as_json:
        for row in rows:
            click.echo(json.dumps(asdict(row), default=_text))
        return
    if not rows:
        click.echo("nothing is in quarantine" if not code else f"nothing is in quarantine with code {code}")
        return
    _print_table(rows)
    click.echo(f"{waiting:,} wait for a replay" if waiting else "none waits for a replay")
    if len(rows) == limit:
        click.echo(f"  more: framehouse quarantine list --after {rows[-1].id}")


@quarantine.command(short_help="Show one refused body, and why.")
@click.argument("id", type=int)
@click.option("--body", "body_only", is_flag=True, help="The body alone, byte for byte.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object; the body as text.")
def show(id: int, body_only: bool, as_json: bool) -> None:  # noqa: A002 - the table's own word
    """Show one refused body and everything that was wrong with it.

    \b
    framehouse quarantine show 17
    framehouse quarantine show 17 --body > event.json
    """
    from ingest.quarantine import show as find

    with opened(settings(), "quarantine") as warehouse:
        found = find(warehouse, id)
    if body_only:
        sys.stdout.buffer.write(found.body)
    elif as_json:
        click.echo(json.dumps(asdict(found), default=_text))
    else:
        _print_one(found)


@quarantine.command(short_help="Send refused bodies again.")
@click.argument("ids", nargs=-1, type=int, metavar="[ID]...")
@click.option("--all", "is_all", is_flag=True, help="Everything that waits.")
@click.option("--code", help="With --all: only those refused with this code.")
@click.option("--body", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="With one ID: replay this mended body in its place.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def replay(ids: tuple[int, ...], is_all: bool, code: str | None, file: Path | None, as_json: bool) -> None:
    """Send refused bodies through the same door again, down to the fence.

    What is stored (or known already) is settled; what is refused again stays, with no second entry. Exits 2 when
    something is still refused.

    \b
    framehouse quarantine replay 17 18
    framehouse quarantine replay --all --code unknown_tier     after adding the tier
    framehouse quarantine replay 17 --body event.json          a mended body
    """
    if bool(ids) == is_all:
        raise click.UsageError("give one or more IDs, or --all")
    if code and not is_all:
        raise click.UsageError("--code goes with --all")
    if file and len(ids) != 1:
        raise click.UsageError("--body goes with exactly one ID")
    from ingest.quarantine import replay as send

    counts: Counter[str] = Counter()
    with opened(settings(), "quarantine") as warehouse:
        for row_id in ids or _open_ids(warehouse, code):
            result = send(warehouse, row_id, file.read_bytes() if file else None)
            counts[result.status.value] += 1
            _print_replay(result, as_json=as_json, is_brief=is_all)
    if not as_json:
        told = ", ".join(f"{count:,} {status}" for status, count in sorted(counts.items()))
        click.echo(told or "nothing waits for a replay")
    if counts["rejected"]:
        sys.exit(STILL_REFUSED)


@quarantine.command(short_help="Settle refused bodies that nobody will mend.")
@click.argument("ids", nargs=-1, type=int, metavar="ID...", required=True)
def discard(ids: tuple[int, ...]) -> None:
    """Take refused bodies off the list of those that wait. They are kept, and can still be replayed by their ID.

    \b
    framehouse quarantine discard 17 18
    """
    from ingest.quarantine import discard as settle

    with opened(settings(), "quarantine") as warehouse:
        for row_id in ids:
            click.echo(f"{row_id}: {'discarded' if settle(warehouse, row_id) else 'was settled before'}")


def _open_ids(warehouse: "Warehouse", code: str | None) -> "Iterator[int]":
    """Every row that waits, each once, however many arrive meanwhile."""
    from ingest.quarantine import open_ids

    after = 0
    while found := open_ids(warehouse, code=code, after=after):
        yield from found
        after = found[-1]


def _print_table(rows: "list[Summary]") -> None:
    from rich.table import Table
    from rich.text import Text

    from framehouse.cli.console import for_wide_tables
    from ingest.verdict import sentence, visible

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("id", justify="right", no_wrap=True)
    for heading in ("received", "origin", "code"):
        table.add_column(heading, no_wrap=True)
    table.add_column("why")
    has_replayed = any(row.replayed_at for row in rows)
    if has_replayed:
        table.add_column("replayed", no_wrap=True)
    for row in rows:
        why = sentence(row.problems[0]) if row.problems else ""
        if len(row.problems) > 1:
            why = f"{why} (+{len(row.problems) - 1})"
        cells = [str(row.id), _when(row.received_at), visible(row.origin), row.code, why]
        if has_replayed:
            cells.append(row.replay_status or "")
        table.add_row(*map(Text, cells))
    for_wide_tables().print(table)


def _print_one(found: "Refused") -> None:
    from ingest.verdict import sentence, visible

    settled = f"{found.replay_status}, {_when(found.replayed_at)}" if found.replayed_at else "not yet"
    for label, text in (
        ("id", str(found.id)),
        ("received", _when(found.received_at)),
        ("origin", visible(found.origin)),
        ("code", found.code),
        ("replayed", settled),
    ):
        click.echo(f"{click.style(f'{label:<10}', dim=True)}{text}")
    for problem in found.problems:
        click.echo(f"{click.style('problem   ', dim=True)}{sentence(problem)}")
    click.echo(f"{click.style('body      ', dim=True)}{found.size_bytes:,} bytes\n")
    click.echo(visible(_pretty(found.body, is_indented=found.code != "duplicate_key")))


def _print_replay(result: "Replay", *, as_json: bool, is_brief: bool) -> None:
    if as_json:
        click.echo(json.dumps({"id": result.id, "status": result.status, "code": result.code,
                               "errors": [asdict(problem) for problem in result.errors]}))  # fmt: skip
        return
    from ingest.verdict import sentence

    if result.status.value != "rejected":
        if not is_brief:
            click.echo(f"{result.id}: {result.status}")
        return
    click.echo(f"{result.id}: still refused, {result.code}")
    for problem in result.errors[: 1 if is_brief else None]:
        click.echo(f"    {sentence(problem)}")


def _pretty(body: bytes, *, is_indented: bool) -> str:
    """A body as text, indented where that loses nothing."""
    text = body.decode("utf-8", "replace")
    if is_indented:
        with suppress(ValueError, RecursionError):
            text = json.dumps(json.loads(body), indent=2)
    return text


def _when(instant: datetime | None) -> str:
    return instant.astimezone().strftime("%Y-%m-%d %H:%M:%S") if instant else ""


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.isoformat() if isinstance(value, datetime) else str(value)
