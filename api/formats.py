"""Answers as tables: CSV, Parquet or Arrow instead of JSON, by the Accept header.

A table is the main list of an answer, one row for each of its items, with the columns of the items' own names.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from fastapi import Depends, Header
from pydantic import BaseModel
from starlette.responses import Response

from api.problems import documented


class Form(StrEnum):
    """What an answer is written as."""

    JSON = "application/json"
    CSV = "text/csv"
    PARQUET = "application/vnd.apache.parquet"
    ARROW = "application/vnd.apache.arrow.stream"


_FILE_NAMES = {Form.CSV: "csv", Form.PARQUET: "parquet", Form.ARROW: "arrows"}

#: `responses` of a route whose answer may be a table.
TOLD: dict[int | str, dict[str, Any]] = {
    **documented(404, 410, 422, 503),
    200: {
        "content": {
            Form.CSV: {"schema": {"type": "string"}},
            Form.PARQUET: {"schema": {"type": "string", "format": "binary"}},
            Form.ARROW: {"schema": {"type": "string", "format": "binary"}},
        }
    },
}


_VARY = {"Vary": "Accept"}


def _form(response: Response, accept: Annotated[str | None, Header(include_in_schema=False)] = None) -> Form:
    """The form that a client likes best; JSON where it does not say, or names nothing that there is."""
    response.headers.update(_VARY)
    best, liking = Form.JSON, 0.0
    for wish in (accept or "").split(","):
        kind, *parameters = (part.strip().lower() for part in wish.split(";"))
        form = Form.JSON if kind in {"*/*", "application/*"} else next((f for f in Form if f == kind), None)
        weight = next((_quality(p[2:]) for p in parameters if p.startswith("q=")), 1.0)
        if form is not None and weight > liking:
            best, liking = form, weight
    return best


Wished = Annotated[Form, Depends(_form)]


def _quality(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0


def told(form: Form, model: type[BaseModel], answer: Mapping[str, Any], rows: str) -> Any:
    """An answer in the form that was wished for; `rows` names the list of it that is a table."""
    if form is Form.JSON:
        return answer
    items: Sequence[BaseModel] = getattr(model.model_validate(answer), rows)
    content = _encoded(form, _columns(model, rows), items)
    headers = {"Content-Disposition": f'inline; filename="{rows}.{_FILE_NAMES[form]}"', **_VARY}
    return Response(content, media_type=form.value, headers=headers)


#: Arrow's types by those of fields, the narrower before the wider.
_TYPES: dict[type, Callable[[Any], Any]] = {
    bool: lambda pa: pa.bool_(),
    int: lambda pa: pa.int64(),
    float: lambda pa: pa.float64(),
    datetime: lambda pa: pa.timestamp("us", tz="UTC"),
    str: lambda pa: pa.string(),
}


@cache
def _columns(model: type[BaseModel], rows: str) -> dict[str, type]:
    """What the items of a list say of themselves, whatever a list holds; lists and objects within are no columns."""
    [item] = get_args(model.model_fields[rows].annotation)
    found = {}
    for name, field in item.model_fields.items():
        kinds = [known for kind in _kinds(field.annotation) for known in _TYPES if issubclass(kind, known)]
        if kinds:
            found[name] = kinds[0]
    return found


def _kinds(annotation: Any) -> Iterator[type]:
    """The types of values that an annotation allows, without those of lists."""
    if get_origin(annotation) is Annotated:
        yield from _kinds(get_args(annotation)[0])
    elif get_origin(annotation) in {Union, UnionType}:
        for one in get_args(annotation):
            yield from _kinds(one)
    elif isinstance(annotation, type) and get_origin(annotation) is None:
        yield annotation


def _encoded(form: Form, columns: Mapping[str, type], items: Sequence[BaseModel]) -> bytes:
    import pyarrow as pa  # noqa: PLC0415 - heavy, and most answers are JSON
    from pyarrow import csv, parquet  # noqa: PLC0415

    table = pa.table(
        {
            name: pa.array([getattr(item, name) for item in items], _TYPES[kind](pa))
            for name, kind in columns.items()
        }
    )
    out = io.BytesIO()
    if form is Form.CSV:
        csv.write_csv(table, out)
    elif form is Form.PARQUET:
        parquet.write_table(table, out)
    else:
        with pa.ipc.new_stream(out, table.schema) as stream:
            stream.write_table(table)
    return out.getvalue()
