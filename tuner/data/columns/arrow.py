"""Columns whose cells are values already: plain numbers in text, and whatever an Arrow table gives a type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tuner.data.columns.cells import Format, Values
from tuner.data.columns.decisions import WORDS
from tuner.spec.data import ColumnType


@dataclass(frozen=True, eq=False, slots=True)
class Ready:
    """A column's values as its source has them; None of one that cannot be modelled, with the reason."""

    type: ColumnType
    format: Format
    values: Values | None = None
    levels: tuple[str, ...] = ()
    why: str = ""


def ready_values(column: pa.ChunkedArray, is_text: bool, how: Format) -> Values | None:
    """Values (N,) of a column whose format is known; None where its cells have to be read as text."""
    if how.kind == "text":
        return None
    if how.kind == "number" and not how.percent:
        plain = plain_numbers(column, is_text, how)
        if plain is not None:
            return plain
    found = None if is_text else of_arrow(column, how)
    return None if found is None else found.values


def plain_numbers(column: pa.ChunkedArray, is_text: bool, base: Format) -> Values | None:
    """Numbers that need no format, fast, for most columns are such and there may be 60,000; else None.

    Infinity is among them where it is in a cell.
    """
    if not is_text and not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return None
    if is_text and (base.decimal != "." or base.thousands or base.missing):
        return None
    try:
        filled = pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column) if is_text else column
        values = filled.cast(pa.float64()).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    if base.missing and not is_text:
        given = pd.to_numeric(pd.Series(list(base.missing)), errors="coerce").dropna()
        values = np.where(np.isin(values, given.to_numpy(float)), np.nan, values)
    return np.asarray(values, np.float64)


def of_arrow(column: pa.ChunkedArray, base: Format) -> Ready | None:
    """A column that its source gives a type; None for text."""
    made = next((make(column, base) for fits, make in _OF_ARROW if fits(column.type)), None)
    if made is None or made.values is None or made.type == "numeric":
        return made
    present = made.values[~np.isnan(made.values)]
    return made if len(present) and (present != present[0]).any() else _constant(base)


def _yes_no(column: pa.ChunkedArray, base: Format) -> Ready:
    how = base.model_copy(update={"kind": "boolean", "words": WORDS[0]})
    return Ready("boolean", how, column.cast(pa.int8()).cast(pa.float64()).to_numpy(), WORDS[0])


def _moments(column: pa.ChunkedArray, base: Format) -> Ready:
    moments = column.cast(pa.timestamp("us")).to_numpy().astype("datetime64[us]")
    seconds = np.where(np.isnat(moments), np.nan, moments.astype(np.int64) / 1e6)
    return Ready("datetime", base.model_copy(update={"kind": "date", "date": "ISO8601"}), seconds)


def _numeric(column: pa.ChunkedArray, base: Format) -> Ready:
    """Decimals as they are, times of the day and durations in seconds."""
    kind = column.type
    if pa.types.is_time(kind):
        column = column.cast(pa.time64("us")).cast(pa.int64())
    elif pa.types.is_duration(kind):
        column = column.cast(pa.duration("us")).cast(pa.int64())
    values = column.cast(pa.float64()).to_numpy() / (1 if pa.types.is_decimal(kind) else 1e6)
    return Ready("numeric", base.model_copy(update={"kind": "number"}), values)


def _no_cells(column: pa.ChunkedArray, base: Format) -> Ready:
    return Ready("text", base, why=f"it holds {column.type}")


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


_OF_ARROW: Final[tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.ChunkedArray, Format], Ready]], ...]] = (
    (pa.types.is_boolean, _yes_no),
    (pa.types.is_temporal, lambda column, base: (_moments if _is_moment(column.type) else _numeric)(column, base)),
    (pa.types.is_decimal, _numeric),
    (pa.types.is_nested, _no_cells),
    (_is_binary, _no_cells),
    (pa.types.is_null, lambda _, base: Ready("constant", base, why="it has no values")),
)


def _is_moment(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _constant(base: Format) -> Ready:
    return Ready("constant", base, why="it is the same in all rows")
