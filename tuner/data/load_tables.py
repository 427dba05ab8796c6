"""The tables that a declaration's data block names: a file, several, or one in memory.

Legend: N rows.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tuner.data.arrays import as_rows
from tuner.data.memory import in_memory, memory_notes
from tuner.data.readers import LEAST_ROWS, MEMORY, file_errors, given, mode_of, reader_of
from tuner.data.source_table import SourceTable
from tuner.data.sources import Sources
from tuner.data.tables import is_table, read_table
from tuner.errors import DataError
from tuner.spec.data import DataSpec
from tuner.spec.rules import NEWEST, TYPED


def load_table(spec: DataSpec, sources: Sources, rules: int = NEWEST) -> SourceTable | None:
    """The table that a declaration's data block names; None where it names something else, or by older rules.

    Args:
        spec: the block.
        sources: where a path in it leads.
        rules: the study's number of rules.

    Raises:
        DataError: the table cannot be read.
    """
    if rules < TYPED or spec.source.startswith("sklearn:"):
        return None
    with file_errors(spec.source):
        if spec.source == MEMORY:
            return _memory_table(spec, given(sources))
        path = sources.path(spec.source)
        if "*" not in spec.source:
            mode_of(path, spec.source)
        if is_table(path):
            return _whole(read_table(path, spec, sources))
        if spec.missing == "error" or path.suffix.lower() not in (".npy", ".npz"):
            return None
        return _columns_of(reader_of(path, spec.source, spec)(path, spec, rules).values, spec.source)


def load_files(spec: DataSpec, sources: Sources) -> tuple[SourceTable, tuple[int, int, int]]:
    """The tables of `data.source`, `data.split.validation` and `data.split.test` as one, and the rows of each.

    Raises:
        DataError: one cannot be read, or their columns differ.
    """
    split, read = spec.split, []
    names = (spec.source, split.validation, split.test) if split else ()
    for name in names:
        one = load_table(spec.model_copy(update={"source": name, "split": None}), sources)
        if one is None:
            raise DataError(
                f"{name}: must be a table, as data.split.validation and data.split.test are for these alone."
            )
        read.append(one)
        missing = [column for column in read[0].table.column_names if column not in one.table.column_names]
        if missing:
            raise DataError(f"{name}: must have the columns of {spec.source}, missing: {', '.join(missing[:20])}.")
    first = read[0]
    try:
        table = pa.concat_tables(
            [one.table.select(first.table.column_names) for one in read], promote_options="permissive"
        )
    except pa.ArrowException as error:
        raise DataError(
            f"{spec.source}: must have columns of the same types as the other files, got: {error}"
        ) from None
    counts = [len(one.places) for one in read]
    parts = tuple((PurePath(one.where).name, sum(counts[:n])) for n, one in enumerate(read))
    notes = tuple(dict.fromkeys(note for one in read for note in one.notes))
    places = np.concatenate([one.places for one in read])
    return replace(first, table=table, places=places, notes=notes, parts=parts), (counts[0], counts[1], counts[2])


def _memory_table(spec: DataSpec, data: object) -> SourceTable | None:
    split = () if spec.split is None else tuple(value for _, value in spec.split if value)
    taken = in_memory(data, {*(spec.columns or ()), *(spec.exclude or ()), *filter(None, (spec.label,)), *split})
    if isinstance(taken, SourceTable):
        return _whole(replace(taken, where=MEMORY, notes=(*memory_notes(data), *taken.notes)))
    if spec.missing == "error" or taken.ndim != 2:
        return None
    return _columns_of(as_rows(taken).values, MEMORY)


def _columns_of(values: NDArray[np.float64], where: str) -> SourceTable:
    """An array's columns as a table's, for values of it may be missing."""
    return _whole(SourceTable.of_array(values, where))


def _whole(table: SourceTable) -> SourceTable:
    """Refuse what no autoencoder can learn from."""
    if len(table.places) < LEAST_ROWS or not table.table.num_columns:
        raise DataError(
            f"must have at least {LEAST_ROWS} rows and 1 column, got {len(table.places)} and {table.table.num_columns}."
        )
    return table
