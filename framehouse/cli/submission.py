"""Budgets as `framehouse estimate` tells of them, and the submission of what it estimated."""

from typing import TYPE_CHECKING, Any

import click

from framehouse.cli.client import post
from framehouse.errors import BudgetExceededError, ContractError

if TYPE_CHECKING:
    from framehouse.config import Settings

#: The exit code of a submission that a budget refuses.
REFUSED = 4
_COLORS = {"ok": "green", "warn": "yellow", "block": "red"}


def submitted(settings: "Settings", estimate_id: str | None, *, is_remote: bool) -> Any:
    """Submit a stored estimate, over HTTP or in this process. Raises BudgetExceededError."""
    if estimate_id is None:
        raise ContractError('the batch says "store": false, so there is nothing to submit')
    if is_remote:
        return post(f"{settings.api_url}/api/estimates/{estimate_id}/submission", {})

    from uuid import UUID

    from framehouse.embedded import database_url
    from framehouse.estimates.submission import submit
    from framehouse.estimates.wire import as_json
    from framehouse.warehouse import Warehouse

    with Warehouse(database_url(settings)) as warehouse:
        return as_json(submit(warehouse, UUID(estimate_id)))


def show_budgets(states: list[dict[str, Any]]) -> None:
    """A line for each budget, as it would stand with the batch, and what has to be known to read it."""
    for state in states:
        budget = state["budget"]
        parts = [
            f"{_amount(state[name])} {words}"
            for name, words in (("spent", "spent"), ("committed", "committed"), ("asked", "asked for"))
        ]
        line = f"{budget['name']}: {', '.join(parts)}, of {_amount(budget['amount'])} {budget['quantity']}"
        level = click.style(state["level"], fg=_COLORS[state["level"]])
        click.echo(f"  {click.style('budget', bold=True):<10} {line}: {level}")
        for note in state["notes"]:
            click.echo(f"  {'':<6} {note}")


def show_submission(done: dict[str, Any] | None) -> None:
    """What a submission did, and what people should hear of it."""
    if done is None:
        return
    project = done["commitment"]["project"]
    click.secho(f"submitted{f' for {project}' if project else ''}", fg="green")
    for warning in done["warnings"]:
        click.secho(f"  warning: {warning}", fg="yellow", err=True)


def tell_refusal(error: BudgetExceededError) -> None:
    """Which budgets have no room for the batch, and what would be right."""
    click.secho(f"not submitted: {error}", fg="red", err=True)
    for problem in error.problems:
        click.echo(f"  there is room for {problem.expected}", err=True)
    if error.hint:
        click.echo(f"  try: {error.hint}", err=True)


def _amount(value: float | None) -> str:
    return "an unknown amount" if value is None else f"{value:,.2f}"
