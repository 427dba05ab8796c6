"""A table as a study's data: its types, its split, its encoding, and the labels that are kept from it.

Legend: N rows, F encoded columns.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tuner.data.columns.cells import Distinct, Format, Values
from tuner.data.columns.decisions import read_as, values_of
from tuner.data.columns.encoder import TableEncoder
from tuner.data.columns.odd import SHOWN
from tuner.data.columns.typed import TypedTable, typed
from tuner.data.dataset import Numbers
from tuner.data.labels import Labels
from tuner.data.source_table import SourceTable
from tuner.data.split import Key
from tuner.errors import DataError
from tuner.spec.data import DataSpec
from tuner.spec.rules import NEWEST

ADVICE = "say data.missing: mask, mean, median or drop, or leave columns out with data.exclude"


@dataclass(frozen=True, eq=False, slots=True)
class TableData:
    """A table whose columns have types, encoded as its training rows say.

    Attributes:
        table: the modelled columns.
        encoder: fitted on the training rows.
        labels: what the rows are known to be, where that is declared.
        numbers: (N,) each row's number in the source, from 0; rows that were dropped are not there.
    """

    table: TypedTable
    encoder: TableEncoder
    labels: Labels | None
    numbers: Numbers

    @property
    def where(self) -> str:
        """The source, for messages."""
        return self.table.source.where

    @property
    def rows(self) -> int:
        """N."""
        return self.table.rows

    @property
    def names(self) -> tuple[str, ...]:
        """Of the encoded columns."""
        return self.encoder.names

    @property
    def shape(self) -> tuple[int, ...]:
        """(F,)."""
        return (len(self.names),)

    def raw(self, rows: Numbers) -> Values:
        """See `Data`."""
        return self.encoder.encode_typed(self.table, rows)

    def plain_rows(self) -> Values:
        """See `Data`."""
        return np.column_stack([column.values for column in self.table.columns])

    def digest(self, block: dict[str, Any]) -> str:
        """See `Data`: of the modelled columns' names, types, formats, levels and values, before they are encoded."""
        about = [(c.name, c.type, c.format.digested(), c.levels) for c in self.table.columns]
        classes = self.labels.classes if self.labels else ()
        digest = hashlib.sha256(json.dumps([about, classes, self.rows, block], sort_keys=True).encode())
        for column in self.table.columns:
            digest.update(np.ascontiguousarray(column.values, dtype="<f8").data)
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels.codes, dtype="<i4").data)
        return digest.hexdigest()


def without_missing(
    source: SourceTable, spec: DataSpec, rules: int = NEWEST
) -> tuple[TypedTable, Numbers, tuple[str, ...]]:
    """The typed table, with what is declared of missing values carried out or refused.

    Returns:
        The table; the number in the source of each of its rows; and what was decided, a sentence each.

    Raises:
        DataError: values are missing where none may be, or no row is without one.
    """
    table = typed(source, spec, rules=rules)
    numbers = np.arange(table.rows, dtype=np.int64)
    counts = {column.name: int(column.missing.sum()) for column in table.columns}
    gaps = {name: count for name, count in counts.items() if count}
    if not gaps or spec.missing not in ("error", "drop"):
        return table, numbers, table.notes
    if spec.missing == "error":
        raise DataError(_missing_sentence(table, gaps))
    whole = ~np.any([column.missing for column in table.columns], axis=0)
    if not whole.any():
        worst = max(gaps, key=lambda name: gaps[name])
        raise DataError(
            f"data.missing: drop leaves no row, for each has a missing value (column {worst} has {gaps[worst]:,});"
            " say mask, or leave columns out with data.exclude."
        )
    kept = numbers[whole]
    note = f"{table.rows - len(kept):,} of {table.rows:,} rows have a missing value and are dropped."
    return table.kept(kept), kept, (*table.notes, note)


def _missing_sentence(table: TypedTable, gaps: dict[str, int]) -> str:
    shown = []
    for column in [one for one in table.columns if one.name in gaps][:SHOWN]:
        first = table.source.place(int(column.missing.argmax()))
        shown.append(f"{column.name} ({gaps[column.name]:,} of {table.rows:,}, the first in {first})")
    more = f" and {len(gaps) - SHOWN} more columns" if len(gaps) > SHOWN else ""
    return f"must have no missing values, got some in {', '.join(shown)}{more}; {ADVICE}."


def labels_of(source: SourceTable, name: str, rows: Numbers) -> Labels:
    """The labels of some rows: numbers as they are, text as it is written.

    Raises:
        DataError: one is missing, or they are too many or too few to distinguish rows.
    """
    column = source.table.column(name).take(pa.array(rows))
    distinct = Distinct(column)
    gone = np.append(distinct.texts == "", True)[distinct.codes]
    if gone.any():
        place = source.place(int(rows[int(gone.argmax())]))
        raise DataError(
            f"data.label: {name}, {place}: every row must have a label, got a missing value ({gone.sum()} in all)."
        )
    if not source.is_text and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return Labels.of(name, np.asarray(column.to_numpy()), "row", 1)
    return Labels.written(name, tuple(map(str, distinct.texts)), distinct.codes.astype(np.intp))


def moments_or_numbers(key: Key) -> NDArray[Any]:
    """A key's texts that are numbers or moments as such, so that they have their order; others as they are.

    Raises:
        DataError: most are numbers or moments, and some are not; the sentence names the first one and counts them.
    """
    if key.values.dtype.kind != "O":
        return key.values
    distinct = Distinct(pa.chunked_array([pa.array(key.values.tolist(), pa.string())]))
    found = read_as(distinct, Format(kind="text"), frozenset())
    if found.type not in ("numeric", "datetime"):
        return key.values
    seconds, odd = values_of(distinct, found.format)
    if odd.any():
        row = distinct.first(odd)
        what = "a number" if found.type == "numeric" else f"a time ({found.format.date})"
        raise DataError(
            f"{key.option}: {key.name}, {key.place(row)}: must be {what} in every row, got"
            f" {str(key.values[row])[:50]!r} ({int(distinct.counts[odd].sum()):,} such in all)."
        )
    return seconds if found.type == "numeric" else (seconds * 1e6).astype("datetime64[us]")


def key_values(source: SourceTable, name: str) -> NDArray[Any]:
    """A column as it is split by, (N,): numbers, moments (datetime64), or texts with None for missing ones."""
    column = source.table.column(name)
    if not source.is_text and not pa.types.is_string(column.type) and not pa.types.is_dictionary(column.type):
        return np.asarray(column.to_numpy())
    distinct = Distinct(column)
    texts = np.array([text or None for text in distinct.texts] + [None], dtype=object)
    return texts[distinct.codes]
