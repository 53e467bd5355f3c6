"""Named statements: `statement("attempts.page")` is the text under `-- name: page` in `sql/attempts.sql`."""

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "sql"
_MARK = "-- name: "


@cache
def statement(name: str) -> str:
    """The SQL of that name. Raises KeyError for a name that no file has."""
    file, _, key = name.partition(".")
    return _file(file)[key]


def names() -> list[str]:
    """Every statement there is, as `file.name`."""
    return [f"{path.stem}.{key}" for path in sorted(_FOLDER.glob("*.sql")) for key in _file(path.stem)]


@cache
def _file(name: str) -> dict[str, str]:
    text = (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for part in text.split(_MARK)[1:]:
        key, _, body = part.partition("\n")
        found[key.strip()] = body.strip().removesuffix(";")
    return found
