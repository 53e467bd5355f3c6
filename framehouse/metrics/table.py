"""Answers as tables: rows, Arrow, pandas, polars."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from framehouse.units import Unit

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

#: Answers to SQL have whatever PostgreSQL has besides.
Value = float | int | str | datetime | None


def number(value: object) -> float | None:
    """A value as a number; None for what is none."""
    return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an answer; keys have no unit.

    `type` is what PostgreSQL calls the type of its values (`float8`, `int4[]`), where the answer is to somebody's SQL.
    """

    name: str
    unit: Unit | None
    prose: str = ""
    type: str | None = None


@dataclass(frozen=True)
class Table:
    """An answer: named columns with units, rows in the order of their keys, and what answered.

    `sources` names the rollups (or raw) that were read, `why_raw` says why raw was among them.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    sources: tuple[str, ...]
    why_raw: str | None

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Value]]:
        names = [column.name for column in self.columns]
        return (dict(zip(names, row, strict=True)) for row in self.rows)

    def to_arrow(self) -> Any:
        """A pyarrow.Table; each field's metadata carries its unit and meaning."""
        import pyarrow as pa  # noqa: PLC0415 - a heavy import that plain rows do not need

        arrays, fields = [], []
        for index, column in enumerate(self.columns):
            values = [row[index] for row in self.rows]
            kind = _arrow_type(pa, column, values)
            if column.type is not None and column.type.startswith("numeric"):
                values = [_floats(value) for value in values]
            arrays.append(pa.array(values, kind))
            about = {"unit": column.unit.suffix if column.unit else "", "description": column.prose}
            fields.append(pa.field(column.name, kind, metadata=about))
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def to_pandas(self) -> "pd.DataFrame":
        """A pandas.DataFrame; `frame.attrs["units"]` maps columns to units."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        frame.attrs["units"] = {c.name: c.unit.suffix for c in self.columns if c.unit is not None}
        return frame

    def to_polars(self) -> "pl.DataFrame":
        """A polars.DataFrame."""
        import polars as pl  # noqa: PLC0415 - an optional dependency

        frame = pl.from_arrow(self.to_arrow())
        assert isinstance(frame, pl.DataFrame)
        return frame


def _arrow_type(pa: Any, column: Column, values: list[Value]) -> Any:
    if column.type is not None:
        kind = _ARROW_TYPES[column.type.removesuffix("[]")](pa)
        return _list_type(pa, kind, values) if column.type.endswith("[]") else kind
    if column.name == "bucket":
        return pa.timestamp("us", tz="UTC")
    if column.unit is None:
        return pa.string()
    is_whole = column.unit.suffix == "count" and all(isinstance(v, int | None) for v in values)
    return pa.int64() if is_whole else pa.float64()


#: Arrow's types by PostgreSQL's names; whatever is not among them comes as text.
_ARROW_TYPES: dict[str, Callable[[Any], Any]] = {
    "bool": lambda pa: pa.bool_(),
    "int2": lambda pa: pa.int16(),
    "int4": lambda pa: pa.int32(),
    "int8": lambda pa: pa.int64(),
    "oid": lambda pa: pa.int64(),
    "float4": lambda pa: pa.float32(),
    "float8": lambda pa: pa.float64(),
    "numeric": lambda pa: pa.float64(),
    "date": lambda pa: pa.date32(),
    "time": lambda pa: pa.time64("us"),
    "timestamp": lambda pa: pa.timestamp("us"),
    "timestamptz": lambda pa: pa.timestamp("us", tz="UTC"),
    "interval": lambda pa: pa.duration("us"),
    "bytea": lambda pa: pa.binary(),
    **dict.fromkeys(("text", "varchar", "bpchar", "name"), lambda pa: pa.string()),
}


def _list_type(pa: Any, kind: Any, values: list[Any]) -> Any:
    """Lists as deep as an array's values are: PostgreSQL's type does not say."""
    inner = [value for some in values for value in some or ()]
    is_deep = any(isinstance(value, list) for value in inner)
    return pa.list_(_list_type(pa, kind, inner) if is_deep else kind)


def _floats(value: Any) -> Any:
    if isinstance(value, list):
        return [_floats(one) for one in value]
    return None if value is None else float(value)
