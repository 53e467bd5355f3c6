"""Golden files: what the compiler and dbt make, kept to be read in a change's diff.

`pytest tests/golden --update-golden` rewrites them.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlglot

FOLDER = Path(__file__).parent
Golden = Callable[[str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compare a text with the golden file of that name (`folder/name.sql`), or rewrite the file."""
    is_updating = request.config.getoption("--update-golden", default=False)

    def compare(name: str, text: str) -> None:
        path = FOLDER / name
        text = text.strip() + "\n"
        if is_updating:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"no golden file {name}; pytest tests/golden --update-golden writes it"
        assert text == path.read_text(encoding="utf-8")

    return compare


def pretty(sql: str) -> str:
    """SQL with a line for each column and clause."""
    return sqlglot.transpile(sql, read="postgres", write="postgres", pretty=True)[0]
