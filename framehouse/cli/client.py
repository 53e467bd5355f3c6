"""The API as a client sees it: JSON over HTTP with the standard library, since the base install is the client."""

import json
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from framehouse.errors import (
    BudgetExceededError,
    ContractError,
    FramehouseError,
    Problem,
    UnreachableError,
)


def get(url: str) -> Any:
    """The JSON at a URL. Raises as `post` does."""
    return _fetch(Request(url))  # noqa: S310 - the URL is the user's own setting


def post(url: str, body: Any) -> Any:
    """The JSON answer to a JSON body.

    Raises ContractError with its problems for a 422, BudgetExceededError where a budget blocks, FramehouseError for
    another refusal, UnreachableError.
    """
    return _fetch(Request(url, json.dumps(body).encode(), {"content-type": "application/json"}))  # noqa: S310


def invalid(what: str, found: list[Problem]) -> ContractError:
    """A ContractError whose message lists what is wrong, and where, for a terminal."""
    lines = []
    for problem in found:
        expected = f" (expected: {problem.expected})" if problem.expected else ""
        lines.append(f"{problem.path or what}: {problem.message}{expected}")
    more = [f"... and {len(lines) - 10} more"] if len(lines) > 10 else []
    return ContractError("\n  ".join([f"{what} is invalid", *lines[:10], *more]), found)


def _fetch(request: Request) -> Any:
    try:
        with urlopen(request, timeout=60) as response:  # noqa: S310
            return json.load(response)
    except HTTPError as error:
        try:
            said = json.load(error)
        except ValueError:
            raise FramehouseError(f"{request.full_url} answered {error.code} {error.reason}") from None
        found = [Problem(e["path"], e["message"], e.get("expected")) for e in said.get("errors", [])]
        if error.code == 422:
            raise invalid("the request", found) from None
        if said.get("code") == BudgetExceededError.code:
            raise BudgetExceededError(said["detail"], found) from None
        raise FramehouseError(f"the API refused: {said.get('detail') or error.reason}") from None
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise UnreachableError(f"no API at {request.full_url}: {reason}", hint="framehouse serve") from None
