"""Attempts read from any file of them: the contract's events, or a table with other columns."""

import ast
import gzip
import json
import math
import operator
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from framehouse.errors import ConfigError, ContractError
from framehouse.estimates.backtest import Attempt
from framehouse.estimates.candidates import Array

if TYPE_CHECKING:
    import pyarrow as pa

#: What the contract's events say of the work.
CONTRACT_WORKS: Mapping[str, str] = {
    "segments": "segment_count",
    "frames": "frame_count",
    "megapixel_frames": "frame_count * width * height / 1000000",
    "input_seconds": "input.duration_seconds",
}
_OTHER_ORDERS = "name another column with --time, or order attempts by --order file or --order random"
#: What is true, as JSON, PostgreSQL, people and data frames write it.
_TRUE = frozenset({"true", "t", "yes", "1", "1.0"})
_OPERATORS: Mapping[type[ast.operator], Callable[[Array, Array], Array]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns mean what. `cost` and `works` are arithmetic over columns: `20 * batch_size / it_per_s`.

    keys      name a workflow and tier together
    order_by  the time that attempts became known; None: as they stand in the file
    """

    keys: Sequence[str] = ("workflow", "tier")
    worker: str | None = "worker"
    order_by: str | None = "finished_at"
    cost: str = "wall_seconds"
    works: Mapping[str, str] = field(default_factory=lambda: CONTRACT_WORKS)


@dataclass(frozen=True, slots=True)
class Trace:
    """Attempts in their order (and whether that is the one asked for: a file without times keeps its own), and how many
    rows were left out because they stand there before, did not succeed or have no cost."""

    attempts: list[Attempt]
    is_in_order: bool
    repeated_count: int
    unsuccessful_count: int
    costless_count: int


def read_trace(path: Path, columns: Columns, shuffled_by: int | None = None) -> Trace:
    """The succeeded attempts of a CSV, NDJSON, JSON (each also as .gz) or Parquet file, in the order of their time, or
    in a random one by a seed. Of rows with the same job_id and attempt the first one counts.

    Columns that `columns` names must be there, but for the contract's own tier, worker, time and amounts of work.
    Raises ConfigError for what cannot be read, ContractError for columns that are missing or no numbers or times.
    """
    if not columns.keys:
        raise ConfigError(
            "histories have no column to be known by", hint="name at least one column: --key workflow,tier"
        )
    table = _table(path)
    if not table.num_rows:
        raise ContractError(f"{path} holds no attempts", hint="give a file with an attempt in each row")
    rows = _Rows(path, table)
    names = columns.keys if columns.keys != Columns().keys or "tier" in rows else ("workflow",)
    keys = ["|".join(parts) for parts in zip(*(rows.texts(name) for name in names), strict=True)]
    is_default = columns.worker == "worker" and "worker" not in rows
    workers = [None] * len(keys) if columns.worker is None or is_default else rows.texts(columns.worker, None)
    is_cold = rows.flags("is_cold") if "is_cold" in rows else [None] * len(keys)
    costs = rows.numbers(columns.cost)
    works = {
        name: rows.numbers(said)
        for name, said in columns.works.items()
        if columns.works is not CONTRACT_WORKS or rows.has_all(said)
    }
    succeeded = (
        np.array([text == "succeeded" for text in rows.texts("outcome")])
        if "outcome" in rows
        else np.ones(len(keys), bool)
    )
    known = np.isfinite(costs) & (costs >= 0)
    first = rows.firsts()
    order = np.flatnonzero(first & succeeded & known)
    is_in_order = shuffled_by is not None or columns.order_by is None or columns.order_by in rows
    if shuffled_by is not None:
        order = np.random.default_rng(shuffled_by).permutation(order)
    elif columns.order_by is not None and (is_in_order or columns.order_by != "finished_at"):
        order = order[np.argsort(rows.times(columns.order_by, order), kind="stable")]
    attempts = [
        Attempt(
            keys[index],
            float(costs[index]),
            {name: float(found[index]) for name, found in works.items() if 0 < found[index] < math.inf},
            workers[index],
            is_cold[index],
        )
        for index in order
    ]
    return Trace(
        attempts,
        is_in_order,
        repeated_count=int((~first).sum()),
        unsuccessful_count=int((first & ~succeeded).sum()),
        costless_count=int((first & succeeded & ~known).sum()),
    )


class _Rows:
    """Columns of a table by name, as texts, numbers or times."""

    def __init__(self, path: Path, table: "pa.Table") -> None:
        self._path = path
        self._table = table

    def __contains__(self, name: str) -> bool:
        return name in self._table.column_names

    def texts(self, name: str, missing: str | None = "") -> list[Any]:
        return [
            missing if value is None or value == "" else str(value)
            for value in self._column(name).to_pylist()
        ]

    def flags(self, name: str) -> list[bool | None]:
        return [None if text is None else text.lower() in _TRUE for text in self.texts(name, None)]

    def firsts(self) -> np.ndarray[Any, Any]:
        """Which rows are the first of their job's attempt: events may be sent, and so be kept, twice."""
        if "job_id" not in self or "attempt" not in self:
            return np.ones(len(self._table), bool)
        seen: set[tuple[str, str]] = set()
        found = []
        for job, attempt in zip(self.texts("job_id", None), self.texts("attempt", "1"), strict=True):
            found.append(job is None or (job, attempt) not in seen)
            seen.add((job, attempt))
        return np.array(found)

    def times(self, name: str, order: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """What sorts the rows in `order` by time: numbers, timestamps, or ISO texts of whatever offset as instants."""
        import pyarrow as pa  # noqa: PLC0415 - heavy
        import pyarrow.compute as pc  # noqa: PLC0415

        column = self._column(name).take(pa.array(order))
        found: np.ndarray[Any, Any] = column.to_numpy()
        missing = pc.sum(pc.is_null(column, nan_is_null=True)).as_py() or 0
        if missing := missing + sum(isinstance(value, str) and not value.strip() for value in found):
            raise ContractError(f"{self._path}: attempts without {name}: {missing:,}", hint=_OTHER_ORDERS)
        if found.dtype != object or pa.types.is_decimal(column.type):
            return found
        return np.array([self._instant(name, value) for value in found])

    def _instant(self, name: str, value: Any) -> datetime:
        try:
            time = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            raise ContractError(
                f"{self._path}: {value!r} in column {name!r} is no ISO 8601 time", hint=_OTHER_ORDERS
            ) from None
        return time if time.tzinfo is not None else time.replace(tzinfo=UTC)

    def has_all(self, expression: str) -> bool:
        return all(name in self for name in _names(_parsed(expression)))

    def numbers(self, expression: str) -> Array:
        """A column of whatever name, or arithmetic over columns; NaN where a part is missing."""
        if expression in self:
            return self._number(expression)
        try:
            with np.errstate(all="ignore"):
                found = self._evaluate(_parsed(expression), expression)
        except RecursionError:
            raise ConfigError(
                f"{expression[:40]!r} and so on is too long", hint="add a column to the file that holds it"
            ) from None
        return np.broadcast_to(found, (len(self._table),))

    def _evaluate(self, node: ast.expr, whole: str) -> Array:
        match node:
            case ast.Constant(value=float() | int() as number) if _is_number(number):
                return np.array(float(number))
            case ast.Name() | ast.Attribute():
                return self._number(ast.unparse(node))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._evaluate(operand, whole)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](self._evaluate(left, whole), self._evaluate(right, whole))
            case _:
                raise ConfigError(
                    f"{whole!r} is no arithmetic over columns",
                    hint="columns, numbers, + - * / and parentheses, as in '20 * batch_size / it_per_s'",
                )

    def _number(self, name: str) -> Array:
        import pyarrow as pa  # noqa: PLC0415 - heavy
        import pyarrow.compute as pc  # noqa: PLC0415

        column = self._column(name)
        try:
            if pa.types.is_string(column.type):
                column = pc.if_else(pc.equal(column, ""), None, column)
            if pa.types.is_boolean(column.type):
                raise pa.ArrowInvalid("true and false are none")
            found: Array = column.cast(pa.float64()).to_numpy()
        except pa.ArrowException as error:
            raise ContractError(
                f"{self._path}: column {name!r} holds no numbers: {error}",
                hint="name a column of numbers, or arithmetic over such columns",
            ) from None
        return found

    def _column(self, name: str) -> Any:
        if name not in self:
            raise ContractError(
                f"{self._path} has no column {name!r}",
                hint=f"it has {', '.join(self._table.column_names[:40])}",
            )
        if self._table.column_names.count(name) > 1:
            raise ContractError(
                f"{self._path} has column {name!r} more than once", hint="give each column a name of its own"
            )
        return self._table.column(name)


def _is_number(said: float) -> bool:
    """True is an int to Python, and an int may be larger than any float."""
    return not isinstance(said, bool) and said <= sys.float_info.max


def _names(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Name | ast.Attribute):
        return [ast.unparse(node)]
    return [
        name for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr) for name in _names(child)
    ]


