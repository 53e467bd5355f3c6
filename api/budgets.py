"""What goes over the wire about budgets and submissions."""

from typing import Annotated

from pydantic import Field

from api.wire import Request, Wire
from framehouse.estimates.budgets import MAX_RATIO, Period, Quantity
from framehouse.estimates.spending import BudgetState
from framehouse.estimates.submission import Crossing
from framehouse.events import MEASURE_MAX, Instant, Name

Ratio = Annotated[float, Field(gt=0, le=MAX_RATIO, allow_inf_nan=False)]


class BudgetRequest(Request):
    """What a budget says."""

    name: Name
    quantity: Quantity
    """What is counted, and the unit of the amount; `cost` is in the currency of the GPU rates."""
    amount: Annotated[float, Field(gt=0, le=MEASURE_MAX, allow_inf_nan=False)]
    period: Period = "month"
    """A recurring one follows the studio's calendar; `once` begins and ends when it says."""
    project: Name | None = None
    """Whose work; null: the whole studio's."""
    starts_at: Instant | None = None
    """Of `once` alone."""
    ends_at: Instant | None = None
    """Of `once` alone; the first instant that is outside."""
    warn_ratio: Ratio = 0.8
    """From above which share of the amount on people are warned."""
    block_ratio: Ratio | None = 1.0
    """From above which share on submissions are refused, not below `warn_ratio`; null: never."""


class BudgetList(Wire):
    """Budgets and how they stand, in the order of their names."""

    items: list[BudgetState]


class CrossingPage(Wire):
    """What was crossed and refused, the latest first."""

    items: list[Crossing]
    next_cursor: str | None


class SubmissionRequest(Request):
    """What a submission may say."""

    project: Name | None = None
    """Whose work it is, unless the estimate's own project."""
