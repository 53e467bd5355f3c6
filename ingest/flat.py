"""Flat records (a CSV row, a Parquet row) as what the contract expects: dotted columns nest, cells get their types.

What cannot be read as its field's type stays as it is, so that validation names the field and what would be right.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from typing import Any
from uuid import UUID

from framehouse.errors import ContractError, Problem
from framehouse.events import Event
from ingest.body import Element, parsed

_INTEGER = re.compile(r"[+-]?[0-9]{1,40}(\.0*)?")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_BOOLEANS = {"true": True, "false": False, "t": True, "f": False, "1": True, "0": False}


def check_columns(columns: Iterable[str], name: str) -> None:
    """Raise ContractError where a column is no field of the contract: every row would be refused for it."""
    found = list(columns)
    problems = [_unknown(column) for column in found if kind_of(column) is None]
    problems += [
        Problem(column, "the column stands twice", "each field once") for column in sorted(_twice(found))
    ]
    if problems:
        told = "; ".join(f"{p.path!r}: {p.message} ({p.expected})" for p in problems[:5])
        raise ContractError(
            f"the columns of {name} do not keep the contract: {told}",
            problems,
            hint="columns are named by the contract's fields, nested ones as input.duration_seconds",
        )


def kind_of(column: str) -> str | None:
    """What JSON type the contract wants in a column; `any` inside parameters, None for a column it does not know."""
    kinds, open_groups = _contract()
    group, _, key = column.partition(".")
    return kinds.get(column) or (open_groups.get(group) if key else None)


def element(record: Mapping[str, Any]) -> Element:
    """A record of typed cells by column as an element. What stands for it in quarantine is its JSON."""
    value: dict[str, Any] = {}
    for column, cell in record.items():
        group, _, key = column.partition(".")
        if not key:
            value[group] = value[group] | cell if isinstance(value.get(group), dict) else cell
        elif isinstance(value.setdefault(group, {}), dict):
            value[group][key] = cell
    return Element(value, json.dumps(value, default=str).encode())


def from_text(column: str, cell: str) -> Any:
    """A cell of a CSV file, not empty, as its column's type."""
    kind = kind_of(column)
    if kind == "integer" and _INTEGER.fullmatch(cell):
        return int(cell.partition(".")[0])
    if kind == "number" and _NUMBER.fullmatch(cell):
        return float(cell)
    if kind == "boolean":
        return _BOOLEANS.get(cell.lower(), cell)
    if kind in {"object", "array"} or (kind == "any" and _looks_like_json(cell)):
        return _json_or_text(cell)
    return cell


def from_typed(column: str, cell: Any) -> Any:
    """A cell of a Parquet file as its column's type. Nulls inside groups are left out: absent means unknown."""
    kind = kind_of(column)
    if isinstance(cell, float) and kind == "integer" and cell.is_integer():
        return int(cell)  # pandas keeps whole numbers with gaps as floats
    if isinstance(cell, str):
        return _json_or_text(cell) if kind in {"object", "array"} else cell
    if isinstance(cell, list) and kind == "object" and all(_is_pair(item) for item in cell):
        cell = dict(cell)  # a Parquet map
    if isinstance(cell, dict):
        return {key: from_typed(f"{column}.{key}", item) for key, item in cell.items() if item is not None}
    if isinstance(cell, list):
        return [from_typed(column, item) for item in cell]
    return _plain(cell)


def _plain(cell: Any) -> Any:
    if isinstance(cell, (datetime, date)):
        return cell.isoformat()
    if isinstance(cell, Decimal):
        return float(cell) if cell != cell.to_integral_value() else int(cell)
    if isinstance(cell, UUID):
        return str(cell)
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    return cell


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2


def _looks_like_json(cell: str) -> bool:
    return cell[:1] in {"{", "[", '"'} or cell in {"true", "false", "null"} or bool(_NUMBER.fullmatch(cell))


def _json_or_text(cell: str) -> Any:
    try:
        return parsed(cell)
    except ValueError:
        return cell


@cache
def _contract() -> tuple[dict[str, str], dict[str, str]]:
    """JSON types by column, and for groups with free keys the type of their values."""
    schema = Event.model_json_schema()
    kinds: dict[str, str] = {}
    open_groups: dict[str, str] = {}
    for path, option in _fields(schema, schema.get("$defs", {})):
        kinds[path] = option.get("type", "string")
        if kinds[path] == "object" and "properties" not in option:
            values: dict[str, Any] = next(iter(option.get("patternProperties", {}).values()), {})
            open_groups[path] = values.get("type", "any")
    return kinds, open_groups


def _fields(
    schema: dict[str, Any], definitions: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, property_ in schema["properties"].items():
        option = next(o for o in property_.get("anyOf", [property_]) if o.get("type") != "null")
        if "$ref" in option:
            option = definitions[option["$ref"].rsplit("/", 1)[-1]]
        yield prefix + name, option
        if "properties" in option:
            yield from _fields(option, definitions, f"{prefix}{name}.")


def _unknown(column: str) -> Problem:
    near = get_close_matches(column, _contract()[0], n=1)
    return Problem(column, "no such field", f"did you mean {near[0]}?" if near else "see docs/naming.md")


def _twice(columns: list[str]) -> set[str]:
    seen: set[str] = set()
    return {column for column in columns if column in seen or seen.add(column)}  # type: ignore[func-returns-value]
