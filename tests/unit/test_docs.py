"""The documents cannot rot: names, commands, settings, links and examples in them are held against the code."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import click
import psycopg
import pytest
from pydantic import BaseModel

from framehouse import config, metrics
from framehouse.cli.main import cli
from framehouse.config import environment
from framehouse.estimates.wire import BatchRequest
from framehouse.events import Event, Stage
from framehouse.metrics.quantities import WORK
from framehouse.metrics.rollups import ROLLUPS, SOURCES
from framehouse.units import UNITS
from framehouse.warehouse.written import Written

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
NAMING = (ROOT / "docs" / "naming.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
README = (ROOT / "README.md").read_text()

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def blocks(text: str, *languages: str) -> list[str]:
    """The fenced blocks of some languages."""
    return [body for language, body in _FENCE.findall(text) if language in languages]


def code(text: str) -> Iterator[str]:
    """Every command line that a page shows: lines of shell blocks, and code within a sentence."""
    for block in blocks(text, "sh"):
        yield from block.splitlines()
    yield from _SPAN.findall(_FENCE.sub("", text))


def section(text: str, heading: str) -> str:
    """What stands under a heading, down to the next one of its level or a higher one."""
    level = len(heading) - len(heading.lstrip("#"))
    body = text.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"^#{{1,{level}}} ", body, maxsplit=1, flags=re.MULTILINE)[0]


def first_column(text: str) -> list[str]:
    """The code spans of a table's first column."""
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return [name for row in rows for name in _SPAN.findall(row)]


def slugs(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# Settings.


def test_operations_lists_every_setting_and_no_other() -> None:
    read = set(re.findall(r'"((?:FRAMEHOUSE|AWS)_\w+)"', Path(config.__file__).read_text()))
    assert read == set(first_column(section(OPERATIONS, "## Settings")))


@pages
def test_every_setting_that_a_page_names_is_read(page: Path) -> None:
    read = set(re.findall(r'"(FRAMEHOUSE_\w+)"', Path(config.__file__).read_text()))
    read |= set(re.findall(r'"(FRAMEHOUSE_\w+)"', (ROOT / "tests" / "conftest.py").read_text()))
    assert set(re.findall(r"FRAMEHOUSE_\w+", page.read_text())) <= read


# Commands.


def told_commands(text: str) -> list[list[str]]:
    """The words after `framehouse` of every command line on a page, without variables before and comments after."""
    found = []
    for line in code(text):
        match = re.match(r"^(?:[A-Z_]+=\S+ )*framehouse ([a-z].*)$", line.strip())
        if match:
            found.append(shlex.split(match[1], comments=True))
    return found


@pages
def test_every_command_that_a_page_names_exists_with_its_options(page: Path) -> None:
    for words in told_commands(page.read_text()):
        command: click.Command = cli
        rest = words
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            inner = command.get_command(click.Context(command), rest[0])
            assert inner is not None, f"framehouse {' '.join(words)}"
            command, rest = inner, rest[1:]
        known = {name for parameter in command.params for name in parameter.opts}
        own = rest[: rest.index("--")] if "--" in rest else rest
        for word in own:
            if word.startswith("-"):
                assert word.partition("=")[0] in known, f"framehouse {' '.join(words)}"


def test_the_pages_name_commands_at_all() -> None:
    assert len(told_commands(README)) >= 8
    assert {words[0] for page in PAGES for words in told_commands(page.read_text())} >= set(
        cli.list_commands(click.Context(cli))
    ) - {"demo"}


@pages
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {m[1] for line in code(page.read_text()) if (m := re.match(r"^\s*make ([a-z-]+)", line))}
    assert named <= targets


def test_readme_begins_with_the_two_commands() -> None:
    first = blocks(README, "sh")[0]
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make demo", "make test"]


# Links and references.


@pages
def test_every_relative_link_resolves(page: Path) -> None:
    for target in _LINK.findall(_FENCE.sub("", page.read_text())):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        if anchor:
            assert anchor in slugs(found.read_text()), target


def test_the_index_lists_every_decision() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = _LINK.findall((folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))
    for path in folder.glob("[0-9]*.md"):
        text = path.read_text()
        assert text.startswith(f"# {path.name[:4]}: "), path.name
        assert re.findall(r"^## (\w+)", text, re.MULTILINE)[:3] == ["Context", "Decision", "Consequences"], (
            path.name
        )


def test_sections_that_the_code_refers_to_are_there() -> None:
    folders = ("framehouse", "ingest", "api", "dbt_project/macros")
    sources = [
        path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".sql"}
    ]
    named = [
        (page, heading)
        for path in sources
        for page, heading in re.findall(r"docs/(\w+\.md), '([^']+)'", path.read_text())
    ]
    assert ("operations.md", "Changing a rollup") in named
    for page, heading in named:
        assert f"\n## {heading}\n" in (ROOT / "docs" / page).read_text()


@pages
def test_a_page_names_no_file_of_ours_that_is_missing(page: Path) -> None:
    roots = r"(?:framehouse|ingest|api|migrations|dbt_project|tests|docs)"
    for path in re.findall(rf"`({roots}/[\w./-]+\.(?:py|sql|md|yml))`", page.read_text()):
        assert (ROOT / path).exists(), path


