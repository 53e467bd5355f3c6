"""Every answer about performance as a table: CSV, Parquet, Arrow."""

import csv
import io
from datetime import datetime

import httpx
import pyarrow as pa
import pytest
from pyarrow import parquet

from .studio import PATH, WEEK

TABLES = {
    "overview": ({}, "series", 7),
    "workflow/slow": ({}, "stages", 3),
    "worker/gpu-1": ({}, "series", 7),
    "quality": ({"workflow": "slow"}, "scores", 2),
    "stages": ({}, "items", 6),
    "workflow/even/trend": ({}, "points", 7),
    "workers/comparison": ({}, "workers", 0),
    "comparison": ({"workflows": "even,slow"}, "differences", 4),
}


@pytest.mark.parametrize("path", TABLES)
def test_each_answer_is_a_table_too(studio: httpx.Client, path: str) -> None:
    more, rows, count = TABLES[path]

    def get(accept: str) -> httpx.Response:
        return studio.get(f"{PATH}/{path}", params={**WEEK, **more}, headers={"accept": accept})

    items = get("application/json").json()[rows]
    assert len(items) >= count
    columns = {name for item in items for name, value in item.items() if not isinstance(value, list | dict)}
    written = get("text/csv")
    assert written.headers["content-type"].startswith("text/csv")
    listed = list(csv.DictReader(io.StringIO(written.text)))
    stored = parquet.read_table(io.BytesIO(get("application/vnd.apache.parquet").content))
    sent = pa.ipc.open_stream(get("application/vnd.apache.arrow.stream").content).read_all()
    assert len(listed) == stored.num_rows == sent.num_rows == len(items)
    assert set(stored.column_names) == set(sent.column_names) == columns
    for item, row in zip(items, sent.to_pylist(), strict=True):
        for name, value in row.items():
            told = item.get(name)
            assert (
                value.isoformat().replace("+00:00", "Z") == told
                if isinstance(value, datetime)
                else value == told
            )


@pytest.mark.parametrize("path", TABLES)
def test_a_table_has_the_same_columns_whatever_it_holds(studio: httpx.Client, path: str) -> None:
    """Also without rows, or where nothing is known, so that the files of all months can be read as one."""
    more, _, _ = TABLES[path]
    years = {"from": "2020-01-01T00:00:00Z", "to": "2020-01-08T00:00:00Z"}

    def stored(window: dict[str, str]) -> pa.Table:
        form = {"accept": "application/vnd.apache.parquet"}
        answer = studio.get(f"{PATH}/{path}", params={**window, **more}, headers=form)
        return parquet.read_table(io.BytesIO(answer.content))

    full, empty = stored(WEEK), stored(years)
    assert full.schema == empty.schema
    assert full.num_columns > 3
    assert pa.null() not in full.schema.types
    assert pa.concat_tables([full, empty]).num_rows == full.num_rows + empty.num_rows
    written = studio.get(f"{PATH}/{path}", params={**years, **more}, headers={"accept": "text/csv"}).text
    assert next(csv.reader(io.StringIO(written))) == full.column_names


@pytest.mark.parametrize("accept", ["application/json", "text/csv"])
def test_caches_are_told_that_the_form_depends_on_the_client(studio: httpx.Client, accept: str) -> None:
    answer = studio.get(f"{PATH}/stages", params=WEEK, headers={"accept": accept})
    assert answer.headers.get_list("vary") == ["Accept"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("", "application/json"),
        ("text/html, */*;q=0.1", "application/json"),
        ("text/csv;q=0.5, application/json;q=0.4", "text/csv"),
        ("application/json;q=0.5, TEXT/CSV", "text/csv"),
        ("text/csv;q=0", "application/json"),
        ("text/csv;q=much, application/json", "application/json"),
        ("image/png", "application/json"),
        (";;,,;q=", "application/json"),
    ],
)
def test_the_form_that_a_client_likes_best(studio: httpx.Client, accept: str, kind: str) -> None:
    answer = studio.get(f"{PATH}/stages", params=WEEK, headers={"accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == kind
