"""Answers as tables: rows, Arrow, pandas, polars."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from framehouse.units import Unit

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

Value = float | int | str | datetime | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an answer; keys have no unit."""

    name: str
    unit: Unit | None
    prose: str


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
    if column.name == "bucket":
        return pa.timestamp("us", tz="UTC")
    if column.unit is None:
        return pa.string()
    is_whole = column.unit.suffix == "count" and all(isinstance(v, int | None) for v in values)
    return pa.int64() if is_whole else pa.float64()
