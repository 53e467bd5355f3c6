"""Queries as analysts write them, made up at random: aggregates, filters, keys, buckets, windows, joins, wrappings."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from framehouse.metrics.analysts import SqlTable
from tests.metrics.studio import ERAS
from tests.metrics.test_laws import is_close

ZONES = ("UTC", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe", "America/Havana")
SUCCEEDED, WASTED = "outcome = 'succeeded'", "outcome <> 'succeeded'"

#: Of any attempts.
OF_ALL = (
    "count(*)", "count(1)", "count(p.job_id)", "count(tier_id)", "sum(gpu_seconds)", "sum(p.wall_seconds)",
    "avg(gpu_seconds)", "avg((wall_seconds))", "count(gpu_seconds)", "avg(queue_wait_seconds)",
    "max(queue_wait_seconds)", "max(recorded_at)", "count(*) filter (where outcome = 'failed')",
    "count(*) filter (where outcome in ('failed', 'canceled'))", "count(*) filter (where not outcome = 'succeeded')",
    "count(case when outcome = 'failed' then 1 end)", "sum(case when 'failed' = outcome then 1 else 0 end)",
    "avg((outcome = 'failed')::int)", "sum(gpu_seconds) filter (where outcome <> 'succeeded')",
    "sum(case when outcome = 'succeeded' then gpu_seconds end)", "min(case when outcome = 'succeeded' then rtf end)",
    "avg(wall_seconds) filter (where outcome = 'succeeded' and tier_id is not null)",
    "sum(gpu_seconds) filter (where outcome = 'succeeded') / nullif(count(*), 0)",
    "count(*) filter (where attempt = 1)", "count(*) filter (where is_cold and outcome = 'succeeded')",
    "100.0 * count(*) filter (where outcome = 'failed') / nullif(count(*), 0)",
    "coalesce(sum(output_mb) filter (where outcome = 'succeeded'), -1)",
    "sum(wall_seconds) filter (where outcome = 'failed' or outcome = 'canceled')", "count(distinct p.workflow_id)",
    "max(tier_id)", "min(p.worker_id) filter (where outcome = 'failed')", "bool_or(tier_id = 1)",
    "sum(count(*)) over ()", "sum(segment_count::float8) filter (where outcome = 'succeeded')",
    "avg(wall_seconds / nullif(segment_count, 0)) filter (where outcome = 'succeeded')",
    "sum(case when attempt = 1 then 1 else 0 end)",
)  # fmt: skip
#: Of succeeded attempts, whose `where` says so.
OF_SUCCEEDED = (
    "sum(energy_joules)", "avg(output_mb)", "min(wall_seconds)", "max(gpu_seconds)", "sum(segment_count)",
    "avg(frame_count)", "min(segment_count)", "max(p.frame_count)", "count(vram_peak_mb)",
    "avg(p.rtf)", "max(cpu_seconds)",
    "count(*)", "sum(case when is_cold then 1 else 0 end)", "sum(wall_seconds) filter (where is_cold = true)",
    "sum(wall_seconds * wall_seconds)", "count(distinct tier_id)", "max(workflow_id)",
)  # fmt: skip
#: Of those that did not succeed, whose `where` says so.
OF_WASTED = (
    "count(*)", "sum(gpu_seconds)", "avg(wall_seconds)", "sum((outcome = 'failed')::int)",
    "avg(case when outcome = 'canceled' then 1 else 0 end)",
)  # fmt: skip
#: What no rollup keeps.
OF_RAW = (
    "sum(cpu_mean_pct)", "stddev(wall_seconds)", "percentile_cont(0.5) within group (order by wall_seconds)",
    "max(finished_at)", "count(distinct job_id)", "sum(energy_joules)", "count(*) filter (where is_cold)",
    "string_agg(outcome, ',' order by outcome)", "avg(wall_seconds) filter (where segment_count > 1)",
)  # fmt: skip
KEYS = (
    "workflow_id",
    "p.tier_id",
    "worker_id",
    "coalesce(tier_id, -1)",
    "tier_id is null",
    "p.workflow_id % 2",
)
RAW_KEYS = ("character_id", "outcome", "segment_count")
CONDITIONS = (
    "tier_id = 1", "p.tier_id is null", "workflow_id in (1, 3)", "(worker_id = 1 or worker_id is null)",
    "workflow_id <> 2 and tier_id is not null", "not (tier_id = 1 and workflow_id = 2)",
    "workflow_id in (select id from studio.workflows where name in ('a', 'b'))",
    "date_trunc('day', finished_at) <> '2025-11-02'",
    "extract(isodow from finished_at at time zone 'America/New_York') < 6",
)  # fmt: skip
#: A workflow that failed only, and nothing at all.
FEW = ("workflow_id in (select id from studio.workflows where name = 'fails')", "p.workflow_id = -1")
JOINS = (
    ("w.name", "join studio.workflows w on w.id = p.workflow_id"),
    ("t.name", "left join studio.resolution_tiers as t on t.id = p.tier_id"),
    ("x.half", "cross join (values (1), (2)) as x (half)"),
)


@st.composite
def edges(draw: st.DrawFn) -> datetime:
    start, end = draw(st.sampled_from(ERAS))
    microseconds = draw(st.integers(0, (end - start) // timedelta(microseconds=1)))
    step = draw(st.sampled_from([1, 900_000_000, 3_600_000_000, 86_400_000_000, 86_400_000_000]))
    return start + timedelta(microseconds=microseconds // step * step)


@st.composite
def windows(draw: st.DrawFn) -> list[str]:
    """Conditions on the time, in one of the ways to say them."""
    first, last = sorted([draw(edges()), draw(edges())])
    return draw(
        st.sampled_from(
            [
                [],
                [],
                [f"finished_at >= '{first.isoformat()}'"],
                [
                    f"finished_at >= '{first.isoformat()}'",
                    f"p.finished_at < timestamptz '{last.isoformat()}'",
                ],
                [f"finished_at > '{first.isoformat()}'", f"finished_at <= '{last.isoformat()}'"],
                [f"finished_at between '{first.isoformat()}' and '{last.isoformat()}'"],
                [f"date '{first:%Y-%m-%d}' <= finished_at and finished_at < date '{last:%Y-%m-%d}' + 1"],
                [f"finished_at >= timestamp '{first:%Y-%m-%d}' at time zone 'America/New_York'"],
                ["finished_at > now() - interval '20 years'"],
                [f"finished_at < '{last.isoformat()}'::timestamptz - interval '1 hour'"],
            ]
        )
    )


@st.composite
def buckets(draw: st.DrawFn) -> str:
    zone = draw(st.sampled_from(ZONES))
    width = draw(
        st.sampled_from(["15 minutes", "30 min", "1 hour", "6 hours", "1 day", "7 days", "1 week", "1 month"])
    )
    unit = draw(st.sampled_from(["hour", "day", "week", "month", "year"]))
    return draw(
        st.sampled_from(
            [
                f"time_bucket('{width}', finished_at)",
                f"time_bucket(interval '{width}', p.finished_at, '{zone}')",
                f"time_bucket('{width}', finished_at, timezone => '{zone}')",
                f"date_trunc('{unit}', finished_at)",
                f"date_trunc('{unit}', finished_at, '{zone}')",
                f"date_trunc('{unit}', finished_at at time zone '{zone}')",
                f"(finished_at at time zone '{zone}')::date",
                f"extract({unit} from finished_at at time zone '{zone}')",
                "date_bin('3 hours', finished_at, '2001-01-01 01:30')",
                "to_char(date_trunc('month', finished_at), 'YYYY-MM')",
                "finished_at::date",
                "date_part('dow', finished_at)",
            ]
        )
    )


@st.composite
def queries(draw: st.DrawFn, *, has_raw: bool = False) -> str:
    """A query; with `has_raw` something in it may be what no rollup keeps."""
    conditions = draw(windows())
    of = [*OF_ALL]
    outcome = draw(st.sampled_from([None, None, SUCCEEDED, WASTED]))
    if outcome:
        conditions.append(outcome)
        of = [*OF_SUCCEEDED] if outcome == SUCCEEDED else [*OF_WASTED]
    keys = draw(st.lists(st.sampled_from(KEYS), max_size=2, unique=True))
    if has_raw:
        of = draw(st.sampled_from([of, list(OF_RAW)]))
        keys += draw(st.lists(st.sampled_from(RAW_KEYS), max_size=1))
    if draw(st.booleans()):
        keys.append(draw(buckets()))
    conditions += draw(st.lists(st.sampled_from(CONDITIONS), max_size=2, unique=True))
    conditions += draw(st.sampled_from([*([[]] * 6), *([few] for few in FEW)]))
    joins = draw(st.lists(st.sampled_from(JOINS), max_size=1))
    keys += [name for name, _ in joins if draw(st.booleans())]
    aggregates = draw(st.lists(st.sampled_from(of), min_size=1, max_size=4, unique=True))
    if not keys:  # a window over one group is of that alone
        aggregates = [one for one in aggregates if "over" not in one] or ["count(*)"]
    text = _select(draw, keys, aggregates, " ".join(join for _, join in joins), conditions)
    return draw(
        st.sampled_from(
            [
                text,
                text,
                f"with found as ({text}) select * from found",
                f"select f.* from ({text}) f where true",
                f"{text} union all {text}",
            ]
        )
        if " order by " not in text
        else st.just(text)
    )


def alone() -> Iterator[str]:
    """Every aggregate, the only one of its query, of few rows and of none."""
    for few in FEW:
        for outcome, of in ((None, OF_ALL), (SUCCEEDED, OF_SUCCEEDED), (WASTED, OF_WASTED)):
            where = f"{few} and {outcome}" if outcome else few
            yield from (f"select {one} from performance_metrics p where {where}" for one in of)


def _select(
    draw: st.DrawFn, keys: Sequence[str], aggregates: Sequence[str], joins: str, conditions: Sequence[str]
) -> str:
    named = [f"{key} as k{n}" for n, key in enumerate(keys)]
    named += [f"{one} as a{n}" for n, one in enumerate(aggregates)]
    table = draw(st.sampled_from(["telemetry.performance_metrics as p", "performance_metrics p"]))
    text = f"select {', '.join(named)} from {table} {joins}".rstrip()
    if conditions:
        text += f" where {' and '.join(draw(st.permutations(conditions)))}"
    if keys:
        said = [[str(n + 1) for n in range(len(keys))], [f"k{n}" for n in range(len(keys))], list(keys)]
        text += f" group by {', '.join(draw(st.sampled_from(said)))}"
        if draw(st.integers(0, 3)) == 0:
            text += " having count(*) > 2"
        if draw(st.integers(0, 3)) == 0:
            text += f" order by {', '.join(f'k{n} desc' for n in range(len(keys)))} limit 7"
    return text


def differences(one: SqlTable, other: SqlTable) -> list[str]:
    """What differs between two answers; floats may in the last digits, and rows come in any order."""
    if one.columns != other.columns:
        return [f"columns {one.columns} and {other.columns}"]
    if len(one) != len(other):
        return [f"{len(one)} rows and {len(other)}"]
    pairs = zip(sorted(one.rows, key=_key), sorted(other.rows, key=_key), strict=True)
    return [
        f"{name.name}: {x!r} and {y!r}"
        for left, right in pairs
        for name, x, y in zip(one.columns, left, right, strict=True)
        if type(x) is not type(y) or not (is_close(name.name, x, y) if isinstance(x, float) else x == y)
    ]


def _key(row: Sequence[Any]) -> list[str]:
    """What is equal in both: all but floats, and those roughly."""
    return [f"{value:.6g}" if isinstance(value, float) else repr(value) for value in row]
