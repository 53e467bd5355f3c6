"""The planner: arms without gaps or overlaps, the coarsest first, and no answer where raw data is gone."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framehouse.errors import NoAnswerError, QueryError
from framehouse.metrics.plan import Built, Marks, Plan, State, plan
from framehouse.metrics.rollups import ATTEMPTS, HEARTBEATS, ROLLUPS, SCORES, STAGES, Source
from framehouse.windows import FINE, Grain, Window, block_minutes, floor_utc, midnight
from framehouse.zones import zone

PARTS = {rollup.name: rollup.part_names for rollup in ROLLUPS}


def since(name: str, complete_from: datetime | None = None) -> Built:
    return Built(f"rollup.{name}_cells", PARTS[name], complete_from)


ALL = {rollup.name: since(rollup.name) for rollup in ROLLUPS}
ZONES = [
    "UTC",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/Havana",
    "Atlantic/Azores",
    "Asia/Beirut",
]
COUNT = frozenset({"attempt_count"})
BINS = frozenset({"wall_seconds_histogram"})
GPU_TIME = frozenset({"gpu_seconds_sum", "wasted_gpu_seconds_sum"})
DAY = timedelta(days=1)

instants = st.datetimes(datetime(2025, 10, 1), datetime(2026, 12, 1), timezones=st.just(UTC))  # noqa: DTZ001 - it adds the zone


@st.composite
def edges(draw: st.DrawFn) -> datetime:
    """Any instant, often on or a microsecond beside a quarter hour or a midnight of some zone."""
    instant = draw(instants)
    kind = draw(st.sampled_from(["any", "quarter", "midnight"]))
    if kind == "quarter":
        instant = instant.replace(minute=instant.minute // 15 * 15, second=0, microsecond=0)
    elif kind == "midnight":
        instant = midnight(instant.date(), zone(draw(st.sampled_from(ZONES))))
    return instant + timedelta(microseconds=draw(st.sampled_from([0, 0, -1, 1])))


windows = st.tuples(edges(), edges()).map(lambda pair: Window(min(pair), max(pair)))
questions = st.sampled_from(
    [
        (ATTEMPTS, frozenset[str](), COUNT),
        (ATTEMPTS, frozenset({"workflow", "tier"}), COUNT),
        (ATTEMPTS, frozenset({"worker"}), COUNT),
        (ATTEMPTS, frozenset({"worker", "tier"}), COUNT),
        (ATTEMPTS, frozenset({"project"}), COUNT),
        (ATTEMPTS, frozenset({"variant"}), COUNT),
        (ATTEMPTS, frozenset({"gpu_model"}), GPU_TIME),
        (SCORES, frozenset({"score", "workflow"}), frozenset({"score_sum"})),
        (SCORES, frozenset({"score"}), frozenset({"score_histogram"})),
        (STAGES, frozenset({"stage", "tier"}), frozenset({"stage_ms_sum"})),
        (ATTEMPTS, frozenset({"workflow"}), BINS),
        (ATTEMPTS, frozenset({"worker"}), BINS),
        (ATTEMPTS, frozenset[str](), COUNT | BINS),
        (HEARTBEATS, frozenset({"worker"}), frozenset({"idle_seconds_sum"})),
    ]
)


def names(found: Plan) -> list[str]:
    return [arm.name for arm in found.arms]


def asked(
    start: str,
    end: str,
    *,
    source: Source = ATTEMPTS,
    by: tuple[str, ...] = (),
    parts: frozenset[str] = COUNT,
    studio: str = "UTC",
    raw_from: datetime | None = None,
    built: Mapping[str, Built] = ALL,
    grain: Grain | None = None,
    zone_name: str | None = None,
    is_raw: bool = False,
    marks: Marks | None = Marks(),  # noqa: B008 - it is frozen
) -> Plan:
    window = Window(datetime.fromisoformat(start), datetime.fromisoformat(end))
    state = State(studio, raw_from, built, marks, block_minutes(zone(studio)))
    return plan(
        source,
        frozenset(by),
        parts,
        window,
        state=state,
        grain=grain,
        zone_name=zone_name or studio,
        is_raw=is_raw,
    )


@given(
    windows,
    questions,
    st.sampled_from(ZONES),
    st.sampled_from(ZONES),
    st.sampled_from([None, *Grain]),
    st.booleans(),
    st.frozensets(edges(), max_size=4),
    st.frozensets(edges(), max_size=2),
)
def test_arms_cover_the_window_once(
    window: Window,
    question: tuple[Source, frozenset[str], frozenset[str]],
    studio: str,
    asked_in: str,
    grain: Grain | None,
    is_raw: bool,
    written: frozenset[datetime],
    recomputed: frozenset[datetime],
) -> None:
    source, dimensions, parts = question
    tz = zone(studio)
    marks = Marks(
        {source.marks: frozenset(floor_utc(at, FINE) for at in written)},
        {source.marks: frozenset(midnight(at.astimezone(tz).date(), tz) for at in recomputed)},
    )
    found = plan(
        source,
        dimensions,
        parts,
        window,
        state=State(studio, None, ALL, marks, block_minutes(tz)),
        grain=grain,
        zone_name=asked_in,
        is_raw=is_raw,
    )
    reached = window.start
    for arm in found.arms:
        assert arm.window.start == reached
        assert arm.window.end > arm.window.start
        reached = arm.window.end
    assert reached == window.end

    for arm in found.arms:
        if arm.rollup is None:
            continue
        assert arm.rollup.source is source
        assert not [at for at in written if at in arm.window]
        if arm.rollup.grain is Grain.DAY:
            assert not [at for at in recomputed if at in arm.window]
        assert dimensions <= set(arm.rollup.dimensions)
        assert parts <= arm.rollup.part_names
        for edge in (arm.window.start, arm.window.end):
            if arm.rollup.grain is Grain.DAY:
                assert edge == midnight(edge.astimezone(tz).date(), tz)
            else:
                assert (edge - datetime(2000, 1, 1, tzinfo=UTC)) % FINE == timedelta()
    assert (found.why_raw is None) == all(arm.rollup for arm in found.arms)
    if is_raw:
        assert {arm.name for arm in found.arms} <= {"raw"}
    if grain in {Grain.FINE, Grain.HOUR} or (grain is not None and asked_in != studio):
        assert all(arm.rollup is None or arm.rollup.grain is not Grain.DAY for arm in found.arms)


@given(windows, questions, st.sampled_from(ZONES), instants)
def test_no_answer_exactly_where_raw_is_needed_below_the_fence(
    window: Window,
    question: tuple[Source, frozenset[str], frozenset[str]],
    studio: str,
    raw_from: datetime,
) -> None:
    source, dimensions, parts = question
    free = plan(
        source,
        dimensions,
        parts,
        window,
        state=State(studio, None, ALL, block_minutes=block_minutes(zone(studio))),
        zone_name=studio,
    )
    needs_dropped = any(arm.rollup is None and arm.window.start < raw_from for arm in free.arms)
    state = State(studio, raw_from, ALL, block_minutes=block_minutes(zone(studio)))
    if needs_dropped:
        with pytest.raises(NoAnswerError, match="was dropped"):
            plan(source, dimensions, parts, window, state=state, zone_name=studio)
    else:
        assert plan(source, dimensions, parts, window, state=state, zone_name=studio) == free


def test_whole_days_come_from_daily_cells_and_edges_from_finer_ones() -> None:
    found = asked("2026-03-01T22:37:12.345678+00:00", "2026-03-05T01:20:00+00:00", by=("workflow",))
    assert names(found) == [
        "raw",
        "attempt_totals_by_workflow_fine",
        "attempt_totals_by_workflow_hourly",
        "attempt_totals_by_workflow_daily",
        "attempt_totals_by_workflow_hourly",
        "attempt_totals_by_workflow_fine",
        "raw",
    ]
    assert [arm.window.start.isoformat() for arm in found.arms] == [
        "2026-03-01T22:37:12.345678+00:00",
        "2026-03-01T22:45:00+00:00",
        "2026-03-01T23:00:00+00:00",
        "2026-03-02T00:00:00+00:00",
        "2026-03-05T00:00:00+00:00",
        "2026-03-05T01:00:00+00:00",
        "2026-03-05T01:15:00+00:00",
    ]
    assert found.why_raw == "the window begins or ends inside the rollup's buckets"


def test_the_studio_day_decides_where_daily_cells_begin() -> None:
    found = asked("2026-03-01T00:00:00+05:45", "2026-03-03T00:00:00+05:45", studio="Asia/Kathmandu")
    assert names(found) == ["attempt_totals_by_workflow_daily"]
    assert found.why_raw is None
    found = asked("2026-03-01T00:00:00+00:00", "2026-03-03T00:00:00+00:00", studio="Asia/Kathmandu")
    assert names(found) == [
        "attempt_totals_by_workflow_hourly",
        "attempt_totals_by_workflow_daily",
        "attempt_totals_by_workflow_hourly",
    ]


@pytest.mark.parametrize(
    ("by", "parts", "expected"),
    [
        ((), COUNT, "attempt_totals_by_workflow_daily"),
        (("tier",), COUNT, "attempt_totals_by_workflow_daily"),
        (("workflow",), COUNT, "attempt_totals_by_workflow_daily"),
        (("workflow",), frozenset({"rtf_max"}), "attempts_by_workflow_daily"),
        (("worker",), COUNT, "attempts_by_worker_workflow_daily"),
        (("worker", "tier"), COUNT, "attempts_by_worker_workflow_daily"),
        (("workflow", "tier"), BINS, "attempt_quantiles_by_workflow_daily"),
        (("project",), COUNT, "attempt_totals_by_project_daily"),
        (("gpu_model", "workflow"), GPU_TIME, "gpu_time_by_model_daily"),
        (("gpu_model", "project"), GPU_TIME, "attempt_totals_by_project_daily"),
        (("variant",), COUNT, "raw"),
        (("worker",), BINS, "raw"),
    ],
)
def test_each_question_has_its_relation(by: tuple[str, ...], parts: frozenset[str], expected: str) -> None:
    found = asked("2026-03-01T00:00:00+00:00", "2026-03-08T00:00:00+00:00", by=by, parts=parts)
    assert names(found) == [expected]


@pytest.mark.parametrize("grain", [Grain.FINE, Grain.HOUR])
def test_quarters_and_hours_come_from_fine_cells(grain: Grain) -> None:
    found = asked("2026-03-01T00:00:00+00:00", "2026-03-08T00:00:00+00:00", by=("worker",), grain=grain)
    assert names(found) == ["attempts_by_worker_fine"]


@pytest.mark.parametrize("grain", [Grain.DAY, Grain.WEEK, Grain.MONTH])
def test_other_peoples_days_come_from_cells_that_they_are_made_of(grain: Grain) -> None:
    week = ("2026-03-01T00:00:00+00:00", "2026-03-08T00:00:00+00:00")
    assert names(asked(*week, grain=grain)) == ["attempt_totals_by_workflow_daily"]
    other = asked(*week, by=("workflow",), grain=grain, zone_name="America/New_York")
    assert names(other) == ["attempt_totals_by_workflow_hourly"]
    half = asked(*week, by=("workflow",), grain=grain, zone_name="Asia/Kolkata")
    assert names(half) == ["attempt_totals_by_workflow_fine"]


def test_touched_buckets_are_read_from_finer_cells_and_raw() -> None:
    at = datetime(2026, 3, 3, 7, 15, tzinfo=UTC)
    days = ("2026-03-01T00:00:00+00:00", "2026-03-08T00:00:00+00:00")
    found = asked(*days, by=("workflow",), marks=Marks({"attempts": frozenset({at})}))
    daily, hourly, fine = (f"attempt_totals_by_workflow_{grain}" for grain in ("daily", "hourly", "fine"))
    assert names(found) == [daily, hourly, fine, "raw", fine, hourly, daily]
    assert found.arms[3].window == Window(at, at + FINE)
    assert found.why_raw == "rows came since the rollup's cells were computed"
    day = asked(
        *days,
        by=("workflow",),
        marks=Marks(touched_days={"attempts": frozenset({at.replace(hour=0, minute=0)})}),
    )
    assert names(day) == [daily, hourly, daily]
    backfill = Marks(pending={daily: frozenset({at.replace(hour=0, minute=0)})})
    assert names(asked(*days, by=("workflow",), marks=backfill)) == [
        daily,
        "attempts_by_workflow_daily",
        daily,
    ]
    assert names(asked(*days, by=("workflow",), marks=None)) == [daily]
    assert asked(*days, by=("workflow",), marks=None).cells == {}


@pytest.mark.parametrize(
    ("by", "parts", "is_raw", "why"),
    [
        (("workflow",), COUNT, True, "asked for"),
        (("variant", "workflow"), COUNT, False, "no rollup keeps variant"),
        (("worker",), BINS, False, "no rollup keeps worker together"),
        ((), COUNT | BINS, False, "no rollup keeps all of these parts"),
    ],
)
def test_a_plan_says_why_it_reads_raw(
    by: tuple[str, ...], parts: frozenset[str], is_raw: bool, why: str
) -> None:
    found = asked("2026-03-01T00:00+00:00", "2026-03-03T00:00+00:00", by=by, parts=parts, is_raw=is_raw)
    assert names(found) == ["raw"]
    assert found.why_raw == why


def test_the_rollup_with_the_fewest_dimensions_answers() -> None:
    """A total adds up fewer cells of the workers' rollup than of the workflows'."""
    found = asked("2026-03-01T00:00:00+00:00", "2026-03-08T00:00:00+00:00", grain=Grain.FINE)
    assert names(found) == ["attempts_by_worker_fine"]


def test_what_is_not_built_is_not_read() -> None:
    days = ("2026-03-01T00:00:00+00:00", "2026-03-03T00:00:00+00:00")
    assert names(asked(*days, built={})) == ["raw"]
    one = "attempts_by_workflow_fine"
    assert names(asked(*days, built={one: since(one)})) == [one]


def test_a_rollup_answers_from_where_it_is_complete() -> None:
    """One that was built after raw data had been dropped knows nothing of what was before."""
    start = datetime(2026, 3, 2, 5, 10, tzinfo=UTC)
    built = {name: since(name, start) for name in ("attempts_by_workflow_fine", "attempts_by_workflow_daily")}
    built["attempts_by_worker_fine"] = since("attempts_by_worker_fine")
    month = ("2026-03-01T00:00:00+00:00", "2026-04-01T00:00:00+00:00")
    found = asked(*month, by=("workflow",), built=built)
    assert names(found) == ["raw", "attempts_by_workflow_fine", "attempts_by_workflow_daily"]
    assert [arm.window.start for arm in found.arms[1:]] == [
        datetime(2026, 3, 2, 5, 15, tzinfo=UTC),
        datetime(2026, 3, 3, tzinfo=UTC),
    ]
    with pytest.raises(NoAnswerError):
        asked(*month, by=("workflow",), built=built, raw_from=start)
    assert "raw" not in names(asked(*month, by=("worker",), built=built, raw_from=start))
    # An older shape with the same parts answers for what a newer one does not know.
    names_ = [f"attempt_totals_by_workflow_{grain}" for grain in ("fine", "hourly", "daily")]
    renewed = ALL | {name: since(name, start) for name in names_}
    assert names(asked(*month, by=("workflow",), built=renewed, raw_from=start)) == [
        "attempts_by_workflow_daily",
        "attempt_totals_by_workflow_daily",
    ]


def test_a_part_that_came_later_is_asked_of_nothing_older() -> None:
    fence = datetime(2026, 3, 4, tzinfo=UTC)
    month = ("2026-03-01T00:00:00+00:00", "2026-04-01T00:00:00+00:00")
    name = "attempts_by_workflow_daily"
    later = {name: Built(f"rollup.{name}_v2_cells", PARTS[name], None, {"rtf_max": fence})}
    assert names(asked(*month, built=later)) == [name]
    found = asked(*month, parts=frozenset({"rtf_max", "attempt_count"}), built=later)
    assert [(arm.name, arm.window.start) for arm in found.arms] == [
        ("raw", datetime(2026, 3, 1, tzinfo=UTC)),
        (name, fence),
    ]
    with pytest.raises(NoAnswerError):
        asked(*month, parts=frozenset({"rtf_max"}), built=later, raw_from=fence)
    without = {name: Built(f"rollup.{name}_cells", frozenset({"attempt_count"}))}
    assert names(asked(*month, built=without)) == [name]
    assert names(asked(*month, parts=frozenset({"rtf_max"}), built=without)) == ["raw"]


def test_an_empty_window_reads_nothing() -> None:
    found = asked("2026-03-01T00:00:00+00:00", "2026-03-01T00:00:00+00:00")
    assert found.arms == ()
    assert found.why_raw is None


def test_below_the_fence_whole_days_still_have_answers() -> None:
    fence = datetime(2026, 3, 2, tzinfo=UTC)
    whole = asked("2026-02-20T00:00:00+00:00", "2026-03-05T00:00:00+00:00", parts=BINS, raw_from=fence)
    assert names(whole) == ["attempt_quantiles_by_workflow_daily"]
    with pytest.raises(NoAnswerError, match="2026-03-02 00:00 UTC was dropped") as caught:
        asked("2026-02-20T00:15:00+00:00", "2026-03-05T00:00:00+00:00", parts=BINS, raw_from=fence)
    assert "2026-03-02T00:00:00+00:00" in str(caught.value.hint)
    # Quarter hours are kept for ever, so the same window has counts.
    assert "raw" not in names(asked("2026-02-20T00:15:00+00:00", "2026-03-05T00:00:00+00:00", raw_from=fence))


def test_windows_need_a_zone_and_an_order() -> None:
    aware = datetime(2026, 3, 1, tzinfo=UTC)
    with pytest.raises(QueryError, match="no time zone"):
        Window(aware.replace(tzinfo=None), aware)
    with pytest.raises(QueryError, match="before it starts"):
        Window(aware, aware - DAY)
    assert aware in Window(aware, aware + DAY)
    assert aware + DAY not in Window(aware, aware + DAY)
    assert midnight(date(2026, 3, 1), zone("Asia/Kathmandu")) == datetime(2026, 2, 28, 18, 15, tzinfo=UTC)


def test_a_rollup_built_after_raw_was_dropped_does_not_answer_for_before() -> None:
    complete_from = datetime(2026, 3, 5, tzinfo=UTC)
    built = ALL | {
        "attempt_quantiles_by_workflow_daily": since("attempt_quantiles_by_workflow_daily", complete_from)
    }
    window = Window(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 9, tzinfo=UTC))
    known = State("UTC", None, built)
    arms = plan(ATTEMPTS, frozenset(), BINS, window, state=known).arms
    assert [(arm.name, arm.window.start) for arm in arms] == [
        ("raw", window.start),
        ("attempt_quantiles_by_workflow_daily", complete_from),
    ]
    with pytest.raises(NoAnswerError):
        plan(ATTEMPTS, frozenset(), BINS, window, state=State("UTC", complete_from, built))
