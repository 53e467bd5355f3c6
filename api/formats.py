"""Answers as tables: CSV, Parquet or Arrow instead of JSON, by the Accept header.

A table is the main list of an answer, one row for each of its items, with the columns of the items' own names.
"""

import io
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

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


def _form(accept: Annotated[str | None, Header(include_in_schema=False)] = None) -> Form:
    """The form that a client likes best; JSON where it does not say, or names nothing that there is."""
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
    content = _encoded(form, [_flat(item.model_dump()) for item in items])
    headers = {"Content-Disposition": f'inline; filename="{rows}.{_FILE_NAMES[form]}"', "Vary": "Accept"}
    return Response(content, media_type=form.value, headers=headers)


def _flat(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item's own values; lists and objects within it are no columns."""
    return {name: value for name, value in item.items() if not isinstance(value, list | dict)}


def _encoded(form: Form, rows: Sequence[Mapping[str, Any]]) -> bytes:
    import pyarrow as pa  # noqa: PLC0415 - heavy, and most answers are JSON
    from pyarrow import csv, parquet  # noqa: PLC0415

    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})
    out = io.BytesIO()
    if form is Form.CSV:
        csv.write_csv(table, out)
    elif form is Form.PARQUET:
        parquet.write_table(table, out)
    else:
        with pa.ipc.new_stream(out, table.schema) as stream:
            stream.write_table(table)
    return out.getvalue()
