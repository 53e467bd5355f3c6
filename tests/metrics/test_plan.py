"""The planner: arms without gaps or overlaps, the coarsest first, and no answer where raw data is gone."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framehouse.errors import NoAnswerError, QueryError
from framehouse.metrics.plan import Plan, State, plan
from framehouse.metrics.rollups import ATTEMPTS, HEARTBEATS, ROLLUPS, Source
from framehouse.windows import FINE, Grain, Window, midnight, zone

ALL: dict[str, datetime | None] = {rollup.name: None for rollup in ROLLUPS}
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
    built: Mapping[str, datetime | None] = ALL,
    grain: Grain | None = None,
    zone_name: str | None = None,
    is_raw: bool = False,
) -> Plan:
    window = Window(datetime.fromisoformat(start), datetime.fromisoformat(end))
    state = State(studio, raw_from, built)
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
)
def test_arms_cover_the_window_once(
    window: Window,
    question: tuple[Source, frozenset[str], frozenset[str]],
    studio: str,
    asked_in: str,
    grain: Grain | None,
    is_raw: bool,
) -> None:
    source, dimensions, parts = question
    found = plan(
        source,
        dimensions,
        parts,
        window,
        state=State(studio, None, dict.fromkeys(ALL)),
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

    tz = zone(studio)
    for arm in found.arms:
        if arm.rollup is None:
            continue
        assert arm.rollup.source is source
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
        assert all(arm.rollup is None or arm.rollup.grain is Grain.FINE for arm in found.arms)


@given(windows, questions, st.sampled_from(ZONES), instants)
def test_no_answer_exactly_where_raw_is_needed_below_the_fence(
    window: Window,
    question: tuple[Source, frozenset[str], frozenset[str]],
    studio: str,
    raw_from: datetime,
) -> None:
    source, dimensions, parts = question
    free = plan(
        source, dimensions, parts, window, state=State(studio, None, dict.fromkeys(ALL)), zone_name=studio
    )
    needs_dropped = any(arm.rollup is None and arm.window.start < raw_from for arm in free.arms)
    state = State(studio, raw_from, dict.fromkeys(ALL))
    if needs_dropped:
        with pytest.raises(NoAnswerError, match="was dropped"):
            plan(source, dimensions, parts, window, state=state, zone_name=studio)
    else:
        assert plan(source, dimensions, parts, window, state=state, zone_name=studio) == free


def test_whole_days_come_from_daily_cells_and_edges_from_finer_ones() -> None:
    found = asked("2026-03-01T22:37:12.345678+00:00", "2026-03-05T01:20:00+00:00", by=("workflow",))
    assert names(found) == [
        "raw",
        "attempts_by_workflow_fine",
        "attempts_by_workflow_daily",
        "attempts_by_workflow_fine",
        "raw",
    ]
    assert [arm.window.start.isoformat() for arm in found.arms] == [
        "2026-03-01T22:37:12.345678+00:00",
        "2026-03-01T22:45:00+00:00",
        "2026-03-02T00:00:00+00:00",
        "2026-03-05T00:00:00+00:00",
        "2026-03-05T01:15:00+00:00",
    ]
    assert found.why_raw == "the window begins or ends inside the rollup's buckets"


def test_the_studio_day_decides_where_daily_cells_begin() -> None:
    found = asked("2026-03-01T00:00:00+05:45", "2026-03-03T00:00:00+05:45", studio="Asia/Kathmandu")
    assert names(found) == ["attempts_by_workflow_daily"]
    assert found.why_raw is None
    found = asked("2026-03-01T00:00:00+00:00", "2026-03-03T00:00:00+00:00", studio="Asia/Kathmandu")
    assert names(found) == [
        "attempts_by_worker_fine",
        "attempts_by_workflow_daily",
        "attempts_by_worker_fine",
    ]


@pytest.mark.parametrize(
    ("by", "parts", "expected"),
    [
        ((), COUNT, "attempts_by_workflow_daily"),
        (("tier",), COUNT, "attempts_by_workflow_daily"),
        (("workflow",), COUNT, "attempts_by_workflow_daily"),
        (("worker",), COUNT, "attempts_by_worker_workflow_daily"),
        (("worker", "tier"), COUNT, "attempts_by_worker_workflow_daily"),
        (("workflow", "tier"), BINS, "attempt_quantiles_by_workflow_daily"),
        (("project",), COUNT, "raw"),
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
def test_other_peoples_days_come_from_fine_cells(grain: Grain) -> None:
    week = ("2026-03-01T00:00:00+00:00", "2026-03-08T00:00:00+00:00")
    assert names(asked(*week, grain=grain)) == ["attempts_by_workflow_daily"]
    other = asked(*week, by=("workflow",), grain=grain, zone_name="Asia/Kolkata")
    assert names(other) == ["attempts_by_workflow_fine"]


@pytest.mark.parametrize(
    ("by", "parts", "is_raw", "why"),
    [
        (("workflow",), COUNT, True, "asked for"),
        (("project", "workflow"), COUNT, False, "no rollup keeps project"),
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
    found = asked("2026-03-01T00:00:00+00:00", "2026-03-08T00:00:00+00:00", grain=Grain.HOUR)
    assert names(found) == ["attempts_by_worker_fine"]


def test_what_is_not_built_is_not_read() -> None:
    days = ("2026-03-01T00:00:00+00:00", "2026-03-03T00:00:00+00:00")
    assert names(asked(*days, built={})) == ["raw"]
    assert names(asked(*days, built={"attempts_by_workflow_fine": None})) == ["attempts_by_workflow_fine"]


def test_a_rollup_answers_from_where_it_is_complete() -> None:
    """One that was built after raw data had been dropped knows nothing of what was before."""
    since = datetime(2026, 3, 2, 5, 10, tzinfo=UTC)
    built = ALL | {"attempts_by_workflow_fine": since, "attempts_by_workflow_daily": since}
    month = ("2026-03-01T00:00:00+00:00", "2026-04-01T00:00:00+00:00")
    found = asked(*month, by=("workflow",), built=built)
    assert names(found) == ["raw", "attempts_by_workflow_fine", "attempts_by_workflow_daily"]
    assert [arm.window.start for arm in found.arms[1:]] == [
        datetime(2026, 3, 2, 5, 15, tzinfo=UTC),
        datetime(2026, 3, 3, tzinfo=UTC),
    ]
    with pytest.raises(NoAnswerError):
        asked(*month, by=("workflow",), built=built, raw_from=since)
    assert "raw" not in names(asked(*month, by=("worker",), built=built, raw_from=since))


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
    built = dict.fromkeys(ALL) | {"attempt_quantiles_by_workflow_daily": complete_from}
    window = Window(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 9, tzinfo=UTC))
    known = State("UTC", None, built)
    arms = plan(ATTEMPTS, frozenset(), BINS, window, state=known).arms
    assert [(arm.name, arm.window.start) for arm in arms] == [
        ("raw", window.start),
        ("attempt_quantiles_by_workflow_daily", complete_from),
    ]
    with pytest.raises(NoAnswerError):
        plan(ATTEMPTS, frozenset(), BINS, window, state=State("UTC", complete_from, built))
