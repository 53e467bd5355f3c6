"""The answer to a request that carries several elements: one result each, and a status for all of them."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from starlette.responses import JSONResponse, Response

from api import problems
from framehouse.errors import Problem
from ingest.heartbeats import HeartbeatResult
from ingest.verdict import Status, Verdict
from ingest.writer import Result


def answer(verdicts: Sequence[Verdict], what: str) -> Response:
    """200 if at least one was stored or known; else 409 if all contradict what is stored, else 422."""
    if any(verdict.status is not Status.REJECTED for verdict in verdicts):
        return JSONResponse({"results": results(verdicts)})
    if not verdicts:
        missing = Problem("", "empty", f"at least one {what}")
        return problems.problem(422, "empty", f"the body holds no {what}", [missing], more={"results": []})
    return refusal(verdicts, f"no {what} of the body was stored; each is kept in quarantine")


def refusal(verdicts: Sequence[Verdict], detail: str) -> Response:
    """A problem that also says what became of every element."""
    codes = {verdict.code or "invalid" for verdict in verdicts if verdict.status is Status.REJECTED}
    status = 409 if codes == {"conflict"} else 422
    code = codes.pop() if len(codes) == 1 else "invalid"
    return problems.problem(status, code, detail, _errors(verdicts), more={"results": results(verdicts)})


def results(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """One result per element, in order."""
    return [_result(index, verdict) for index, verdict in enumerate(verdicts)]


def _result(index: int, verdict: Verdict) -> dict[str, Any]:
    told: dict[str, Any] = {"index": index}
    if isinstance(verdict, Result):
        told |= {"job_id": verdict.job_id, "attempt": verdict.attempt}
    elif isinstance(verdict, HeartbeatResult):
        told |= {"worker": verdict.worker, "covered_seconds": verdict.covered_seconds}
    told["status"] = verdict.status.value
    if verdict.status is Status.REJECTED:
        told["code"] = verdict.code or "invalid"
        told["errors"] = [asdict(error) for error in verdict.errors[: problems.MAX_ERRORS]]
    return told


def _errors(verdicts: Sequence[Verdict]) -> list[Problem]:
    """The errors of all elements; in a list each path begins with the element's place."""
    if len(verdicts) == 1:
        return verdicts[0].errors
    found: list[Problem] = []
    for index, verdict in enumerate(verdicts):
        found += [Problem(f"[{index}].{e.path}".rstrip("."), e.message, e.expected) for e in verdict.errors]
        if len(found) >= problems.MAX_ERRORS:
            break
    return found
