"""What is rewritten, what is not and why, and of which types the answers are."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random

import pyarrow as pa
import pytest

import framehouse
from framehouse.errors import QueryError
from framehouse.metrics.analysts import explain, sql
from framehouse.metrics.canonical import Measure, Rows, argument_of, parts_for, rows_where
from framehouse.metrics.dialect import one_query
from framehouse.metrics.rollups import ATTEMPTS
from framehouse.warehouse import Warehouse
from framehouse.warehouse.maintain import maintain
from framehouse.windows import Window
from tests.builders import store
from tests.conftest import TestServer
from tests.metrics.queries import differences
from tests.metrics.studio import attempts

DAILY, HOURLY = (f"attempt_totals_by_workflow_{grain}" for grain in ("daily", "hourly"))
FINE = "attempts_by_worker_fine"  # where neither workflow nor tier is asked for


@pytest.fixture(scope="module")
def studio(server: TestServer) -> Iterator[Warehouse]:
    """A studio in UTC, with current cells."""
    url = server.create(template=server.template)
    with Warehouse(url) as warehouse:
        store(warehouse, attempts(Random("rewriting"), 200, 30))
        maintain(warehouse)
        yield warehouse
    server.drop(url)


def asked(warehouse: Warehouse, text: str) -> tuple[tuple[str, ...], str | None]:
    """What answered, and why raw was among it; the answer is raw's."""
    found = sql(warehouse, text)
    assert differences(found, sql(warehouse, text, is_raw=True)) == []
    return found.sources, found.why_raw


FROM = "from telemetry.performance_metrics"


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        (f"select count(*) {FROM}", {DAILY}),
        (f"select workflow_id, sum(gpu_seconds) {FROM} group by 1", {DAILY}),
        (f"select worker_id, count(*) {FROM} group by worker_id", {"attempts_by_worker_workflow_daily"}),
        (f"select worker_id, tier_id, count(*) {FROM} group by 1, 2", {"attempts_by_worker_workflow_daily"}),
        (f"select min(output_mb) {FROM} where outcome = 'succeeded'", {"attempts_by_workflow_daily"}),
        (f"select date_trunc('week', finished_at) w, count(*) {FROM} group by w", {DAILY}),
        (f"select date_trunc('hour', finished_at), count(*) {FROM} group by 1", {HOURLY}),
        (f"select time_bucket('30 min', finished_at), count(*) {FROM} group by 1", {FINE}),
        (f"select time_bucket('1 day', finished_at, 'Asia/Kathmandu'), count(*) {FROM} group by 1", {FINE}),
        (f"select count(*) {FROM} where finished_at >= '2025-10-25' and finished_at < '2025-10-26 12:00'",
         {DAILY, HOURLY}),
        (f"select count(*) {FROM} where finished_at >= '2025-10-25 00:30'", {FINE, HOURLY, DAILY}),
        (f"select 1 as one {FROM} group by workflow_id", {DAILY}),
        (f"select distinct workflow_id, tier_id {FROM}", {DAILY}),
        (f"select x.n from (select count(*) as n {FROM}) x", {DAILY}),
        (f"with a as (select tier_id, count(*) as n {FROM} group by 1) select sum(n) from a", {DAILY}),
        (f"select 1 where exists (select workflow_id {FROM} group by 1)", {DAILY}),
        (f'select count(*) AS "N", P.Workflow_ID {FROM} as P group by p.WORKFLOW_ID', {DAILY}),
        (f"select telemetry.performance_metrics.workflow_id, count(*) {FROM} group by 1", {DAILY}),
        (f"select workflow_id, count(*) {FROM} group by rollup (workflow_id)", {DAILY}),
        (f"select count(*) {FROM} where finished_at > now() + interval '1 day'", {"raw", DAILY, HOURLY, FINE}),
    ],
)  # fmt: skip
def test_the_coarsest_rollup_answers(studio: Warehouse, text: str, sources: set[str]) -> None:
    found, why = asked(studio, text)
    assert set(found) <= sources
    assert set(found) - {"raw"}
    assert (why is None) == ("raw" not in found)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"select job_id {FROM}", "asks for rows"),
        (f"select * {FROM}", "all columns"),
        (f"select distinct workflow_id, count(*) over () {FROM}", "asks for rows"),
        (f"select p {FROM} p", "whole rows"),
        (f"select character_id, count(*) {FROM} group by 1", "no rollup keeps character"),
        (f"select outcome, count(*) {FROM} group by 1", "no rollup keeps outcome"),
        (f"select segment_count, count(*) {FROM} group by 1", "no rollup keeps segment_count"),
        (f"select time_bucket('5 min', finished_at), count(*) {FROM} group by 1", "finer than by 15 minutes"),
        (f"select date_trunc('minute', finished_at), count(*) {FROM} group by 1", "finer than by 15 minutes"),
        (f"select date_trunc('day', finished_at, 'CET'), count(*) {FROM} group by 1", "not understood"),
        (f"select (finished_at at time zone 'CET')::date, count(*) {FROM} group by 1", "not understood"),
        (f"select count(*) {FROM} where finished_at at time zone 'Asia/Tokyo' >= '2025-10-25'", "finer than"),
        (f"select avg(energy_joules) {FROM}", "only of succeeded ones"),
        (f"select count(*) {FROM} where is_cold", "no rollup keeps the count of rows where is_cold"),
        (f"select stddev(wall_seconds) {FROM} where outcome = 'succeeded'", "would lose digits"),
        (f"select percentile_cont(0.5) within group (order by wall_seconds) {FROM}", "needs every row"),
        (f"select string_agg(outcome, ',') {FROM}", "needs every row"),
        (f"select string_agg(distinct outcome, ',') {FROM}", "not understood for certain"),
        (f"select count(distinct job_id) {FROM}", "needs every row"),
        (f"select count(*) {FROM} p join {FROM[5:]} q on p.workflow_id = q.workflow_id", "raw rows with raw rows"),
        (f"select count(job_id) from studio.workflows w left join {FROM[5:]} on workflow_id = w.id", "an outer join"),
        (f"select count(*) {FROM} join studio.workflows w on wall_seconds > w.id", "no rollup keeps wall_seconds"),
        (f"select count(*) {FROM} join (select 1 as workflow_id) x using (workflow_id)", "by columns' names"),
        (f"select sum(w.id) {FROM} p join studio.workflows w on w.id = p.workflow_id", "once for each row"),
        (f"select count(*) {FROM} where random() < 0.5", "another value for each row"),
        (f"select count(*) {FROM} tablesample bernoulli (100)", "more than the relation"),
        (f"select (select name from studio.workflows where id = workflow_id), count(*) {FROM} group by workflow_id",
         "a query inside it"),
        (f"select count(*) {FROM} where finished_at >= (select max(created_at) from studio.workflows)", "finer than"),
        (f"select count(*) {FROM} where finished_at = null", "its window is empty"),
        (f"select count(*) {FROM} where finished_at between '2025-10-25 10:01' and '2025-10-25 10:02'",
         "inside the rollup's buckets"),
    ],
)  # fmt: skip
def test_what_stays_on_raw_says_why(studio: Warehouse, text: str, why: str) -> None:
    """Columns that do not exist and the like would be the database's to say."""
    try:
        found = explain(studio, text)
    except QueryError as error:
        pytest.fail(str(error))
    assert [reading.plan for reading in found.readings] == [None] * len(found.readings)
    assert any(why in str(reading.why_raw) for reading in found.readings), found.readings
    assert found.rewritten == text


