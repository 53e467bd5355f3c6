"""A warehouse in a file, and back: `framehouse backup` and `framehouse restore`.

A backup is pg_dump's custom format of the whole database as of one instant, read back and counted before it is called
complete. A restore makes the schema and the rollups anew, as this program and the server's edition have them, and puts
the rows in: raw rows, cells, marks and the fence. So a backup of one edition, or version of TimescaleDB, can be
restored on another, and the history that only cells know comes along.
"""

import os
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

from framehouse.errors import BackupError
from framehouse.progress import SILENT, Reporter
from framehouse.warehouse.archive import Archive, Entry, Rows
from framehouse.warehouse.bygone import check_revision, other_version
from framehouse.warehouse.pool import Session, Warehouse

Relation = tuple[str, str]

#: What a restore keeps as this program made it.
_OWN = {("ops", "rollups"), ("ops", "retired_rollups"), ("ops", "builds"), ("ops", "studio_settings")}
_PENDING = ("ops", "pending_buckets")
_MARKS = (("ops", "touched_buckets"), ("ops", "touched_days"), ("ops", "touched_forecasts"))
_RAW = (("telemetry", "performance_metrics"), ("telemetry", "worker_heartbeats"))

_ELSEWHERE = "set FRAMEHOUSE_HOME to a new folder, or FRAMEHOUSE_DATABASE_URL to an empty database"


@dataclass(frozen=True, slots=True)
class Programs:
    """Where pg_dump and pg_restore are, and the arguments and environment by which they reach the warehouse."""

    folder: Path
    arguments: tuple[str, ...]
    variables: Mapping[str, str]

    @property
    def pg_restore(self) -> Path:
        return self.folder / "pg_restore"


@dataclass(frozen=True, slots=True)
class Written:
    """A complete backup: its bytes, and what is in it that a restore leaves out."""

    size_bytes: int
    left_out: tuple[str, ...]


def backup(
    warehouse: Warehouse,
    file: Path,
    *,
    programs: Programs,
    report: Reporter = SILENT,
) -> Written:
    """Write a backup, read it back and count its rows.

    The file appears when it is complete. Raises BackupError with what pg_dump said, or with what is missing in it.
    """
    partial = file.with_name(f".{file.name}.partial")
    with warehouse.session(is_snapshot=True) as session:
        if session.value("backup.compressed_chunks"):
            raise BackupError(
                "raw rows lie in the columnstore, whose format no other version can read",
                hint="convert the chunks back first (call convert_to_rowstore(...))",
            )
        snapshot = session.value("backup.snapshot")
        report.step("counting rows")
        expected = {relation: session.count(*relation) for relation in _counted(session)}
        left_out = tuple(row["what"] for row in session.rows("backup.left_out"))
        try:
            report.step(f"writing {file}")
            _dump(programs, snapshot, partial, report)
            report.step("reading it back")
            _verify(Archive(programs.pg_restore, partial), expected, report)
            with partial.open("rb") as written:
                os.fsync(written.fileno())
            partial.replace(file)
            _sync_folder(file.absolute().parent)
        finally:
            partial.unlink(missing_ok=True)
    return Written(file.stat().st_size, left_out)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def describe(file: Path, pg_restore: Path) -> dict[str, str | None]:
    """The studio's calendar in a backup. Raises BackupError for a file that is no backup of a warehouse."""
    archive = Archive(pg_restore, file)
    found = archive.rows("ops", "studio_settings")
    if not found:
        raise BackupError(
            f"{file} holds no framehouse warehouse", hint="give a file that `framehouse backup` wrote"
        )
    return found[0]


def prepare(warehouse: Warehouse, calendar: Mapping[str, str | None]) -> None:
    """Fix the studio's calendar in an empty warehouse.

    Raises BackupError when it is not empty, or was built for another zone.
    """
    with warehouse.session() as session:
        if session.value("backup.has_data"):
            raise BackupError("this warehouse holds data, and a restore needs an empty one", hint=_ELSEWHERE)
        session.run("backup.settle_calendar", calendar)
        # An earlier build may have settled it, and cells of one zone's days cannot be put into another's.
        here, there = session.value("maintain.calendar"), calendar["studio_zone"]
        if here != there:
            raise BackupError(
                f"this warehouse was built for the studio zone {here}, and the backup's is {there}",
                hint=_ELSEWHERE,
            )


def restore(warehouse: Warehouse, file: Path, *, pg_restore: Path, report: Reporter = SILENT) -> int:
    """Put a backup's rows into an empty warehouse whose schema and rollups, bygone ones too, are made; how many.

    All of it or, whatever happens, nothing. Raises BackupError for another version's backup.
    """
    archive = Archive(pg_restore, file)
    with warehouse.session() as session:
        session.run("backup.be_alone")
        if session.value("backup.has_data"):
            raise BackupError(
                "somebody wrote into this warehouse meanwhile", hint="restore into an empty one"
            )
        cells = _matching_cells(session, archive)
        order = [*_RAW, *cells, *_rest(session), *_MARKS]
        session.run("backup.let_tiers_go")
        for relation in reversed(order):
            if relation not in cells and relation not in _RAW:
                session.empty(*relation)
        session.run("backup.keep_tiers")
        places = {relation: place for place, relation in enumerate(order)}
        wanted = [
            e
            for e in archive.entries
            if e.kind == "SEQUENCE SET" or archive.relation(e.schema, e.name) in places
        ]
        wanted.sort(key=lambda e: places.get(archive.relation(e.schema, e.name), len(order)))
        report.step(f"restoring {file}")
        done = _load(session, archive, wanted, cells, report)
        for row in archive.rows("ops", "rollups"):
            session.run("backup.settle_rollup", row)
    with warehouse.autocommit() as session:
        report.step("analyzing")
        session.run("backup.analyze")
    return done


