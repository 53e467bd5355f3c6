"""The OpenAPI document, the published schemas, and documentation that needs no internet."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator

from api import create_app, schemas
from framehouse.config import Settings
from framehouse.events import Event

FOLDER = Path(__file__).parent.parent.parent / "docs" / "schemas"


@pytest.fixture
def document(settings: Settings) -> dict[str, Any]:
    """The OpenAPI document; it needs no database."""
    return create_app(settings, url="postgresql://nowhere.invalid/x").openapi()


def references(value: Any) -> list[str]:
    """Every $ref within a value."""
    if isinstance(value, dict):
        here = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return here + [ref for item in value.values() for ref in references(item)]
    if isinstance(value, list):
        return [ref for item in value for ref in references(item)]
    return []


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    used = set(references(document))
    assert used
    assert used <= known


def test_every_schema_is_one(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_route_documents_its_errors_as_problems(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, told in operation["responses"].items():
                if status >= "400":
                    assert list(told["content"]) == ["application/problem+json"], (method, path, status)
            if operation.get("parameters"):
                assert "422" in operation["responses"], (method, path)


def test_the_paths_are_those_of_the_contract(document: dict[str, Any]) -> None:
    assert {(method, path) for path, item in document["paths"].items() for method in item} == {
        ("post", "/api/events"),
        ("post", "/api/heartbeats"),
        ("put", "/api/queue"),
        ("get", "/api/quarantine"),
        ("get", "/api/quarantine/{id}"),
        ("post", "/api/quarantine/{id}/replay"),
        ("get", "/api/jobs/{job_id}/attempts"),
        ("get", "/api/attempts"),
        ("post", "/api/estimates"),
        ("get", "/api/estimates/history"),
        ("get", "/api/estimates/{id}"),
        ("post", "/api/estimates/{id}/submission"),
        ("delete", "/api/estimates/{id}/submission"),
        ("get", "/api/budgets"),
        ("post", "/api/budgets"),
        ("get", "/api/budgets/crossings"),
        ("get", "/api/budgets/{id}"),
        ("put", "/api/budgets/{id}"),
        ("delete", "/api/budgets/{id}"),
        ("get", "/api/performance/overview"),
        ("get", "/api/performance/workflow/{id}"),
        ("get", "/api/performance/worker/{id}"),
        ("get", "/api/performance/quality"),
        ("get", "/api/performance/stages"),
        ("get", "/api/performance/comparison"),
        ("get", "/api/performance/workflow/{id}/trend"),
        ("get", "/api/performance/workers/comparison"),
        ("get", "/api/resolution-tiers"),
        ("post", "/api/resolution-tiers"),
        ("get", "/api/gpu-rates"),
        ("put", "/api/gpu-rates"),
        ("get", "/api/workflows"),
        ("get", "/api/workers"),
        ("get", "/api/projects"),
        ("get", "/api/stream"),
        ("get", "/healthz"),
        ("get", "/readyz"),
        ("get", "/metrics"),
    }


def test_the_body_of_events_is_the_event_contract(document: dict[str, Any]) -> None:
    content = document["paths"]["/api/events"]["post"]["requestBody"]["content"]["application/json"]
    assert content["schema"]["anyOf"][0] == {"$ref": "#/components/schemas/Event"}
    assert set(document["components"]["schemas"]["Event"]["properties"]) == set(Event.model_fields)


def test_the_stream_says_what_its_events_hold(document: dict[str, Any]) -> None:
    answers = document["paths"]["/api/stream"]["get"]["responses"]
    assert set(answers) >= {"200", "404", "422", "503"}
    [(kind, told)] = answers["200"]["content"].items()
    assert kind == "text/event-stream"
    kinds = {
        one["properties"]["event"]["const"]: one["properties"]["data"] for one in told["itemSchema"]["oneOf"]
    }
    assert {name: data["contentSchema"]["$ref"] for name, data in kinds.items()} == {
        "written": "#/components/schemas/Written",
        "resync": "#/components/schemas/Resync",
    }


@pytest.mark.parametrize("name", sorted(schemas.PUBLISHED))
def test_published_schemas_are_up_to_date(name: str) -> None:
    published = (FOLDER / name).read_text(encoding="utf-8")
    assert published == schemas.text(schemas.PUBLISHED[name]), "run `python -m api.schemas`"


def test_nothing_else_is_published() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(schemas.PUBLISHED)


def test_schemas_are_written_to_a_folder(tmp_path: Path) -> None:
    written = schemas.write(tmp_path / "new")
    assert {path.name for path in written} == set(schemas.PUBLISHED)
    assert all(path.read_bytes() == (FOLDER / path.name).read_bytes() for path in written)


def test_the_documentation_refers_to_nothing_outside(api: httpx.Client) -> None:
    page = api.get("/docs")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "//" not in page.text.replace("<!doctype html>", "")
    found = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(found) == 4
    for name in found:
        assert api.get(f"/{name}").status_code == 200, name
    start = api.get("/docs/start.js").text
    assert "validatorUrl: null" in start  # by default Swagger UI asks a validator on the internet
    assert 'url: "openapi.json"' in start
    assert "//" not in start
    assert "url(http" not in api.get("/docs/swagger-ui.css").text
    assert api.get("/openapi.json").json()["info"]["title"] == "framehouse"


def test_the_root_leads_to_the_documentation(api: httpx.Client) -> None:
    assert api.get("/", follow_redirects=True).url.path == "/docs"


def test_ingest_alone_has_no_reading(settings: Settings) -> None:
    app: FastAPI = create_app(settings, url="postgresql://nowhere.invalid/x", is_ingest_only=True)
    assert set(app.openapi()["paths"]) == {
        "/api/events",
        "/api/heartbeats",
        "/api/queue",
        "/api/quarantine",
        "/api/quarantine/{id}",
        "/api/quarantine/{id}/replay",
        "/healthz",
        "/readyz",
        "/metrics",
    }
