"""Bodies that nobody should send: always a 4xx with a reason, never a 5xx, and never at a neighbour's cost."""

import base64
import gzip
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

#: JSON text in place of the value of one field of an otherwise good event.
BAD_VALUES = {
    "NaN": ("wall_seconds", "NaN"),
    "infinity": ("wall_seconds", "-Infinity"),
    "too large for a double": ("wall_seconds", "1e400"),
    "too large to mean anything": ("wall_seconds", "1e300"),
    "a huge integer": ("attempt", "9" * 5000),
    "an integer past 64 bits": ("frame_count", "18446744073709551616"),
    "negative": ("gpu_seconds", "-1"),
    "a boolean for a number": ("wall_seconds", "true"),
    "a boolean for a count": ("frame_count", "true"),
    "text for a number": ("wall_seconds", '"81"'),
    "a fraction for a count": ("frame_count", "1.5"),
    "a number for text": ("workflow", "7"),
    "half a character": ("workflow", '"\\ud800"'),
    "half a character deep inside": ("parameters", '{"a": [{"b": "\\udfff"}]}'),
    "half a character in a key": ("parameters", '{"\\ud800": 1}'),
    "half a character in an unknown field": ("\\udc00", "1"),
    "NUL": ("job_id", '"a\\u0000b"'),
    "NUL deep inside": ("parameters", '{"a": "\\u0000"}'),
    "NaN deep inside": ("parameters", '{"a": [NaN]}'),
    "NaN as a score": ("quality_scores", '{"likeness": NaN}'),
    "nested deeply": ("parameters", "[" * 90 + "]" * 90),
    "nested too deeply for a parser": ("parameters", '{"a":' * 50_000 + "1" + "}" * 50_000),
    "no offset": ("finished_at", '"2026-01-01T00:00:00"'),
    "year 1": ("finished_at", '"0001-01-01T00:00:00Z"'),
    "year 9999": ("finished_at", '"9999-12-31T23:59:59Z"'),
    "year 1 shifted out of the calendar": ("finished_at", '"0001-01-01T00:00:00+14:00"'),
    "a date": ("finished_at", '"2026-01-01"'),
    "an epoch": ("finished_at", "1767225600"),
    "an unknown outcome": ("outcome", '"done"'),
    "an outcome that is a list": ("outcome", "[1]"),
    "an outcome that is an object": ("outcome", "{}"),
    "no uuid": ("estimate_id", '"{}"'),
    "an unknown field": ("frames", "1"),
    "an empty name": ("workflow", '"  "'),
    "a name that is too long": ("workflow", json.dumps("w" * 201)),
}


def text(event: dict[str, object], field: str, value: str) -> str:
    """An event's JSON with one field's value given as text."""
    rest = {name: item for name, item in event.items() if name != field}
    return json.dumps(rest)[:-1] + f', "{field}": {value}}}'


def test_bad_values_are_refused_and_their_neighbours_stored(api: httpx.Client, event: Event) -> None:
    for name, (field, value) in BAD_VALUES.items():
        bad = text(event(), field, value)
        before, after = event(), event()
        answer = api.post("/api/events", content=f"[{json.dumps(before)}, {bad}, {json.dumps(after)}]")
        assert answer.status_code == 200, (name, answer.text[:300])
        statuses = [result["status"] for result in answer.json()["results"]]
        assert statuses == ["accepted", "rejected", "accepted"], name
        alone = api.post("/api/events", content=bad)
        assert alone.status_code == 422, (name, alone.text[:300])
        assert alone.json()["errors"], name


def test_a_key_given_twice_is_refused(api: httpx.Client, event: Event) -> None:
    sent = json.dumps(event())
    answer = api.post("/api/events", content=sent[:-1] + ', "wall_seconds": 1}')
    assert answer.status_code == 422
    assert answer.json()["code"] == "duplicate_key"
    assert answer.json()["errors"][0]["path"] == "wall_seconds"


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


def test_what_is_no_json_is_kept_byte_for_byte(api: httpx.Client) -> None:
    sent = [
        b"{",
        b"[",
        b"[{},",
        b"nul",
        b"\xff\xfe",
        b'{"a": 1} x',
        b"<xml/>",
        b'{"a": "\xed\xa0\x80"}',
        b"\x00",
    ]
    for body in sent:
        answer = api.post("/api/events", content=body)
        assert answer.status_code == 422, body
        assert answer.json()["code"] == "not_json", body
    rows = api.get("/api/quarantine").json()["items"]
    kept = [api.get(f"/api/quarantine/{row['id']}").json()["body_base64"] for row in rows]
    assert [base64.b64decode(body) for body in kept] == sent


def test_broken_gzip_is_kept_as_it_came(api: httpx.Client, event: Event) -> None:
    whole = gzip.compress(json.dumps(event()).encode())
    for body in (whole[:-10], b"no gzip", whole[:20] + b"\x00\x00" + whole[22:]):
        answer = api.post("/api/events", content=body, headers={"content-encoding": "gzip"})
        assert answer.status_code == 422
        assert answer.json()["code"] == "bad_encoding"
    assert len(api.get("/api/quarantine").json()["items"]) == 3


def test_too_many_events_are_refused(api: httpx.Client) -> None:
    answer = api.post("/api/events", content=b"[" + b",".join([b"1"] * 10_001) + b"]")
    assert answer.status_code == 422
    assert "10000" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/api/events", "/api/heartbeats", "/api/resolution-tiers"])
def test_too_large_is_413_and_not_kept(api: httpx.Client, path: str) -> None:
    body = b" " * (MAX_BODY_BYTES + 1)
    assert api.post(path, content=body).json()["code"] == "too_large"

    def pieces() -> Iterator[bytes]:
        for at in range(0, len(body), 2**18):
            yield body[at : at + 2**18]

    assert api.post(path, content=pieces()).status_code == 413
    bomb = gzip.compress(body * 8)
    assert len(bomb) < 100_000
    assert api.post(path, content=bomb, headers={"content-encoding": "gzip"}).status_code == 413
    assert api.get("/api/quarantine").json()["items"] == []


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