def test_each_select_is_judged_on_its_own(studio: Warehouse) -> None:
    text = f"select 'a' as what, count(*) {FROM} union all select 'b', count(distinct job_id) {FROM}"
    first, second = explain(studio, text).readings
    assert (first.sources, second.sources) == ((DAILY,), ("raw",))
    asked(studio, text)
    assert explain(studio, "select name from studio.workflows").readings == ()
    hidden = "with performance_metrics as (select 1 as x) select count(*) from performance_metrics"
    assert explain(studio, hidden).readings == ()
    [inner] = explain(
        studio, hidden.replace("select 1 as x", "select job_id from performance_metrics")
    ).readings
    assert inner.sources == ("raw",)
    named = (
        "with recursive performance_metrics as (select 1 as x union all select x + 1 from performance_metrics"
    )
    assert explain(studio, f"{named} where x < 3) select * from performance_metrics").readings == ()


def test_a_name_that_parts_have_too_is_not_mistaken(studio: Warehouse) -> None:
    text = (
        f"select attempt_count, (select count(*) + attempt_count {FROM}) from (select 5 as attempt_count) x"
    )
    found, why = asked(studio, text)
    assert found == ("raw",)
    assert why is not None


def test_heartbeats_are_rewritten_too(studio: Warehouse) -> None:
    text = """select worker_id, sum(covered_seconds), sum(covered_seconds) filter (where state = 'idle'), count(*)
              from worker_heartbeats group by 1"""
    assert asked(studio, text) == (("heartbeats_by_worker_daily",), None)


def test_parameters_are_values(studio: Warehouse) -> None:
    text = (
        f"select count(*) {FROM} where finished_at >= %(since)s and tier_id = any(%(tiers)s) and '%%' = '%%'"
    )
    found = sql(studio, text, {"since": datetime(2025, 10, 25, tzinfo=UTC), "tiers": [1, 2]})
    assert found.sources == (DAILY,)
    assert found.rows[0][0] > 0
    assert sql(studio, "select %s as x", ["'; drop table x"]).rows == (("'; drop table x",),)
    with pytest.raises(QueryError, match="parameters do not fit"):
        sql(studio, "select %(x)s", {})


