"""Tables and arrays that are in memory already, whichever library made them; none is imported only to ask."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from tuner.data.source_table import SourceTable
from tuner.data.tables.names import settled_names
from tuner.errors import DataError
from tuner.spec.data import ReadSpec

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Array = NDArray[np.generic]
MOST_DENSE = 8 << 30  # bytes of a sparse matrix as a dense one
_DENSE_AT_ONCE = 64 << 20
_TAKEN = (
    "must be a table (pandas, polars, pyarrow), an array (NumPy, torch, SciPy sparse) or a list of rows, got {};"
    " build one of them first, such as numpy.asarray(...)."
)


def in_memory(data: object, asked: Collection[str] = ()) -> SourceTable | Array:
    """What a user gives in the place of a file.

    Args:
        data: a pandas, polars or pyarrow table, a NumPy array (masks are missing values, structured ones are tables), a
            torch tensor on any device, a SciPy sparse matrix, a list of rows, or a mapping of columns.
        asked: names that the declaration uses; a pandas index of such a name is a column, others are ignored.

    Returns:
        A table with the columns' own types, or an array of real numbers, (N, ...).

    Raises:
        DataError: it is none of these, or holds what no model can take; one sentence.
    """
    for fits, read in _KINDS:
        if fits(data):
            return read(data, asked)
    raise DataError(_TAKEN.format(_called(data)))


def memory_notes(data: object) -> tuple[str, ...]:
    """What is to be said of how `in_memory` takes the data, a sentence each."""
    if _is_sparse(data):
        rows, columns = cast(Any, data).shape
        size = rows * columns * np.dtype(_dense_type(data)).itemsize / 2**20
        return (f"The sparse matrix is held as a dense one of {rows:,} x {columns:,} ({size:,.0f} MiB).",)
    if isinstance(data, np.ma.MaskedArray):
        return (f"The array's mask stands for {int(np.ma.getmaskarray(data).view(np.bool_).sum()):,} missing values.",)
    return ()


def _called(data: object) -> str:
    kind = type(data)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__.split('.')[0]}.{kind.__name__}"


def _of(library: str, *names: str) -> Callable[[object], bool]:
    """Whether a value's class, or one that it is derived from, is one of a library's."""

    def fits(data: object) -> bool:
        return any(kind.__module__.split(".")[0] == library and kind.__name__ in names for kind in type(data).__mro__)

    return fits


def _is_sparse(data: object) -> bool:
    return hasattr(data, "tocsr") and hasattr(data, "nnz") and type(data).__module__.split(".")[0] == "scipy"


# Tables


def _table(table: pa.Table) -> SourceTable:
    """Arrow's table with unique names; types that only some of its functions know become the usual ones."""
    import pyarrow as pa  # noqa: PLC0415 - half a second, and only tables need it

    if not table.num_columns or table.num_rows == 0:
        raise DataError(f"must have rows and columns, got {table.num_rows} and {table.num_columns}.")
    columns = [_plain(column) for column in table.columns]
    kept, names, notes = settled_names(table.column_names, columns)
    places = np.arange(1, table.num_rows + 1, dtype=np.int64)
    whole = pa.table([columns[place] for place in kept], names=names)
    return SourceTable(whole, "data", False, "row", places, ReadSpec(), tuple(notes))


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text as Arrow's usual type, also that of categories; other types are left."""
    import pyarrow as pa  # noqa: PLC0415

    if pa.types.is_dictionary(column.type) and _is_text(column.type.value_type):
        return pa.chunked_array(
            [
                pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(pa.string()))
                for chunk in column.chunks
            ]
        )
    return column.cast(pa.string()) if _is_text(column.type) and column.nbytes < 2**31 else column


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    return bool(pa.types.is_string_view(kind) or pa.types.is_large_string(kind) or pa.types.is_string(kind))


def _pandas(data: object, asked: Collection[str]) -> SourceTable:
    import pyarrow as pa  # noqa: PLC0415

    frame = cast("pd.DataFrame", data.to_frame() if hasattr(data, "to_frame") else data)
    names = [_name(name) for name in frame.columns]
    columns = [_series(name, frame.iloc[:, place]) for place, name in enumerate(names)]
    for level, name in enumerate(frame.index.names):
        if name is not None and _name(name) in asked and _name(name) not in names:
            names.append(_name(name))
            columns.append(_series(_name(name), frame.index.get_level_values(level).to_series()))
    return _table(pa.table(columns, names=names))


def _name(name: object) -> str:
    return ".".join(str(part) for part in name if str(part)) if isinstance(name, tuple) else str(name)