# Names.


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every field of a model, nested ones dotted."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for inner in [field.annotation, *getattr(field.annotation, "__args__", ())]:
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from fields(inner, f"{prefix}{name}.")
    if model is Event:
        yield from (f"pipeline_stages.{name}" for name in Stage.model_fields)


def test_naming_lists_every_field_of_the_event_and_no_other() -> None:
    listed = first_column(section(NAMING, "## The event"))
    assert len(listed) == len(set(listed))
    assert set(listed) == set(fields(Event))


def test_naming_marks_the_required_fields() -> None:
    required = {name for name, field in Event.model_fields.items() if field.is_required()}
    assert set(re.findall(r"^\| \*\*`(\w+)`\*\* \|", NAMING, re.MULTILINE)) == required


def test_naming_lists_what_is_told_of_a_batch() -> None:
    assert first_column(section(NAMING, "## What is told of a batch")) == list(Written.model_fields)


def test_naming_lists_every_unit_and_no_other() -> None:
    assert set(first_column(section(NAMING, "## Units"))) == {unit.suffix for unit in UNITS}


def test_naming_lists_every_table_and_column_and_no_other(database_url: str) -> None:
    told = {}
    for line in section(NAMING, "## Tables and columns").splitlines():
        cells = line.split("|")
        if len(cells) == 4 and (relation := _SPAN.findall(cells[1])):
            told[relation[0]] = _SPAN.findall(cells[2])
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "select table_schema || '.' || table_name, array_agg(column_name::text order by ordinal_position)"
            " from information_schema.columns"
            " where table_schema in ('studio', 'telemetry', 'ops', 'mart') group by 1"
        ).fetchall()
    assert told == dict(rows)


def test_naming_lists_every_rollup_and_its_dimensions() -> None:
    told = {}
    for line in section(NAMING, "## Rollups and their parts").splitlines():
        if match := re.match(r"^\| `rollup\.(\w+)` \| ([\w, ]+) \| ([\w ]+) \|$", line):
            told[match[1]] = (tuple(match[2].split(", ")), match[3])
    grains = {"15min": "15 minutes", "hour": "block", "day": "studio day"}
    assert told == {r.name: (r.dimensions, grains[r.grain.value]) for r in ROLLUPS}


def test_every_part_fits_the_scheme_that_naming_tells() -> None:
    text = section(NAMING, "## Rollups and their parts")
    named = set(_SPAN.findall(text))
    forms = {name for name in named if name.startswith("x_")}
    for source in SOURCES:
        for part in source.parts:
            fits = {
                form
                for form in forms
                for work in WORK
                if re.fullmatch(form.replace("x_", r"\w+_", 1).replace("by_w_", f"by_{work}_"), part.name)
            }
            assert fits or part.name in named, part.name


def test_naming_names_only_metrics_that_exist() -> None:
    known = {metric.name for metric in metrics.METRICS}
    text = section(NAMING, "## Metrics")
    dimensions = {dimension for source in SOURCES for dimension in source.dimensions}
    named = {name for name in _SPAN.findall(text) if re.fullmatch(r"[a-z0-9_]*[a-z0-9]", name)}
    for name in named - dimensions - known:
        assert metrics.metric(name).where, f"{name} is the metric of one score or stage"
    assert dimensions <= named
    prefixes = {name for name in _SPAN.findall(text) if name.endswith("_")}
    families = {name for name in known if any(name.startswith(prefix) for prefix in prefixes)}
    assert known - families <= named


# Examples.


def test_the_events_in_the_readme_keep_the_contract() -> None:
    [body] = re.findall(r"api/events .*? -d '(\{.*?\n\})'$", README, re.MULTILINE | re.DOTALL)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    plain = re.sub(r"'\"\$\(date [^)]*\)\"'", now, body)
    assert Event.model_validate(json.loads(plain)).finished_at <= datetime.now(UTC)


def test_the_batch_in_the_readme_is_one_that_can_be_estimated() -> None:
    [body] = re.findall(r"<<'JSON'\n(.*?)\nJSON$", README, re.MULTILINE | re.DOTALL)
    assert len(BatchRequest.model_validate(json.loads(body)).scenes) == 2


def test_the_python_in_the_readme_runs(database_url: str) -> None:
    [example] = blocks(README, "python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        env=environment(FRAMEHOUSE_DATABASE_URL=database_url),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "avg_wall_seconds_per_segment" in done.stdout


def test_the_analysts_login_in_operations_can_read_and_no_more(database_url: str) -> None:
    statements = "\n".join(blocks(section(OPERATIONS, "## Roles"), "sql"))
    assert "create role analyst_1" in statements
    role = f"analyst_{uuid4().hex}"
    readable = (
        "telemetry.performance_metrics",
        "rollup.attempts_by_workflow_daily",
        "mart.generation_metrics",
        "studio.workers",
        "ops.retention",
    )
    refused = (
        "select from ops.quarantine",
        "delete from telemetry.performance_metrics",
        "insert into studio.workers (name) values ('x')",
        "select pg_advisory_lock(1)",
    )
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(re.sub(r"\banalyst_1\b", role, statements))
        try:
            connection.execute(f"set session authorization {role}")
            for relation in readable:
                connection.execute(f"select from {relation}")
            for statement in refused:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)
        finally:
            connection.execute("reset session authorization")
            connection.execute(f"drop owned by {role}")
            connection.execute(f"drop role {role}")
