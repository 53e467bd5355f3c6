"""An analyst's statement reads, as an analyst, and nothing else; and it never gives less than there was."""

import re

import psycopg
import pytest

from framehouse.errors import NoAnswerError, QueryError, UnreachableError
from framehouse.metrics.analysts import explain, sql
from framehouse.warehouse import Warehouse, retention
from framehouse.warehouse.analysts import analyst_session
from tests.conftest import TestServer
from tests.warehouse.cells import ask
from tests.warehouse.history import FENCE, NOW, drop


@pytest.mark.parametrize(
    "text",
    [
        "delete from telemetry.performance_metrics",
        "with gone as (delete from telemetry.performance_metrics returning 1) select * from gone",
        "with new as (insert into studio.workers (name) values ('x') returning 1) select * from new",
        "select 1 into studio.thing",
        "create table thing as select 1",
        "select * from studio.workers for update",
        "select 1; select 2",
        "select 1; reset role",
        "reset role",
        "set role framehouse_owner",
        "begin",
        "copy studio.workers to program 'true'",
        "explain analyze delete from studio.workers",
        "do $$ begin end $$",
        "call studio.thing()",
        "lock studio.workers",
        "notify x",
        "prepare p as select 1",
        "refresh materialized view x",
        "",
        " -- nothing\n",
        ";",
        "-- nothing\n;;",
        "select 1; -- one\n select 2",
        "select 1;; select 2;",
        "; select 1",
        "select 1; /* x */ delete from studio.workers",
    ],
)
def test_only_one_statement_that_reads_is_taken(warehouse: Warehouse, text: str) -> None:
    with pytest.raises(QueryError):
        sql(warehouse, text)
    assert ask(warehouse.url, "select count(*) from studio.workers") == 0


@pytest.mark.parametrize(
    "end",
    [
        ";",
        "; -- note",
        ";;",
        ";\n-- a;\n/* b; /* c */ delete from studio.workers */\n",
        " -- a\n;\n;--",
        "--",
    ],
)
def test_a_statement_may_end_as_a_file_does(warehouse: Warehouse, end: str) -> None:
    text = f"select count(*) from performance_metrics{end}"
    assert sql(warehouse, text).rows == ((0,),)
    assert sql(warehouse, f"values (%s){end}", ["x"]).rows == (("x",),)
    assert explain(warehouse, text).readings[0].plan is not None


@pytest.mark.parametrize("text", ["select '\udcff'", "select 1\x00", "select '\x00'", "\x00"])
def test_what_is_no_text_is_refused(warehouse: Warehouse, text: str) -> None:
    for params in (None, {}):
        with pytest.raises(QueryError, match=r"character \d+ .*cannot be sent"):
            sql(warehouse, text, params)
    with pytest.raises(QueryError, match="do not fit"):
        sql(warehouse, "select %s", [text])


@pytest.mark.parametrize(
    "text",
    [
        "select set_config('role', 'none', true)",
        "select pg_catalog . set_config ('role', 'none', true)",
        'select "set_config"($$role$$, $$none$$, true)',
        "select U&\"set\\005fconfig\"('role', 'none', true)",
        "select /* x */ Set_Config /* y */ ('role', 'none', true)",
        "select 1 limit length(set_config('role', 'none', true))",
        "values (set_config('role', 'none', true))",
        "select * from query_to_xml('select 1', true, true, '')",
        "select pg_terminate_backend(pg_backend_pid())",
        "select pg_read_file('/etc/passwd')",
        "select lo_create(0)",
        "select pg_advisory_lock(1)",
        "select nextval('studio.workers_id_seq')",
        "select pg_sleep(100)",
        "select count(*) from performance_metrics where pg_sleep(100) is null",
        "select * from ts_stat('select 1')",
    ],
)
def test_functions_that_may_do_more_are_refused(warehouse: Warehouse, text: str) -> None:
    with pytest.raises(QueryError, match=r"may do more than read|not read here"):
        sql(warehouse, text)


def test_whoever_logs_in_reads_as_an_analyst(warehouse: Warehouse) -> None:
    found = sql(
        warehouse,
        "select current_user, current_setting('transaction_read_only'), current_setting('TimeZone')",
    )
    assert found.rows == (("framehouse_analyst", "on", "UTC"),)
    with pytest.raises(QueryError, match="permission denied"):
        sql(warehouse, "select count(*) from ops.quarantine")
    with pytest.raises(QueryError, match="permission denied"):
        sql(warehouse, "select rolpassword from pg_authid")
    # Behind the door that refuses functions stands a wall.
    for text in ("select pg_read_file('/etc/passwd')", "select lo_create(0)", "select pg_advisory_lock(1)"):
        with analyst_session(warehouse, timeout_seconds=9) as session:
            assert session.tried(lambda text=text: session.rows(text)) is None
    with Warehouse(warehouse.url, max_size=1) as one:
        sql(one, "select 1")
        with one.session() as session:  # the very connection
            login = session.table("select current_user::text = session_user::text")[1]
    assert login == [(True,)]


