"""Holds every answer of a test against the OpenAPI document: status, media type and schema must be documented."""

import re
from typing import Any

import httpx
from jsonschema import Draft202012Validator

PROBLEM = "application/problem+json"


class Contract:
    """The document of one application."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        # The most specific path first: /a/{b}/c before /a/{b}.
        paths = sorted(document["paths"], key=lambda path: (path.count("{"), -len(path)))
        self._paths = [(re.compile(re.sub(r"\{[^}]*\}", ".+", path) + "$"), path) for path in paths]

    def check(self, response: httpx.Response) -> None:
        """Fail when the document does not allow this answer."""
        response.read()
        kind = response.headers.get("content-type", "").partition(";")[0]
        if response.status_code >= 400:
            assert kind == PROBLEM, (response.status_code, kind)
            problem = response.json()
            assert set(problem) >= {"type", "title", "status", "detail", "code", "errors"}
            assert problem["status"] == response.status_code
        operation = self._operation(response.request)
        if operation is None:
            return
        told = operation["responses"].get(str(response.status_code))
        assert told is not None, f"{response.request.url} may not answer {response.status_code}"
        content = told["content"][kind]
        if kind.endswith("json"):
            self.validate(response.json(), content["schema"])

    def validate(self, value: object, schema: dict[str, Any]) -> None:
        """Fail when a value does not fit a schema of the document."""
        Draft202012Validator({**schema, "components": self._document["components"]}).validate(value)

    def _operation(self, request: httpx.Request) -> dict[str, Any] | None:
        for pattern, path in self._paths:
            if pattern.match(request.url.path):
                found: dict[str, Any] | None = self._document["paths"][path].get(request.method.lower())
                return found
        return None
