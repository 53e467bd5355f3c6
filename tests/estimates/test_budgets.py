"""Budgets end to end: spent, committed and asked for, levels crossed once, submissions refused, one at a time."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from framehouse.errors import BudgetExceededError, ContractError, NotFoundError, SubmittedError, TakenError
from framehouse.estimates import submission
from framehouse.estimates.batch import estimate_batch
from framehouse.estimates.budgets import (
    Budget,
    Period,
    Terms,
    archive,
    budgets,
    calendar_period,
    change,
    create,
    put,
)
from framehouse.estimates.spending import BudgetState, check, state, states
from framehouse.estimates.submission import crossings, note_crossings, release, submit
from framehouse.estimates.totals import Distribution
from framehouse.estimates.wire import BatchRequest
from framehouse.warehouse import Warehouse
from framehouse.warehouse.rates import Rate, set_rate
from framehouse.windows import EARLIEST
from tests.builders import event, store

HOUR = 3600.0
SCENE = {"workflow": "portrait", "target_seconds": 2.0, "segment_seconds": 2.0}


def used(hours: float | None, **fields: Any) -> Any:
    """An attempt of now that held a GPU for so many hours."""
    said = {"tier": "draft", "project": "film", "finished_at": datetime.now(UTC).isoformat()}
    seconds = None if hours is None else hours * HOUR
    return event(**(said | {"gpu_seconds": seconds, "host": {"gpu_model": "L40S"}} | fields))


def estimated(warehouse: Warehouse, *hours: float | None, project: str | None = "film") -> UUID:
    """A stored estimate of scenes that take so many GPU hours each; None: nobody can say."""
    estimate_id = uuid4()
    with psycopg.connect(warehouse.url) as connection:
        connection.execute(
            "insert into ops.estimates (id, request, answer, total_scenes, estimated_scenes, project)"
            " values (%s, '{}', '{}', %s, %s, %s)",
            [estimate_id, len(hours), sum(one is not None for one in hours), project],
        )
        for number, one in enumerate(hours, start=1):
            connection.execute(
                "insert into ops.estimate_scenes (estimate_id, scene_key, ordinal, workflow, segments_needed,"
                " sample_count, reason, gpu_seconds_mean, wall_seconds_mean, cost_mean, disk_mb_mean)"
                " values (%(id)s, %(key)s, %(number)s, 'portrait', 1, 3, %(reason)s, %(gpu)s::float8,"
                " %(gpu)s::float8, %(gpu)s::float8 / 1800, %(gpu)s::float8 / 3600 * 1024)",
                {
                    "id": estimate_id,
                    "key": f"scene-{number}",
                    "number": number,
                    "reason": "no_history" if one is None else None,
                    "gpu": None if one is None else one * HOUR,
                },
            )
    return estimate_id


def allow(warehouse: Warehouse, amount: float, **terms: Any) -> Budget:
    said: dict[str, Any] = {"name": "film hours", "quantity": "gpu_hours", "project": "film"}
    return create(warehouse, Terms(amount=amount, **(said | terms)))


def stands(warehouse: Warehouse, one: Budget) -> BudgetState:
    with warehouse.session(is_snapshot=True) as session:
        return state(session, one)


# What a budget says.


def test_a_budget_is_created_changed_archived_and_brought_back(warehouse: Warehouse) -> None:
    made = allow(warehouse, 100.0)
    assert (made.project, made.quantity, made.amount, made.period) == ("film", "gpu_hours", 100.0, "month")
    assert (made.warn_ratio, made.block_ratio, made.archived_at) == (0.8, 1.0, None)
    assert made.created_at.tzinfo is UTC
    terms = Terms("film money", "cost", 5.0, period="year", block_ratio=None)
    changed = change(warehouse, made.id, terms)
    assert (changed.id, changed.name, changed.project, changed.quantity) == (
        made.id,
        "film money",
        None,
        "cost",
    )
    rested = archive(warehouse, made.id)
    assert rested.archived_at is not None
    assert archive(warehouse, made.id).archived_at == rested.archived_at
    with warehouse.session() as session:
        assert budgets(session) == []
        assert [one.id for one in budgets(session, include_archived=True)] == [made.id]
    again = put(warehouse, replace(terms, amount=6.0))
    assert (again.id, again.amount, again.archived_at) == (made.id, 6.0, None)
    assert put(warehouse, replace(terms, name="another")).id != made.id


def test_a_name_is_given_once(warehouse: Warehouse) -> None:
    made, other = allow(warehouse, 1.0), allow(warehouse, 1.0, name="other")
    with pytest.raises(TakenError):
        allow(warehouse, 2.0)
    with pytest.raises(TakenError):
        change(warehouse, other.id, Terms(made.name, "cost", 1.0))
    archive(warehouse, made.id)
    with pytest.raises(TakenError, match="archived"):
        allow(warehouse, 2.0)


START, END = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("wrong", "paths"),
    [
        ({"name": ""}, ["name"]),
        ({"name": "a\x00b"}, ["name"]),
        ({"name": " spaced"}, ["name"]),
        ({"name": "\ud800"}, ["name"]),
        ({"project": ""}, ["project"]),
        ({"quantity": "gpu_seconds"}, ["quantity"]),
        ({"amount": 0.0}, ["amount"]),
        ({"amount": float("nan")}, ["amount"]),
        ({"amount": float("inf")}, ["amount"]),
        ({"period": "fortnight"}, ["period"]),
        ({"period": "once"}, ["starts_at", "ends_at"]),
        ({"period": "once", "starts_at": START}, ["ends_at"]),
        ({"period": "once", "starts_at": END, "ends_at": START}, ["ends_at"]),
        ({"period": "month", "ends_at": END}, ["ends_at"]),
        ({"warn_ratio": 0.0}, ["warn_ratio"]),
        ({"warn_ratio": float("nan")}, ["warn_ratio"]),
        ({"block_ratio": 0.5}, ["block_ratio"]),
        ({"block_ratio": float("inf")}, ["block_ratio"]),
        ({"amount": -1.0, "warn_ratio": -1.0}, ["amount", "warn_ratio"]),
    ],
)
def test_what_is_no_budget_is_refused_by_field(
    warehouse: Warehouse, wrong: dict[str, Any], paths: list[str]
) -> None:
    with pytest.raises(ContractError) as caught:
        allow(warehouse, **({"amount": 1.0} | wrong))
    assert [problem.path for problem in caught.value.problems] == paths
    with warehouse.session() as session:
        assert budgets(session) == []


def test_what_is_not_there_is_not_found(warehouse: Warehouse) -> None:
    nobody: list[Callable[[], object]] = [
        lambda: change(warehouse, 7, Terms("x", "cost", 1.0)),
        lambda: archive(warehouse, 7),
        lambda: submit(warehouse, uuid4()),
        lambda: release(warehouse, uuid4()),
    ]
    for call in nobody:
        with pytest.raises(NotFoundError):
            call()


# Periods.


@pytest.mark.parametrize(
    ("period", "instant", "first", "last"),
    [
        ("day", "2026-03-29T12:00:00+02:00", "2026-03-29", "2026-03-30"),  # 23 hours
        ("week", "2026-03-01T23:59:59+01:00", "2026-02-23", "2026-03-02"),
        ("week", "2026-03-02T00:00:00+01:00", "2026-03-02", "2026-03-09"),
        ("month", "2026-02-28T23:30:00+00:00", "2026-03-01", "2026-04-01"),  # March has begun in Brussels
        ("month", "2026-12-31T22:59:59+00:00", "2026-12-01", "2027-01-01"),
        ("quarter", "2026-03-31T21:59:59+00:00", "2026-01-01", "2026-04-01"),
        ("quarter", "2026-03-31T22:00:00+00:00", "2026-04-01", "2026-07-01"),
        ("quarter", "2026-12-31T12:00:00+00:00", "2026-10-01", "2027-01-01"),
        ("year", "2026-12-31T23:00:00+00:00", "2027-01-01", "2028-01-01"),
    ],
)
def test_a_period_follows_the_studios_calendar(period: Period, instant: str, first: str, last: str) -> None:
    brussels = ZoneInfo("Europe/Brussels")
    at = datetime.fromisoformat(instant)
    found = calendar_period(period, at, brussels)
    assert at in found
    assert [found.start, found.end] == [
        datetime.fromisoformat(day).replace(tzinfo=brussels) for day in (first, last)
    ]


def test_spent_is_that_of_the_period_in_the_studios_zone(warehouse: Warehouse) -> None:
    with psycopg.connect(warehouse.url) as connection:
        [zone_name] = connection.execute("select studio_zone from ops.studio_settings").fetchone() or ("",)
    month = calendar_period("month", datetime.now(UTC), ZoneInfo(zone_name))
    store(
        warehouse,
        [
            used(1.0, finished_at=(month.start - timedelta(seconds=1)).isoformat()),
            used(2.0, finished_at=month.start.isoformat()),
        ],
    )
    found = stands(warehouse, allow(warehouse, 10.0))
    assert (found.starts_at, found.ends_at, found.spent) == (month.start, month.end, 2.0)
    before = allow(
        warehouse,
        10.0,
        name="before",
        period="once",
        starts_at=month.start - timedelta(hours=1),
        ends_at=month.start,
    )
    assert stands(warehouse, before).spent == 1.0


def test_a_span_that_is_over_or_has_not_begun_is_not_checked(warehouse: Warehouse) -> None:
    now, day = datetime.now(UTC), timedelta(days=1)
    for name, start in (("over", now - 2 * day), ("to come", now + day)):
        allow(warehouse, 1.0, name=name, period="once", starts_at=start, ends_at=start + day)
    current = allow(warehouse, 9.0, name="now", period="once", starts_at=now - day, ends_at=now + day)
    done = submit(warehouse, estimated(warehouse, 5.0))
    assert [one.budget.id for one in done.budgets] == [current.id]
    with warehouse.session(is_snapshot=True) as session:
        assert {one.budget.name: one.committed for one in states(session)} == {
            "now": 5.0,
            "over": 0.0,
            "to come": 0.0,
        }


# Spent, committed, asked for.


def test_what_failed_was_spent_too_and_the_studio_spends_what_its_projects_do(warehouse: Warehouse) -> None:
    store(
        warehouse,
        [
            used(1.0),
            used(2.0, outcome="failed"),
            used(3.0, outcome="canceled"),
            used(4.0, project="series"),
            used(5.0, project=None),
        ],
    )
    film, studio = allow(warehouse, 10.0), allow(warehouse, 20.0, name="all", project=None)
    found = stands(warehouse, film)
    assert (found.spent, found.total, found.remaining, found.level) == (6.0, 6.0, 4.0, "ok")
    assert (found.unknown_attempts, found.notes) == (0, ())
    assert stands(warehouse, studio).spent == 15.0


def test_nothing_unknown_counts_as_nothing(warehouse: Warehouse) -> None:
    made = {
        quantity: allow(warehouse, 100.0, name=quantity, quantity=quantity)
        for quantity in ("gpu_hours", "cost", "disk_gb")
    }
    store(
        warehouse,
        [
            used(1.0, output_mb=1024.0),
            used(None, output_mb=2048.0),
            used(4.0, host={"gpu_model": "H100"}),
        ],
    )
    set_rate(warehouse, Rate("L40S", EARLIEST, 2.0, "EUR"))
    found = {quantity: stands(warehouse, one) for quantity, one in made.items()}
    assert {q: (one.spent, one.unknown_attempts) for q, one in found.items()} == {
        "gpu_hours": (5.0, 1),
        "cost": (2.0, 2),
        "disk_gb": (3.0, 1),
    }
    assert found["cost"].notes == (
        "at least this was spent: 2 attempts have no rate or do not say their GPU time",
    )
    set_rate(warehouse, Rate("H100", EARLIEST, 3.0, "EUR"))
    assert (stands(warehouse, made["cost"]).spent, stands(warehouse, made["cost"]).unknown_attempts) == (
        14,
        1,
    )


def test_a_commitment_shrinks_as_its_scenes_succeed(warehouse: Warehouse) -> None:
    film = allow(warehouse, 100.0)
    estimate_id = estimated(warehouse, 10.0, 20.0)
    assert submit(warehouse, estimate_id).budgets[0].asked == 30.0
    assert stands(warehouse, film).committed == 30.0
    store(warehouse, [used(1.0, estimate_id=str(estimate_id), scene_key="scene-1", outcome="failed")])
    assert (stands(warehouse, film).spent, stands(warehouse, film).committed) == (1.0, 30.0)
    store(warehouse, [used(8.0, estimate_id=str(estimate_id), scene_key="scene-1")])
    assert (stands(warehouse, film).spent, stands(warehouse, film).committed) == (9.0, 20.0)
    store(warehouse, [used(25.0, estimate_id=str(estimate_id), scene_key="scene-2")])
    assert (stands(warehouse, film).spent, stands(warehouse, film).committed) == (34.0, 0.0)
    again = submit(warehouse, estimate_id)
    assert (again.is_new, again.commitment.finished_at is not None) == (False, True)


def test_a_commitment_shrinks_by_the_segments_that_are_made(warehouse: Warehouse, database_url: str) -> None:
    film, estimate_id = allow(warehouse, 100.0), estimated(warehouse, 40.0)
    with psycopg.connect(database_url) as connection:
        connection.execute("update ops.estimate_scenes set segments_needed = 4")
    carried = {"estimate_id": str(estimate_id), "scene_key": "scene-1"}
    store(warehouse, [used(12.0, segment_count=1, **carried)])
    [told] = submit(warehouse, estimate_id).budgets
    assert (told.spent, told.asked, told.p90_total) == (12.0, 30.0, None), "the P90 is of the whole"
    store(warehouse, [used(11.0, segment_count=2, **carried)])
    assert (stands(warehouse, film).spent, stands(warehouse, film).committed) == (23.0, 10.0)
    assert submit(warehouse, estimate_id).commitment.finished_at is None
    store(warehouse, [used(5.0, segment_count=2, **carried)])
    assert (stands(warehouse, film).spent, stands(warehouse, film).committed) == (28.0, 0.0)
    assert submit(warehouse, estimate_id).commitment.finished_at is not None


def test_asked_by_its_mean_and_told_of_its_p90(warehouse: Warehouse) -> None:
    allow(warehouse, 100.0)
    store(warehouse, [used(50.0)])
    asked = {"gpu_hours": Distribution(20.0, 10.0, 19.0, 60.0)}
    with warehouse.session(is_snapshot=True) as session:
        [found] = check(session, "film", asked)
        [unknown] = check(session, "film", {"gpu_hours": None}, unknown_scenes=4)
        assert check(session, "series", asked) == ()
        assert check(session, None, asked) == ()
    assert (found.total, found.p90_total, found.level, found.p90_level) == (70.0, 110.0, "ok", "block")
    assert found.notes == ("the mean is ok, and the P90 would cross the block level",)
    assert not found.is_blocking
    assert (unknown.asked, unknown.unknown_scenes, unknown.total) == (None, 4, 50.0)
    assert unknown.notes == ("at least this will be spent: 4 scenes cannot be predicted",)


@pytest.mark.parametrize(
    ("asked", "level"), [(50.0, "ok"), (80.0, "ok"), (80.1, "warn"), (100.0, "warn"), (100.1, "block")]
)
def test_a_level_is_crossed_above_it(warehouse: Warehouse, asked: float, level: str) -> None:
    allow(warehouse, 100.0)
    with warehouse.session(is_snapshot=True) as session:
        [found] = check(session, "film", {"gpu_hours": Distribution(asked, None, None, None)})
    assert found.level == level


def test_an_estimate_tells_how_its_projects_budgets_would_stand(warehouse: Warehouse) -> None:
    allow(warehouse, 0.001, warn_ratio=0.5)
    allow(warehouse, 1.0, name="money", quantity="cost")
    store(warehouse, [used(0.0006, segment_count=1, project=None) for _ in range(3)])
    told = estimate_batch(warehouse, BatchRequest.model_validate({"scenes": [SCENE], "project": "film"}))
    assert [(one.budget.name, one.level) for one in told.budgets] == [("film hours", "warn"), ("money", "ok")]
    assert [one.unknown_scenes for one in told.budgets] == [0, 1]
    assert estimate_batch(warehouse, BatchRequest.model_validate({"scenes": [SCENE]})).budgets == ()
    assert told.estimate_id is not None
    assert submit(warehouse, told.estimate_id).commitment.project == "film"


# Submission.


def test_submitting_again_changes_nothing_and_a_release_gives_back(warehouse: Warehouse) -> None:
    film = allow(warehouse, 100.0)
    estimate_id = estimated(warehouse, 60.0)
    first, second = submit(warehouse, estimate_id), submit(warehouse, estimate_id, "film")
    assert (first.is_new, second.is_new) == (True, False)
    assert second.commitment == first.commitment
    assert stands(warehouse, film).committed == 60.0
    released = release(warehouse, estimate_id)
    assert released.released_at is not None
    assert release(warehouse, estimate_id) == released
    assert stands(warehouse, film).committed == 0.0
    third = submit(warehouse, estimate_id)
    assert (third.is_new, third.commitment.released_at) == (True, None)
    assert stands(warehouse, film).committed == 60.0


def test_one_that_is_submitted_cannot_be_for_another_project(warehouse: Warehouse) -> None:
    film, estimate_id = allow(warehouse, 100.0), estimated(warehouse, 60.0)
    submit(warehouse, estimate_id)
    with pytest.raises(SubmittedError, match="is submitted already, for the project 'film'") as refused:
        submit(warehouse, estimate_id, "series")
    assert [problem.path for problem in refused.value.problems] == ["project"]
    assert stands(warehouse, film).committed == 60.0
    release(warehouse, estimate_id)
    assert submit(warehouse, estimate_id, "series").commitment.project == "series"
    assert stands(warehouse, film).committed == 0.0


def test_the_project_that_is_named_is_the_one_that_pays(warehouse: Warehouse) -> None:
    film, series = allow(warehouse, 100.0), allow(warehouse, 100.0, name="series hours", project="series")
    done = submit(warehouse, estimated(warehouse, 7.0), "series")
    assert [one.budget.name for one in done.budgets] == ["series hours"]
    assert (stands(warehouse, film).committed, stands(warehouse, series).committed) == (0.0, 7.0)
    studio = allow(warehouse, 100.0, name="all", project=None)
    submit(warehouse, estimated(warehouse, 1.0, project=None))
    assert stands(warehouse, studio).committed == 8.0


def test_work_that_names_no_project_is_that_of_its_submission(warehouse: Warehouse) -> None:
    film, series = allow(warehouse, 100.0), allow(warehouse, 100.0, name="series hours", project="series")
    one, other = estimated(warehouse, 8.0), estimated(warehouse, 8.0)
    submit(warehouse, one)
    submit(warehouse, other, "series")
    for estimate_id in (one, other):
        store(warehouse, [used(80.0, project=None, estimate_id=str(estimate_id), scene_key="scene-1")])
    store(warehouse, [used(5.0, project="film", estimate_id=str(other), scene_key="scene-1")])
    assert (stands(warehouse, film).spent, stands(warehouse, film).committed) == (85.0, 0.0)
    assert (stands(warehouse, series).spent, stands(warehouse, series).committed) == (80.0, 0.0)


def test_what_crosses_the_block_level_is_refused_and_recorded(warehouse: Warehouse) -> None:
    film = allow(warehouse, 100.0)
    store(warehouse, [used(30.0)])
    submit(warehouse, estimated(warehouse, 40.0))
    estimate_id = estimated(warehouse, 30.5)
    for _ in range(2):
        with pytest.raises(BudgetExceededError) as caught:
            submit(warehouse, estimate_id)
    assert str(caught.value) == (
        "budget 'film hours': 30.00 spent, 40.00 committed, 30.50 asked for, of 100.00 gpu_hours"
        " (blocks above 100%)"
    )
    [problem] = caught.value.problems
    assert problem.expected == "at most 30.00 gpu_hours more"
    assert stands(warehouse, film).committed == 40.0
    refused = crossings(warehouse)
    assert [(one.level, one.is_refused, one.estimate_id) for one in refused] == 2 * [
        ("block", True, estimate_id)
    ]
    assert (refused[0].spent, refused[0].committed, refused[0].asked, refused[0].amount) == (
        30,
        40,
        30.5,
        100,
    )
    with pytest.raises(NotFoundError):
        release(warehouse, estimate_id)
    assert submit(warehouse, estimated(warehouse, 30.0)).is_new, "what fits exactly does"


def test_a_level_is_recorded_once_in_a_period(warehouse: Warehouse) -> None:
    film = allow(warehouse, 100.0, block_ratio=None)
    submit(warehouse, estimated(warehouse, 70.0))
    assert crossings(warehouse) == []
    crossing = estimated(warehouse, 20.0)
    done = submit(warehouse, crossing)
    [warning] = done.warnings
    assert warning == (
        "budget 'film hours': 0.00 spent, 70.00 committed, 20.00 asked for, of 100.00 gpu_hours"
        " (warn level crossed)"
    )
    submit(warehouse, estimated(warehouse, 900.0))
    note_crossings(warehouse)
    [found] = crossings(warehouse)
    assert (found.budget, found.level, found.estimate_id, found.is_refused) == (
        "film hours",
        "warn",
        crossing,
        False,
    )
    change(warehouse, film.id, Terms("film hours", "gpu_hours", 50.0, project="film", block_ratio=None))
    assert len(note_crossings(warehouse)) == 1
    assert [(one.amount, one.estimate_id) for one in crossings(warehouse)] == [
        (50.0, None),
        (100.0, crossing),
    ]


def test_what_is_spent_crosses_levels_too(warehouse: Warehouse) -> None:
    film = allow(warehouse, 10.0)
    archive(warehouse, allow(warehouse, 1.0, name="resting").id)
    assert note_crossings(warehouse) == []
    store(warehouse, [used(11.0)])
    said = "budget 'film hours': 11.00 spent, 0.00 committed, 0.00 asked for, of 10.00 gpu_hours"
    assert note_crossings(warehouse) == [f"{said} (warn level crossed)", f"{said} (block level crossed)"]
    assert note_crossings(warehouse) == []
    assert [(one.level, one.estimate_id, one.asked) for one in crossings(warehouse)] == [
        ("block", None, 0.0),
        ("warn", None, 0.0),
    ]
    assert crossings(warehouse, budget_id=film.id + 1) == []
    [first, second] = crossings(warehouse)
    assert crossings(warehouse, limit=1) == [first]
    assert crossings(warehouse, before=first.id) == [second]
    with pytest.raises(BudgetExceededError):
        submit(warehouse, estimated(warehouse, 0.1))
    assert submit(warehouse, estimated(warehouse, 0.0)).is_new, "what takes nothing crosses nothing"


def test_what_nobody_can_predict_is_warned_of_and_not_refused(warehouse: Warehouse) -> None:
    film = allow(warehouse, 10.0)
    store(warehouse, [used(11.0)])
    done = submit(warehouse, estimated(warehouse, None, None))
    assert (done.is_new, done.budgets[0].asked, done.budgets[0].unknown_scenes) == (True, None, 2)
    assert done.warnings[-1] == (
        "budget 'film hours': at least this will be spent: 2 scenes cannot be predicted"
    )
    assert (stands(warehouse, film).committed, stands(warehouse, film).unknown_scenes) == (0.0, 2)
    with pytest.raises(BudgetExceededError):
        submit(warehouse, estimated(warehouse, 1.0, None))


@pytest.mark.parametrize("count", [2, 6])
def test_of_those_that_race_for_the_last_of_a_budget_one_gets_it(warehouse: Warehouse, count: int) -> None:
    film = allow(warehouse, 100.0)
    racing = [estimated(warehouse, 60.0) for _ in range(count)]

    def is_taken(estimate_id: UUID) -> bool:
        try:
            return submit(warehouse, estimate_id).is_new
        except BudgetExceededError:
            return False

    with ThreadPoolExecutor(count) as pool:
        assert sum(pool.map(is_taken, racing)) == 1
    assert stands(warehouse, film).committed == 60.0
    assert sum(one.is_refused for one in crossings(warehouse)) == count - 1


def test_without_the_lock_both_would_get_it(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the race above rests on: two that each look before the other has committed."""
    film, racing = allow(warehouse, 100.0), [estimated(warehouse, 60.0) for _ in range(2)]
    both_have_looked, look = Barrier(2), submission.checked

    def wait(*asked: Any) -> Any:
        found = look(*asked)
        both_have_looked.wait(30)
        return found

    monkeypatch.setattr(submission, "_LOCK", "reference.ping")
    monkeypatch.setattr(submission, "checked", wait)
    with ThreadPoolExecutor(2) as pool:
        assert all(one.is_new for one in pool.map(lambda one: submit(warehouse, one), racing))
    assert stands(warehouse, film).committed == 120.0


