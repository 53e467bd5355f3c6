"""A changed rollup: refused with the command, built beside the old one, and put in its place with its history."""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import psycopg
import pytest

from framehouse import metrics
from framehouse.errors import BuildError, DefinitionError, NoAnswerError
from framehouse.warehouse import Warehouse
from framehouse.warehouse.build import build, project_dir
from framehouse.warehouse.maintain import Backlog, backlog, maintain
from framehouse.warehouse.renew import abandon
from framehouse.windows import Window
from migrations import upgrade
from tests.conftest import TestServer
from tests.warehouse.cells import QUARTER, ask, contents, exact, fill, tell
from tests.warehouse.history import drop_by_hand, history
from tests.warehouse.kills import Kill

OLD = datetime(2026, 1, 2, tzinfo=UTC)
FENCE = datetime(2026, 1, 22, tzinfo=UTC)
NEW = datetime(2026, 3, 2, tzinfo=UTC)
ALL_OF_IT = Window(OLD, NEW + timedelta(days=10))
FINE, DAILY = "heartbeats_by_worker_fine", "heartbeats_by_worker_daily"


@pytest.fixture(scope="module")
def template(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database whose rollups were built by an older version, which knew nothing of idle time; with history."""
    folder = tmp_path_factory.mktemp("older")
    older = Path(shutil.copytree(project_dir(), folder / "project"))
    for model in (FINE, DAILY):
        path = older / "models" / "rollup" / f"{model}.sql"
        path.write_text(re.sub(r".* as idle_seconds_sum,\n", "", path.read_text()))
    random = Random("renew")
    url = server.create()
    upgrade(url)
    with Warehouse(url) as warehouse:
        build(warehouse, log_dir=folder, project=older)
        fill(warehouse, random, [OLD + QUARTER * random.randrange(20 * 96) for _ in range(60)])
        fill(warehouse, random, [NEW + QUARTER * random.randrange(5 * 96) for _ in range(60)])
        maintain(warehouse)
        drop_by_hand(url, FENCE)
    yield server.freeze(url)
    server.drop(url)


@pytest.fixture
def studio(server: TestServer, template: str) -> Iterator[Warehouse]:
    url = server.create(template=template)
    with Warehouse(url) as warehouse:
        yield warehouse
    server.drop(url)


class StopError(Exception):
    """As if it had been stopped there."""


class Stop:
    """Ends a renewal whose cells are about to be computed."""

    def step(self, text: str) -> None:
        if text.startswith("computing cells"):
            raise StopError

    def advance(self, done: float, total: float, text: str = "") -> None:
        pass


def known(url: str) -> dict[str, str]:
    """What all rollups hold from before the fence, but for the parts that come and go here."""
    return history(url, until=FENCE, without=("idle_seconds_sum", "offline_seconds_sum"))


def hours(warehouse: Warehouse, name: str, window: Window = ALL_OF_IT) -> object:
    [row] = metrics.read(warehouse, [name], window=window)
    return row[name]


def test_an_older_shape_answers_what_it_knows(studio: Warehouse) -> None:
    assert hours(studio, "generating_hours")
    assert hours(studio, "idle_hours", Window(FENCE, ALL_OF_IT.end))  # from raw rows
    with pytest.raises(NoAnswerError):
        hours(studio, "idle_hours")


def test_a_changed_rollup_is_refused_with_the_command(studio: Warehouse, tmp_path: Path) -> None:
    before = contents(studio.url)
    with pytest.raises(DefinitionError, match="framehouse build --renew") as caught:
        build(studio, log_dir=tmp_path)
    assert FINE in str(caught.value)
    assert contents(studio.url) == before


def test_an_added_part_comes_with_all_of_history(studio: Warehouse, tmp_path: Path) -> None:
    before, spent = known(studio.url), hours(studio, "generating_hours")
    others = {
        name: found for name, found in contents(studio.url).items() if not name.startswith("heartbeats")
    }
    build(studio, log_dir=tmp_path, is_renewing=True)
    assert backlog(studio) == Backlog(0, 0, 0)
    assert known(studio.url) == before
    assert hours(studio, "generating_hours") == pytest.approx(spent, rel=1e-12)
    exact(studio.url, since=FENCE.isoformat())

    answer = metrics.read(studio, ["idle_hours"], window=Window(FENCE, ALL_OF_IT.end))
    assert answer.sources == (DAILY,)
    [row], [raw] = (
        list(answer),
        list(metrics.read(studio, ["idle_hours"], window=Window(FENCE, ALL_OF_IT.end), is_raw=True)),
    )
    assert row["idle_hours"] == pytest.approx(raw["idle_hours"], rel=1e-9)
    with pytest.raises(NoAnswerError):
        hours(studio, "idle_hours")

    # Old cells are kept, nothing else was touched, and what comes later reaches the new cells.
    assert ask(studio.url, "select array_agg(name order by name) from ops.retired_rollups") == [DAILY, FINE]
    assert ask(studio.url, "select count(*) > 0 from rollup.heartbeats_by_worker_daily_cells")
    now = contents_of_others(studio.url)
    assert now == {name: found[1:] for name, found in others.items()}
    fill(studio, Random("later"), [FENCE, NEW, NEW + timedelta(days=7)])
    exact(studio.url, since=FENCE.isoformat())
    maintain(studio)
    exact(studio.url, since=FENCE.isoformat())
    assert known(studio.url) == before
    build(studio, log_dir=tmp_path)
    assert backlog(studio) == Backlog(0, 0, 0)
    assert ask(
        studio.url,
        "select has_table_privilege('framehouse_analyst', 'rollup.heartbeats_by_worker_fine', 'select')",
    )


def contents_of_others(url: str) -> dict[str, object]:
    return {name: found[1:] for name, found in contents(url).items() if not name.startswith("heartbeats")}


def test_views_of_others_stay_or_are_in_the_way(
    studio: Warehouse, tmp_path: Path, changed: Callable[[Callable[[str], str]], Path]
) -> None:
    tell(studio.url, "create schema mine")
    tell(studio.url, f"create view mine.hours as select worker_id, generating_seconds_sum from rollup.{FINE}")
    seen = ask(studio.url, "select sum(generating_seconds_sum) from mine.hours")
    build(studio, log_dir=tmp_path, is_renewing=True)
    assert ask(studio.url, "select sum(generating_seconds_sum) from mine.hours") == pytest.approx(
        seen, rel=1e-12
    )
    before = known(studio.url)

    without = changed(
        lambda text: re.sub(r".* as offline_seconds_sum\n", "", text).replace(
            "idle_seconds_sum,\nfrom", "idle_seconds_sum\nfrom"
        )
    )
    with pytest.raises(BuildError, match=r"mine\.hours") as caught:
        build(studio, log_dir=tmp_path, is_renewing=True, project=without)
    assert "view" in str(caught.value.hint)
    assert known(studio.url) == before
    tell(studio.url, "drop view mine.hours")
    build(studio, log_dir=tmp_path, is_renewing=True, project=without)
    assert known(studio.url) == before
    assert ask(studio.url, "select version from ops.rollups where name = %s", FINE) == 3
    assert ask(studio.url, "select count(*) >= 0 from mart.generation_metrics")


def test_readers_see_the_old_shape_until_the_new_one_is_whole(studio: Warehouse, tmp_path: Path) -> None:
    before = known(studio.url)

    with pytest.raises(StopError):
        build(studio, log_dir=tmp_path, is_renewing=True, report=Stop())
    beside = ask(studio.url, "select array_agg(name order by name) from ops.rollups where renews is not null")
    assert beside == [f"{DAILY}_v2", f"{FINE}_v2"]
    assert backlog(studio).pending_buckets > 0
    assert known(studio.url) == before
    for name in (FINE, DAILY):  # both are exact at every moment
        sums = "select sum(generating_seconds_sum)::numeric(20, 6) from rollup.{}"
        assert ask(studio.url, sums.format(name)) == ask(studio.url, sums.format(f"{name}_v2"))
    fill(studio, Random("meanwhile"), [FENCE, NEW])
    with pytest.raises(NoAnswerError):
        hours(studio, "idle_hours")

    assert abandon(studio) == [f"{FINE}_v2", f"{DAILY}_v2"]
    assert known(studio.url) == before
    assert abandon(studio) == []
    build(studio, log_dir=tmp_path, is_renewing=True)
    assert known(studio.url) == before
    exact(studio.url, since=FENCE.isoformat())


def test_a_change_that_was_taken_back_takes_no_place(
    studio: Warehouse, tmp_path: Path, changed: Callable[[Callable[[str], str]], Path]
) -> None:
    build(studio, log_dir=tmp_path, is_renewing=True)
    before = known(studio.url)
    project = changed(
        lambda text: text.replace("    sum(covered_seconds) as", "    sum(covered_seconds) / 2 as")
    )
    with pytest.raises(StopError):
        build(studio, log_dir=tmp_path, is_renewing=True, project=project, report=Stop())
    for is_renewing in (False, True):
        with pytest.raises(DefinitionError, match="framehouse build --abandon") as caught:
            build(studio, log_dir=tmp_path, is_renewing=is_renewing)
        assert f"{FINE}_v3" in str(caught.value)
    assert known(studio.url) == before
    assert abandon(studio) == [f"{FINE}_v3", f"{DAILY}_v3"]
    build(studio, log_dir=tmp_path)
    assert known(studio.url) == before


def test_killed_at_any_point_no_history_changes(studio: Warehouse, tmp_path: Path, kill: Kill) -> None:
    """A renewal killed a little later each time, counted from when dbt comes to the database."""
    before = known(studio.url)
    kills = 0
    while kills < 4 and kill("renew", studio.url, tmp_path, after=0.2 + 0.6 * kills):
        kills += 1
        assert known(studio.url) == before
    assert kills >= 3
    with psycopg.connect(
        studio.url, autocommit=True
    ) as connection:  # a killed client's backend finishes its statement
        connection.execute("select pg_advisory_lock(hashtext('framehouse.maintain'))")
    build(studio, log_dir=tmp_path, is_renewing=True)
    assert known(studio.url) == before
    assert backlog(studio) == Backlog(0, 0, 0)
    exact(studio.url, since=FENCE.isoformat())


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[Callable[[str], str]], Path]:
    """Another project, in which the models of heartbeats are changed."""

    def change(edit: Callable[[str], str]) -> Path:
        project = Path(shutil.copytree(project_dir(), tmp_path / "project"))
        for model in (FINE, DAILY):
            path = project / "models" / "rollup" / f"{model}.sql"
            path.write_text(edit(path.read_text()))
        return project

    return change


def test_names_that_somebody_has_are_not_taken(
    studio: Warehouse, tmp_path: Path, changed: Callable[[Callable[[str], str]], Path]
) -> None:
    """A project's own X_v2, whether it is built already, with this renewal, or after it."""
    project = changed(lambda text: text)
    models = project / "models" / "rollup"
    tell(studio.url, f"create table rollup.{FINE}_v2_cells (of_somebody int)")
    shutil.copy(models / f"{FINE}.sql", models / f"{FINE}_v3.sql")
    # Of what the finer one has before it is renewed.
    own = re.sub(r".* as idle_seconds_sum,\n", "", (models / f"{DAILY}.sql").read_text())
    (models / f"{DAILY}_v2.sql").write_text(own)
    build(studio, log_dir=tmp_path, project=project, is_renewing=True)
    cells = "select array_agg(cells order by name) from ops.rollups where name like 'heartbeats%%'"
    assert ask(studio.url, cells) == [
        f"rollup.{DAILY}_v3_cells",
        f"rollup.{DAILY}_v2_cells",
        f"rollup.{FINE}_v4_cells",
        f"rollup.{FINE}_v3_cells",
    ]
    exact(studio.url, since=FENCE.isoformat())

    shutil.copy(models / f"{FINE}.sql", models / f"{FINE}_v4.sql")
    with pytest.raises(BuildError, match=f"{FINE}_v4_cells is there already.*another name"):
        build(studio, log_dir=tmp_path, project=project)
    exact(studio.url, since=FENCE.isoformat())


def test_a_part_that_means_something_else_forgets_what_it_was(
    studio: Warehouse, tmp_path: Path, changed: Callable[[Callable[[str], str]], Path]
) -> None:
    project = changed(
        lambda text: text.replace("(where state = 'offline') as", "(where state = 'offline') / 2 as")
    )
    build(studio, log_dir=tmp_path, is_renewing=True, project=project)
    for name in (FINE, DAILY):
        told = ask(studio.url, "select parts_from from ops.rollups where name = %s", name)
        assert isinstance(told, dict)
        assert told.keys() == {"offline_seconds_sum", "idle_seconds_sum"}
    assert ask(
        studio.url,
        f"select bool_and(offline_seconds_sum is null) from rollup.{FINE} where bucket < %s",
        FENCE,
    )
    assert hours(studio, "generating_hours")


def test_a_part_that_another_version_computes_otherwise_is_not_used(
    studio: Warehouse, tmp_path: Path, changed: Callable[[Callable[[str], str]], Path]
) -> None:
    later = Window(FENCE, ALL_OF_IT.end)
    build(studio, log_dir=tmp_path, is_renewing=True)
    spent = hours(studio, "generating_hours", later)
    finer_only = changed(
        lambda text: text.replace("(where state = 'offline') as", "(where state = 'offline') / 2 as")
    )
    build(studio, log_dir=tmp_path, is_renewing=True, project=finer_only)
    # Unused in the daily rollup too, whose own line is the same.
    answer = metrics.read(studio, ["utilisation_ratio"], window=later)
    assert answer.sources == ("raw",)
    assert "another version of framehouse" in str(answer.why_raw)
    [row], [raw] = list(answer), list(metrics.read(studio, ["utilisation_ratio"], window=later, is_raw=True))
    assert row == raw
    with pytest.raises(NoAnswerError):
        hours(studio, "utilisation_ratio")
    assert hours(studio, "generating_hours", later) == spent
    assert metrics.read(studio, ["generating_hours"], window=later).sources == (DAILY,)


def test_no_view_changes_under_a_reader_of_an_instant(studio: Warehouse, tmp_path: Path) -> None:
    version = "select max(version) from ops.rollups"
    with ThreadPoolExecutor() as pool:
        with studio.session(is_snapshot=True):  # and has yet to read any view
            renewal = pool.submit(build, studio, log_dir=tmp_path, is_renewing=True)
            waiting = "select count(*) from pg_locks where not granted and relation = 'ops.rollups'::regclass"
            while not ask(studio.url, waiting):
                assert not renewal.done()
                time.sleep(0.01)
            assert ask(studio.url, version) == 2
            assert ask(studio.url, "select count(*) > 0 from ops.rollups where renews is not null")
        renewal.result()
    assert ask(studio.url, "select count(*) = 0 from ops.rollups where renews is not null")


def test_other_rows_cannot_keep_history(
    studio: Warehouse, tmp_path: Path, changed: Callable[[Callable[[str], str]], Path]
) -> None:
    before = known(studio.url)
    project = changed(lambda text: text.replace("where {{", "where worker_id > 1 and {{"))
    with pytest.raises(DefinitionError, match="other rows or buckets"):
        build(studio, log_dir=tmp_path, is_renewing=True, project=project)
    abandon(studio)
    assert known(studio.url) == before


def test_a_mart_may_want_a_part_that_only_the_new_shape_has(studio: Warehouse, tmp_path: Path) -> None:
    project = Path(shutil.copytree(project_dir(), tmp_path / "project"))
    (project / "models" / "mart" / "idle.sql").write_text(
        "{{ config(contract={'enforced': false}) }}"
        f" select sum(idle_seconds_sum) as idle_seconds from {{{{ ref('{DAILY}') }}}}"
    )
    build(studio, log_dir=tmp_path, is_renewing=True, project=project)
    assert ask(studio.url, "select idle_seconds > 0 from mart.idle")


def test_a_part_is_known_from_the_latest_of_what_made_it_so(studio: Warehouse, tmp_path: Path) -> None:
    build(studio, log_dir=tmp_path, is_renewing=True)
    later = FENCE + timedelta(days=20)
    tell(studio.url, f"update ops.rollups set parts_from = jsonb_build_object('idle_seconds_sum', %s::timestamptz)"
                     f" where name = '{DAILY}'", later)  # fmt: skip
    project = Path(shutil.copytree(project_dir(), tmp_path / "project"))
    model = project / "models" / "rollup" / f"{DAILY}.sql"
    model.write_text(model.read_text().rstrip() + "\n-- anew\n")
    build(studio, log_dir=tmp_path, is_renewing=True, project=project)
    told = ask(
        studio.url,
        "select (parts_from ->> 'idle_seconds_sum')::timestamptz from ops.rollups where name = %s",
        DAILY,
    )
    assert told == later


def test_other_dimensions_cannot_keep_history(
    studio: Warehouse, tmp_path: Path, changed: Callable[[Callable[[str], str]], Path]
) -> None:
    before = known(studio.url)
    project = changed(
        lambda text: text.replace("    worker_id,", "    worker_id,\n    1 as shift_id,").replace(
            "group by 1, 2", "group by 1, 2, 3"
        )
    )
    with pytest.raises(DefinitionError, match="other dimensions"):
        build(studio, log_dir=tmp_path, is_renewing=True, project=project)
    abandon(studio)
    assert known(studio.url) == before
