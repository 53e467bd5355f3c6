"""What a query says besides what an endpoint takes: it is refused, and never ignored."""

import httpx
import pytest

PATH = "/api/performance"


@pytest.mark.parametrize(
    ("path", "query", "names"),
    [
        (f"{PATH}/overview", "grains=week", ["grains"]),
        (f"{PATH}/overview", "Tier=draft&moving=3", ["Tier", "moving"]),
        (f"{PATH}/workflow/x", "grain=week", ["grain"]),
        (f"{PATH}/workflow/x/trend", "compare=previous", ["compare"]),
        (f"{PATH}/worker/x", "compare=previous", ["compare"]),
        (f"{PATH}/quality", "workflow=x&compare=previous", ["compare"]),
        (f"{PATH}/stages", "compare=previous", ["compare"]),
        (f"{PATH}/workers/comparison", "limit=-5", ["limit"]),
        (f"{PATH}/comparison", "workflows=a,b&cursor=1", ["cursor"]),
        ("/api/attempts", "workflows=a", ["workflows"]),
        ("/api/estimates/history", "tier=draft", ["tier"]),
        ("/api/workers", "offset=5", ["offset"]),
        ("/api/gpu-rates", "currency=EUR", ["currency"]),
        ("/api/quarantine", "codes=invalid", ["codes"]),
        ("/api/stream", "workflows=a", ["workflows"]),
    ],
)
def test_a_parameter_that_an_endpoint_does_not_take(
    api: httpx.Client, path: str, query: str, names: list[str]
) -> None:
    answer = api.get(f"{path}?{query}")
    assert answer.status_code == 422, answer.text
    told = answer.json()
    assert told["code"] == "invalid"
    assert [error["path"] for error in told["errors"]] == names
    assert all(name in told["detail"] for name in names)


def test_what_would_be_right_is_named(api: httpx.Client) -> None:
    [error] = api.get(f"{PATH}/workers/comparison", params={"limit": 5}).json()["errors"]
    assert error["message"] == "GET /api/performance/workers/comparison does not take it"
    assert error["expected"].startswith("one of: metric, ")
    [error] = api.get("/api/gpu-rates", params={"limit": 5}).json()["errors"]
    assert error["expected"] == "no parameters"


@pytest.mark.parametrize(
    ("path", "query", "names"),
    [
        (f"{PATH}/quality", "workflow=a&workflow=b", ["workflow"]),
        (f"{PATH}/overview", "grain=week&tz=UTC&grain=day&tz=UTC", ["grain", "tz"]),
        ("/api/attempts", "limit=1&limit=2&limit=3", ["limit"]),
    ],
)
def test_a_parameter_that_takes_one_value_is_given_once(
    api: httpx.Client, path: str, query: str, names: list[str]
) -> None:
    answer = api.get(f"{path}?{query}")
    assert answer.status_code == 422, answer.text
    assert [error["path"] for error in answer.json()["errors"]] == names
    assert {error["expected"] for error in answer.json()["errors"]} == {"one value"}


def test_what_takes_several_values_is_repeated(api: httpx.Client) -> None:
    assert api.get(f"{PATH}/overview?outcome=failed&outcome=canceled").status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"])
def test_what_is_no_question_is_not_judged_by_its_query(api: httpx.Client, path: str) -> None:
    """A balancer or a browser may put anything behind these."""
    assert api.get(f"{path}?_=1").status_code == 200
