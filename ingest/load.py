"""Loading files of events: resumable, and every row is stored once however often and wherever it breaks off.

The ledger is what makes it so. That a file which broke off goes on near where it stopped, and that a file which is done
is not read again, comes from a note beside the spool: how far the file (path, size, time, inode) was acknowledged by
this very database. A note that is lost or late costs time alone.
"""

import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from framehouse.progress import SILENT, Reporter
from framehouse.warehouse import Warehouse
from ingest import writer
from ingest.files import Batch, Place, batches, require, unit
from ingest.verdict import Keep, Reach, Status, Verdict, sentence

SPOOL_FILE = "events.ndjson"
_TAKEN = "events-*.ndjson"


@dataclass(slots=True)
class Tally:
    """What became of a file's events. `refused` counts by code, `examples` has the first refusal of each code."""

    path: Path
    read: int = 0
    stored: int = 0
    known: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    resumed_after: int = 0
    was_done: bool = False

    @property
    def refused_count(self) -> int:
        return self.refused.total()

    def add(self, batch: Batch, verdicts: list[Verdict]) -> None:
        """Count a batch."""
        for number, verdict in zip(batch.numbers, verdicts, strict=True):
            self.read += 1
            if verdict.status is Status.REJECTED:
                code = verdict.code or "invalid"
                self.refused[code] += 1
                if code not in self.examples:
                    self.examples[code] = f"{unit(self.path)} {number}: {_sentence(verdict)}"
            elif verdict.status is Status.DUPLICATE:
                self.known += 1
            else:
                self.stored += 1


def load(
    warehouse: Warehouse, path: Path, *, home: Path, report: Reporter = SILENT, is_again: bool = False
) -> Tally:
    """Store the events of a file; what is refused goes to quarantine and the rest goes on.

    `is_again` reads a file from its start although it was loaded before. Raises ContractError for a file that cannot
    be read as what its name says.
    """
    require(path)
    report.step(f"loading {path.name}")
    note = _Note(home / "load", warehouse, path)
    tally, place = Tally(path), Place()
    if not is_again:
        tally, place = note.read(tally)
    if tally.was_done:
        return tally
    tally.resumed_after = place.count
    for batch in batches(path, place):
        verdicts = writer.write(
            warehouse, batch.elements, origin=f"load:{path.name}", reach=Reach(back=None), keep=Keep.ONCE
        )
        tally.add(batch, list(verdicts))
        note.write(tally, batch.end, is_done=False)
        place = batch.end
        report.advance(batch.done, batch.total, f"{tally.read:,} read, {tally.refused_count:,} refused")
    note.write(tally, place, is_done=True)
    return tally


def load_spool(
    warehouse: Warehouse, spool_dir: Path, *, home: Path, report: Reporter = SILENT
) -> list[Tally]:
    """Store what waits in the spool; a file is deleted once everything in it was acknowledged or quarantined.

    Files that another process is loading are left to it.
    """
    _take(spool_dir)
    tallies = []
    for path in sorted(spool_dir.glob(_TAKEN)):
        with _held(path) as is_ours:
            if is_ours:
                tallies.append(load(warehouse, path, home=home, report=report))
                _Note(home / "load", warehouse, path).forget()
                path.unlink()
                _sync(spool_dir)
    return tallies


def check(path: Path, *, report: Reporter = SILENT) -> Tally:
    """What the contract says of a file's events, without the database: no tier, fence or earlier event is known."""
    require(path)
    report.step(f"checking {path.name}")
    tally = Tally(path)
    for batch in batches(path):
        reach = Reach(back=None)
        tally.add(batch, [writer.check(element, reach=reach) for element in batch.elements])
        report.advance(batch.done, batch.total, f"{tally.read:,} read, {tally.refused_count:,} refused")
    return tally


def spooled(spool_dir: Path) -> list[Path]:
    """The files of the spool that wait to be loaded."""
    present = spool_dir / SPOOL_FILE
    return [*sorted(spool_dir.glob(_TAKEN)), *([present] if present.is_file() else [])]


class _Note:
    """How far one file was loaded into one database, kept in a small file of its own."""

    def __init__(self, folder: Path, warehouse: Warehouse, path: Path) -> None:
        with warehouse.session() as session:
            database: str = session.value("ingest.database_identity")
        identity = [database, str(path.resolve())]
        with suppress(OSError):  # reading the file will say what is wrong with it
            found = path.stat()
            identity += [str(part) for part in (found.st_size, found.st_mtime_ns, found.st_dev, found.st_ino)]
        self._path = folder / f"{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]}.json"

    def read(self, tally: Tally) -> tuple[Tally, Place]:
        """What the note says; the file's beginning where there is none that can be read."""
        try:
            said = json.loads(self._path.read_bytes())
            counts = {name: int(said[name]) for name in ("read", "stored", "known")}
            refused = Counter({str(code): int(count) for code, count in said["refused"].items()})
            examples = {str(code): str(text) for code, text in said["examples"].items()}
            place = Place(int(said["place"]["offset"]), int(said["place"]["count"]))
            is_done = bool(said["is_done"])
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return tally, Place()
        return Tally(tally.path, **counts, refused=refused, examples=examples, was_done=is_done), place

    def write(self, tally: Tally, place: Place, *, is_done: bool) -> None:
        """Replace the note as a whole; never before the database acknowledged what it says."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        said = {
            "path": str(tally.path),
            "place": asdict(place),
            "is_done": is_done,
            "read": tally.read,
            "stored": tally.stored,
            "known": tally.known,
            "refused": tally.refused,
            "examples": tally.examples,
        }
        draft = self._path.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps(said), encoding="utf-8")
        draft.replace(self._path)

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)


def _take(spool_dir: Path) -> Path | None:
    """Rename the file that events are appended to, so that it stops growing; None when nothing waits.

    Under the file's lock, which a writer holds while it appends: nobody is in the middle of a line.
    """
    path = spool_dir / SPOOL_FILE
    try:
        present = path.open("rb")
    except FileNotFoundError:  # asking first would not help: another process may take it in between
        return None
    with present as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not _is_at(handle.fileno(), path) or path.stat().st_size == 0:
            return None
        numbers = [int(part) for found in spool_dir.glob(_TAKEN) if (part := found.stem[7:]).isdigit()]
        taken = spool_dir / f"events-{max(numbers, default=0) + 1:06}.ndjson"
        path.rename(taken)
        _sync(spool_dir)
    return taken


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Hold a taken file; False when another process loads it or has loaded it meanwhile."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = _is_at(handle, path)
        except BlockingIOError:
            is_ours = False
        yield is_ours
    finally:
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sentence(verdict: Verdict) -> str:
    """The first problem of a refusal, in words."""
    if not verdict.errors:
        return verdict.code or "refused"
    told, more = sentence(verdict.errors[0]), len(verdict.errors) - 1
    return f"{told}, and {more} more" if more else told
