"""Refused bodies: kept byte for byte, listed, shown, and sent through the same door again."""

import json
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from framehouse.cli import quarantine as command
from framehouse.cli.main import cli
from framehouse.config import Settings
from framehouse.errors import ContractError, NotFoundError
from framehouse.warehouse import Warehouse
from ingest import heartbeats, quarantine, writer
from ingest.body import elements
from tests.ingest.samples import NOW, ask, batch, beat, counts, event, quarantined, tell

HUGE = (
    "insert into studio.resolution_tiers (name, width, height, speed_factor) values ('huge', 7680, 4320, 0.1)"
)


def test_pages_follow_each_other(warehouse: Warehouse) -> None:
    writer.write(warehouse, batch([{"a": i} for i in range(5)] + [event("x", tier="huge")]))
    first = quarantine.page(warehouse, limit=4)
    second = quarantine.page(warehouse, after=first[-1].id, limit=4)
    assert len(first) == 4
    assert [row.code for row in second] == ["invalid", "unknown_tier"]
    assert [row.id for row in first + second] == sorted(row.id for row in first + second)
    assert [row.code for row in quarantine.page(warehouse, code="unknown_tier")] == ["unknown_tier"]
    assert second[1].problems[0].path == "tier"
    with pytest.raises(ContractError):
        quarantine.page(warehouse, limit=0)


def test_a_body_is_shown_byte_for_byte(warehouse: Warehouse) -> None:
    body = b'{"job_id": "\\ud800",\t"wall_seconds": NaN,"a":1,"a":2}'
    writer.write(warehouse, elements(body), origin="test")
    [row] = quarantine.page(warehouse)
    shown = quarantine.show(warehouse, row.id)
    assert (shown.body, shown.size_bytes, shown.origin, shown.code) == (
        body,
        len(body),
        "test",
        "duplicate_key",
    )
    with pytest.raises(NotFoundError):
        quarantine.show(warehouse, row.id + 1)


def test_a_replay_after_the_cause_is_mended_stores_the_event(warehouse: Warehouse, database_url: str) -> None:
    writer.write(warehouse, batch([event("x", tier="huge")]))
    [row] = quarantine.page(warehouse)
    refused = quarantine.replay(warehouse, row.id)
    assert (refused.status, refused.code, refused.errors[0].path) == ("rejected", "unknown_tier", "tier")
    assert len(quarantined(database_url)) == 1
    assert quarantine.count_open(warehouse) == 1
    tell(database_url, HUGE)
    assert quarantine.replay(warehouse, row.id).status == "accepted"
    assert counts(database_url) == (1, 1, 1)
    assert (quarantine.page(warehouse), quarantine.count_open(warehouse)) == ([], 0)
    [settled] = quarantine.page(warehouse, include_replayed=True)
    assert settled.replay_status == "accepted"
    assert settled.replayed_at is not None
    # Once more changes nothing, neither the row nor what is said of it.
    assert quarantine.replay(warehouse, row.id).status == "duplicate"
    assert quarantine.page(warehouse, include_replayed=True) == [settled]
    assert counts(database_url) == (1, 1, 1)


def test_a_mended_body_takes_the_place_of_the_kept_one(warehouse: Warehouse, database_url: str) -> None:
    with pytest.raises(ContractError) as refusal:
        elements(b'{"job_id": "x"')
    writer.keep_refused(warehouse, b'{"job_id": "x"', refusal.value, origin="http")
    [row] = quarantine.page(warehouse)
    for wrong, code in ((None, "not_json"), (b"{", "not_json"), (b"{}", "invalid"), (b"[]", "invalid")):
        assert quarantine.replay(warehouse, row.id, wrong).code == code
    assert (len(quarantined(database_url)), quarantine.count_open(warehouse)) == (1, 1)
    half = json.dumps([event("x"), event("y", tier="huge")]).encode()
    answer = quarantine.replay(warehouse, row.id, half)
    assert (answer.status, answer.code, answer.errors[0].path) == ("rejected", "unknown_tier", "[1].tier")
    assert [verdict.status for verdict in answer.verdicts] == ["accepted", "rejected"]
    whole = json.dumps([event("x"), event("y")]).encode()
    assert quarantine.replay(warehouse, row.id, whole).status == "accepted"
    assert counts(database_url) == (2, 2, 2)
    assert quarantine.show(warehouse, row.id).body == b'{"job_id": "x"'


