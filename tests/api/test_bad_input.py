"""Every kind of bad input against every endpoint that takes a body.

Always a 4xx with a code and the path; what stands beside it is stored exactly once; what was refused is in quarantine
with the same code and path, and can be replayed once it is mended.
"""

import base64
import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import count
from typing import Any

import httpx
import pytest

from ingest.body import MAX_BODY_BYTES

Path = tuple[str | int, ...]
DIGITS = "9" * 4000
NOON = (datetime.now(UTC) - timedelta(days=3)).replace(hour=12, minute=0, second=0, microsecond=0)


def _event(number: int) -> dict[str, Any]:
    return {
        "job_id": f"job-{number}",
        "workflow": "wan_i2v",
        "outcome": "succeeded",
        "estimate_id": None,
        "finished_at": NOON.isoformat(),
        "wall_seconds": 12.5,
        "frame_count": 81,
        "quality_scores": {"likeness": 0.9},
        "parameters": {"prompt": "a cat"},
    }


def _heartbeat(number: int) -> dict[str, Any]:
    times = {"covered_from": NOON.isoformat(), "covered_to": (NOON + timedelta(minutes=5)).isoformat()}
    return {"worker": f"gpu-{number}", "state": "idle"} | times


def _queue(number: int) -> dict[str, Any]:
    running = {"worker": f"gpu-{number}", "workflow": "wan_i2v", "started_at": NOON.isoformat()}
    return {"waiting": [{"workflow": "wan_i2v", "segment_count": 4}], "running": [running]}


def _batch(number: int) -> dict[str, Any]:
    scene = {
        "workflow": "wan_i2v",
        "target_seconds": 20.0,
        "segment_seconds": 5.0,
        "frame_count": 81,
        "parameters": {"prompt": "a cat"},
    }
    return {"scenes": [scene], "queue": _queue(number)}


def _tier(number: int) -> dict[str, Any]:
    sizes = {"width": 3840, "height": 2160, "speed_factor": 0.25}
    return {"name": f"tier-{number}", "quality_settings": {"sampler": "euler"}} | sizes


def _rate(number: int) -> dict[str, Any]:
    return {
        "gpu_model": f"gpu-{number}",
        "valid_from": "2026-01-01T00:00:00Z",
        "price_per_gpu_hour": 1.1,
        "currency": "EUR",
    }


@dataclass(frozen=True)
class Door:
    """An endpoint, what it takes, and which of its fields holds what."""

    method: str
    path: str
    sound: Callable[[int], dict[str, Any]]
    fields: dict[str, Path]
    is_kept: bool = False
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def body(self) -> dict[str, Any]:
        """A sound body that no other test of this door sent."""
        return self.sound(next(self.numbers))

    def send(self, api: httpx.Client, body: str | bytes, **headers: str) -> httpx.Response:
        return api.request(self.method, self.path, content=body, headers=headers)


EVENTS = Door(
    "POST",
    "/api/events",
    _event,
    {
        "a number": ("wall_seconds",),
        "a count": ("frame_count",),
        "text": ("workflow",),
        "a time": ("finished_at",),
        "a score": ("quality_scores", "likeness"),
        "a word": ("outcome",),
        "an id": ("estimate_id",),
        "anything": ("parameters", "prompt"),
    },
    is_kept=True,
)
HEARTBEATS = Door(
    "POST",
    "/api/heartbeats",
    _heartbeat,
    {"text": ("worker",), "a time": ("covered_from",), "a word": ("state",)},
    is_kept=True,
)
QUEUE = Door(
    "PUT",
    "/api/queue",
    _queue,
    {
        "a count": ("waiting", 0, "segment_count"),
        "text": ("waiting", 0, "workflow"),
        "a time": ("running", 0, "started_at"),
    },
)
ESTIMATES = Door(
    "POST",
    "/api/estimates",
    _batch,
    {
        "a number": ("scenes", 0, "target_seconds"),
        "a count": ("scenes", 0, "frame_count"),
        "text": ("scenes", 0, "workflow"),
        "a time": ("queue", "running", 0, "started_at"),
        "anything": ("scenes", 0, "parameters", "prompt"),
    },
)
TIERS = Door(
    "POST",
    "/api/resolution-tiers",
    _tier,
    {
        "a number": ("speed_factor",),
        "a count": ("width",),
        "text": ("name",),
        "anything": ("quality_settings", "sampler"),
    },
)
RATES = Door(
    "PUT",
    "/api/gpu-rates",
    _rate,
    {"a number": ("price_per_gpu_hour",), "text": ("gpu_model",), "a time": ("valid_from",)},
)
DOORS = {
    "events": EVENTS,
    "heartbeats": HEARTBEATS,
    "queue": QUEUE,
    "estimates": ESTIMATES,
    "tiers": TIERS,
    "rates": RATES,
}
KEPT = {name: door for name, door in DOORS.items() if door.is_kept}

