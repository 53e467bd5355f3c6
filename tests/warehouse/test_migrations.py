"""The durable schema: built step by step with data on the way, or at once, it comes out the same."""

from urllib.parse import urlsplit

import psycopg
import pytest

import migrations
from framehouse.errors import BuildError
from tests.conftest import TestServer

# What a schema is: columns with types and defaults, constraints, indexes, triggers, functions, rights.
SHAPE = """
select 'column', table_schema, table_name, column_name, data_type, is_nullable,
       coalesce(column_default, '') || coalesce(generation_expression, '')
from information_schema.columns where table_schema in ('studio', 'telemetry', 'ops')
union all
select 'constraint', n.nspname, t.relname, c.conname, pg_get_constraintdef(c.oid), '', ''
from pg_constraint c join pg_class t on t.oid = c.conrelid join pg_namespace n on n.oid = t.relnamespace
where n.nspname in ('studio', 'telemetry', 'ops') and c.contype <> 'n'
union all
select 'index', schemaname, tablename, indexname, indexdef, '', ''
from pg_indexes where schemaname in ('studio', 'telemetry', 'ops')
union all
select 'trigger', n.nspname, t.relname, g.tgname, pg_get_triggerdef(g.oid), '', ''
from pg_trigger g join pg_class t on t.oid = g.tgrelid join pg_namespace n on n.oid = t.relnamespace
where n.nspname in ('studio', 'telemetry', 'ops') and not g.tgisinternal
union all
select 'function', n.nspname, p.proname, pg_get_functiondef(p.oid), '', '', ''
from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname in ('studio', 'telemetry', 'ops')
union all
select 'right', n.nspname, t.relname, coalesce(t.relacl::text, ''), pg_get_userbyid(t.relowner), '', ''
from pg_class t join pg_namespace n on n.oid = t.relnamespace
where n.nspname in ('studio', 'telemetry', 'ops') and t.relkind in ('r', 'v')
order by 1, 2, 3, 4, 5, 6, 7
"""

# Rows that each revision makes possible; later revisions must live with them.
ROWS = {
    "0002": "insert into studio.workflows (name) values ('w'); insert into studio.workers (name) values ('gpu-1')",
    "0003": """
        insert into telemetry.performance_metrics (finished_at, job_id, attempt, workflow_id, outcome, wall_seconds)
        values ('2026-03-01 12:00:00+00', 'job', 1, 1, 'succeeded', 2.5);
        insert into telemetry.worker_heartbeats (covered_from, covered_to, worker_id, state)
        values ('2026-03-01 12:00:00+00', '2026-03-01 12:05:00+00', 1, 'idle')""",
    "0004": "insert into ops.quarantine (origin, code, body, problems) values ('test', 'invalid', '', '[]')",
    "0008": """insert into ops.estimates (id, request, answer, total_scenes, estimated_scenes)
        values ('00000000-0000-4000-8000-000000000001', '{}', '{}', 1, 1);
        insert into ops.estimate_scenes
            (estimate_id, scene_key, ordinal, workflow, tier, segments_needed, sample_count, wall_seconds_mean)
        values ('00000000-0000-4000-8000-000000000001', 'a', 1, 'portrait', 'draft', 1, 3, 2.5);
        insert into ops.estimate_outcomes (estimate_id, scene_key, attempt_count, wall_seconds, finished_at)
        values ('00000000-0000-4000-8000-000000000001', 'a', 1, 2.5, '2026-03-01 12:00:00+00'),
            ('00000000-0000-4000-8000-000000000002', 'a', 1, 2.5, '2026-03-01 12:00:00+00')""",
}