def test_what_is_wrong_is_said_with_its_place(warehouse: Warehouse) -> None:
    for text, said in (
        (
            "select *\nfrm performance_metrics",
            'line 2, column 1: syntax error at or near "frm"',
        ),
        ("select nope from performance_metrics", 'line 1, column 8: column "nope" does not exist'),
        ("select 1 from nowhere", 'line 1, column 15: relation "nowhere" does not exist'),
        ("select 'x", "not closed"),
        ("select 1/0", "division by zero"),
        ("select $1", "there is no parameter $1"),
        ("select " + "(" * 5000 + "1" + ")" * 5000, ""),
    ):
        with pytest.raises(QueryError) as caught:
            sql(warehouse, text)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_statement_takes_no_longer_than_it_may(warehouse: Warehouse) -> None:
    with pytest.raises(QueryError, match="longer than it may"):
        sql(warehouse, "select count(*) from generate_series(1, 1000000000000)", timeout_seconds=0.05)
    for seconds in (0.0, -1.0, 1e9, float("nan")):
        with pytest.raises(QueryError, match="cannot be kept"):
            sql(warehouse, "select 1", timeout_seconds=seconds)


def test_a_server_that_goes_away_is_no_fault_of_the_statement(server: TestServer, database_url: str) -> None:
    def lose() -> None:
        with Warehouse(database_url) as warehouse, analyst_session(warehouse, timeout_seconds=60) as session:
            [(pid,)] = session.rows("select pg_backend_pid()")
            with psycopg.connect(server.url, autocommit=True) as connection:
                connection.execute("select pg_terminate_backend(%s)", [pid])
            session.rows("select 1")

    with pytest.raises(UnreachableError):
        lose()


FROM = "from telemetry.performance_metrics"


def test_below_the_fence_rollups_answer_and_raw_rows_do_not(studio: Warehouse) -> None:
    questions = [
        f"select count(*) {FROM}",
        f"select workflow_id, sum(gpu_seconds), avg(wall_seconds) {FROM} group by 1",
        f"select date_trunc('day', finished_at, 'America/New_York'), max(recorded_at) is null {FROM} group by 1",
    ]
    before = [sorted(sql(studio, text, is_raw=True).rows) for text in questions]
    assert drop(studio).raw_from == FENCE
    for text, rows in zip(questions, before, strict=True):
        found = sql(studio, text)
        assert "raw" not in found.sources
        assert [row[0] for row in sorted(found.rows)] == [row[0] for row in rows]
        for row, other in zip(sorted(found.rows), rows, strict=True):
            assert row[1:] == pytest.approx(other[1:])
        with pytest.raises(NoAnswerError, match=r"were dropped, and .* needs them: asked for"):
            sql(studio, text, is_raw=True)
    for text in (
        f"select job_id {FROM}",
        f"select count(distinct job_id) {FROM} where finished_at < '2025-11-10'",
        f"select count(*) {FROM} where finished_at >= '2025-10-25 10:07'",
        f"select 1 where exists (select job_id {FROM} where wall_seconds > 5)",
        f"select (select max(job_id) {FROM}), count(*) {FROM}",
    ):
        with pytest.raises(NoAnswerError) as caught:
            sql(studio, text)
        assert FENCE.isoformat() in str(caught.value.hint)
        with pytest.raises(NoAnswerError):
            explain(studio, text)


def test_the_hint_at_the_fence_is_a_way_to_ask(studio: Warehouse) -> None:
    drop(studio)
    assert retention.preview(studio, now=NOW).raw_from == FENCE
    with pytest.raises(NoAnswerError) as caught:
        sql(studio, f"select job_id {FROM}")
    added = re.fullmatch(r"add (.*) to it", str(caught.value.hint))
    assert added is not None
    found = sql(studio, f"select job_id {FROM} where {added[1]}")
    assert len(found) == ask(studio.url, f"select count(*) {FROM}")
    assert found.why_raw == "it asks for rows, not for an aggregate of them"
    for text in (
        f"select * {FROM}",
        f"select p {FROM} p",
        f"select 1 {FROM} p join {FROM[5:]} q on p.job_id = q.job_id",
    ):
        alias = "p." if " p" in text else ""
        conditions = f"{alias}{added[1]}" + (f" and q.{added[1]}" if " q " in text else "")
        assert len(sql(studio, f"{text} where {conditions}")) > 0


def test_a_name_in_with_hides_no_raw_rows_that_are_read(studio: Warehouse) -> None:
    drop(studio)
    inner = "select job_id from performance_metrics"
    with pytest.raises(NoAnswerError):
        sql(studio, f"with performance_metrics as ({inner}) select * from performance_metrics")
