"""Parquet, Feather and Arrow files by the names that Arrow has for their columns; what pandas notes is ignored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tuner.data.source_table import SourceTable
from tuner.data.tables.names import settled_names
from tuner.data.tables.opening import opened, stem
from tuner.errors import DataError
from tuner.spec.data import ReadSpec

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET = (".parquet", ".pq")
ARROW = (".feather", ".arrow", ".ipc")


def read_arrow(path: Path, where: str, read: ReadSpec) -> SourceTable:
    """A whole Parquet, Feather or Arrow file.

    Args:
        path: of the file, compressed or not.
        where: its name in messages.
        read: what is declared; of it only `missing` can apply.

    Raises:
        DataError: it is damaged, or has no rows.
    """
    import pyarrow as pa  # noqa: PLC0415 - half a second, and only tables need it

    with _batches(path, None) as (schema, batches):
        table = pa.Table.from_batches(list(batches), schema)
    if not table.num_rows:
        raise DataError("must have rows, got a table without any.")
    return of_table(table, where, read)


def arrow_blocks(path: Path, where: str, read: ReadSpec, rows_at_once: int) -> Iterator[SourceTable]:
    """The rows of such a file, block by block; notes come with the first.

    Raises:
        DataError: it is damaged.
    """
    import pyarrow as pa  # noqa: PLC0415

    shape: tuple[list[int], list[str]] | None = None
    first = 0
    with _batches(path, rows_at_once) as (schema, batches):
        for batch in batches:
            table = pa.Table.from_batches([batch], schema)
            notes: list[str] = []
            if shape is None:
                kept, names, notes = settled_names(schema.names, table.columns)
                shape = kept, names
            yield _numbered(table.select(shape[0]).rename_columns(shape[1]), where, read, first, tuple(notes))
            first += table.num_rows


def of_table(table: pa.Table, where: str, read: ReadSpec) -> SourceTable:
    """A table of Arrow's without its indices, its columns called by unique names.

    Args:
        table: (N,) rows.
        where: its name in messages.
        read: what is declared of it.
    """
    kept, names, notes = settled_names(table.column_names, table.columns)
    return _numbered(table.select(kept).rename_columns(names), where, read, 0, tuple(notes))


def _numbered(table: pa.Table, where: str, read: ReadSpec, before: int, notes: tuple[str, ...]) -> SourceTable:
    places = np.arange(before + 1, before + table.num_rows + 1, dtype=np.int64)
    return SourceTable(table.replace_schema_metadata(None), where, False, "row", places, read, notes)


@contextmanager
def _batches(path: Path, rows_at_once: int | None) -> Iterator[tuple[pa.Schema, Iterable[pa.RecordBatch]]]:
    """The file's schema and its rows; what Arrow raises of it becomes a sentence."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    ending, is_packed = stem(path)
    what = "Parquet" if ending in PARQUET else "Arrow"
    try:
        with _source(path, is_packed) as source:
            if ending in PARQUET:
                with parquet.ParquetFile(source, page_checksum_verification=True) as file:
                    yield file.schema_arrow, file.iter_batches(rows_at_once or 65_536)
            else:
                reader = _ipc(source)
                yield reader.schema, _cut(reader, rows_at_once)
    except (pa.ArrowException, ValueError, TypeError, KeyError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise DataError(f"must be a whole {what} table, got: {reason}; write it again.") from None


@contextmanager
def _source(path: Path, is_packed: bool) -> Iterator[Any]:
    import pyarrow as pa  # noqa: PLC0415

    if is_packed:
        with opened(path) as stream:
            yield pa.BufferReader(stream.read())
        return
    with pa.OSFile(str(path)) as file:
        yield file


def _ipc(source: Any) -> Any:
    """A reader of a file or a stream of Arrow's; both go by the same endings."""
    from pyarrow import ipc  # noqa: PLC0415

    head = source.read(6)
    source.seek(0)
    if head == b"ARROW1":
        return _File(ipc.open_file(source))
    if head[:4] == b"FEA1":
        raise DataError("must be a Feather file of version 2, got version 1; write it again with a newer pandas.")
    return ipc.open_stream(source)


class _File:
    """The batches of an Arrow file, as a stream has them."""

    def __init__(self, reader: Any) -> None:
        self.schema, self._reader = reader.schema, reader

    def __iter__(self) -> Iterator[Any]:
        return (self._reader.get_batch(place) for place in range(self._reader.num_record_batches))


def _cut(batches: Iterable[pa.RecordBatch], rows: int | None) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        at_once = rows or max(1, batch.num_rows)
        for first in range(0, batch.num_rows, at_once):
            yield batch.slice(first, at_once)