def shape(url: str) -> list[tuple[str, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(SHAPE).fetchall()


def test_step_by_step_with_rows_between_equals_a_fresh_install(
    server: TestServer, empty_database_url: str
) -> None:
    numbers = [revision.number for revision in migrations.pending(empty_database_url)]
    for number in numbers:
        assert [r.number for r in migrations.upgrade(empty_database_url, to=number)] == [number]
        if number in ROWS:
            with psycopg.connect(empty_database_url) as connection:
                connection.execute(ROWS[number])
    assert migrations.pending(empty_database_url) == []
    fresh = server.create()
    try:
        assert [r.number for r in migrations.upgrade(fresh)] == numbers
        assert shape(empty_database_url) == shape(fresh)
    finally:
        server.drop(fresh)
    with psycopg.connect(empty_database_url) as connection:
        kept = connection.execute("select job_id, wall_seconds from telemetry.performance_metrics").fetchall()
        scored = connection.execute(
            "select workflow, tier from ops.estimate_outcomes order by estimate_id"
        ).fetchall()
        marked = connection.execute("select workflow, tier from ops.touched_scores").fetchall()
        tiers = connection.execute(
            "select name, width, height, speed_factor, is_default from studio.resolution_tiers order by sort_order"
        ).fetchall()
    assert kept == [("job", 2.5)]
    assert scored == [("portrait", "draft"), (None, None)]
    assert marked == [("portrait", "draft")]
    assert tiers == [
        ("draft", 512, 512, 5.0, True),
        ("preview", 768, 768, 2.5, False),
        ("production", 1920, 1080, 1.0, False),
    ]


def test_a_second_upgrade_changes_nothing(database_url: str) -> None:
    before = shape(database_url)
    assert migrations.upgrade(database_url) == []
    assert shape(database_url) == before


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("wall_seconds", "'NaN'"),
        ("wall_seconds", "'Infinity'"),
        ("wall_seconds", "-1"),
        ("gpu_seconds", "'NaN'"),
        ("vram_peak_mb", "'Infinity'"),
        ("output_mb", "-0.001"),
        ("input_duration_seconds", "'NaN'"),
        ("segment_count", "-1"),
        ("outcome", "'maybe'"),
        ("finished_at", "'infinity'"),
        ("finished_at", "'0001-01-01'"),
        ("queued_at", "'-infinity'"),
        ("job_id", "''"),
        ("quality_scores_json", "'[]'"),
        ("parameters_json", "'1'"),
    ],
)
def test_raw_refuses_what_would_poison_an_average(database_url: str, column: str, value: str) -> None:
    row = {
        "finished_at": "'2026-03-01 12:00:00+00'",
        "job_id": "'job'",
        "attempt": "1",
        "workflow_id": "1",
        "outcome": "'succeeded'",
        "wall_seconds": "1",
    } | {column: value}
    insert = (
        f"insert into telemetry.performance_metrics ({', '.join(row)}) values ({', '.join(row.values())})"
    )
    with (
        psycopg.connect(database_url) as connection,
        pytest.raises((psycopg.errors.CheckViolation, psycopg.DataError)),
    ):
        connection.execute(insert)


@pytest.mark.parametrize(
    "statement",
    [
        "update telemetry.performance_metrics set wall_seconds = 2",
        "truncate telemetry.performance_metrics",
        "update telemetry.worker_heartbeats set state = 'idle'",
        "truncate telemetry.worker_heartbeats",
        "delete from studio.workflows",
        "truncate studio.workers",
    ],
)
def test_facts_and_their_names_are_immutable(database_url: str, statement: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("insert into studio.workflows (name) values ('w')")
        connection.execute(
            "insert into telemetry.performance_metrics"
            " (finished_at, job_id, attempt, workflow_id, outcome, wall_seconds)"
            " values ('2026-03-01 12:00:00+00', 'job', 1, 1, 'succeeded', 2.5)"
        )
        connection.execute(
            "insert into telemetry.worker_heartbeats (covered_from, covered_to, worker_id, state)"
            " values ('2026-03-01 12:00:00+00', '2026-03-01 12:05:00+00', 1, 'offline')"
        )
        with pytest.raises(psycopg.errors.RestrictViolation):
            connection.execute(statement)


def test_updated_at_follows_changes(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("insert into studio.projects (name) values ('p')")
        connection.execute("update studio.projects set archived_at = now()")
        row = connection.execute("select updated_at > created_at from studio.projects").fetchone()
    assert row == (True,)


def test_an_analyst_reads_everything_in_the_name_of_people(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("set role framehouse_analyst")
        for relation in (
            "telemetry.performance_metrics",
            "studio.workflows",
            "rollup.attempts_by_workflow_daily",
            "mart.generation_metrics",
        ):
            connection.execute(f"select * from {relation}")


@pytest.mark.parametrize(
    "refused",
    [
        "insert into studio.workflows (name) values ('w')",
        "create temporary table t (a int)",
        "create table studio.t (a int)",
        "select pg_advisory_lock(1)",
        "select lo_create(0)",
        "delete from telemetry.performance_metrics",
        "select * from ops.attempt_ledger",
    ],
)
def test_an_analyst_holds_nothing_up(empty_database_url: str, refused: str) -> None:
    # Not on a clone: rights on a database are not copied with it.
    migrations.upgrade(empty_database_url)
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("set role framehouse_analyst")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(refused)


def test_a_newer_schema_is_refused_with_advice(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("create table framehouse_version (version_num varchar(32) not null)")
        connection.execute("insert into framehouse_version values ('9999')")
    with pytest.raises(BuildError, match="newer than this program") as caught:
        migrations.upgrade(empty_database_url)
    assert caught.value.hint == "upgrade framehouse on this machine"


def test_killed_midway_it_goes_on_where_it_stopped(server: TestServer, empty_database_url: str) -> None:
    """A backend killed in the middle of a revision leaves nothing of that revision, and the next call finishes."""
    killer = psycopg.connect(server.url, autocommit=True)
    name = urlsplit(empty_database_url).path[1:]

    class KillAtThird:
        def step(self, text: str) -> None:
            if "0003" in text:
                killer.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s",
                    [name],
                )

        def advance(self, done: float, total: float, text: str = "") -> None:
            pass

    with killer, pytest.raises(BuildError, match="migration 0003"):
        migrations.upgrade(empty_database_url, KillAtThird())
    assert next(r.number for r in migrations.pending(empty_database_url)) == "0003"
    migrations.upgrade(empty_database_url)
    fresh = server.create()
    try:
        migrations.upgrade(fresh)
        assert shape(empty_database_url) == shape(fresh)
    finally:
        server.drop(fresh)
