"""Reading what pg_dump wrote, table by table: pg_restore turns an archive into COPY blocks, and these are taken apart.

Rows of hypertables stand in the archive chunk by chunk, those of continuous aggregates in chunks of their
materialization; TimescaleDB's own catalog, which is in the archive too, says which belongs to what. So the rows of an
archive can be put into any warehouse, whatever its edition or version of TimescaleDB.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from framehouse.errors import BackupError

_ENTRY = re.compile(r"^\d+; \d+ \d+ (TABLE DATA|SEQUENCE SET) (\S+) (\S+) ")
_COPY = re.compile(rb'^COPY ("?\w+"?)\.("?\w+"?) \((.*)\) FROM stdin;$')
_SETVAL = re.compile(rb"^SELECT pg_catalog\.setval\('([^']+)', (\d+), (true|false)\);$")
#: What COPY's text format writes in place of what would end a line or a column.
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_CATALOG = "_timescaledb_catalog"
_BLOCK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the archive's table of contents: the rows of a table, or where a sequence stands."""

    line: str
    kind: str
    schema: str
    name: str


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one table in COPY's text format. `blocks` can be read once, and before the next `Rows`."""

    schema: str
    name: str
    columns: tuple[str, ...]
    blocks: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class SequenceValue:
    """Where a sequence stands."""

    name: str
    value: int
    is_called: bool


class Archive:
    """A file of pg_dump's custom format."""

    def __init__(self, pg_restore: Path, file: Path) -> None:
        self._pg_restore = pg_restore
        self._file = file

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """All rows and sequences. Raises BackupError for a file that is no archive."""
        told = subprocess.run(
            [self._pg_restore, "--list", self._file], capture_output=True, text=True, check=False
        )
        if told.returncode != 0:
            raise BackupError(
                f"{self._file} is no archive of pg_dump: {_last(told.stderr)}",
                hint="give a file that `framehouse backup` wrote",
            )
        found = ((line, _ENTRY.match(line)) for line in told.stdout.splitlines())
        return tuple(Entry(line, *match.groups()) for line, match in found if match)

    @cached_property
    def relations(self) -> dict[tuple[str, str], tuple[str, str]]:
        """For each chunk the relation that it is part of: the hypertable, or the cells of a continuous aggregate."""
        hypertables = {
            row["id"]: (str(row["schema_name"]), str(row["table_name"]))
            for row in self.rows(_CATALOG, "hypertable")
        }
        for row in self.rows(_CATALOG, "continuous_agg"):
            hypertables[row["mat_hypertable_id"]] = (str(row["user_view_schema"]), str(row["user_view_name"]))
        return {_chunk(row): hypertables[row["hypertable_id"]] for row in self.rows(_CATALOG, "chunk")}

    def relation(self, schema: str, name: str) -> tuple[str, str]:
        """The relation that a table of the archive is part of; mostly itself."""
        return self.relations.get((schema, name), (schema, name))

    def rows(self, schema: str, name: str) -> list[dict[str, str | None]]:
        """A small table's rows, as text by column."""
        found = []
        for part in self.read([e for e in self.entries if (e.schema, e.name) == (schema, name)]):
            assert isinstance(part, Rows)
            text = b"".join(part.blocks).decode()
            found += [
                dict(zip(part.columns, map(_value, line.split("\t")), strict=True))
                for line in text.split("\n")[:-1]
            ]
        return found

    def read(self, entries: Sequence[Entry]) -> Iterator[Rows | SequenceValue]:
        """Some entries' content, in this order. Raises BackupError when the archive is damaged."""
        if not entries:
            return
        with (
            tempfile.NamedTemporaryFile("w", prefix="framehouse-", suffix=".list") as wanted,
            tempfile.TemporaryFile() as said,
        ):
            wanted.write("\n".join(entry.line for entry in entries) + "\n")
            wanted.flush()
            command = [str(self._pg_restore), "--use-list", wanted.name, "--file", "-", str(self._file)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said)
            assert process.stdout is not None
            with closing(process.stdout) as lines:
                try:
                    for line in lines:
                        if copy := _COPY.match(line):
                            yield Rows(_name(copy[1]), _name(copy[2]), _names(copy[3]), _blocks(lines))
                        elif setval := _SETVAL.match(line):
                            yield SequenceValue(setval[1].decode(), int(setval[2]), setval[3] == b"true")
                except GeneratorExit:
                    process.kill()
                    raise
                finally:
                    process.wait()
            if process.returncode != 0:
                said.seek(0)
                raise BackupError(f"{self._file} is damaged: {_last(said.read().decode())}")


def _chunk(row: Mapping[str, str | None]) -> tuple[str, str]:
    """Schema and name of a chunk; newer versions of TimescaleDB keep both in one column."""
    if "relid" in row:
        schema, _, name = str(row["relid"]).partition(".")
        return schema, name
    return str(row["schema_name"]), str(row["table_name"])


def _blocks(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Rows up to the end of a COPY block, many at a time."""
    held: list[bytes] = []
    size = 0
    for line in lines:
        if line == b"\\.\n":
            break
        held.append(line)
        size += len(line)
        if size >= _BLOCK_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _name(quoted: bytes) -> str:
    return quoted.decode().strip('"')


def _names(quoted: bytes) -> tuple[str, ...]:
    return tuple(_name(name.strip()) for name in quoted.split(b","))


def _value(text: str) -> str | None:
    return None if text == "\\N" else _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), text)


def _last(said: str) -> str:
    return said.strip().splitlines()[-1] if said.strip() else "pg_restore said nothing"