def test_a_submission_tells_the_p90_of_the_whole_batch(warehouse: Warehouse) -> None:
    allow(warehouse, 100.0)
    estimate_id = estimated(warehouse, 20.0, 30.0)
    with psycopg.connect(warehouse.url) as connection:
        connection.execute(
            "update ops.estimates set answer = %s where id = %s",
            ['{"totals": {"gpu_hours": {"mean": 50, "p90": 101}, "cost": null}}', estimate_id],
        )
    done = submit(warehouse, estimate_id)
    assert (done.budgets[0].p90_total, done.budgets[0].level, done.budgets[0].p90_level) == (
        101,
        "ok",
        "block",
    )
    assert done.warnings == ("budget 'film hours': the mean is ok, and the P90 would cross the block level",)
    release(warehouse, estimate_id)
    store(warehouse, [used(20.0, estimate_id=str(estimate_id), scene_key="scene-1")])
    again = submit(warehouse, estimate_id).budgets[0]
    assert (again.spent, again.asked, again.p90_total) == (20, 30, None), (
        "of a part of it nobody knows the P90"
    )


def test_what_was_spent_before_the_fence_is_unknown_where_only_raw_rows_knew(warehouse: Warehouse) -> None:
    day, now = timedelta(days=1), datetime.now(UTC)
    store(warehouse, [used(1.0, finished_at=(now - 40 * day).isoformat())])
    span = {"period": "once", "starts_at": (now - 50 * day).replace(minute=7), "ends_at": now + day}
    film = allow(warehouse, 100.0, **span)
    assert stands(warehouse, film).spent == 1.0
    with psycopg.connect(warehouse.url) as connection:
        connection.execute("update ops.retention set raw_from = %s", [(now - 30 * day).replace(hour=0)])
    found = stands(warehouse, film)
    assert (found.spent, found.total) == (None, 0.0)
    assert found.notes == ("what was spent is unknown: raw rows of the period were dropped",)
    assert submit(warehouse, estimated(warehouse, 1.0)).warnings == (
        f"budget 'film hours': {found.notes[0]}",
    )


