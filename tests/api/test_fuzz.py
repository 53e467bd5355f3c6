"""Whatever anybody sends: no 5xx, and every answer is one that the OpenAPI document allows."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, CheckFunction, GenerationMode
from schemathesis.core import NotSet
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from api import create_app
from framehouse.config import read
from ingest.verdict import HTTP_REACH

from .conftest import Event

DOCUMENT = schemathesis.openapi.from_dict(
    create_app(read({}), url="postgresql://nowhere.invalid/x").openapi(),
    config=schemathesis.Config(),  # without one it would look for a file
)
OPERATIONS = {found.ok().label: found.ok() for found in DOCUMENT.get_all_operations()}

#: What the contract asks for and a JSON Schema cannot say: a request may fit the document and still get a 422, so that
#: positive_data_acceptance contradicts the contract here. It holds for every other endpoint.
BEYOND_SCHEMA = {
    "POST /api/events": "a known tier, times in their order and not too old, numbers without a point for counts",
    "POST /api/heartbeats": "a span that ends after it begins, within a day and not too old",
    "PUT /api/queue": "a known tier, numbers without a point for counts",
    "POST /api/estimates": "a known tier, one of worker_count and workers, at most a million segments",
    "POST /api/quarantine/{id}/replay": "as events and heartbeats, and the one that the row holds",
    "POST /api/resolution-tiers": "a name that is more than spaces, numbers without a point for sizes",
    "PUT /api/gpu-rates": "a name that is more than spaces, the currency of the other rates",
    "POST /api/budgets": "a name that is more than spaces, a span for once alone, levels in their order",
    "PUT /api/budgets/{id}": "as a new budget",
    "GET /api/budgets/crossings": "a cursor that a page gave",
    "POST /api/estimates/{id}/submission": "a name that is more than spaces",
    "GET /api/jobs/{job_id}/attempts": "a name that is more than spaces",
    "GET /api/attempts": "a cursor that a page gave, names that are more than spaces",
    "GET /api/estimates/history": "a time zone that there is, a beginning before the end",
    "GET /api/quarantine": "a cursor that a page gave",
    "GET /api/performance/overview": "a metric that there is, at most 10,000 buckets, names that there are",
    "GET /api/performance/workflow/{id}": "a beginning before the end, names that there are",
    "GET /api/performance/worker/{id}": "a beginning before the end, at most 10,000 buckets, names that there are",
    "GET /api/performance/quality": "a beginning before the end, at most 10,000 buckets, names that there are",
    "GET /api/performance/stages": "a cursor that a page gave, a beginning before the end, names that there are",
    "GET /api/performance/comparison": "two things to compare, quantities that there are, a beginning before the end",
    "GET /api/performance/workflow/{id}/trend": "a metric that there is, at most 10,000 buckets",
    "GET /api/performance/workers/comparison": "a quantity that there is, a beginning before the end",
    "GET /api/workflows": "a cursor that a page gave",
    "GET /api/workers": "a cursor that a page gave",
    "GET /api/projects": "a cursor that a page gave",
}

LISTS_OF_NAMES = ("project", "tier", "workflow", "worker", "gpu_model", "metric", "workflows")

#: What has no end cannot be held against the document as a whole; tests/api/test_stream.py asks it what it may refuse.
ENDLESS = {"GET /api/stream"}

# Times of any year would be refused at the door, and hardly an event would reach the database.
_REACH_SECONDS = int(HTTP_REACH.total_seconds()) - 86_400
schemathesis.openapi.format(
    "date-time",
    st.integers(0, _REACH_SECONDS).map(lambda ago: (datetime.now(UTC) - timedelta(seconds=ago)).isoformat()),
)


def excluded(case: Case) -> list[CheckFunction]:
    """The checks that contradict the contract for this request."""
    found: list[CheckFunction] = []
    if case.operation.label in BEYOND_SCHEMA:
        found.append(positive_data_acceptance)
    if case.operation.path in {"/api/events", "/api/heartbeats"} and isinstance(case.body, list):
        # A list is answered with 200 as soon as one of its elements was stored; each has its own result.
        found.append(negative_data_rejection)
    elif any(isinstance((case.query or {}).get(name), bool | int | float) for name in LISTS_OF_NAMES):
        # In a query everything is text, and one value is a list of one: `gpu_model=false` names a model.
        found.append(negative_data_rejection)
    elif isinstance(case.body, NotSet) and {body.is_required for body in case.operation.body} == {False}:
        # Leaving out what may be left out is no mistake.
        found.append(negative_data_rejection)
    elif any(text != text.strip() for text in texts([case.path_parameters, case.query, case.body])):
        # White space around a name is dropped before the name is judged, and may be all that was wrong with it.
        found.append(negative_data_rejection)
    return found


def texts(value: Any) -> Iterator[str]:
    """Every text within a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from texts([*value.keys(), *value.values()])
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def as_whole(value: Any) -> Any:
    """A JSON value with 8 for 8.0, which a schema takes for a whole number and the contract does not."""
    if isinstance(value, dict):
        return {key: as_whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> settings:
    """How many requests, and which."""
    asked: int | None = request.config.getoption("--fuzz-examples")
    return settings(
        max_examples=asked or 50,
        derandomize=asked is None,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture
def known(api: httpx.Client, event: Event) -> dict[str, dict[str, Any]]:
    """Something stored for every path that names one thing: its parameters by path."""
    scene = {"workflow": "wan_i2v", "target_seconds": 20, "segment_seconds": 5}
    sent = [event(segment_count=2, tier="draft") for _ in range(5)]
    assert api.post("/api/events", json=[*sent, event(tier="8k")]).is_success
    asked = api.post("/api/estimates", json={"scenes": [scene], "pool": {"worker_count": 2}})
    [refused] = api.get("/api/quarantine").json()["items"]
    made = api.post("/api/budgets", json={"name": "film", "quantity": "gpu_hours", "amount": 0.1})
    return {
        "/api/jobs/{job_id}/attempts": {"job_id": sent[0]["job_id"]},
        "/api/estimates/{id}": {"id": asked.json()["estimate_id"]},
        "/api/estimates/{id}/submission": {"id": asked.json()["estimate_id"]},
        "/api/budgets/{id}": {"id": made.json()["id"]},
        "/api/quarantine/{id}": {"id": refused["id"]},
        "/api/quarantine/{id}/replay": {"id": refused["id"]},
    }


@pytest.mark.parametrize("label", [label for label in OPERATIONS if label not in ENDLESS])
def test_every_answer_is_one_that_the_document_allows(
    api: httpx.Client, known: dict[str, dict[str, Any]], fuzz: settings, label: str
) -> None:
    operation = OPERATIONS[label]
    sent = [operation.as_strategy(mode) for mode in GenerationMode]
    if named := known.get(operation.path):
        sent += [operation.as_strategy(mode, path_parameters=named) for mode in GenerationMode]

    with requests.Session() as session:

        @fuzz
        @given(case=st.one_of(sent))
        def hold(case: Case) -> None:
            if case.meta is not None and case.meta.generation.mode.is_positive:
                case.body = as_whole(case.body)
            answer = case.call(base_url=str(api.base_url), session=session)
            case.validate_response(answer, excluded_checks=excluded(case))

        hold()


def test_only_endpoints_that_there_are_are_excluded() -> None:
    assert BEYOND_SCHEMA.keys() | ENDLESS <= set(OPERATIONS)
