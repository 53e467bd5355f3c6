"""Tiers, workflows, workers, projects."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import httpx

from .conftest import Event

TIER = {"name": "4k", "width": 3840, "height": 2160, "speed_factor": 0.25}

WRONG_TIERS: list[tuple[dict[str, object], str]] = [
    ({"name": ""}, "name"),
    ({"name": "a\x00b"}, "name"),
    ({"name": 4}, "name"),
    ({"width": 0}, "width"),
    ({"height": "2160"}, "height"),
    ({"speed_factor": 0}, "speed_factor"),
    ({"speed_factor": True}, "speed_factor"),
    ({"is_default": 1}, "is_default"),
    ({"sort_order": 2**31}, "sort_order"),
    ({"quality_settings": [1]}, "quality_settings"),
    ({"quality_settings": {"a": [1]}}, "quality_settings.a"),
    ({"quality": 1}, "quality"),
]


def test_the_tiers_that_come_with_a_warehouse(api: httpx.Client) -> None:
    tiers = api.get("/api/resolution-tiers").json()["items"]
    assert [(tier["name"], tier["speed_factor"], tier["is_default"]) for tier in tiers] == [
        ("draft", 5.0, True),
        ("preview", 2.5, False),
        ("production", 1.0, False),
    ]


def test_a_new_tier_can_be_used_at_once(api: httpx.Client, event: Event) -> None:
    answer = api.post(
        "/api/resolution-tiers",
        json=TIER | {"quality_settings": {"steps": 40, "cfg": 7.5, "sampler": "euler"}},
    )
    assert answer.status_code == 201
    assert answer.json()["quality_settings"] == {"steps": 40, "cfg": 7.5, "sampler": "euler"}
    assert api.get("/api/resolution-tiers").json()["items"][0]["name"] == "4k"
    assert api.post("/api/events", json=event(tier="4k")).status_code == 200


def test_a_name_is_given_once(api: httpx.Client) -> None:
    assert api.post("/api/resolution-tiers", json=TIER).status_code == 201
    again = api.post("/api/resolution-tiers", json=TIER | {"width": 4096})
    assert again.status_code == 409
    assert again.json()["code"] == "name_taken"
    assert again.json()["errors"][0]["path"] == "name"


def test_there_is_one_default(api: httpx.Client) -> None:
    def create(name: str) -> int:
        return api.post("/api/resolution-tiers", json=TIER | {"name": name, "is_default": True}).status_code

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(create, [f"tier {i}" for i in range(6)])) == [201] * 6
    tiers = api.get("/api/resolution-tiers").json()["items"]
    assert sum(tier["is_default"] for tier in tiers) == 1
    assert not next(tier for tier in tiers if tier["name"] == "draft")["is_default"]


def test_a_wrong_tier_is_refused_by_field(api: httpx.Client) -> None:
    for change, path in WRONG_TIERS:
        answer = api.post("/api/resolution-tiers", json=TIER | change)
        assert answer.status_code == 422, change
        assert [error["path"] for error in answer.json()["errors"]] == [path]


def test_what_is_no_tier_is_refused(api: httpx.Client) -> None:
    for body in (b"", b"[]", b"[{}]", b"1", b"{", b'{"name": NaN}', b'{"name": "\\ud800"}', b"\xff"):
        assert api.post("/api/resolution-tiers", content=body).status_code == 422, body


def test_settings_that_cannot_be_stored_are_refused(api: httpx.Client) -> None:
    for value in ("NaN", "1e999", '"\\u0000"', '"\\udc00"', "{}", "9" * 400):
        body = f'{{"name": "x", "width": 8, "height": 8, "speed_factor": 1, "quality_settings": {{"a": {value}}}}}'
        assert api.post("/api/resolution-tiers", content=body).status_code == 422, value


def test_names_are_listed_page_by_page(api: httpx.Client, event: Event) -> None:
    names = sorted(["b", "a", "Z", "ä", "wan i2v/2", "c" * 200])
    sent = [event(workflow=name, worker=name, project=name) for name in names]
    assert api.post("/api/events", json=sent).is_success
    for kind, limit in product(("workflows", "workers", "projects"), (1, 2, 5, 6, 7)):
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = api.get(f"/api/{kind}", params={"limit": limit, **cursor}).json()
            assert len(page["items"]) <= limit
            seen += [item["name"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert seen == names


RATE = {
    "gpu_model": "NVIDIA L40S",
    "valid_from": "2026-01-01T00:00:00Z",
    "price_per_gpu_hour": 1.25,
    "currency": "EUR",
}


def test_rates_are_set_and_replaced(api: httpx.Client) -> None:
    assert api.get("/api/gpu-rates").json() == {"items": []}
    assert api.put("/api/gpu-rates", json=RATE).json() == RATE
    later = RATE | {"valid_from": "2026-07-01T02:00:00+02:00", "price_per_gpu_hour": 1}
    assert api.put("/api/gpu-rates", json=later).json()["valid_from"] == "2026-07-01T00:00:00Z"
    again = RATE | {"price_per_gpu_hour": 1.5}
    assert api.put("/api/gpu-rates", json=again).json() == again
    prices = [rate["price_per_gpu_hour"] for rate in api.get("/api/gpu-rates").json()["items"]]
    assert prices == [1.5, 1]


def test_wrong_rates_name_the_field(api: httpx.Client) -> None:
    assert api.put("/api/gpu-rates", json=RATE).status_code == 200
    for change, path in [
        ({"gpu_model": " "}, "gpu_model"),
        ({"price_per_gpu_hour": -1}, "price_per_gpu_hour"),
        ({"price_per_gpu_hour": "1"}, "price_per_gpu_hour"),
        ({"currency": "eur"}, "currency"),
        ({"gpu_model": "H100", "currency": "USD"}, "currency"),
        ({"valid_from": "2026-01-01"}, "valid_from"),
        ({"price": 1}, "price"),
    ]:
        answer = api.put("/api/gpu-rates", json=RATE | change)
        assert answer.status_code == 422, change
        assert [error["path"] for error in answer.json()["errors"]] == [path]
    assert len(api.get("/api/gpu-rates").json()["items"]) == 1