def test_the_same_estimate_submitted_by_many_at_once_is_committed_once(warehouse: Warehouse) -> None:
    film = allow(warehouse, 100.0)
    estimate_id = estimated(warehouse, 60.0)
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: submit(warehouse, estimate_id), range(6)))
    assert sum(one.is_new for one in done) == 1
    assert len({one.commitment.committed_at for one in done}) == 1
    assert stands(warehouse, film).committed == 60.0


def test_an_event_that_comes_meanwhile_is_either_spent_or_committed(warehouse: Warehouse) -> None:
    """Never neither: what a scene is predicted to take and what it took are of one instant."""
    film = allow(warehouse, 1000.0)
    estimate_id = estimated(warehouse, *[10.0] * 8)
    submit(warehouse, estimate_id)

    def write() -> None:
        for number in range(1, 9):
            store(warehouse, [used(10.0, estimate_id=str(estimate_id), scene_key=f"scene-{number}")])

    def look() -> Iterator[float]:
        while not writing.done():
            yield stands(warehouse, film).total

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        assert set(look()) == {80.0}
        writing.result()
    assert (stands(warehouse, film).spent, stands(warehouse, film).committed) == (80.0, 0.0)


# Rights.


def test_the_service_may_all_that_and_nothing_else(warehouse: Warehouse) -> None:
    allow(warehouse, 100.0)
    with Warehouse(make_conninfo(warehouse.url, options="-c role=framehouse_api")) as service:
        made = create(service, Terms("service", "gpu_hours", 10.0, project="film"))
        change(service, made.id, Terms("service", "gpu_hours", 20.0, project="series"))
        submit(service, estimated(warehouse, 90.0))
        with pytest.raises(BudgetExceededError):
            submit(service, estimated(warehouse, 90.0))
        note_crossings(service)
        assert len(crossings(service)) == 2
        archive(service, made.id)


@pytest.mark.parametrize(
    ("role", "refused"),
    [
        ("framehouse_api", "delete from studio.budgets"),
        ("framehouse_api", "delete from ops.commitments"),
        ("framehouse_api", "delete from ops.budget_crossings"),
        ("framehouse_api", "update ops.budget_crossings set amount = 1"),
        ("framehouse_ingest", "insert into ops.commitments (estimate_id) values (gen_random_uuid())"),
        ("framehouse_analyst", "update studio.budgets set amount = 1"),
        ("framehouse_analyst", "select from ops.commitments"),
        ("framehouse_analyst", "select from ops.budget_crossings"),
    ],
)
def test_nobody_may_more(warehouse: Warehouse, role: str, refused: str) -> None:
    allow(warehouse, 1.0)
    with psycopg.connect(warehouse.url, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.RestrictViolation):
            connection.execute("delete from studio.budgets")
        connection.execute(f"set role {role}")
        connection.execute("select from studio.budgets")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(refused)
