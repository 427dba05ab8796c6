"""All columns of a table as one matrix, and back.

Legend: N rows, F encoded columns.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from tuner.data.columns.arrow import ready_values
from tuner.data.columns.cells import Distinct, Values, is_missing
from tuner.data.columns.decisions import values_of
from tuner.data.columns.fields import (
    AnyField,
    IndicatorField,
    LevelField,
    MomentField,
    NumberField,
    ReadField,
    YesNoField,
    fit_field,
)
from tuner.data.columns.typed import TypedTable
from tuner.data.encoded import EncodedColumn
from tuner.data.source_table import SourceTable
from tuner.errors import DataError
from tuner.spec.data import ColumnSpec, DataSpec, Missing, ReadSpec


class TableEncoder(BaseModel):
    """The fields of a table, in the order of their encoded columns.

    Attributes:
        fields: one for each modelled column, an indicator behind the column it tells of.
        missing: what becomes of missing values.
        fills: where they are filled with a mean or median, the value of each field; empty otherwise.
        weights: how much each column counts in the loss.
        read: how the file was read that it was fitted on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    fields: tuple[AnyField, ...]
    missing: Missing
    fills: Mapping[str, float]
    weights: Mapping[str, float]
    read: ReadSpec

    @classmethod
    def fit(cls, table: TypedTable, train: NDArray[np.int64], spec: DataSpec, rates: Collection[str] = ()) -> Self:
        """Fit to the rows of those numbers; `rates` are the columns that have Poisson's loss."""
        fields: list[AnyField] = []
        fills: dict[str, float] = {}
        for column in table.columns:
            declared = spec.described.get(column.name, ColumnSpec())
            scaling = declared.scaling or spec.scaling
            made = fit_field(column, train, scaling, declared.levels, column.name in rates)
            fields.append(made)
            values = in_field(made, column.values, column.levels)[train]
            if spec.missing in ("mean", "median"):
                fills[column.name] = _fill(made, values, spec.missing)
            if spec.indicators and spec.missing in ("mean", "median", "mask") and column.missing.any():
                fields.append(IndicatorField(name=column.name))
        weights = {name: one.weight for name, one in spec.described.items()}
        return cls(fields=tuple(fields), missing=spec.missing, fills=fills, weights=weights, read=table.source.read)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the encoded columns, F of them."""
        return tuple(name for field in self.fields for name in field.names)

    @cached_property
    def limits(self) -> Values | None:
        """How far from 0 each encoded column may be, (F,); None where no column has a limit."""
        found = np.array([limit for field in self.fields for limit in field.limits])
        return found if np.isfinite(found).any() else None

    @cached_property
    def table_names(self) -> tuple[str, ...]:
        """Of the table's columns."""
        return tuple(field.name for field in self.fields if not isinstance(field, IndicatorField))

    @property
    def is_of_array(self) -> bool:
        """The table was an array with missing values, whose columns are called x0, x1, ..."""
        return all(re.fullmatch(r"x\d+", name) for name in self.table_names)

    @cached_property
    def columns(self) -> tuple[EncodedColumn, ...]:
        """Where each of the table's columns is among the encoded ones; indicators count as columns without weight."""
        found, first = [], 0
        for field in self.fields:
            levels = _levels(field)
            weight = 0.0 if isinstance(field, IndicatorField) else self.weights.get(field.name, 1.0)
            name = field.names[0] if isinstance(field, IndicatorField) else field.name
            found.append(EncodedColumn(name, field.type, first, first + field.width, levels, weight))
            first += field.width
        return tuple(found)

    @property
    def declared(self) -> tuple[EncodedColumn, ...]:
        """Those of the table's own columns, in the order of `table_names`."""
        both = zip(self.fields, self.columns, strict=True)
        return tuple(column for field, column in both if not isinstance(field, IndicatorField))

    def encode(self, values: Mapping[str, Values]) -> Values:
        """Values of the fields, (N,) each by column, to (N, F)."""
        parts = []
        for field in self.fields:
            column = values[field.name]
            if not isinstance(field, IndicatorField) and field.name in self.fills:
                column = np.where(np.isnan(column), self.fills[field.name], column)
            parts.append(field.encode(column))
        return np.concatenate(parts, axis=1)

    def encode_typed(self, table: TypedTable, rows: NDArray[np.int64]) -> Values:
        """Some rows of the table that it was fitted on, (N, F)."""
        by_name = {field.name: field for field in self.fields if not isinstance(field, IndicatorField)}
        return self.encode({c.name: in_field(by_name[c.name], c.values[rows], c.levels) for c in table.columns})

    def read_table(self, source: SourceTable) -> Read:
        """New rows, by the types and formats that the columns had.

        Raises:
            DataError: a column is not there.
        """
        there = set(source.table.column_names)
        gone = [name for name in self.table_names if name not in there]
        if gone:
            raise DataError(
                f"must have the model's columns, missing: {', '.join(gone[:20])};"
                f" it has {', '.join(source.table.column_names[:20])}."
            )
        values, odd = {}, {}
        for field in self.fields:
            if not isinstance(field, IndicatorField):
                values[field.name], wrong = _cells(field, source)
                if wrong is not None:
                    odd[field.name] = wrong
        return Read(self.encode(values), odd)

    def decode(self, encoded_NF: NDArray[np.floating[Any]]) -> pd.DataFrame:
        """(N, F) encoded columns to the table's, with their names, types and levels."""
        made: dict[str, pd.Series[Any]] = {}
        for field, column in zip(self.fields, self.columns, strict=True):
            if not isinstance(field, IndicatorField):
                part = np.asarray(encoded_NF[:, column.first : column.last], np.float64)
                made[field.name] = field.written(field.decode(part))
        return pd.DataFrame(made)

    def in_units(self, place: int, encoded: float) -> str:
        """A value of an encoded column as the table has it, for messages."""
        for field, column in zip(self.fields, self.columns, strict=True):
            if place == column.first and isinstance(field, NumberField | MomentField):
                values = field.decode(np.full((1, field.width), encoded))
                return f"{values[0]:g}" if isinstance(field, NumberField) else str(field.written(values).iloc[0])
        return f"{encoded:g}"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `model_dump_json` wrote.

        Raises:
            DataError: it is something else.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise DataError(f"preprocessing: expected the columns of a table, got {where}: {first['msg']}") from None