#: JSON text in place of a field's value.
_NO_NUMBER = ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", DIGITS, "true", '"81"', "[]", "{}"]
_NO_TEXT = ['"\\ud800"', '"\\udfff x"', '"a\\u0000b"']
_DEEP = '{"a": ' * 40 + "1" + "}" * 40
BAD: dict[str, list[str]] = {
    "a number": [*_NO_NUMBER, "-1", "1e300", "null"],
    "a count": [*_NO_NUMBER, "-1", "1.5", "81.0", "18446744073709551616"],
    "a score": [*_NO_NUMBER, "null"],
    "text": [*_NO_TEXT, "7", "true", "null", "[]", '""', '"  "', json.dumps("w" * 201)],
    "a time": [
        '"9999-12-31T23:59:59Z"',
        '"9999-12-31T23:59:59-01:00"',
        '"0001-01-01T00:00:00Z"',
        '"0001-01-01T00:00:00+14:00"',
        '"2026-01-01T00:00:00"',
        '"2026-01-01T00:00:00+24:00"',
        '"2026-01-01T00:00:00+00:99"',
        '"2026-01-01T00:00:00+0100"',
        '"2026-01-01T00:00:00 Asia/Kolkata"',
        '"2026-02-30T00:00:00Z"',
        '"2026-01-01"',
        '"\\u0000"',
        '"\\ud800"',
        "1767225600",
        "true",
        DIGITS,
    ],
    "a word": ['"done"', '"\\ud800"', "[1]", "{}", "true", "null"],
    "an id": ['"{}"', '"\\ud800"', "7", "[]"],
    "anything": [
        "NaN",
        "-Infinity",
        "1e400",
        DIGITS,
        *_NO_TEXT,
        _DEEP,
        "[NaN]",
        '{"a": [{"b": "\\udfff"}]}',
        '{"\\ud800": 1}',
        '{"a\\u0000b": 1}',
    ],
}


def dotted(path: Path) -> str:
    """A path as the answers write it."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def spoiled(body: dict[str, Any], path: Path, text: str) -> str:
    """A body's JSON with one value given as text."""
    whole = json.loads(json.dumps(body))
    reduce(lambda value, part: value[part], path[:-1], whole)[path[-1]] = "@@"
    return json.dumps(whole).replace('"@@"', text)


def bad_bodies(door: Door) -> Iterator[tuple[str, str, dict[str, Any], str, str]]:
    """What is wrong, the body, the body mended, and the code and path that the answer must give."""
    for kind, path in door.fields.items():
        for value in BAD[kind]:
            body = door.body()
            yield f"{kind}: {value[:40]}", spoiled(body, path, value), body, "invalid", dotted(path)
    body = door.body()
    key = next(iter(body))
    yield "a key twice", json.dumps(body)[:-1] + f', "{key}": 1}}', body, "duplicate_key", key
    for name, told_as in (("\\ud800", "?"), ("a\\u0000b", "a\\0b"), ("nobody_knows", "nobody_knows")):
        body = door.body()
        yield f"unknown field {name}", json.dumps(body)[:-1] + f', "{name}": 1}}', body, "invalid", told_as
    for depth, path in ((900, "a"), (100_000, "")):  # too deep for the parser, which then knows of no field
        yield f"{depth} deep", '{"a":' * depth + "1" + "}" * depth, door.body(), "invalid", path


NO_JSON = [
    b"{",
    b'{"a": 1',
    b"nul",
    b"\x00",
    b"\xff\xfe",
    b'{"a": "\x00"}',
    b'{"a": "\xed\xa0\x80"}',
    b"{} {}",
    b"<a/>",
]


def told(answer: httpx.Response) -> tuple[str, list[str]]:
    """The code and the paths of a refusal, which has to be one."""
    assert answer.status_code == 422, answer.text[:300]
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["errors"]
    return problem["code"], [error["path"] for error in problem["errors"]]


def waiting(api: httpx.Client) -> list[dict[str, Any]]:
    """What is in quarantine and was not replayed."""
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        query = {"limit": 1000} | ({"cursor": cursor} if cursor else {})
        page = api.get("/api/quarantine", params=query).json()
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items


def kept(api: httpx.Client, row: dict[str, Any]) -> bytes:
    """The body that a row of the quarantine keeps."""
    return base64.b64decode(api.get(f"/api/quarantine/{row['id']}").json()["body_base64"])


def is_path_of(found: list[str], path: str) -> bool:
    """Whether the answer names the field (of a free object, the field that holds it); of no field, nothing but ""."""
    if not path:
        return found == [""]
    return any(name == path or (name and path.startswith(f"{name}.")) for name in found)