def test_a_replay_reaches_down_to_the_fence(warehouse: Warehouse, database_url: str) -> None:
    writer.write(warehouse, batch([event("old", finished_at=(NOW - timedelta(days=800)).isoformat())]))
    [row] = quarantine.page(warehouse)
    assert row.code == "too_old"
    tell(database_url, f"update ops.retention set raw_from = '{(NOW - timedelta(days=700)).isoformat()}'")
    assert quarantine.replay(warehouse, row.id).code == "too_old"
    tell(database_url, f"update ops.retention set raw_from = '{(NOW - timedelta(days=900)).isoformat()}'")
    assert quarantine.replay(warehouse, row.id).status == "accepted"


def test_heartbeats_go_through_their_own_door(warehouse: Warehouse, database_url: str) -> None:
    old = beat("gpu-1", -600 * 24 * 60, -600 * 24 * 60 + 5)
    heartbeats.write_heartbeats(warehouse, batch([old, beat("gpu-1", 0, 5, "busy")]))
    first, second = quarantine.page(warehouse)
    assert quarantine.replay(warehouse, first.id).status == "accepted"
    assert quarantine.replay(warehouse, second.id).code == "invalid"
    assert (
        quarantine.replay(warehouse, second.id, json.dumps(beat("gpu-1", 0, 5)).encode()).status == "accepted"
    )
    assert ask(database_url, "select count(*) from telemetry.worker_heartbeats") == 2
    assert len(quarantined(database_url)) == 2


def test_a_replay_of_a_heartbeat_known_since_is_a_duplicate(warehouse: Warehouse) -> None:
    heartbeats.write_heartbeats(warehouse, batch([beat("gpu-1", 0, 5, "busy")]))
    heartbeats.write_heartbeats(warehouse, batch([beat("gpu-1", 0, 9)]))
    [row] = quarantine.page(warehouse)
    assert (
        quarantine.replay(warehouse, row.id, json.dumps(beat("gpu-1", 0, 5)).encode()).status == "duplicate"
    )
    assert quarantine.page(warehouse, include_replayed=True)[0].replay_status == "duplicate"


class Command:
    """`framehouse quarantine ...` on the test's database."""

    def __init__(self, chosen: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(command, "settings", lambda: chosen)

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, ["quarantine", *arguments])


