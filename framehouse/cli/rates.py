"""`framehouse rates show | set | remove`: what an hour of a GPU costs."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from framehouse.cli.instants import instant
from framehouse.cli.opened import opened
from framehouse.config import settings

if TYPE_CHECKING:
    from framehouse.warehouse import Warehouse


@click.group()
def rates() -> None:
    """What an hour of a GPU costs, by model and from when on. Costs are computed from these when they are asked for.

    \b
    framehouse rates show
    framehouse rates set "NVIDIA L40S" 1.10 EUR
    framehouse rates set "NVIDIA L40S" 0.95 EUR --from 2026-07-01
    """


@rates.command(short_help="List the rates, and the GPU models that have none.")
def show() -> None:
    """List the rates, and the GPU models that attempts name and that have none.

    \b
    framehouse rates show
    """
    from framehouse.warehouse.rates import rates as listed
    from framehouse.warehouse.rates import unpriced_models

    with opened(settings(), "rates") as warehouse, warehouse.session() as session:
        found, unpriced = listed(session), unpriced_models(session)
    for rate in found:
        click.echo(
            f"  {rate.gpu_model:<32}  {rate.price_per_gpu_hour:>12,.4f} {rate.currency}/h"
            f"  from {rate.valid_from.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        )
    if not found:
        click.echo("there are no rates, so no cost is known")
    for model in unpriced:
        click.secho(f"  {model:<32}  has no rate", fg="yellow")
    if unpriced:
        click.echo(
            f'  try: framehouse rates set "{unpriced[0]}" 1.10 {found[0].currency if found else "EUR"}'
        )


# What begins with a minus is a bad price, too, and no option that nobody knows.
@rates.command("set", short_help="Say what an hour of a GPU model costs.",
               context_settings={"ignore_unknown_options": True})  # fmt: skip
@click.argument("model")
@click.argument("price", type=float)
@click.argument("currency")
@click.option(
    "--from", "since", metavar="DAY|INSTANT",
    help="From when on: a day of the studio (2026-07-01) or an instant. By default always.",
)  # fmt: skip
def set_(model: str, price: float, currency: str, since: str | None) -> None:
    """Say what one GPU of a model costs for an hour, from a day on and until its next rate.

    MODEL is the name that attempts give as host.gpu_model; CURRENCY has three letters, the same for all rates.

    \b
    framehouse rates set "NVIDIA L40S" 1.10 EUR
    framehouse rates set "NVIDIA L40S" 0.95 EUR --from 2026-07-01
    """
    from framehouse.warehouse.rates import Rate, set_rate

    with opened(settings(), "rates") as warehouse:
        rate = set_rate(warehouse, Rate(model, _since(warehouse, since), price, currency.upper()))
    click.secho(
        f"{rate.gpu_model} costs {rate.price_per_gpu_hour:,.4f} {rate.currency} an hour"
        f" from {rate.valid_from.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        fg="green",
    )


@rates.command(short_help="Forget a rate; the one before it holds again.")
@click.argument("model")
@click.option("--from", "since", metavar="DAY|INSTANT", help="When the rate begins, as `show` lists it.")
def remove(model: str, since: str | None) -> None:
    """Forget a rate that was set by mistake; the model's one before it holds again.

    \b
    framehouse rates remove "NVIDIA L40S" --from 2026-07-01
    """
    from framehouse.warehouse.rates import remove_rate

    with opened(settings(), "rates") as warehouse:
        remove_rate(warehouse, model, _since(warehouse, since))
    click.secho("removed", fg="green")


def _since(warehouse: "Warehouse", text: str | None) -> datetime:
    from framehouse.windows import EARLIEST

    return EARLIEST if text is None else instant(warehouse, text, "--from")
