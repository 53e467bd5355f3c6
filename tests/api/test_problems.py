"""Every way to fail is problem details, and none of them shows what is inside."""

from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI

from framehouse.errors import (
    BuildError,
    BusyError,
    ConfigError,
    ContractError,
    DefinitionError,
    FramehouseError,
    NoAnswerError,
    NotFoundError,
    NotMigratedError,
    Problem,
    QueryError,
    TakenError,
    UnreachableError,
)

WRONG_PARAMETERS = [
    ("/api/jobs/a%00b/attempts", "job_id"),
    ("/api/attempts?workflow=%00", "workflow"),
    ("/api/attempts?worker=a%00b", "worker"),
    ("/api/attempts?tier=%00", "tier"),
    ("/api/attempts?outcome=%00", "outcome"),
    ("/api/attempts?from=%00", "from"),
    ("/api/attempts?to=2026-01-01", "to"),
    ("/api/attempts?from=2026-01-01T00:00:00", "from"),
    ("/api/attempts?cursor=%00", "cursor"),
    ("/api/attempts?cursor=AAAA", "cursor"),
    ("/api/attempts?limit=0", "limit"),
    ("/api/attempts?limit=99999999999999999999999", "limit"),
    ("/api/workflows?cursor=%00", "cursor"),
    ("/api/workflows?cursor=A", "cursor"),
    ("/api/workflows?cursor=AAAA", "cursor"),
    ("/api/workers?limit=many", "limit"),
    ("/api/projects?limit=1001", "limit"),
    ("/api/quarantine?cursor=-1", "cursor"),
    ("/api/quarantine?cursor=99999999999999999999", "cursor"),
    ("/api/quarantine?code=%00", "code"),
    ("/api/quarantine?include_replayed=perhaps", "include_replayed"),
    ("/api/quarantine/0", "id"),
    ("/api/quarantine/99999999999999999999", "id"),
    ("/api/quarantine/%00", "id"),
    ("/api/quarantine/NaN", "id"),
]

OWN_ERRORS: list[tuple[FramehouseError, int]] = [
    (ContractError("wrong", [Problem("a.b", "bad", "good")]), 422),
    (TakenError("taken"), 409),
    (NotFoundError("nothing"), 404),
    (QueryError("unclear"), 422),
    (NoAnswerError("gone"), 410),
    (BusyError("busy"), 503),
    (UnreachableError("away", hint="framehouse up"), 503),
    (NotMigratedError("old"), 503),
    (DefinitionError("changed"), 503),
    (BuildError("broken"), 503),
    (ConfigError("bad setting"), 503),
    (FramehouseError("something"), 500),
]

Start = Callable[[FastAPI], httpx.Client]


def failing(error: Exception) -> Callable[[], None]:
    """A handler that raises."""

    def fail() -> None:
        raise error

    return fail


def test_an_unknown_path_is_a_problem(api: httpx.Client) -> None:
    for path in ("/api/nothing", "/api/events/", "/%00", "/api/%ff", "/" + "x" * 5000):
        answer = api.get(path)
        assert answer.status_code == 404
        assert answer.json()["code"] == "no_such_path"


def test_a_wrong_method_is_a_problem_that_names_the_right_one(api: httpx.Client) -> None:
    for path, allowed in (
        ("/api/events", "POST"),
        ("/api/resolution-tiers", "GET, POST"),
        ("/api/jobs/a/b/attempts", "GET"),
        ("/docs", "GET"),
    ):
        answer = api.delete(path)
        assert answer.status_code == 405
        assert answer.headers["allow"] == allowed
        assert answer.json()["code"] == "method_not_allowed"


def test_a_wrong_parameter_is_a_422_that_names_it(api: httpx.Client) -> None:
    for path, name in WRONG_PARAMETERS:
        answer = api.get(path)
        assert answer.status_code == 422, path
        assert [error["path"] for error in answer.json()["errors"]] == [name], path


def test_what_does_not_exist_is_a_404(api: httpx.Client) -> None:
    for path in ("/api/jobs/nobody/attempts", "/api/attempts?workflow=none", "/api/quarantine/1"):
        answer = api.get(path)
        assert answer.status_code == 404
        assert answer.json()["code"] == "not_found"


def test_our_own_errors_have_a_status(app: FastAPI, client: Start) -> None:
    for number, (error, _) in enumerate(OWN_ERRORS):
        app.add_api_route(f"/fail/{number}", failing(error), include_in_schema=False)
    running = client(app)
    for number, (error, status) in enumerate(OWN_ERRORS):
        answer = running.get(f"/fail/{number}")
        assert answer.status_code == status
        assert answer.json()["code"] == error.code
        assert str(error) in answer.json()["detail"]
        assert (error.hint or "") in answer.json()["detail"]
        assert ("retry-after" in answer.headers) == (status == 503)


def test_an_unforeseen_error_keeps_its_insides(
    app: FastAPI, client: Start, caplog: pytest.LogCaptureFixture
) -> None:
    app.add_api_route("/fail", failing(RuntimeError("the password is hunter2")), include_in_schema=False)
    answer = client(app).get("/fail")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert "hunter2" not in answer.text
    assert "hunter2" in caplog.text


@pytest.mark.parametrize(
    ("scene", "path", "expected"),
    [
        (None, "scenes", "at least 1 entries"),
        ({"workflow": ""}, "scenes[0].workflow", "at least 1 characters"),
        ({"workflow": "w" * 501}, "scenes[0].workflow", "at most"),
        ({"target_seconds": "10"}, "scenes[0].target_seconds", "a number"),
        ({"target_seconds": 0}, "scenes[0].target_seconds", "at least 0.001"),
    ],
)
def test_a_bad_field_says_what_would_be_right(
    api: httpx.Client, scene: dict[str, object] | None, path: str, expected: str
) -> None:
    sound = {"workflow": "portrait", "target_seconds": 10, "segment_seconds": 2}
    answer = api.post("/api/estimates", json={"scenes": [] if scene is None else [sound | scene]})
    (problem,) = answer.json()["errors"]
    assert (answer.status_code, problem["path"]) == (422, path)
    assert problem["expected"].startswith(expected)