def _load(
    session: Session,
    archive: Archive,
    wanted: list[Entry],
    cells: Mapping[Relation, Relation],
    report: Reporter,
) -> int:
    done, reached = 0, 0
    names = {row["name"].encode() for row in session.rows("backup.cells")}
    for part in archive.read(wanted):
        reached += 1
        if not isinstance(part, Rows):
            if part.name.startswith(("studio.", "ops.")):
                session.value(
                    "backup.set_sequence",
                    {"sequence": part.name, "value": part.value, "is_called": part.is_called},
                )
            continue
        relation = archive.relation(part.schema, part.name)
        if relation in _MARKS:
            session.empty(*relation)  # of the marks that the raw rows have just left
        table = cells.get(relation, relation)
        report.advance(reached, len(wanted), f"{'.'.join(relation)}, {done:,} rows")
        blocks = part.blocks if relation != _PENDING else _of_these(part.blocks, names)
        done += session.copy_text(table, part.columns, blocks)
    return done


def _of_these(blocks: Iterator[bytes], names: set[bytes]) -> Iterator[bytes]:
    """Pending buckets of the rollups that are restored."""
    for block in blocks:
        kept = [line for line in block.splitlines(keepends=True) if line.split(b"\t")[0] in names]
        yield b"".join(kept)


def _counted(session: Session) -> list[Relation]:
    cells = [_relation(row["cells"]) for row in session.rows("backup.cells")]
    return [*_RAW, ("ops", "attempt_ledger"), *_MARKS, ("ops", "pending_buckets"), *cells]


def _matching_cells(session: Session, archive: Archive) -> dict[Relation, Relation]:
    """For each rollup's cells the table to put them into. Raises BackupError when the definitions differ."""
    here = {row["name"]: row for row in session.rows("backup.cells")}
    # What stands beside has not taken its place yet: it is built again after the restore.
    there = {str(row["name"]): row for row in archive.rows("ops", "rollups") if row["renews"] is None}
    check_revision(session, archive)
    same = {
        name
        for name, row in here.items()
        if name in there and there[name]["definition_hash"] == row["definition_hash"]
    }
    if other := (there.keys() | here.keys()) - same:
        raise other_version(", ".join(sorted(other)))
    return {
        _relation(str(there[name]["cells"])): (row["schema"], row["relation"]) for name, row in here.items()
    }


def _relation(name: str) -> Relation:
    schema, _, relation = name.partition(".")
    return schema, relation


def _rest(session: Session) -> Iterator[Relation]:
    """All other tables, those that are referred to before those that refer."""
    rows = session.rows("backup.tables")
    graph = {f"{row['schema']}.{row['relation']}": row["refers_to"] for row in rows}
    for name in TopologicalSorter(graph).static_order():
        if _relation(name) not in {*_OWN, *_MARKS, *_RAW}:
            yield _relation(name)


def _dump(programs: Programs, snapshot: str, partial: Path, report: Reporter) -> None:
    command = [str(programs.folder / "pg_dump"), *programs.arguments]
    command += ["--format=custom", f"--snapshot={snapshot}", "--verbose", f"--file={partial}"]
    partial.touch(mode=0o600)
    said: list[str] = []
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=dict(programs.variables)
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                said.append(line)
                if "dumping contents of table" in line:
                    size_mb = partial.stat().st_size / 2**20
                    report.advance(0, 0, f"{line.split()[-1].strip(chr(34))}, {size_mb:,.0f} MiB")
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        errors = [line for line in said if "error:" in line] or said[-1:]
        raise BackupError(
            f"pg_dump failed: {' '.join(line.strip() for line in errors)}",
            hint="pg_dump has to be as new as the server; install the client programs of the server's version "
            "(postgresql-client-17, say): of those in the usual folders and first on the PATH, the newest are taken",
        )


def _verify(archive: Archive, expected: Mapping[Relation, int], report: Reporter) -> None:
    found: Counter[Relation] = Counter()
    wanted = [entry for entry in archive.entries if entry.kind == "TABLE DATA"]
    for reached, part in enumerate(archive.read(wanted)):
        if isinstance(part, Rows):
            relation = archive.relation(part.schema, part.name)
            found[relation] += sum(block.count(b"\n") for block in part.blocks)
            report.advance(reached, len(wanted), ".".join(relation))
    for relation, count in expected.items():
        if found[relation] != count:
            raise BackupError(
                f"the backup holds {found[relation]:,} rows of {'.'.join(relation)} instead of {count:,}",
                hint="nothing was kept; look at the disk, and try again",
            )
