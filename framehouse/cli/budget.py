"""`framehouse budget list | set | archive | crossings`: what may be spent, how it stands, what was refused."""

import json
from typing import TYPE_CHECKING

import click

from framehouse.cli.instants import instant
from framehouse.cli.opened import opened
from framehouse.config import settings
from framehouse.errors import NotFoundError

if TYPE_CHECKING:
    from framehouse.estimates.spending import BudgetState

_NEVER = "never"


@click.group()
def budget() -> None:
    """What a project, or the whole studio, may spend in a period: GPU hours, their cost, or disk.

    A submitted estimate counts as committed until its scenes succeed; one that would come above a budget's blocking
    level is refused.

    \b
    framehouse budget set "film hours" 400 gpu_hours --project film
    framehouse budget set "studio money" 9000 cost --period quarter --warn 0.7 --block 1.1
    framehouse budget list
    framehouse budget crossings
    """


@budget.command("list", short_help="List budgets and how they stand.")
@click.option("--all", "include_archived", is_flag=True, help="Archived ones, too.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def list_(include_archived: bool, as_json: bool) -> None:
    """List budgets and how they stand in the present period: spent, committed, and what remains.

    \b
    framehouse budget list
    framehouse budget list --json | jq '.[] | select(.level != "ok") | .budget.name'
    """
    from framehouse.estimates.spending import states
    from framehouse.estimates.wire import as_json as plain

    with opened(settings(), "budget") as warehouse, warehouse.session(is_snapshot=True) as session:
        found = states(session, include_archived=include_archived)
    if as_json:
        click.echo(json.dumps([plain(one) for one in found], indent=2))
    elif found:
        _print_table(found)
    else:
        click.echo(
            'there are no budgets; try: framehouse budget set "film hours" 400 gpu_hours --project film'
        )


# What begins with a minus is a bad amount, too, and no option that nobody knows.
@budget.command("set", short_help="Add a budget, or change it.",
                context_settings={"ignore_unknown_options": True})  # fmt: skip
@click.argument("name")
@click.argument("amount", type=float)
@click.argument("quantity", type=click.Choice(["gpu_hours", "cost", "disk_gb"]))
@click.option("--project", metavar="NAME", help="Whose work.  [the whole studio's]")
@click.option(
    "--period", type=click.Choice(["day", "week", "month", "quarter", "year"]),
    help="Of the studio's calendar.  [month]",
)  # fmt: skip
@click.option("--from", "since", metavar="DAY|INSTANT", help="Instead of a period: from when on.")
@click.option("--to", "until", metavar="DAY|INSTANT", help="... and until when, itself not included.")
@click.option("--warn", type=float, default=0.8, show_default=True, help="Warn above this share of it.")
@click.option(
    "--block", default="1.0", show_default=True, metavar="SHARE|never", help="Refuse above this share of it."
)
def set_(
    name: str,
    amount: float,
    quantity: str,
    project: str | None,
    period: str | None,
    since: str | None,
    until: str | None,
    warn: float,
    block: str,
) -> None:
    """Add a budget, or put other terms in the place of the one of that name; an archived one is in use again.

    QUANTITY says what is counted, and is the unit of the amount; cost is in the currency of the GPU rates.

    \b
    framehouse budget set "film hours" 400 gpu_hours --project film
    framehouse budget set "film disk" 2048 disk_gb --project film --block never
    framehouse budget set "the shoot" 3000 cost --from 2026-07-01 --to 2026-07-15
    """
    from framehouse.estimates.budgets import Terms, put

    if period is not None and (since or until):
        raise click.UsageError("give --period, or --from and --to")
    with opened(settings(), "budget") as warehouse:
        terms = Terms(
            name=name,
            quantity=quantity,  # type: ignore[arg-type]  # click.Choice has seen to it, and so does the core
            amount=amount,
            period=period or ("once" if since or until else "month"),  # type: ignore[arg-type]
            project=project,
            starts_at=None if since is None else instant(warehouse, since, "--from"),
            ends_at=None if until is None else instant(warehouse, until, "--to"),
            warn_ratio=warn,
            block_ratio=_share(block),
        )
        made = put(warehouse, terms)
    whose = "the whole studio" if made.project is None else made.project
    how_long = "once" if made.period == "once" else f"a {made.period}"
    click.secho(f"{made.name}: {made.amount:,.2f} {made.quantity} {how_long} for {whose}", fg="green")


@budget.command(short_help="Let a budget rest; it is checked no more.")
@click.argument("name")
def archive(name: str) -> None:
    """Let a budget rest: it is checked no more, and what it crossed stays. `set` brings it back.

    \b
    framehouse budget archive "film hours"
    """
    from framehouse.estimates.budgets import archive as rest
    from framehouse.estimates.budgets import named

    with opened(settings(), "budget") as warehouse:
        with warehouse.session() as session:
            known = named(session, name)
        if known is None:
            raise NotFoundError(f"there is no budget {name!r}", hint="framehouse budget list")
        rest(warehouse, known.id)
    click.secho("archived", fg="green")


@budget.command(short_help="List levels that were crossed, and what was refused.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def crossings(limit: int, as_json: bool) -> None:
    """List levels that were crossed and submissions that were refused, the latest first.

    \b
    framehouse budget crossings
    framehouse budget crossings --json | jq 'select(.is_refused)'
    """
    from framehouse.estimates.submission import crossings as listed
    from framehouse.estimates.wire import as_json as plain

    with opened(settings(), "budget") as warehouse:
        found = listed(warehouse, limit=limit)
    for one in found:
        if as_json:
            click.echo(json.dumps(plain(one)))
            continue
        what = "refused" if one.is_refused else f"{one.level} level crossed"
        by = f"estimate {one.estimate_id}" if one.estimate_id else "what was spent"
        click.echo(f"  {one.crossed_at:%Y-%m-%d %H:%M} UTC  {one.budget}: {what} by {by}")
    if not found and not as_json:
        click.echo("no budget has crossed a level")


def _share(text: str) -> float | None:
    if text == _NEVER:
        return None
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no share; say 1.1, or {_NEVER}", param_hint="--block"
        ) from None


def _print_table(found: "list[BudgetState]") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from framehouse.cli.console import for_wide_tables

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("budget", "of", "period from"):
        table.add_column(name, overflow="fold")
    for name in ("spent", "committed", "remaining", "amount"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("unit", "level"):
        table.add_column(name, no_wrap=True)
    colors = {"ok": "green", "warn": "yellow", "block": "red"}
    for one in found:
        of = one.budget
        period = f"{one.starts_at:%Y-%m-%d %H:%M} UTC ({of.period})"
        level = "archived" if of.archived_at else f"[{colors[one.level]}]{one.level}[/]"
        # Names come from people: nothing in them is markup.
        table.add_row(
            escape(of.name), "the studio" if of.project is None else escape(of.project), period,
            "unknown" if one.spent is None else f"{one.spent:,.2f}", f"{one.committed:,.2f}",
            f"{one.remaining:,.2f}", f"{of.amount:,.2f}", of.quantity, level,
        )  # fmt: skip
    for_wide_tables().print(table)
    for one in found:
        for note in one.notes:
            click.secho(f"  {one.budget.name}: {note}", fg="yellow")
