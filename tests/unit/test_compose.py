"""compose.yaml, the Dockerfile and .env.example: held against the Compose schema, the settings and the command line."""

import json
import re
import tomllib
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml

from framehouse.cli.main import COMMANDS, cli
from framehouse.config import read
from migrations.upgrade import sqlalchemy_url

ROOT = Path(__file__).parents[2]
OURS = "framehouse:"
#: What the entry point of the PostgreSQL images reads.
POSTGRES = {
    "POSTGRES_USER",
    "POSTGRES_DB",
    "POSTGRES_PASSWORD",
    "POSTGRES_INITDB_ARGS",
    "POSTGRES_HOST_AUTH_METHOD",
}
_VARIABLE = re.compile(r"\$\{(\w+)(?::?([-?])([^}]*))?\}")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text()))


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Our own services, by name."""
    found = {name: s for name, s in compose["services"].items() if s["image"].startswith(OURS)}
    assert set(found) == {"migrate", "build", "api", "ingest", "maintenance"}
    return found


def known_variables() -> set[str]:
    """The settings that framehouse/config.py reads."""
    return set(re.findall(r'"(FRAMEHOUSE_\w+)"', (ROOT / "framehouse" / "config.py").read_text()))


def example() -> dict[str, str]:
    """What .env.example sets."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    pairs = [line.partition("=") for line in lines if line.strip() and not line.startswith("#")]
    return {name: value for name, _, value in pairs}


def filled(text: str, env: dict[str, str]) -> str:
    """Compose's own substitution of ${NAME}, ${NAME:-default} and ${NAME:?message}."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if env.get(name):
            return env[name]
        assert kind == "-", f"{name} is required: {rest}"
        return str(rest)

    return _VARIABLE.sub(value, text)


def test_it_keeps_the_compose_specification(compose: dict[str, Any]) -> None:
    schema = files("check_jsonschema").joinpath("builtin_schemas", "vendor", "compose-spec.json")
    validator = jsonschema.Draft202012Validator(json.loads(schema.read_text()))
    assert [error.message for error in validator.iter_errors(compose)] == []
    broken = compose | {"services": compose["services"] | {"api": {"imagge": "x"}}}
    assert not validator.is_valid(broken)


def test_every_variable_is_one_that_somebody_reads(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        allowed = known_variables() if service["image"].startswith(OURS) else POSTGRES
        assert set(service["environment"]) <= allowed, name


def test_env_example_has_exactly_the_variables_that_compose_asks_for() -> None:
    text = (ROOT / "compose.yaml").read_text()
    assert {match[1] for match in _VARIABLE.finditer(text)} == set(example())
    assert set(example()) <= known_variables() | POSTGRES
    assert example()["POSTGRES_PASSWORD"] == "", "an example password is one that somebody keeps"


def test_the_settings_are_sound(compose: dict[str, Any], services: dict[str, dict[str, Any]]) -> None:
    env = example() | {"POSTGRES_PASSWORD": "5e6a"}
    database = compose["services"]["database"]["environment"]
    for service in services.values():
        settings = read({name: filled(value, env) for name, value in service["environment"].items()})
        assert settings.host == "0.0.0.0"
        assert settings.studio_zone is None
        assert settings.database_url is not None
        user, name = database["POSTGRES_USER"], database["POSTGRES_DB"]
        assert settings.database_url == f"postgresql://{user}:5e6a@database:5432/{name}"
        assert sqlalchemy_url(settings.database_url)
        for port in service.get("ports", []):
            assert filled(port, env).endswith(f":{settings.port}")


def test_without_a_password_it_refuses(compose: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="POSTGRES_PASSWORD is required"):
        filled(compose["services"]["database"]["environment"]["POSTGRES_PASSWORD"], example())


def test_every_command_is_one_that_the_command_line_takes(services: dict[str, dict[str, Any]]) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert json.loads(re.findall(r"^ENTRYPOINT (.+)$", dockerfile, re.MULTILINE)[0]) == ["framehouse"]
    default = json.loads(re.findall(r"^CMD (.+)$", dockerfile, re.MULTILINE)[0])
    for words in [default, *(service["command"] for service in services.values())]:
        assert words[0] in COMMANDS
        command = cli.get_command(click.Context(cli), words[0])
        assert command is not None
        command.make_context(words[0], list(words[1:]))  # raises for an option or value it does not know


def test_nothing_is_reachable_from_outside_the_host(compose: dict[str, Any]) -> None:
    assert "ports" not in compose["services"]["database"]
    assert compose["services"]["database"]["networks"] == ["data"]
    assert compose["networks"]["data"] == {"internal": True}
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_images_are_pinned_and_services_restart_and_are_looked_after(compose: dict[str, Any]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name, service in compose["services"].items():
        _, _, tag = service["image"].partition(":")
        assert re.match(r"\d+\.\d+\.\d+", tag), name
        is_once = name in {"migrate", "build"}
        assert service["restart"] == ("no" if is_once else "unless-stopped"), name
        if service["image"].startswith(OURS):
            assert tag == version
            listens = "ports" in service
            assert ("healthcheck" not in service) is listens, name  # the image has one for those that listen


def test_services_wait_for_what_they_need(compose: dict[str, Any]) -> None:
    needs = {
        name: {other: wish["condition"] for other, wish in service.get("depends_on", {}).items()}
        for name, service in compose["services"].items()
    }
    built = {"build": "service_completed_successfully"}
    assert needs == {
        "database": {},
        "migrate": {"database": "service_healthy"},
        "build": {"migrate": "service_completed_successfully"},
        "api": built,
        "ingest": built,
        "maintenance": built,
    }


def test_every_volume_and_network_is_declared_and_used(compose: dict[str, Any]) -> None:
    volumes = {v.split(":")[0] for s in compose["services"].values() for v in s.get("volumes", [])}
    networks = {n for s in compose["services"].values() for n in s["networks"]}
    assert volumes == set(compose["volumes"])
    assert networks == set(compose["networks"])


def test_the_image_copies_what_is_there_and_nothing_ignored() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        verdicts = [rule[0] == "!" for rule in rules if fnmatch(source, rule.lstrip("!"))]
        assert verdicts, source
        assert verdicts[-1], f"{source} is ignored"
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = config["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], "pyproject.toml", "requirements.lock"}
    needed |= {config["project"]["readme"], *config["project"]["license-files"]}
    assert needed == set(sources)


def test_the_image_installs_extras_that_exist_and_runs_as_nobody_special() -> None:
    text = (ROOT / "Dockerfile").read_text()
    [extras] = re.findall(r"'\.\[([\w,]+)\]'", text)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.split(",")) <= set(known)
    last_stage = text[text.rindex("\nFROM ") :]
    assert re.findall(r"^USER (\w+)$", last_stage, re.MULTILINE) == ["framehouse"]
    assert last_stage.index("\nUSER ") < last_stage.index("\nENTRYPOINT ")


def test_the_health_check_asks_a_route_on_the_port_of_the_settings(
    services: dict[str, dict[str, Any]],
) -> None:
    from api import create_app

    text = (ROOT / "Dockerfile").read_text()
    [(port, path)] = re.findall(r"urlopen\('http://127\.0\.0\.1:(\d+)(/\w+)'", text)
    assert {service["environment"]["FRAMEHOUSE_PORT"] for service in services.values()} == {port}
    for is_ingest_only in (False, True):
        app = create_app(read({}), url="postgresql:///none", is_ingest_only=is_ingest_only)
        assert path in app.openapi()["paths"]
