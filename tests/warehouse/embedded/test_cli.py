"""The commands, as a person types them."""

import json
from pathlib import Path

import pytest

from framehouse.config import Settings
from framehouse.embedded.places import server_dir
from tests.warehouse.embedded.conftest import Framehouse


def test_the_life_of_a_database(framehouse: Framehouse, home: Path) -> None:
    started = framehouse("up")
    assert started.returncode == 0, started.stderr
    assert "the warehouse is up" in started.stdout
    assert str(home / "data") in started.stdout
    assert "starting PostgreSQL" in started.stderr

    again = framehouse("up")
    assert again.returncode == 0
    assert "up to date" in again.stdout
    assert "starting" not in again.stderr

    told = framehouse("status")
    assert told.returncode == 0
    assert "running" in told.stdout
    record = json.loads(framehouse("status", "--json").stdout)
    assert record["state"] == "running"
    assert record["url"] in started.stdout
    assert record["size_mb"] > 1

    asked = framehouse("psql", "-At", "-c", "select count(*) from telemetry.performance_metrics")
    assert (asked.returncode, asked.stdout.strip()) == (0, "0")
    elsewhere = framehouse("psql", "-d", "postgres", "-Atc", "select current_database()", PGHOST="/nowhere")
    assert elsewhere.stdout.strip() == "postgres"
    assert framehouse("psql", "-c", "select broken").returncode == 1

    stopped = framehouse("down")
    assert "is stopped" in stopped.stdout
    assert "none" not in stopped.stdout
    assert "no embedded database was running" in framehouse("down").stdout


def test_a_home_as_somebody_might_name_it(framehouse: Framehouse, home: Path, chosen: Settings) -> None:
    odd = home / "it's Größe, 50% & #1 (new); ~x=[y] 夜"
    odd.mkdir()
    (odd / "server").symlink_to(server_dir(chosen))
    started = framehouse("up", "--tcp", FRAMEHOUSE_HOME=str(odd))
    assert started.returncode == 0, started.stderr
    asked = framehouse(
        "psql", "-Atc", "select count(*) from telemetry.performance_metrics", FRAMEHOUSE_HOME=str(odd)
    )
    assert asked.stdout.strip() == "0"
    assert "is stopped" in framehouse("down", FRAMEHOUSE_HOME=str(odd)).stdout


def test_tcp_shows_no_password(framehouse: Framehouse, home: Path) -> None:
    started = framehouse("up", "--tcp")
    assert started.returncode == 0, started.stderr
    password = (home / "password").read_text(encoding="ascii").strip()
    assert "@127.0.0.1:" in started.stdout
    for shown in (started, framehouse("status"), framehouse("status", "--json")):
        assert password not in shown.stdout + shown.stderr
    assert "tcp" in framehouse("status").stdout


def test_without_a_database_every_command_says_what_to_do(framehouse: Framehouse) -> None:
    told = framehouse("status")
    assert told.returncode == 3
    assert "absent" in told.stdout
    assert "framehouse up" in told.stdout
    asked = framehouse("psql")
    assert asked.returncode == 1
    assert "try: framehouse up" in asked.stderr


def test_a_given_server_that_does_not_answer(framehouse: Framehouse) -> None:
    nowhere = "postgresql://me:secret@127.0.0.1:1/nowhere"
    failed = framehouse("up", FRAMEHOUSE_DATABASE_URL=nowhere)
    assert failed.returncode == 1
    assert "FRAMEHOUSE_DATABASE_URL" in failed.stderr
    told = framehouse("status", "--json", FRAMEHOUSE_DATABASE_URL=nowhere)
    assert (told.returncode, json.loads(told.stdout)["state"]) == (3, "unreachable")
    assert "secret" not in failed.stderr + told.stdout


@pytest.mark.parametrize("verb", ["up", "down", "status", "psql"])
def test_help_shows_how_it_is_used(framehouse: Framehouse, verb: str) -> None:
    text = framehouse(verb, "--help").stdout
    assert f"  framehouse {verb}" in text
