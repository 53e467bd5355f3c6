"""From bytes to JSON values, leniently: what is wrong with one element must not cost its neighbours.

NaN, 1e400 and huge integers become infinities and duplicate keys a marked dict, so that validation can name the field
instead of the parser refusing the whole body. A value nested too deeply for the parser is stepped over.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from framehouse.errors import ContractError, NotJsonError, Problem
from framehouse.events import printable

MAX_BODY_BYTES = 8 * 2**20
MAX_ELEMENTS = 10_000
_SPACE = re.compile(r"[ \t\n\r]*")
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|["\[\]{}]', re.DOTALL)


class DuplicatedKeys(dict[str, Any]):
    """An object that named a key twice; `keys_twice` says which."""

    keys_twice: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands in for a value that could not be made out: the code of its refusal, and why."""

    code: str
    problem: Problem


@dataclass(frozen=True, slots=True)
class Element:
    """One value of a body (or an Unreadable) and the exact bytes it came from."""

    value: Any
    raw: bytes


def elements(body: bytes, *, limit: int | None = MAX_ELEMENTS) -> list[Element]:
    """The values of a body: one value, or each of a JSON list.

    Raises NotJsonError when the body is not JSON, ContractError when it has more than `limit` elements.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotJsonError(
            f"the body is not UTF-8 (byte {error.start})", [Problem("", "not UTF-8", "JSON in UTF-8")]
        ) from None
    start = _skip(text, 0)
    try:
        if text[start : start + 1] != "[":
            value, end = _value(text, start)
            _expect_end(text, end)
            return [Element(value, body)]
        return _list(text, start + 1, limit)
    except json.JSONDecodeError as error:
        raise NotJsonError(
            f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}",
            [Problem("", f"{error.msg} at character {error.pos}", "JSON")],
        ) from None


def parsed(text: str) -> Any:
    """One JSON value, read as leniently as a body. Raises ValueError for anything else."""
    start = _skip(text, 0)
    value, end = _value(text, start)
    _expect_end(text, end)
    return value


def duplicated_keys(value: Any, path: str = "", depth: int = 0) -> list[Problem]:
    """A problem for every object that names a key twice."""
    found: list[Problem] = []
    if depth > 64:
        return found
    if isinstance(value, dict):
        if isinstance(value, DuplicatedKeys):
            found += [
                Problem(printable(f"{path}.{key}".strip(".")), "the key stands twice", "one value")
                for key in value.keys_twice
            ]
        for key, item in value.items():
            found += duplicated_keys(item, f"{path}.{key}", depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += duplicated_keys(item, f"{path}[{index}]", depth + 1)
    return found


def _list(text: str, at: int, limit: int | None) -> list[Element]:
    found: list[Element] = []
    at = _skip(text, at)
    if text[at : at + 1] == "]":
        _expect_end(text, at + 1)
        return found
    while True:
        value, end = _value(text, at)
        found.append(Element(value, text[at:end].encode()))
        if limit is not None and len(found) > limit:
            raise ContractError(
                f"the body holds more than {limit} elements",
                [Problem("", "too many elements", f"at most {limit} a request")],
            )
        at = _skip(text, end)
        mark = text[at : at + 1]
        if mark == "]":
            _expect_end(text, at + 1)
            return found
        if mark != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
        at = _skip(text, at + 1)


def _value(text: str, at: int) -> tuple[Any, int]:
    """The value that begins at `at`, and where it ends."""
    try:
        return _decoder.raw_decode(text, at)
    except RecursionError:
        problem = Problem("", "nested too deeply", "at most 32 levels")
        return Unreadable("invalid", problem), _end_of_nest(text, at)


def _end_of_nest(text: str, at: int) -> int:
    """Where the list or object that begins at `at` ends, however deep it is."""
    depth = 0
    for found in _STRING_OR_BRACKET.finditer(text, at):
        mark = found.group()
        if mark == '"':
            raise json.JSONDecodeError("Unterminated string starting at", text, found.start())
        if mark in "[{":
            depth += 1
        elif mark in "]}":
            depth -= 1
            if depth == 0:
                return found.end()
    raise json.JSONDecodeError("Unterminated list or object starting at", text, at)


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    assert space is not None
    return space.end()


def _expect_end(text: str, at: int) -> None:
    if _skip(text, at) != len(text):
        raise json.JSONDecodeError("Extra data", text, at)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    marked = DuplicatedKeys(plain)
    seen: set[str] = set()
    marked.keys_twice = tuple(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return marked


def _integer(text: str) -> int | float:
    # Longer than any field allows; int() of thousands of digits would be slow, or refused by Python itself.
    return int(text) if len(text) <= 40 else math.inf


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_constant=float)
