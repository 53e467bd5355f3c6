"""Bodies and their limits: size, time, media type, encoding; what is odd and sound is taken."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from urllib.parse import urlsplit

import httpx
import pytest

from api import bodies
from ingest.body import MAX_BODY_BYTES

from .conftest import Event


def text(event: dict[str, object], field: str, value: str) -> str:
    """An event's JSON with one field's value given as text."""
    rest = {name: item for name, item in event.items() if name != field}
    return json.dumps(rest)[:-1] + f', "{field}": {value}}}'


def test_numbers_keep_their_meaning(api: httpx.Client, event: Event) -> None:
    sent = event()
    assert api.post("/api/events", content=text(sent, "gpu_seconds", "-0.0")).status_code == 200
    # The same content in another spelling is the same event.
    again = api.post("/api/events", content=text(sent, "gpu_seconds", "0e0"))
    assert again.json()["results"][0]["status"] == "duplicate"


def test_an_offset_that_postgresql_does_not_know_becomes_utc(api: httpx.Client, event: Event) -> None:
    sent = event(queued_at="2026-01-01T00:00:00-16:37")
    assert api.post("/api/events", json=sent).status_code == 200
    [attempt] = api.get(f"/api/jobs/{sent['job_id']}/attempts").json()["attempts"]
    assert attempt["queued_at"] == "2026-01-01T16:37:00Z"


def test_too_many_events_are_refused(api: httpx.Client) -> None:
    answer = api.post("/api/events", content=b"[" + b",".join([b"1"] * 10_001) + b"]")
    assert answer.status_code == 422
    assert "10000" in answer.json()["detail"]


def test_the_largest_allowed_body_is_taken(api: httpx.Client, event: Event) -> None:
    sent = json.dumps(event()).encode()
    answer = api.post("/api/events", content=sent + b" " * (MAX_BODY_BYTES - len(sent)))
    assert answer.status_code == 200


def test_only_json_is_taken(api: httpx.Client, event: Event) -> None:
    forms = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "json")
    routes = (("POST", "/api/events"), ("PUT", "/api/queue"), ("POST", "/api/resolution-tiers"))
    for kind, (method, path) in product((*forms, "application/json; charset=latin1"), routes):
        answer = api.request(method, path, content=json.dumps(event()), headers={"content-type": kind})
        assert answer.status_code == 415, kind
        assert answer.json()["code"] == "unsupported_media_type"


def test_json_may_name_its_charset_or_nothing(api: httpx.Client, event: Event) -> None:
    for kind in ("application/json", "Application/JSON; charset=UTF-8", None):
        headers = {} if kind is None else {"content-type": kind}
        assert api.post("/api/events", content=json.dumps(event()), headers=headers).status_code == 200


def test_other_encodings_are_refused(api: httpx.Client) -> None:
    answer = api.post("/api/events", content=b"x", headers={"content-encoding": "br"})
    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "gzip"


@contextmanager
def connected(api: httpx.Client) -> Iterator[socket.socket]:
    """A bare connection to the service."""
    address = urlsplit(str(api.base_url))
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=60) as opened:
        yield opened


def status_of(opened: socket.socket) -> int:
    """The status of the answer on a bare connection."""
    with opened.makefile("rb") as stream:
        return int(stream.readline().split()[1])


HEAD = b"POST /api/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def test_a_declared_size_is_refused_before_anything_arrives(api: httpx.Client) -> None:
    with connected(api) as opened:
        opened.sendall(HEAD + b"Content-Length: 99999999999\r\n\r\n")
        assert status_of(opened) == 413


def test_who_asks_before_sending_is_told_at_once(api: httpx.Client) -> None:
    with connected(api) as opened:
        opened.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n")
        assert status_of(opened) == 413


def test_endless_chunks_end_at_the_limit(api: httpx.Client) -> None:
    with connected(api) as opened:
        opened.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(MAX_BODY_BYTES // 2**16 + 1):
            opened.sendall(b"10000\r\n" + b" " * 2**16 + b"\r\n")
        assert status_of(opened) == 413


def test_a_body_that_drips_is_given_up(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "READ_SECONDS", 0.2)
    with connected(api) as opened:
        opened.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        assert status_of(opened) == 408


def test_a_client_that_leaves_harms_nobody(api: httpx.Client, event: Event) -> None:
    for _ in range(20):
        with connected(api) as opened:
            opened.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
    assert api.post("/api/events", json=event()).status_code == 200
    assert api.get("/api/quarantine").json()["items"] == []


def test_a_head_that_is_too_long_is_refused(api: httpx.Client) -> None:
    assert api.get("/healthz", headers={"x-long": "x" * 17_000}).status_code == 431
    assert api.get("/api/workflows", params={"cursor": "x" * 9_000}).status_code == 414
    with connected(api) as opened:
        opened.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 300_000)
        assert status_of(opened) in {400, 431}
