"""What the contract lets through and the database refuses: it costs no neighbour, and waits in quarantine."""

import json
import uuid
from collections.abc import Sequence

import pytest
from psycopg.conninfo import make_conninfo

from framehouse.errors import WarehouseError
from framehouse.warehouse import Session, Warehouse
from ingest import heartbeats, quarantine, writer
from ingest.body import Element
from ingest.verdict import Judgement, Refusal, in_transactions
from ingest.writer import Keep
from tests.ingest.samples import ask, batch, beat, counts, event, quarantined, tell

CHECK = "alter table telemetry.performance_metrics add constraint no_such_job check (job_id not like 'bad%')"
NO_CHECK = "alter table telemetry.performance_metrics drop constraint no_such_job"


def statuses(results: list[writer.Result]) -> list[str]:
    return [result.code or result.status.value for result in results]


@pytest.mark.parametrize("places", [{0}, {6}, {3, 4}, set(range(7))], ids=str)
def test_a_row_that_the_database_refuses_costs_no_neighbour(
    warehouse: Warehouse, database_url: str, places: set[int]
) -> None:
    tell(database_url, CHECK)
    sent = batch([event(f"bad-{i}" if i in places else f"job-{i}", worker=f"gpu-{i}") for i in range(7)])
    expected = ["refused_by_database" if i in places else "accepted" for i in range(7)]
    results = writer.write(warehouse, sent)
    assert statuses(results) == expected
    assert [result.job_id for result in results] == [element.value["job_id"] for element in sent]
    for place in places:
        [problem] = results[place].errors
        assert "no_such_job" in problem.message
    assert counts(database_url) == (7 - len(places),) * 3
    assert quarantined(database_url) == [
        ("http", "refused_by_database", sent[place].raw) for place in sorted(places)
    ]
    assert ask(database_url, "select count(*) from studio.workers") == 7 - len(places)


def test_what_else_the_batch_holds_is_answered_as_ever(warehouse: Warehouse, database_url: str) -> None:
    tell(database_url, CHECK)
    part = {"estimate_id": str(uuid.uuid4()), "scene_key": "s1", "segment_count": 2, "gpu_seconds": 1.0}
    writer.write(warehouse, batch([event("known")]))
    sent = [
        event("a", **part), event("known"), {"a": 1}, event("bad", **part), event("b", tier="huge"), event("a", **part),
        event("bad", **part), event("a"), event("c", **part), event("known", wall_seconds=1.0),
    ]  # fmt: skip
    assert statuses(writer.write(warehouse, batch(sent))) == [
        "accepted", "duplicate", "invalid", "refused_by_database", "unknown_tier", "duplicate",
        "refused_by_database", "conflict", "accepted", "conflict",
    ]  # fmt: skip
    assert counts(database_url) == (3, 3, 3)
    codes = [code for _, code, _ in quarantined(database_url)]
    assert sorted(codes) == sorted(
        ["invalid", "refused_by_database", "unknown_tier", "refused_by_database", "conflict", "conflict"]
    )
    assert ask(database_url, "select attempt_count from ops.estimate_outcomes") == 2


def test_a_trigger_that_objects_to_a_value_is_heard(warehouse: Warehouse, database_url: str) -> None:
    tell(
        database_url,
        """create function public.object() returns trigger language plpgsql as $$
           begin
               if new.job_id = 'odd' then
                   raise exception 'too odd' using errcode = '22000', column = 'job_id';
               end if;
               return new;
           end $$""",
        """create trigger object before insert on telemetry.performance_metrics
           for each row execute function public.object()""",
    )
    stored, refused = writer.write(warehouse, batch([event("even"), event("odd")]))
    assert (stored.status, refused.code) == ("accepted", "refused_by_database")
    assert [(problem.path, problem.message) for problem in refused.errors] == [("job_id", "too odd")]


def test_it_is_replayed_after_the_cause_is_mended(warehouse: Warehouse, database_url: str) -> None:
    tell(database_url, CHECK)
    writer.write(warehouse, batch([event("a"), event("bad-1"), event("bad-2")]))
    first, second = quarantine.page(warehouse)
    again = quarantine.replay(warehouse, first.id)
    assert (again.status, again.code) == ("rejected", "refused_by_database")
    assert len(quarantined(database_url)) == 2
    mended = quarantine.replay(warehouse, first.id, json.dumps(event("good")).encode())
    tell(database_url, NO_CHECK)
    assert (mended.status, quarantine.replay(warehouse, second.id).status) == ("accepted", "accepted")
    assert (counts(database_url), quarantine.count_open(warehouse)) == ((3, 3, 3), 0)