@pytest.fixture
def run(settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(replace(settings, database_url=database_url), monkeypatch)


def test_the_command_lists_shows_and_replays(run: Command, warehouse: Warehouse, database_url: str) -> None:
    assert "nothing is in quarantine" in run("list").output
    assert "nothing waits" in run("replay", "--all").output
    writer.write(warehouse, batch([event("x", tier="huge"), {"a": 1}]), origin="load:day.ndjson")
    first, second = (row.id for row in quarantine.page(warehouse))
    listed = run("list").output.splitlines()
    assert listed[0].split() == ["id", "received", "origin", "code", "why"]
    assert listed[1].split()[0] == str(first)
    assert "there is no tier 'huge' (null or one of: draft, preview, production)" in listed[1]
    assert "job_id: Field required" in listed[2]
    assert "2 wait for a replay" in listed[3]
    assert len(run("list", "--code", "unknown_tier", "--limit", "1").output.splitlines()) == 4
    shown = run("show", str(first)).output
    assert '"tier": "huge"' in shown
    assert "tier: there is no tier 'huge'" in shown

    refused = run("replay", "--all")
    assert refused.exit_code == command.STILL_REFUSED
    assert f"{first}: still refused, unknown_tier" in refused.output
    tell(database_url, HUGE)
    settled = run("replay", "--all", "--code", "unknown_tier")
    assert (settled.exit_code, settled.output) == (0, "1 accepted\n")
    assert counts(database_url) == (1, 1, 1)
    assert [row.id for row in quarantine.page(warehouse)] == [second]


def test_the_command_speaks_json(run: Command, warehouse: Warehouse) -> None:
    writer.write(warehouse, batch([event("x", tier="huge")]))
    listed = json.loads(run("list", "--json").output)
    assert (listed["code"], listed["problems"][0]["path"]) == ("unknown_tier", "tier")
    shown = json.loads(run("show", "--json", str(listed["id"])).output)
    assert json.loads(shown["body"])["job_id"] == "x"
    replayed = json.loads(run("replay", "--json", str(listed["id"])).output)
    assert (replayed["id"], replayed["status"], replayed["code"]) == (
        listed["id"],
        "rejected",
        "unknown_tier",
    )


def test_the_command_replays_a_mended_file(
    run: Command, warehouse: Warehouse, tmp_path: Path, database_url: str
) -> None:
    writer.write(warehouse, elements(b'{"job_id": "x", "wall_seconds": "12"}'))
    [row] = quarantine.page(warehouse)
    file = tmp_path / "event.json"
    file.write_bytes(CliRunner().invoke(cli, ["quarantine", "show", str(row.id), "--body"]).stdout_bytes)
    assert file.read_bytes() == b'{"job_id": "x", "wall_seconds": "12"}'
    file.write_text(json.dumps(event("x")))
    answer = run("replay", str(row.id), "--body", str(file))
    assert (answer.exit_code, answer.output) == (0, f"{row.id}: accepted\n1 accepted\n")
    assert counts(database_url) == (1, 1, 1)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["1", "--all"],
        ["--code", "x", "1"],
        ["1", "2", "--body", sys.executable],
        ["--all", "--body", sys.executable],
    ],
)
def test_the_command_refuses_what_makes_no_sense(run: Command, arguments: list[str]) -> None:
    refused = run("replay", *arguments)
    assert refused.exit_code == 2
    assert "Error: " in refused.output


def test_the_command_prints_nothing_that_a_terminal_would_obey(run: Command, warehouse: Warehouse) -> None:
    writer.write(
        warehouse,
        elements(rb'{"worker": "\u001b[2J[bold red]", "x\u001b]0;y\u0007": 1}'),
        origin="load:\x1b[2J",
    )
    bold = b'{"tier": "[bold]huge", ' + json.dumps(event("x")).encode()[1:]
    writer.write(warehouse, elements(bold))
    writer.keep_refused(warehouse, b"\x1b[2J", ContractError("no JSON"), origin="http")
    shown = [run("show", str(row.id)).output for row in quarantine.page(warehouse)]
    listed = run("list").output
    assert "there is no tier '[bold]huge'" in listed
    assert "\\x1b[2J" in shown[2]
    for output in (listed, *shown):
        assert "\x1b" not in output
        assert "\x07" not in output


def test_what_nobody_will_mend_is_discarded_and_kept(
    run: Command, warehouse: Warehouse, database_url: str
) -> None:
    writer.write(warehouse, batch([{"a": 1}, event("x", tier="huge")]))
    before = quarantined(database_url)
    first, second = (row.id for row in quarantine.page(warehouse))
    assert run("discard", str(first), str(second)).output == f"{first}: discarded\n{second}: discarded\n"
    assert run("discard", str(first)).output == f"{first}: was settled before\n"
    assert (quarantine.page(warehouse), quarantine.count_open(warehouse)) == ([], 0)
    statuses = [row.replay_status for row in quarantine.page(warehouse, include_replayed=True)]
    assert (statuses, quarantined(database_url)) == (["discarded"] * 2, before)
    tell(database_url, HUGE)
    assert run("replay", str(second)).output == f"{second}: accepted\n1 accepted\n"
    assert quarantine.show(warehouse, second).replay_status == "accepted"
    assert run("discard", str(second)).output == f"{second}: was settled before\n"


def test_an_unknown_id_is_an_error(run: Command) -> None:
    for name in ("show", "replay", "discard"):
        refused = run(name, "17")
        assert refused.exit_code == 1
        assert "there is no quarantined body 17" in refused.output
