"""Scores and stages, of which an attempt has several: the rollups' answer is raw's and the events' own."""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framehouse import metrics
from framehouse.errors import QueryError
from framehouse.events import Event
from framehouse.metrics import METRICS
from framehouse.warehouse import Warehouse
from framehouse.warehouse.maintain import maintain
from framehouse.windows import Grain, Window
from tests.builders import event, store
from tests.conftest import TestServer
from tests.metrics.studio import ERAS, Asked, attempts, discrete
from tests.metrics.test_laws import ZONES, agree_with_raw, edges

WHOLE = Window(ERAS[0][0], ERAS[-1][1])
Values = Callable[[Event], list[tuple[str, float]]]


EVENTS = attempts(Random("details"), 400, 40)


@pytest.fixture(scope="module")
def studio(server: TestServer) -> Iterator[Warehouse]:
    """Attempts of which most are in cells and the others only touched."""
    url = server.create(template=server.template)
    with Warehouse(url) as warehouse:
        store(warehouse, EVENTS[:300])
        maintain(warehouse)
        store(warehouse, EVENTS[300:])
        yield warehouse
    server.drop(url)


def asked_of(kind: str) -> st.SearchStrategy[tuple[str, list[str]]]:
    names = [m.name for m in METRICS if m.source.kind == kind]
    return st.tuples(st.just(kind), st.lists(st.sampled_from(names), min_size=1, max_size=6, unique=True))


@settings(max_examples=25)
@given(
    st.one_of(asked_of("score"), asked_of("stage")),
    st.one_of(st.just(WHOLE), st.tuples(edges(), edges()).map(lambda pair: Window(min(pair), max(pair)))),
    st.sampled_from([(), ("workflow",), ("tier", "workflow"), ("worker",)]),
    st.sampled_from([None, *Grain]),
    st.sampled_from(ZONES),
    st.sampled_from([None, {"tier": "draft"}, {"workflow": ["a", "c"], "tier": None}]),
)
def test_rollups_answer_as_raw(
    studio: Warehouse,
    asked: tuple[str, list[str]],
    window: Window,
    by: tuple[str, ...],
    grain: Grain | None,
    zone_name: str,
    where: dict[str, str | list[str | None] | None] | None,
) -> None:
    kind, names = asked
    agree_with_raw(studio, Asked(window, (*by, kind), grain, zone_name, where), names)


def scored(e: Event) -> list[tuple[str, float]]:
    return list((e.quality_scores or {}).items())


def ran(e: Event) -> list[tuple[str, float]]:
    return [(stage.name, stage.duration_ms) for stage in e.pipeline_stages or [] if not stage.is_cached]


@pytest.mark.parametrize(("kind", "name", "of"), [("score", "score", scored), ("stage", "stage_ms", ran)])
def test_what_they_say_is_what_the_events_say(studio: Warehouse, kind: str, name: str, of: Values) -> None:
    expected: dict[str, list[float]] = {}
    for e in EVENTS:
        for key, value in of(e) if e.outcome == "succeeded" else []:
            expected.setdefault(key, []).append(value)
    asked = [f"{kind}_count", *(f"{prefix}_{name}" for prefix in ("avg", "min", "max", "p50", "p90"))]
    table = list(metrics.read(studio, asked, window=WHOLE, by=kind))
    found = {row[kind]: row for row in table}
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        row = found[key]
        assert row[f"{kind}_count"] == len(values)
        assert row[f"min_{name}"] == min(values)
        assert row[f"max_{name}"] == max(values)
        assert math.isclose(row[f"avg_{name}"], math.fsum(values) / len(values), rel_tol=1e-9)  # type: ignore[arg-type]
        for prefix, share in (("p50", Fraction(1, 2)), ("p90", Fraction(9, 10))):
            got, true = row[f"{prefix}_{name}"], discrete(share, sorted(values))
            assert true is not None
            if min(values) < 0:
                assert got is None
            else:
                assert isinstance(got, float)
                assert abs(got - true) <= 0.01 * true
        # The same under its own name, beside a metric of attempts.
        [own] = metrics.read(studio, [f"avg_{key}_{name}", "attempt_count"], window=WHOLE)
        assert own == {
            f"avg_{key}_{name}": pytest.approx(row[f"avg_{name}"], rel=1e-9),
            "attempt_count": len(EVENTS),
        }


def test_scores_beside_each_other_by_workflow(studio: Warehouse) -> None:
    names = ["avg_likeness_score", "p90_drift_score", "avg_sample_stage_ms", "avg_nobodys_score"]
    table = metrics.read(studio, names, window=WHOLE, by="workflow")
    assert [row["workflow"] for row in table] == ["a", "b", "c"]
    for row in table:
        assert row["avg_likeness_score"]
        assert row["avg_sample_stage_ms"]
        assert row["p90_drift_score"] is None, "it is negative at times"
        assert row["avg_nobodys_score"] is None


@pytest.mark.parametrize(("name", "kind"), [("avg_score", "score"), ("p90_stage_ms", "stage")])
def test_what_does_not_add_up_is_refused(database_url: str, name: str, kind: str) -> None:
    with Warehouse(database_url) as warehouse:
        with pytest.raises(QueryError, match=f"{kind}s of different names") as caught:
            metrics.read(warehouse, name, window=WHOLE)
        assert f"'{kind}'" in str(caught.value.hint)
        metrics.read(warehouse, name, window=WHOLE, where={kind: "one"})


def test_a_name_that_needs_quoting_is_read(database_url: str) -> None:
    strange = """it's "50 %" \\ %(x)s"""
    with Warehouse(database_url) as warehouse:
        store(warehouse, [event(finished_at=WHOLE.start.isoformat(), quality_scores={strange: 2.0})])
        [row] = metrics.read(warehouse, f"avg_{strange}_score", window=WHOLE)
        assert list(row.values()) == [2.0]
