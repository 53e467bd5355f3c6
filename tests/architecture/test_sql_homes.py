"""SQL has its homes: migrations, the dbt project, named statements, and what the compiler builds from the registry."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ["framehouse", "ingest", "api", "migrations"]

#: Python that may hold SQL, and why.
HOMES = {
    "framehouse/metrics/compile.py": "builds the statements of questions",
    "framehouse/metrics/quantities.py": "declares the expressions that both are made of",
    "migrations/sql.py": "runs the SQL beside a revision in the owner's name",
    "migrations/upgrade.py": "lets one upgrader in at a time",
    "framehouse/warehouse/pool.py": "composes identifiers into statements that cannot have parameters there",
}

_NAME = r'(?:"?[\w{}]+"?\.)?"?[\w{}%]+"?'
_OBJECT = (
    r"(?:unlogged |temp(?:orary)? |materialized |unique |or replace |foreign |event )*"
    r"(?:table|view|index|schema|database|role|user|extension|function|procedure|trigger|sequence|type|policy|domain)"
)
_CLAUSE = r"(?:where|join|left|right|full|cross|inner|group|order|limit|as|having|union)\b"
_STATEMENTS = [
    rf"\bselect\b[^;]*?\bfrom\s+(?:only\s+)?(?:\w+\.\w+|\"|\(|{_NAME}\s*(?:;|\)|{_CLAUSE}))",
    r"^\s*select\s+(?:\*|[\w.]+\(|\d|'|current_|exists\b|not\b|%)",
    r"^\s*select\s+[\w.]+(?:\s*,\s*[\w.]+)*\s+from\s+\w+\s*$",
    r"^\s*with\s+(?:recursive\s+)?\w+\s+as\s+(?:(?:not\s+)?materialized\s+)?\(",
    rf"\binsert\s+into\s+{_NAME}(?:\s+as\s+\w+)?\s*(?:\(|values\b|select\b|default\b|$)",
    rf"\bupdate\s+(?:only\s+)?{_NAME}\s+(?:as\s+\w+\s+)?set\s+\w+\s*=",
    rf"\bdelete\s+from\s+{_NAME}(?:\s+where\b|\s*;|\s*$)",
    rf"\bmerge\s+into\s+{_NAME}\s",
    rf"^\s*(?:create|alter|drop)\s+{_OBJECT}\s+(?:if\s+(?:not\s+)?exists\s+)?{_NAME}",
    rf"^\s*copy\s+{_NAME}\s*(?:\([^)]*\))?\s*(?:from|to)\s+(?:stdin|stdout|program|')",
    rf"^\s*truncate\s+(?:table\s|{_NAME}(?:\s*,\s*{_NAME})*\s*(?:;|cascade|restrict|$))",
    r"^\s*(?:grant|revoke)\s+[\w, ]+\s+on\s+",
    r"^\s*call\s+\w+(?:\.\w+)?\(",
    r"^\s*lock\s+table\s",
    r"^\s*set\s+(?:local|session|role|transaction)\s+\w+",
    r"^\s*(?:vacuum|analyze|reindex|cluster)\s*(?:\(|verbose\b|full\b)",
]
SQL = re.compile("|".join(f"(?:{pattern})" for pattern in _STATEMENTS), re.IGNORECASE | re.DOTALL)


MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def statements(source: str) -> list[str]:
    """The SQL among a module's string literals; what stands alone as a statement is a docstring."""
    tree = ast.parse(source)
    prose = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    inside = {
        part
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node
    }
    texts = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            texts.append("".join(p.value if isinstance(p, ast.Constant) else "{}" for p in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in prose | inside:
            texts.append(node.value)
    return [text for text in texts if SQL.search(text)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_sql_outside_its_homes(path: Path) -> None:
    if str(path.relative_to(ROOT)) not in HOMES:
        assert statements(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("home", HOMES)
def test_every_home_is_lived_in(home: str) -> None:
    """An exception that nobody needs any more is taken back."""
    text = (ROOT / home).read_text(encoding="utf-8")
    assert statements(text) or re.search(r"\b(?:filter \(where|count\(\*\)|sum\()", text)


@pytest.mark.parametrize(
    "sql",
    [
        "select 1",
        "SELECT * FROM studio.workflows",
        "select pg_advisory_xact_lock(1)",
        "select name, id\n from studio.workflows where name = any(%s)",
        "select w.name as workflow, t.name from w join t using (id)",
        "(select a from b where c)",
        "explain select a from b.c",
        "with fresh as (select 1) select * from fresh",
        "insert into ops.builds (fingerprint) values (%s)",
        "update ops.retention set raw_from = now()",
        "delete from ops.touched_buckets where id = any(%s)",
        "create table t (a int)",
        "create or replace function f() returns int",
        "drop database if exists x with (force)",
        "copy telemetry.performance_metrics (a, b) from stdin",
        "call refresh_continuous_aggregate(%s, %s, %s)",
        "set transaction isolation level repeatable read",
        "truncate ops.quarantine",
        "grant select on all tables in schema studio to somebody",
    ],
)
def test_sql_is_seen(sql: str) -> None:
    assert statements(f"run({sql!r})")
    assert statements(f"text = f{sql!r}")
    assert statements(f"run(\n    {sql[:9]!r}\n    {sql[9:]!r},\n)")


def test_sql_with_holes_is_seen() -> None:
    assert statements("text = f'select {columns} from {table} where {time} < now()'")
    assert statements("text = f'insert into {table} ({columns}) values ({values})'")


@pytest.mark.parametrize(
    "prose",
    [
        "select a tier from the list, please",
        "copy the file to a folder of its own",
        "update the settings: set FRAMEHOUSE_PORT",
        "create a project first",
        "Drop what you do not need.",
        "the rows were deleted from the warehouse",
        "set FRAMEHOUSE_STUDIO_ZONE=UTC",
        "with a longer window",
        "call the API again",
        "insert into the mix",
    ],
)
def test_prose_is_not_sql(prose: str) -> None:
    assert statements(f"hint({prose!r})") == []
    assert statements(f'"""{prose}"""') == []


def test_docstrings_may_show_sql() -> None:
    assert statements('def f():\n    """Runs `delete from ops.builds`."""\n') == []