def _parsed(expression: str) -> ast.expr:
    try:
        return ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, UnicodeEncodeError):
        raise ConfigError(
            f"{expression!r} is no arithmetic over columns", hint="as in '20 * batch_size / it_per_s'"
        ) from None


def _table(path: Path) -> "pa.Table":
    """All of a file, nested fields by dotted names."""
    import pyarrow as pa  # noqa: PLC0415 - heavy
    import pyarrow.csv  # noqa: PLC0415
    import pyarrow.parquet  # noqa: PLC0415

    name = path.name.lower()
    kind, packed = name.removesuffix(".gz").rpartition(".")[2], "gzip" if name.endswith(".gz") else None
    try:
        if kind == "parquet":
            table = pa.parquet.read_table(path)
        elif kind == "csv":
            with pa.input_stream(str(path), compression=packed) as file:
                table = pa.csv.read_csv(file)
        elif kind in {"ndjson", "jsonl", "json"}:
            records = _records(path)
            # Names of all records: the first one may leave out what others say.
            names = dict.fromkeys(name for record in records for name in record)
            table = pa.table({name: _column([record.get(name) for record in records]) for name in names})
        else:
            raise ConfigError(
                f"{path} is no kind of file that can be read",
                hint="give .csv, .ndjson, .jsonl, .json (each also as .gz) or .parquet",
            )
        " ".join(table.column_names)  # of which pyarrow does not ask until then whether they are UTF-8
    except (
        OSError,
        EOFError,
        zlib.error,
        pa.ArrowException,
        ValueError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}", hint="give a whole file of the kind that its name says"
        ) from None
    while any(pa.types.is_struct(column.type) for column in table.schema):
        table = table.flatten()
    return table


def _column(values: list[Any]) -> "pa.Array":
    """A column of records; as texts where no type holds all of it: of parameters, say, that are a seed of 64 bits here
    and a name there."""
    import pyarrow as pa  # noqa: PLC0415 - heavy

    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array(
            [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
        )


def _records(path: Path) -> list[dict[str, Any]]:
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig") as file:
        text = file.read()
    if text.lstrip().startswith("["):
        found = {f"record {place}": record for place, record in enumerate(json.loads(text), 1)}
    else:
        # Not splitlines(): it tears texts that hold other breaks than newlines.
        lines = {f"line {number}": line for number, line in enumerate(text.split("\n"), 1) if line.strip()}
        found = {where: _json(path, where, line) for where, line in lines.items()}
    for where, record in found.items():
        if not isinstance(record, dict):
            raise ContractError(
                f"{path}: {where} is no object: {json.dumps(record)[:80]}",
                hint='an attempt is an object of its columns, as in {"workflow": "portrait", "wall_seconds": 61.5}',
            )
    return list(found.values())


def _json(path: Path, where: str, line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{path}: {where} is no JSON: {error.msg} at column {error.colno}", hint="a line is one object"
        ) from None