@pytest.mark.parametrize("name", DOORS)
def test_what_is_bad_alone_is_refused_by_code_and_path(api: httpx.Client, name: str) -> None:
    door = DOORS[name]
    for what, body, mended, code, path in bad_bodies(door):
        found, paths = told(door.send(api, body))
        assert (found, is_path_of(paths, path)) == (code, True), (what, found, paths)
        rows = waiting(api)
        assert len(rows) == door.is_kept, what
        for row in rows:
            assert (row["code"], [error["path"] for error in row["errors"]]) == (code, paths), what
            assert kept(api, row) == body.encode(), what
            replay = f"/api/quarantine/{row['id']}/replay"
            assert told(api.post(replay)) == (code, paths), what
            assert api.post(replay, json=mended).json()["status"] == "accepted", what
            assert api.post(replay, json=mended).json()["status"] == "duplicate", what
        again = door.send(api, json.dumps(mended))
        assert again.is_success, (what, again.text)
        assert not door.is_kept or again.json()["results"][0]["status"] == "duplicate"
    assert waiting(api) == []


@pytest.mark.parametrize("name", KEPT)
def test_what_stands_beside_something_bad_is_stored_once(api: httpx.Client, name: str) -> None:
    door = KEPT[name]
    for what, bad, mended, code, path in bad_bodies(door):
        before, after = json.dumps(door.body()), json.dumps(door.body())
        statuses = []
        for _ in range(2):
            answer = door.send(api, f"[{before}, {bad}, {after}]")
            assert answer.status_code == 200, (what, answer.text[:300])
            results = answer.json()["results"]
            statuses += [result["status"] for result in results]
            paths = [error["path"] for error in results[1]["errors"]]
            assert (results[1]["code"], is_path_of(paths, path)) == (code, True), (what, paths)
        assert statuses == ["accepted", "rejected", "accepted", "duplicate", "rejected", "duplicate"], what
        first, second = waiting(api)
        assert kept(api, first) == kept(api, second) == bad.encode(), what
        settled = [api.post(f"/api/quarantine/{row['id']}/replay", json=mended) for row in (first, second)]
        assert [answer.json()["status"] for answer in settled] == ["accepted", "duplicate"], what


@pytest.mark.parametrize("name", KEPT)
def test_a_mended_body_that_is_bad_again_settles_nothing(api: httpx.Client, name: str) -> None:
    door = KEPT[name]
    assert door.send(api, "{}").status_code == 422
    [row] = waiting(api)
    replay = f"/api/quarantine/{row['id']}/replay"
    for what, bad, _, code, path in bad_bodies(door):
        found, paths = told(api.post(replay, content=bad))
        assert (found, is_path_of(paths, path)) == (code, True), (what, found, paths)
    for body in NO_JSON:
        assert told(api.post(replay, content=body))[0] == "not_json", body
    assert waiting(api) == [row]
    assert kept(api, row) == b"{}"
    assert api.post(replay, json=door.body()).json()["status"] == "accepted"


@pytest.mark.parametrize("name", DOORS)
def test_what_is_no_json_is_refused_as_a_whole(api: httpx.Client, name: str) -> None:
    door = DOORS[name]
    for body in NO_JSON:
        assert told(door.send(api, body))[0] == "not_json", body
    packed = gzip.compress(json.dumps(door.body()).encode())
    broken = [b"no gzip", packed[:-10], packed[:12] + b"\x00\x00" + packed[14:]]
    for body in broken:
        assert told(door.send(api, body, **{"content-encoding": "gzip"}))[0] == "bad_encoding", body
    rows = waiting(api)
    assert [row["code"] for row in rows] == (["not_json"] * 9 + ["bad_encoding"] * 3) * door.is_kept
    assert [kept(api, row) for row in rows] == [*NO_JSON, *broken] * door.is_kept
    for row in rows:
        mended = api.post(f"/api/quarantine/{row['id']}/replay", json=door.body())
        assert mended.json()["status"] == "accepted"
    assert door.send(api, packed, **{"content-encoding": "gzip"}).is_success


@pytest.mark.parametrize("name", [*DOORS, "replay"])
def test_what_is_too_large_is_refused_unread_and_not_kept(api: httpx.Client, name: str) -> None:
    door = DOORS.get(name, Door("POST", "/api/quarantine/1/replay", _event, {}))
    sound = json.dumps(door.body()).encode()
    large = sound + b" " * 20 * 2**20
    bomb = gzip.compress(large * 4, compresslevel=1)
    assert len(bomb) < MAX_BODY_BYTES
    for body, headers in ((large, {}), (bomb, {"content-encoding": "gzip"})):
        answer = door.send(api, body, **headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert waiting(api) == []
    if door.path != "/api/quarantine/1/replay":
        assert door.send(api, sound).is_success