def _series(name: str, series: pd.Series) -> pa.ChunkedArray:
    """A column of pandas; what Arrow has no type for is text."""
    import pyarrow as pa  # noqa: PLC0415

    kind = getattr(series.dtype, "kind", "O")
    if kind == "c":
        raise DataError(f"column {name}: must hold real numbers, got complex ones; give .real and .imag apart.")
    if _called(series.dtype) == "pandas.SparseDtype":
        series = cast(Any, series.sparse).to_dense()
    if _called(series.dtype) in ("pandas.PeriodDtype", "pandas.IntervalDtype"):
        series = series.astype(str).where(series.notna(), None)
    try:
        return _chunked(pa.array(series, from_pandas=True))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return _mixed(name, series.astype(object).where(series.notna(), None).tolist())


def _chunked(array: Any) -> pa.ChunkedArray:
    import pyarrow as pa  # noqa: PLC0415

    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def _mixed(name: str, cells: Sequence[Any]) -> pa.ChunkedArray:
    """Cells of several kinds: numbers where all are, else text."""
    import pyarrow as pa  # noqa: PLC0415

    said = [_bare(cell) for cell in cells]
    kinds = {type(cell) for cell in said if cell is not None}
    if complex in kinds:
        raise DataError(f"column {name}: must hold real numbers, got complex ones; give .real and .imag apart.")
    if kinds <= {int, float, bool} and float in kinds:
        said = [None if cell is None else float(cell) for cell in said]
    elif len(kinds) > 1:
        said = [None if cell is None else str(cell) for cell in said]
    try:
        return _chunked(pa.array(said, from_pandas=True))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return _chunked(pa.array([None if cell is None else str(cell) for cell in said], pa.string()))


def _bare(cell: Any) -> Any:
    """NumPy's scalars as Python's, pandas' words for nothing as None."""
    if isinstance(cell, np.generic):
        cell = cell.item()
    return None if cell is None or type(cell).__name__ in ("NAType", "NaTType") else cell


def _polars(data: object, asked: Collection[str]) -> SourceTable:
    if not hasattr(data, "to_frame") and hasattr(data, "collect"):
        raise DataError("must be a table, got a query of polars that has not run; give data.collect().")
    return _arrow(data.to_frame() if hasattr(data, "to_frame") else data, asked)