def test_types_arrive(studio: Warehouse) -> None:
    text = """select 1::smallint a, 2::int b, 3::bigint c, 1.5::real d, 2.5::float8 e, 1.25::numeric f, 'x'::text g,
                     true h,
                     '2026-03-01 12:00+01'::timestamptz i, '2026-03-01 12:00'::timestamp j, '2026-03-01'::date k,
                     interval '90 minutes' l, '{"a": 1}'::jsonb m, '8c3b8bd8-5a53-4c1c-9a10-6f4d1a9d5f0e'::uuid n,
                     array[1, null] o, array[[1], [2]] p, array[1.5] q, '\\x01'::bytea r,
                     null s, '[1,2)'::int4range t"""
    table = sql(studio, text)
    row = next(iter(table))
    assert (row["c"], row["f"], row["m"]) == (3, Decimal("1.25"), '{"a": 1}')
    arrow = table.to_arrow()
    kinds = [field.type for field in arrow.schema]
    assert kinds == [
        pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.float64(), pa.string(), pa.bool_(),
        pa.timestamp("us", "UTC"), pa.timestamp("us"), pa.date32(), pa.duration("us"), pa.string(), pa.string(),
        pa.list_(pa.int32()), pa.list_(pa.list_(pa.int32())), pa.list_(pa.float64()), pa.binary(), pa.string(),
        pa.string(),
    ]  # fmt: skip
    [values] = arrow.to_pylist()
    assert (values["i"], values["k"]) == (datetime(2026, 3, 1, 11, tzinfo=UTC), date(2026, 3, 1))
    assert (values["l"], values["o"], values["p"]) == (timedelta(minutes=90), [1, None], [[1], [2]])
    assert (values["n"], values["t"]) == ("8c3b8bd8-5a53-4c1c-9a10-6f4d1a9d5f0e", "[1,2)")
    assert table.to_pandas().shape == table.to_polars().shape == (1, 20)
    assert json.loads(values["m"]) == {"a": 1}


def test_months_and_years_come_as_days(studio: Warehouse) -> None:
    text = "select interval '1 month', interval '11 months', interval '1 year', interval '14 months' - interval '1 day'"
    assert [value.days for value in sql(studio, text).rows[0]] == [30, 330, 365, 365 + 60 - 1]  # type: ignore[attr-defined]


def test_columns_of_one_name_are_told_apart(studio: Warehouse) -> None:
    table = sql(studio, f"select count(*), count(tier_id), 1 as count_2 {FROM}")
    assert [column.name for column in table.columns] == ["count", "count_2", "count_2_2"]


def test_connect_gives_both_ways_to_ask(studio: Warehouse) -> None:
    with framehouse.connect(studio.url) as warehouse:
        assert warehouse.sql(f"select count(*) as n {FROM}").rows == ((200,),)
        assert warehouse.explain(f"select count(*) {FROM}").readings[0].sources == (DAILY,)
        window = Window(datetime(2025, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
        assert warehouse.read("attempt_count", window=window).rows == ((200,),)


def test_parts_of_disjoint_classes_make_up_one() -> None:
    def parts(kind: str, argument: str | None, where: str) -> list[str] | None:
        tree = one_query(f"select {argument or 1} from t where {where}")
        x = argument_of(tree.selects[0]) if argument else None
        found = parts_for(
            ATTEMPTS,
            Measure(kind, x, rows_where(ATTEMPTS, [tree.args["where"].this])),
            frozenset({"outcome", "wall_seconds"}),
        )
        return None if found is None else sorted(part.name for part in found)

    both = ["gpu_seconds_sum", "wasted_gpu_seconds_sum"]
    assert parts("sum", "t.gpu_seconds", "true") == both
    assert parts("sum", "(gpu_seconds)", "outcome in ('failed', 'canceled', 'succeeded')") == both
    assert parts("sum", "gpu_seconds", "not outcome = 'succeeded'") == both[1:]
    assert parts("sum", "gpu_seconds", "outcome = 'failed'") is None
    assert parts("count", None, "outcome = 'failed' or 'succeeded' = outcome") == [
        "failed_count",
        "succeeded_count",
    ]
    assert parts("sum", "wall_seconds / nullif(segment_count, 0)", "outcome = 'succeeded'") == [
        "wall_seconds_per_segment_sum"
    ]
    assert parts("sum", "wall_seconds / segment_count", "outcome = 'succeeded'") is None
    assert parts("count", None, "true = is_cold and outcome = 'succeeded'") == ["cold_count"]
    assert parts("count", None, "outcome = 'failed' and outcome = 'succeeded'") is None
    assert Rows(frozenset({"failed"})) & Rows(frozenset({"failed", "canceled"})) == Rows(
        frozenset({"failed"})
    )
