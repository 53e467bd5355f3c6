"""The HTTP service: parse, call the core, return. `create_app` is imported when it is asked for."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from api.app import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> Any:
    if name != "create_app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from api.app import create_app  # noqa: PLC0415 - `python -m api.schemas` and the types need no application

    return create_app
