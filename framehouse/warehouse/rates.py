"""What an hour of a GPU costs, by model and from when on."""

import math
from dataclasses import asdict, dataclass
from datetime import datetime

from framehouse.errors import ContractError, NotFoundError, Problem
from framehouse.warehouse.pool import Session, Warehouse


@dataclass(frozen=True, slots=True)
class Rate:
    """The price of one GPU for an hour, from `valid_from` until the model's next rate begins."""

    gpu_model: str
    valid_from: datetime
    price_per_gpu_hour: float
    currency: str


def rates(session: Session) -> list[Rate]:
    """All rates, by model and time."""
    return session.records(Rate, "rates.all")


def unpriced_models(session: Session) -> list[str]:
    """The GPU models of recent attempts that have no rate at all."""
    return [row["gpu_model"] for row in session.rows("rates.unpriced_models")]


def set_rate(warehouse: Warehouse, rate: Rate) -> Rate:
    """Store a rate; it takes the place of one of the same model and instant. Raises ContractError.

    All rates are in one currency, so that costs add up.
    """
    _check(rate)
    with warehouse.session() as session:
        session.run("rates.lock")
        values = asdict(rate)
        if (other := session.value("rates.other_currency", values)) is not None:
            raise ContractError(
                f"the other rates are in {other}",
                [Problem("currency", "another currency", str(other))],
                hint="convert it, or remove the others first; costs in two currencies do not add up",
            )
        return session.records(Rate, "rates.set", values)[0]


def remove_rate(warehouse: Warehouse, gpu_model: str, valid_from: datetime) -> None:
    """Forget a rate; the model's one before it holds again. Raises NotFoundError."""
    with warehouse.session() as session:
        if not session.run("rates.remove", {"gpu_model": gpu_model, "valid_from": valid_from}):
            raise NotFoundError(
                f"{gpu_model!r} has no rate from {valid_from.isoformat()} on",
                hint="framehouse rates show lists them",
            )


def _check(rate: Rate) -> None:
    problems = []
    if not rate.price_per_gpu_hour >= 0 or math.isinf(rate.price_per_gpu_hour):
        problems.append(Problem("price_per_gpu_hour", "no price", "a number from 0 on"))
    if len(rate.currency) != 3 or not (rate.currency.isascii() and rate.currency.isupper()):
        problems.append(Problem("currency", "no currency", "three capital letters (ISO 4217), such as EUR"))
    if not rate.gpu_model:
        problems.append(Problem("gpu_model", "empty", "the name that events give as host.gpu_model"))
    if problems:
        said = "; ".join(f"{problem.path} must be {problem.expected}" for problem in problems)
        raise ContractError(f"this is no rate: {said}", problems)