def test_it_is_kept_once_or_never_where_that_was_asked(warehouse: Warehouse, database_url: str) -> None:
    tell(database_url, CHECK)
    sent = batch([event("a"), event("bad")])
    for keep, expected in ((Keep.NEVER, 0), (Keep.ONCE, 1), (Keep.ONCE, 1), (Keep.ALWAYS, 2)):
        assert statuses(writer.write(warehouse, sent, keep=keep))[1] == "refused_by_database"
        assert len(quarantined(database_url)) == expected


def test_heartbeats_have_the_same_net(warehouse: Warehouse, database_url: str) -> None:
    tell(
        database_url,
        "alter table telemetry.worker_heartbeats add constraint never_offline check (state <> 'offline')",
    )
    beats = [beat("gpu-1", 0, 5), beat("gpu-2", 0, 5, "offline"), beat("gpu-2", 5, 9), beat("gpu-1", 0, 5)]
    results = heartbeats.write_heartbeats(warehouse, batch(beats))
    assert [result.code or result.status for result in results] == [
        "accepted",
        "refused_by_database",
        "accepted",
        "duplicate",
    ]
    assert ask(database_url, "select sum(covered_seconds) from telemetry.worker_heartbeats") == 540
    [(origin, code, _)] = quarantined(database_url)
    assert (origin, code) == ("heartbeats:http", "refused_by_database")


FAULTS = {
    "a missing column": (
        "alter table telemetry.performance_metrics rename column variant to another",
        "alter table telemetry.performance_metrics rename column another to variant",
    ),
    "a missing table": (
        "alter table ops.attempt_ledger rename to another",
        "alter table ops.another rename to attempt_ledger",
    ),
    "a grant that was taken": (
        "revoke insert on telemetry.performance_metrics, telemetry.worker_heartbeats from framehouse_ingest",
        "grant insert on telemetry.performance_metrics, telemetry.worker_heartbeats to framehouse_ingest",
    ),
    "a trigger that only raises": (
        """create function public.broken() returns trigger language plpgsql as $$
           begin raise exception 'nobody thought of this'; end $$;
           create trigger broken before insert on telemetry.performance_metrics
           for each row execute function public.broken()""",
        "drop function public.broken cascade",
    ),
    "a disk that is full": (
        """create function public.broken() returns trigger language plpgsql as $$
           begin raise exception 'no space left' using errcode = '53100'; end $$;
           create trigger broken before insert on telemetry.performance_metrics
           for each statement execute function public.broken()""",
        "drop function public.broken cascade",
    ),
}


def as_ingest(url: str) -> str:
    """A connection with the rights of a service that only ingests."""
    return make_conninfo(url, options="-c role=framehouse_ingest")


@pytest.mark.parametrize("fault", FAULTS)
def test_what_no_value_is_to_blame_for_refuses_nothing(database_url: str, fault: str) -> None:
    broken, mended = FAULTS[fault]
    sent = batch([event("a"), {"a": 1}, event("b")])
    tell(database_url, broken)
    with Warehouse(as_ingest(database_url)) as warehouse:
        with pytest.raises(WarehouseError):
            writer.write(warehouse, sent)
        tell(database_url, mended)
        assert (counts(database_url), quarantined(database_url)) == ((0, 0, 0), [])
        assert statuses(writer.write(warehouse, sent)) == ["accepted", "invalid", "accepted"]


def test_nor_does_it_refuse_heartbeats(database_url: str) -> None:
    tell(database_url, FAULTS["a grant that was taken"][0])
    with (
        Warehouse(as_ingest(database_url)) as warehouse,
        pytest.raises(WarehouseError, match="permission denied"),
    ):
        heartbeats.write_heartbeats(warehouse, batch([beat("gpu-1", 0, 5)]))
    assert quarantined(database_url) == []


@pytest.mark.parametrize(
    ("bad", "most"),
    [({250}, 30), (set(range(0, 500, 50)), 220), (set(range(500)), 650)],
    ids=["1", "10", "all"],
)
def test_it_takes_few_tries(warehouse: Warehouse, bad: set[int], most: int) -> None:
    tries: list[int] = []

    def work(session: Session, part: Sequence[Judgement[int]]) -> list[bool]:
        tries.append(len(part))
        refused = [judged.found in bad for judged in part if isinstance(judged.found, int)]
        session.run_text("select 1 / %s", [0 if any(refused) else 1])
        return [isinstance(judged.found, Refusal) for judged in part]

    sent = [Judgement(Element(None, b""), place) for place in range(500)]
    assert in_transactions(warehouse, sent, work) == [place in bad for place in range(500)]
    assert len(tries) <= most
    assert tries[-1] == len(bad)  # all that is refused is kept at once