@dataclass(frozen=True, eq=False, slots=True)
class Read:
    """New rows as a model takes them.

    Attributes:
        encoded_NF: the encoded columns; NaN is missing.
        odd: of each column with cells that are not of its type: the first of them and how many there are.
    """

    encoded_NF: Values
    odd: Mapping[str, tuple[str, int, int]]


def in_field(field: AnyField, values_N: Values, levels: tuple[str, ...]) -> Values:
    """A typed column's values as its field has them: places of levels differ between the two."""
    if not isinstance(field, LevelField):
        return values_N
    places = np.append(field.places(levels), np.nan)
    return np.asarray(places[np.where(np.isnan(values_N), len(levels), values_N).astype(np.int64)], np.float64)


def _levels(field: AnyField) -> tuple[str, ...]:
    if isinstance(field, LevelField):
        return field.levels
    return field.words if isinstance(field, YesNoField) else ()


def _fill(field: AnyField, values_N: Values, how: str) -> float:
    """What a missing value of a field is filled with: the mean or median, or the commonest level."""
    present = values_N[~np.isnan(values_N)]
    if not len(present):
        return 0.0
    if isinstance(field, LevelField | YesNoField):
        return float(np.bincount(present.astype(np.int64)).argmax())
    return float(np.median(present) if how == "median" else present.mean())


def _cells(field: ReadField, source: SourceTable) -> tuple[Values, tuple[str, int, int] | None]:
    """A column's values (N,) in its field, and of its odd cells the first text, its row and how many there are."""
    column = source.table.column(field.name)
    ready = ready_values(column, source.is_text, field.format)
    if ready is not None:
        infinite = np.isinf(ready)
        if not infinite.any():
            return ready, None
        first = int(infinite.argmax())
        return np.where(infinite, np.nan, ready), (str(column[first].as_py()), first, int(infinite.sum()))
    distinct = Distinct(column)
    if isinstance(field, LevelField):
        gone = is_missing(distinct.texts, field.format.missing, frozenset(("",)))
        places = np.where(gone, np.nan, field.places(tuple(map(str, distinct.texts))))
        return np.asarray(distinct.spread(places, np.nan), np.float64), None
    if isinstance(field, YesNoField) and field.words == ("0", "1"):
        values, odd = values_of(distinct, field.format.model_copy(update={"kind": "number"}))
    else:
        values, odd = values_of(distinct, field.format)
    if not odd.any():
        return values, None
    return values, (str(distinct.texts[odd][0]), distinct.first(odd), int(distinct.counts[odd].sum()))
