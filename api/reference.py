"""What goes over the wire about reference data: tiers, names, rates."""

from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from api.wire import Request, UtcTime, Wire
from framehouse.events import Instant, Name, Size, Text
from framehouse.events import Score as Finite

Whole = Annotated[int, Field(ge=-(2**53), le=2**53)]


def _setting(value: object, read: ValidatorFunctionWrapHandler) -> object:
    """One problem for a value that none of the kinds takes, instead of one for each kind."""
    try:
        return read(value)
    except ValidationError:
        expected = {"expected": "text, a finite number, true, false or null"}
        raise PydanticCustomError("not_a_setting", "not a setting", expected) from None


Setting = Annotated[bool | Whole | Finite | Text | None, WrapValidator(_setting)]


class TierRequest(Request):
    """A new resolution tier."""

    name: Name
    width: Size
    height: Size
    quality_settings: Annotated[dict[Name, Setting], Field(max_length=100)] = {}  # noqa: RUF012 - pydantic copies it
    """What the tier sets, by name: text, numbers, true or false."""
    speed_factor: Annotated[float, Field(ge=0.001, le=1000, allow_inf_nan=False)]
    """How many times faster than production it is."""
    is_default: bool = False
    """Whether scenes without a tier are made in this one; it takes the place of the present default."""
    sort_order: Annotated[int, Field(ge=-(2**31), le=2**31 - 1)] = 0


class Tier(Wire):
    """A resolution tier."""

    id: int
    name: str
    width: int
    height: int
    quality_settings: dict[str, Any]
    speed_factor: float
    is_default: bool
    sort_order: int
    created_at: UtcTime


class TierList(Wire):
    """All tiers in use, in their order."""

    items: list[Tier]


class RateRequest(Request):
    """What one GPU of a model costs for an hour, from an instant until the model's next rate."""

    gpu_model: Name
    """The name that attempts give as `host.gpu_model`."""
    valid_from: Instant
    price_per_gpu_hour: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    """ISO 4217; the same for all rates."""


class RateAnswer(Wire):
    """What one GPU of a model costs for an hour."""

    gpu_model: str
    valid_from: UtcTime
    price_per_gpu_hour: float
    currency: str


class RateList(Wire):
    """All rates, by model and time."""

    items: list[RateAnswer]


class NamedItem(Wire):
    """A workflow, worker or project."""

    id: int
    name: str
    created_at: UtcTime


class NamedPage(Wire):
    """One page, in the order of the names."""

    items: list[NamedItem]
    next_cursor: str | None
