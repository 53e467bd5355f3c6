"""`framehouse retention show | set | run`: how long raw data is kept, and dropping what is older."""

import re
from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from framehouse.cli.opened import opened
from framehouse.config import settings

if TYPE_CHECKING:
    from framehouse.warehouse.retention import Chunk, Preview

_DAYS = {"d": 1, "w": 7, "y": 365}
_FOREVER = "forever"


@click.group()
def retention() -> None:
    """How long raw rows are kept. Rollups are kept for ever, whatever is dropped here.

    \b
    framehouse retention show
    framehouse retention set 180d
    framehouse retention run
    """


@retention.command(short_help="Say what is kept, and what a run would drop.")
def show() -> None:
    """Say how long raw rows are kept, what there is, and what a run would drop at this moment.

    \b
    framehouse retention show
    """
    from framehouse.warehouse.retention import preview

    with opened(settings(), "retention") as warehouse:
        _print(preview(warehouse))


# What begins with a minus is a bad duration, too, and no option that nobody knows.
@retention.command(
    "set",
    short_help="Set how long raw rows are kept; drops nothing.",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("keep", metavar="DAYS|forever")
@click.option("--yes", "is_confirmed", is_flag=True, help="Do not ask.")
@click.pass_context
def set_(ctx: click.Context, keep: str, is_confirmed: bool) -> None:
    """Set how long raw rows are kept: 90 days to 100 years, in days, weeks or years (180d, 26w, 1y), or forever.

    Drops nothing by itself, but `framehouse serve` looks once an hour; so it says what would go, and asks.

    \b
    framehouse retention set 180d
    framehouse retention set forever
    """
    from framehouse.warehouse.retention import check_keep, preview, set_keep

    duration = _duration(keep)
    check_keep(duration)
    with opened(settings(), "retention") as warehouse:
        if duration is not None:
            planned = preview(warehouse, proposed=duration)
            _print(planned)
            if (
                planned.dropped
                and not is_confirmed
                and not click.confirm("keep raw rows no longer than that?")
            ):
                click.echo("nothing was changed")
                ctx.exit(1)
        set_keep(warehouse, duration)
    click.secho(f"raw rows are kept {f'{duration.days} days' if duration else _FOREVER}", fg="green")


@retention.command(short_help="Drop raw rows that are older than they have to be kept.")
@click.option("--yes", "is_confirmed", is_flag=True, help="Do not ask.")
@click.pass_context
def run(ctx: click.Context, is_confirmed: bool) -> None:
    """Drop whole chunks (weeks) of raw rows that are older than they have to be kept, after showing them.

    Every cell and forecast is brought up to date first, and the answers that rollups give stay what they are. What
    only raw rows know (by project, character, scene or variant) is gone with them. Events older than the fence are
    refused from then on. It is safe to stop at any moment.

    \b
    framehouse retention run
    framehouse retention run --yes      in cron
    """
    from framehouse.cli.console import TerminalReporter
    from framehouse.estimates.learning import learn
    from framehouse.warehouse.retention import drop, preview

    with opened(settings(), "retention") as warehouse:
        planned = preview(warehouse)
        _print(planned)
        if not planned.dropped:
            return
        if not is_confirmed and not click.confirm("drop this raw data for ever?"):
            click.echo("nothing was dropped")
            ctx.exit(1)
        with TerminalReporter() as report:
            report.step("learning from new attempts")
            learn(warehouse, report)
            drop(warehouse, planned, report)
    click.secho(f"dropped; raw rows are there from {_day(planned.raw_from)} on", fg="green")


def _duration(text: str) -> timedelta | None:
    if text.strip().lower() == _FOREVER:
        return None
    found = re.fullmatch(r"(\d{1,5})\s*([dwy])", text.strip().lower())
    if not found:
        raise click.BadParameter(f"{text!r} is no duration; say 180d, 26w, 1y or forever", param_hint="DAYS")
    return timedelta(days=int(found[1]) * _DAYS[found[2]])


def _print(planned: "Preview") -> None:
    keep = planned.policy.raw_keep
    click.echo(f"raw rows are kept {f'{keep.days} days' if keep else _FOREVER}; rollups for ever")
    if planned.policy.raw_from is not None:
        click.echo(f"  dropped before  {_day(planned.policy.raw_from)}")
    _print_chunks("there are", planned.dropped + planned.kept)
    if keep is None:
        click.echo("  a run drops nothing: framehouse retention set 180d")
    elif not planned.dropped:
        click.echo("  a run drops nothing at this moment")
    else:
        _print_chunks("a run drops", planned.dropped)
        click.echo(f"  and then refuses events before {_day(planned.raw_from)}")


def _print_chunks(label: str, chunks: "tuple[Chunk, ...]") -> None:
    by_relation: dict[str, list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        by_relation[chunk.relation].append(chunk)
    for relation, some in sorted(by_relation.items()):
        size_mb = sum(chunk.total_bytes for chunk in some) / 2**20
        start, end = min(c.range_start for c in some), max(c.range_end for c in some)
        count = f"{len(some)} chunk{'s' if len(some) > 1 else ''}"
        click.echo(
            f"  {label:<14}  {relation}: {count}, {size_mb:,.1f} MiB, {start:%Y-%m-%d} to {end:%Y-%m-%d}"
        )


def _day(instant: datetime | None) -> str:
    assert instant is not None
    return f"{instant:%Y-%m-%d %H:%M} UTC"
