"""JSON Schemas of what is sent: within the OpenAPI document, and published as files by `python -m api.schemas`."""

import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from api.problems import MEDIA_TYPE, ProblemDetails
from framehouse.events import Event, Heartbeat, Queue
from ingest.body import MAX_ELEMENTS

#: File name -> contract.
PUBLISHED: dict[str, type[BaseModel]] = {
    "event.schema.json": Event,
    "heartbeat.schema.json": Heartbeat,
    "queue.schema.json": Queue,
}

#: Models that routes name by reference, because the handlers read raw bytes or answer by themselves.
_REFERRED: dict[type[BaseModel], JsonSchemaMode] = {ProblemDetails: "serialization"}


def document(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a contract, as a document of its own."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}


def write(folder: Path) -> list[Path]:
    """Write every published schema into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, model in PUBLISHED.items():
        path = folder / name
        path.write_text(text(model), encoding="utf-8")
        written.append(path)
    return written


def text(model: type[BaseModel]) -> str:
    """A published schema as its file holds it."""
    return json.dumps(document(model), indent=2, ensure_ascii=False) + "\n"


def body_of(model: type[BaseModel], *, is_required: bool = True) -> dict[str, Any]:
    """`openapi_extra` of a route whose handler reads one JSON object by itself."""
    return _body(_reference(model, "validation"), is_required)


def one_or_many(*models: type[BaseModel], is_required: bool = True) -> dict[str, Any]:
    """`openapi_extra` of a route that takes one object or a list of them, of one of several kinds."""
    one = [_reference(model, "validation") for model in models]
    many = [{"type": "array", "items": item, "minItems": 1, "maxItems": MAX_ELEMENTS} for item in one]
    return _body({"anyOf": [*one, *many]}, is_required)


def refused(model: type[BaseModel], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route whose problems have members of their own."""
    schema = _reference(model, "serialization")
    return {
        status: {"description": (model.__doc__ or "").strip(), "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def events_of(models: dict[str, type[BaseModel]]) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that answers with server-sent events: what the data of each kind of event is."""
    kinds = []
    for name, model in models.items():
        data = {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": _reference(model, "serialization"),
        }
        kinds.append({"properties": {"event": {"const": name}, "data": data}, "required": ["event", "data"]})
    return {200: {"content": {"text/event-stream": {"itemSchema": {"oneOf": kinds}}}}}


def install(app: FastAPI) -> None:
    """Give the app an OpenAPI document that holds the models which routes only refer to."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            _, referred = models_json_schema(
                list(_REFERRED.items()),
                ref_template="#/components/schemas/{model}",
            )
            known = made.setdefault("components", {}).setdefault("schemas", {})
            for name, schema in referred.get("$defs", {}).items():
                known.setdefault(name, schema)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _reference(model: type[BaseModel], mode: JsonSchemaMode) -> dict[str, Any]:
    _REFERRED[model] = mode
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _body(schema: dict[str, Any], is_required: bool) -> dict[str, Any]:
    return {"requestBody": {"required": is_required, "content": {"application/json": {"schema": schema}}}}


if __name__ == "__main__":
    for made in write(Path(__file__).parent.parent / "docs" / "schemas"):
        print(made)  # noqa: T201 - a command's output