def _arrow(data: object, asked: Collection[str]) -> SourceTable:  # noqa: ARG001 - the readers share one signature
    import pyarrow as pa  # noqa: PLC0415

    try:
        if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
            return _table(pa.table(data))
        from pyarrow import interchange  # noqa: PLC0415

        return _table(interchange.from_dataframe(data))
    except (pa.ArrowException, NotImplementedError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise DataError(f"must be a table that Arrow can read, got {_called(data)}: {reason}.") from None


def _mapping(data: object, asked: Collection[str]) -> SourceTable:  # noqa: ARG001
    import pyarrow as pa  # noqa: PLC0415

    columns = {_name(name): list(values) for name, values in cast("Mapping[object, Any]", data).items()}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        short, long = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
        raise DataError(
            f"must have columns of one length, got {lengths[long]:,} values in {long}, {lengths[short]:,} in {short}."
        )
    return _table(pa.table([_mixed(name, values) for name, values in columns.items()], names=list(columns)))


# Arrays


def _numpy(data: object, asked: Collection[str]) -> SourceTable | Array:
    array = cast("NDArray[Any]", data)
    if array.dtype.names:
        return _structured(array, asked)
    array = _unmasked(array) if isinstance(array, np.ma.MaskedArray) else np.asarray(array)
    if array.dtype.kind in "OU" and array.ndim == 2:
        columns = {f"column_{place + 1}": array[:, place].tolist() for place in range(array.shape[1])}
        return _mapping(columns, asked)
    if array.dtype.kind == "c":
        raise DataError("must hold real numbers, got complex ones; give data.real and data.imag as two columns.")
    if array.dtype.kind not in "biuf":
        raise DataError(f"must hold real numbers, got an array of {array.dtype}; give numbers, or a table of columns.")
    if array.ndim < 2:
        raise DataError(f"must have rows and columns, got an array of {array.ndim} dimension(s); use reshape(-1, 1).")
    return array


def _unmasked(array: np.ma.MaskedArray[Any, Any]) -> NDArray[Any]:
    """Masked values are NaN where there are numbers, else None."""
    is_number = array.dtype.kind in "biuf"
    plain: NDArray[Any] = array.data.astype(np.float64 if is_number else object)
    plain[np.ma.getmaskarray(array)] = np.nan if is_number else None
    return plain


def _structured(array: NDArray[Any], asked: Collection[str]) -> SourceTable:
    names = array.dtype.names or ()
    deep = [name for name in names if array.dtype[name].shape or array.ndim != 1]
    if deep:
        raise DataError(f"field {deep[0]}: must hold one value in each row, got an array in each; give it as an array.")
    return _mapping({name: array[name].tolist() for name in names}, asked)


def _torch(data: object, asked: Collection[str]) -> SourceTable | Array:
    """Without its gradients, from whichever device; types that NumPy lacks are widened."""
    tensor = cast(Any, data).detach()
    if tensor.is_complex():
        raise DataError("must hold real numbers, got a complex tensor; give data.real and data.imag as two columns.")
    tensor = tensor.to_dense() if str(tensor.layout) != "torch.strided" else tensor
    tensor = tensor.dequantize() if tensor.is_quantized else tensor
    tensor = tensor.float() if tensor.is_floating_point() and tensor.element_size() < 4 else tensor
    return _numpy(tensor.cpu().numpy(), asked)


def _dense_type(data: object) -> Any:
    dtype = cast(Any, data).dtype
    return dtype if dtype.kind in "biuf" else np.dtype(np.float64)


def _sparse(data: object, asked: Collection[str]) -> SourceTable | Array:
    matrix = cast(Any, data)
    if matrix.dtype.kind == "c" or matrix.ndim != 2:
        raise DataError(f"must be a sparse matrix of real numbers, got {matrix.dtype} in {matrix.ndim} dimensions.")
    size = int(matrix.shape[0]) * int(matrix.shape[1]) * np.dtype(_dense_type(data)).itemsize
    if size > MOST_DENSE:
        raise DataError(
            f"must fit into {MOST_DENSE >> 30} GiB as a dense matrix, got {matrix.shape[0]:,} x {matrix.shape[1]:,},"
            f" which takes {size / 2**30:,.0f} GiB; keep the columns that matter, such as by sklearn's TruncatedSVD."
        )
    rows, dense = matrix.tocsr(), np.empty(matrix.shape, _dense_type(data))
    at_once = max(1, _DENSE_AT_ONCE // max(1, dense.strides[0]))
    for first in range(0, len(dense), at_once):
        dense[first : first + at_once] = rows[first : first + at_once].toarray()
    return _numpy(dense, asked)


# Rows


def _rows(data: object, asked: Collection[str]) -> SourceTable | Array:
    """A list of rows: mappings by name, sequences by place; numbers alone are an array."""
    rows = list(cast("Sequence[Any]", data))
    if not rows:
        raise DataError("must have rows, got an empty list.")
    if all(isinstance(row, Mapping) for row in rows):
        names = list(dict.fromkeys(name for row in rows for name in row))
        return _mapping({name: [row.get(name) for row in rows] for name in names}, asked)
    if all(hasattr(row, "detach") or (isinstance(row, np.ndarray) and not row.dtype.names) for row in rows):
        return _stacked([in_memory(row[None], asked) for row in rows])
    for place, row in enumerate(rows, start=1):
        if isinstance(row, str) or not isinstance(row, Sequence | np.ndarray):
            raise DataError(
                f"row {place}: must be a list of values or a mapping of names to values, got {_called(row)}."
            )
        if len(row) != len(rows[0]):
            raise DataError(f"row {place}: must have as many values as row 1 ({len(rows[0])}), got {len(row)}.")
    if all(_is_numbers(cell) for row in rows for cell in row):
        return _nested(rows, asked)
    columns = zip(*rows, strict=True)
    return _mapping({f"column_{place}": values for place, values in enumerate(columns, start=1)}, asked)


def _is_numbers(cell: object) -> bool:
    """A number, or a sequence in which there may be more, for rows that are images."""
    return isinstance(_bare(cell), int | float) or (
        isinstance(cell, Sequence | np.ndarray) and not isinstance(cell, str)
    )


def _nested(rows: list[Any], asked: Collection[str]) -> SourceTable | Array:
    try:
        return _numpy(np.asarray(rows), asked)
    except ValueError:
        raise DataError("must be rows of numbers of one shape, got lists of different lengths within them.") from None


def _stacked(rows: list[SourceTable | Array]) -> Array:
    shapes = [row.shape[1:] if isinstance(row, np.ndarray) else () for row in rows]
    odd = next((place for place, shape in enumerate(shapes) if shape != shapes[0]), None)
    if odd is not None:
        raise DataError(f"row {odd + 1}: must have the shape of the first row {shapes[0]}, got {shapes[odd]}.")
    return np.concatenate(cast("list[Array]", rows))


def _path(data: object, asked: Collection[str]) -> SourceTable:  # noqa: ARG001
    raise DataError(f"must be a table or an array in memory, got the path {str(data)[:80]!r}; name it in data.source.")


Reader = Callable[[Any, Collection[str]], SourceTable | Array]
_KINDS: tuple[tuple[Callable[[object], bool], Reader], ...] = (
    (lambda data: isinstance(data, str | os.PathLike), _path),
    (lambda data: isinstance(data, np.ndarray), _numpy),
    (_of("pandas", "DataFrame", "Series"), _pandas),
    (_of("polars", "DataFrame", "LazyFrame", "Series"), _polars),
    (_of("torch", "Tensor"), _torch),
    (_is_sparse, _sparse),
    (lambda data: hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"), _arrow),
    (lambda data: hasattr(data, "__dataframe__"), _arrow),
    (lambda data: isinstance(data, Mapping), _mapping),
    (lambda data: isinstance(data, Sequence) and not isinstance(data, bytes | bytearray | range), _rows),
)
