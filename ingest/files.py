"""Reading files of events in batches, from any place in them: NDJSON, JSON, CSV (each also as .gz) and Parquet."""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from framehouse.errors import ConfigError, ContractError, Problem
from ingest import flat
from ingest.body import MAX_BODY_BYTES, Element, Unreadable, elements

BATCH_ROWS = 1000
MAX_DOCUMENT_BYTES = 512 * 2**20
_KEPT_OF_A_LONG_LINE = 2**16


@dataclass(frozen=True, slots=True)
class Place:
    """How far a file was read: a byte offset (NDJSON alone; 0 elsewhere) and lines or rows."""

    offset: int = 0
    count: int = 0


@dataclass(slots=True)
class Batch:
    """Elements, the number (from 1) of the line or row of each, and where the next batch begins.

    `done` of `total` is how much of the file was read, in any one unit.
    """

    elements: list[Element] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    end: Place = Place()
    done: float = 0
    total: float = 0

    def add(self, element: Element, number: int) -> None:
        self.elements.append(element)
        self.numbers.append(number)


def batches(path: Path, start: Place = Place(), size: int = BATCH_ROWS) -> Iterator[Batch]:
    """The elements of a file from `start` on, in batches of about `size`.

    A line that is no JSON becomes an Unreadable element. Raises ContractError for a file that is not what its name
    says, has columns the contract does not know or breaks off; what was read before has been yielded by then.
    """
    require(path)
    try:
        yield from _reader(path)(path, start, size)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ContractError(f"{path} is no sound gzip file: {error}", hint="fetch or pack it again") from None
    except OSError as error:
        raise ContractError(f"{path} cannot be read: {error.strerror or error}") from None


def require(path: Path) -> None:
    """Raise ContractError where there is no such file, or its name does not say what is in it."""
    _reader(path)
    if not path.is_file():
        raise ContractError(f"there is no file {path}", hint="give the path of a file that exists")


def unit(path: Path) -> str:
    """What `numbers` count in this file, for messages."""
    reader = _reader(path)
    return "line" if reader is _ndjson else "event" if reader is _json else "row"


def _reader(path: Path) -> Callable[[Path, Place, int], Iterator[Batch]]:
    name = path.name.lower().removesuffix(".gz")
    for suffix, reader in _READERS.items():
        if name.endswith(suffix) and not (reader is _parquet and path.suffix.lower() == ".gz"):
            return reader
    raise ContractError(
        f"{path.name}: the name does not say what is in it",
        hint="name it .ndjson, .jsonl, .json, .csv (each also with .gz) or .parquet",
    )


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], Callable[[], int], int]]:
    """The unpacked bytes, a function that says how far the file itself was read, and its size."""
    with path.open("rb") as raw:
        size = path.stat().st_size
        if path.suffix.lower() == ".gz":
            with gzip.open(raw) as unpacked:
                yield unpacked, raw.tell, size  # type: ignore[misc]  # GzipFile reads like any binary file
        else:
            yield raw, raw.tell, size


def _ndjson(path: Path, start: Place, size: int) -> Iterator[Batch]:
    with _opened(path) as (stream, tell, total):
        stream.seek(start.offset)
        offset, number = start.offset, start.count
        while True:
            batch, begun = Batch(total=total), offset
            while len(batch.elements) < size and offset - begun < MAX_BODY_BYTES:
                line, length = _line(stream)
                if not length:
                    break
                offset, number = offset + length, number + 1
                for element in _of_line(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line, length):
                    batch.add(element, number)
            if offset == begun:
                return
            batch.end, batch.done = Place(offset, number), tell()
            yield batch


def _line(stream: IO[bytes]) -> tuple[bytes, int]:
    """The next line, or the beginning of one that is too long, and how many bytes the line has."""
    line = stream.readline(MAX_BODY_BYTES + 1)
    length = len(line)
    if length <= MAX_BODY_BYTES or line.endswith(b"\n"):
        return line, length
    while not (rest := stream.readline(2**20)).endswith(b"\n") and rest:
        length += len(rest)
    return line[:_KEPT_OF_A_LONG_LINE], length + len(rest)


def _of_line(line: bytes, length: int) -> list[Element]:
    is_too_long = length - line.endswith(b"\n") > MAX_BODY_BYTES
    line = line.strip()
    if not line:
        return []
    if is_too_long:
        limit = f"at most {MAX_BODY_BYTES // 2**20} MiB"
        return [Element(Unreadable("too_large", Problem("", f"the line has {length:,} bytes", limit)), line)]
    try:
        return elements(line, limit=None)
    except ContractError as error:
        return [Element(Unreadable(error.code, error.problems[0]), line)]


