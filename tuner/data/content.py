"""The fingerprint of what is in memory, by its content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tuner.data.source_table import SourceTable

if TYPE_CHECKING:
    import pyarrow as pa

Array = NDArray[np.generic]
_HASHED_AT_ONCE = 64 << 20


def fingerprint(data: SourceTable | Array) -> str:
    """A SHA-256 of the content: names, types, values and what is missing, however it is laid out in memory.

    Args:
        data: as `in_memory` gives it.
    """
    digest = hashlib.sha256()
    for part in _array_parts(data) if isinstance(data, np.ndarray) else _table_parts(data.table):
        digest.update(part)
    return digest.hexdigest()


def _array_parts(array: Array) -> Iterator[bytes]:
    yield f"array {array.dtype.newbyteorder('=')} {array.shape}".encode()
    at_once = max(1, _HASHED_AT_ONCE // max(1, array[:1].nbytes))
    for first in range(0, len(array), at_once):
        rows = array[first : first + at_once]
        yield np.ascontiguousarray(rows.astype(rows.dtype.newbyteorder("="))).tobytes()


def _table_parts(table: pa.Table) -> Iterator[bytes]:
    yield f"table {table.num_rows}".encode()
    for name, column in zip(table.column_names, table.columns, strict=True):
        yield f"column {len(name)} {name} {column.type}".encode()
        yield from _column_parts(column)


def _column_parts(column: pa.ChunkedArray) -> Iterator[bytes]:
    """What is missing, then the values with nothing in their place: bytes of text and numbers, else their words."""
    import pyarrow as pa  # noqa: PLC0415

    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    yield np.packbits(column.is_null().to_numpy()).tobytes()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield from _text_parts(column)
    elif pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        yield np.ascontiguousarray(column.fill_null(False if pa.types.is_boolean(kind) else 0).to_numpy()).tobytes()
    else:
        yield repr(column.to_pylist()).encode()


def _text_parts(column: pa.ChunkedArray) -> Iterator[bytes]:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    filled = column.fill_null("")
    yield pc.binary_length(filled).cast(pa.int64()).to_numpy().tobytes()
    for chunk in filled.cast(pa.large_string()).chunks:
        offsets = np.frombuffer(chunk.buffers()[1], np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
        data = chunk.buffers()[2]
        yield b"" if data is None else memoryview(data)[int(offsets[0]) : int(offsets[-1])].tobytes()