def _json(path: Path, start: Place, size: int) -> Iterator[Batch]:
    """Events line by line, or one JSON document over many lines."""
    with _opened(path) as (stream, _, _total):
        first = b""
        while not first.strip() and (line := stream.readline(MAX_BODY_BYTES)):
            first = line.removeprefix(b"\xef\xbb\xbf")
        if not _is_part_of_a_document(first):
            yield from _ndjson(path, start, size)
            return
        stream.seek(0)
        body = stream.read(MAX_DOCUMENT_BYTES + 1).removeprefix(b"\xef\xbb\xbf")
    if len(body) > MAX_DOCUMENT_BYTES:
        raise ContractError(
            f"{path.name} is one JSON document of more than {MAX_DOCUMENT_BYTES // 2**20} MiB",
            hint="write one event a line (.ndjson)",
        )
    try:
        found = elements(body, limit=None)
    except ContractError as error:
        raise ContractError(
            f"{path.name}: {error}",
            error.problems,
            hint="one event a line in .ndjson, or a JSON list in .json",
        ) from None
    for at in range(start.count, len(found), size):
        part = found[at : at + size]
        end = at + len(part)
        yield Batch(part, list(range(at + 1, end + 1)), Place(0, end), end, len(found))


def _is_part_of_a_document(line: bytes) -> bool:
    """Whether a first line opens something that it does not close."""
    if line.strip()[:1] not in {b"[", b"{"}:
        return False
    try:
        elements(line, limit=None)
    except ContractError:
        return True
    return False


def _csv(path: Path, start: Place, size: int) -> Iterator[Batch]:
    csv.field_size_limit(MAX_BODY_BYTES)
    with (
        _opened(path) as (stream, tell, total),
        io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="") as text,
    ):
        first = text.readline()
        delimiter = max(",;\t", key=first.count)
        columns = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
        flat.check_columns(columns, path.name)
        rows = csv.reader(text, delimiter=delimiter)
        number = 0
        try:
            number = sum(1 for _ in islice(rows, start.count))
            while found := list(islice(rows, size)):
                batch = Batch(end=Place(0, number + len(found)), done=tell(), total=total)
                for number, cells in enumerate(found, number + 1):  # noqa: B020 - it counts all rows
                    if cells:
                        batch.add(_of_cells(columns, cells), number)
                yield batch
        except csv.Error as error:
            raise ContractError(f"{path.name} is no CSV after row {number}: {error}") from None


def _of_cells(columns: list[str], cells: list[str]) -> Element:
    if len(cells) != len(columns):
        problem = Problem("", f"the row has {len(cells)} cells", f"{len(columns)}, as the header has")
        return Element(Unreadable("invalid", problem), ",".join(cells).encode("utf-8", "surrogateescape"))
    present = zip(columns, cells, strict=True)
    return flat.element({column: flat.from_text(column, cell) for column, cell in present if cell != ""})


def _parquet(path: Path, start: Place, size: int) -> Iterator[Batch]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - only Parquet needs it
        from pyarrow import parquet  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"this installation cannot read Parquet: {error.name} is missing",
            hint="pip install 'framehouse[warehouse]'",
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            flat.check_columns(file.schema_arrow.names, path.name)
            total, number = file.metadata.num_rows, 0
            for found in file.iter_batches(batch_size=size):
                number += found.num_rows
                if number <= start.count:
                    continue
                fresh = found.slice(max(0, found.num_rows - (number - start.count)))
                batch = Batch(end=Place(0, number), done=number, total=total)
                first = number - fresh.num_rows + 1
                for place, record in enumerate(_microseconds(pa, fresh).to_pylist(), first):
                    batch.add(_of_record(record), place)
                yield batch
    except pa.ArrowException as error:
        raise ContractError(f"{path.name} is no sound Parquet file: {error}") from None


def _microseconds(pa: Any, batch: Any) -> Any:
    """Times of nanoseconds cut to microseconds, which is what Python and the database keep."""
    fields = [
        field.with_type(pa.timestamp("us", field.type.tz))
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns"
        else field
        for field in batch.schema
    ]
    return pa.Table.from_batches([batch]).cast(pa.schema(fields), safe=False)


def _of_record(record: dict[str, Any]) -> Element:
    return flat.element(
        {column: flat.from_typed(column, cell) for column, cell in record.items() if cell is not None}
    )


_READERS = {".ndjson": _ndjson, ".jsonl": _ndjson, ".json": _json, ".csv": _csv, ".parquet": _parquet}
