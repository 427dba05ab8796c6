"""New rows for a model that is there already, block by block, so that a file may be larger than the memory.

Legend: N rows of a block, F features.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tuner.data.arrays import check_rows, load_npz, open_npy
from tuner.data.idx import NAME as IDX_NAME
from tuner.data.idx import load_idx
from tuner.data.image_folders import Pictures, coloured, image_folder
from tuner.data.images import image_files, read_image
from tuner.data.npy_parts import is_npy_folder, read_npy_parts
from tuner.data.readers import bundled, file_errors
from tuner.data.source_table import SourceTable
from tuner.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from tuner.data.columns.encoder import TableEncoder

ROWS_AT_ONCE = 4096
SHOWN_ODD = 5  # columns with cells that are not of their type
FILE = "file"  # the column that images can be kept by


@dataclass(frozen=True, slots=True)
class Selection:
    """What is read of a file.

    Attributes:
        names: the model's columns, F of them.
        shape: a row's own shape.
        array: of the arrays in an .npz file; None for the only one.
        keep: columns that are passed through.
        table: how a table's columns become the model's; None where these are numbers as they are.
        upright: images are read as since rules 3: turned, on white, in class folders as well.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    array: str | None = None
    keep: tuple[str, ...] = ()
    table: TableEncoder | None = None
    upright: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """Some rows of a file.

    Attributes:
        first: rows before them.
        values: (N, F) float64, NaN where a value is missing.
        kept: a sequence of N for each column that is kept: text of a CSV, Arrow's array of a Parquet file.
        total: rows of the whole file, where that is known.
        place: what a row is called in messages, counted from 0 in these rows; by default by its number in the file.
        odd: on the first cells that are not of their column's type and count as missing; empty for none.
    """

    first: int
    values: NDArray[np.float64]
    kept: Mapping[str, Any] = field(default_factory=dict)
    total: int | None = None
    place: Callable[[int], str] | None = None
    odd: str = ""

    def named(self, row: int) -> str:
        """What one of the rows is called in messages."""
        return f"row {self.first + row + 1}" if self.place is None else self.place(row)


def read_blocks(source: str, selection: Selection) -> Iterator[Block]:
    """A file's rows: of a table the model's columns by name, of an array by place, of a folder its images by name.

    Args:
        source: a .csv, .parquet, .npy, .npz or IDX file, a folder of images, or `sklearn:digits` and the like.
        selection: what the model takes.

    Raises:
        DataError: the file cannot be read, or does not hold what the model takes; one sentence with the place.
    """
    if source.startswith("sklearn:"):
        data = bundled(source)
        yield from _named(source, _array_blocks(data.values.reshape(-1, *data.shape), selection))
        return
    with file_errors(source):
        blocks = _blocks(Path(source).expanduser(), selection)
    yield from _named(source, blocks)


def _named(source: str, blocks: Iterator[Block]) -> Iterator[Block]:
    """The blocks, with the file's name in every error."""
    rows = 0
    while True:
        with file_errors(source):
            block = next(blocks, None)
            if block is None and not rows:
                raise DataError("must have rows, got none.")
        if block is None:
            return
        rows += len(block.values)
        yield block


def _table_blocks(path: Path, selection: Selection, table: TableEncoder) -> Iterator[Block]:
    """A table's rows by the types that its columns had when the model was trained."""
    from tuner.data.tables import table_blocks  # noqa: PLC0415 - Arrow, half a second, and only tables need it

    first, is_array = 0, table.is_of_array and path.suffix.lower() in (".npy", ".npz")
    for source in _array_tables(path, selection) if is_array else table_blocks(path, table.read, ROWS_AT_ONCE):
        _check_columns(source.table.column_names, replace(selection, names=table.table_names))
        read = table.read_table(source)
        kept = {name: source.table.column(name).combine_chunks() for name in selection.keep}
        yield Block(first, read.encoded_NF, kept, place=source.place, odd=_odd(source, read.odd))
        first += len(read.encoded_NF)


def _array_tables(path: Path, selection: Selection) -> Iterator[SourceTable]:
    """An array's rows as a table's, for values of it may be missing."""
    is_npz = path.suffix.lower() == ".npz"
    array = load_npz(path, selection.array, "--array") if is_npz else open_npy(path)
    check_rows(array)
    for first in range(0, len(array), ROWS_AT_ONCE):
        made = SourceTable.of_array(array[first : first + ROWS_AT_ONCE], str(path))
        yield replace(made, places=made.places + first)


def _odd(source: SourceTable, odd: Mapping[str, tuple[str, int, int]]) -> str:
    """On the first such cell of each column."""
    listed = [
        f"column {name}, {source.place(row)}: {text[:40]!r} is not of its type ({count:,} such in these rows)"
        for name, (text, row, count) in odd.items()
    ]
    more = f"; and {len(listed) - SHOWN_ODD} more columns" if len(listed) > SHOWN_ODD else ""
    return "; ".join(listed[:SHOWN_ODD]) + more


def _blocks(path: Path, selection: Selection) -> Iterator[Block]:
    if selection.table is not None:
        return _table_blocks(path, selection, selection.table)
    if is_npy_folder(path):
        return _array_blocks(read_npy_parts(path)[0], selection)
    if path.is_dir():
        return _image_blocks(path, selection)
    kind = ".idx" if IDX_NAME.fullmatch(path.name.lower()) else path.suffix.lower()
    if not path.exists():
        raise DataError("must be a file or a folder of images, got nothing there.")
    if kind not in _READERS:
        raise DataError(f"must end in {', '.join(_READERS)} or be a folder of images, got {kind or 'no ending'}.")
    if selection.array is not None and kind != ".npz":
        raise DataError(f"--array names an array inside an .npz file, got a {kind} file.")
    return _READERS[kind](path, selection)


def _csv_blocks(path: Path, selection: Selection) -> Iterator[Block]:
    """Kept columns are text, exactly as the file has them: 007 stays 007."""
    import pandas as pd  # noqa: PLC0415 - a quarter of a second, and only tables need it

    from tuner.data.plain_tables import broken, csv_header, marked  # noqa: PLC0415

    delimiter, header = csv_header(path)
    _check_columns(header, selection)
    text = {name: marked for name in selection.keep if name not in selection.names}
    used = list(dict.fromkeys((*selection.names, *selection.keep)))
    first = 0
    try:
        with (
            warnings.catch_warnings(),
            pd.read_csv(
                path,
                sep=delimiter,
                usecols=used,
                index_col=False,
                encoding="utf-8-sig",
                low_memory=False,
                skip_blank_lines=False,
                converters=text,
                chunksize=ROWS_AT_ONCE,
            ) as tables,
        ):
            warnings.simplefilter("error", pd.errors.ParserWarning)
            for table in tables:
                yield Block(first, _table_values(table, selection.names, "line", first + 2), _kept(table, selection))
                first += len(table)
    except (pd.errors.ParserWarning, ValueError) as error:  # the parser's errors are of the latter kind
        raise broken("CSV table", error) from None


def _kept(table: pd.DataFrame, selection: Selection) -> dict[str, Any]:
    return {
        name: table[name].to_numpy()
        if name in selection.names
        else np.array([cell[1:] for cell in table[name]], dtype=object)
        for name in selection.keep
    }


def _parquet_blocks(path: Path, selection: Selection) -> Iterator[Block]:
    import pyarrow as pa  # noqa: PLC0415 - half a second, and only this source needs it
    from pyarrow import parquet  # noqa: PLC0415

    from tuner.data.plain_tables import broken  # noqa: PLC0415

    first = 0
    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            _check_columns(file.schema_arrow.names, selection)
            total, used = file.metadata.num_rows, list(dict.fromkeys((*selection.names, *selection.keep)))
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=used):
                table = batch.select(list(selection.names)).to_pandas()
                kept = {name: batch.column(name) for name in selection.keep}
                yield Block(first, _table_values(table, selection.names, "row", first + 1), kept, total)
                first += len(table)
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise broken("Parquet table", error) from None


def _check_columns(header: Sequence[str], selection: Selection) -> None:
    """Each column that is used must be there, once."""
    counts = Counter(header)
    for needed, what in ((selection.names, "the model's columns"), (selection.keep, "the columns to keep")):
        if missing := [name for name in needed if name not in counts]:
            there = f"missing: {', '.join(missing[:20])}; it has {', '.join(map(str, header[:20]))}."
            raise DataError(f"must have {what}, {there}")
    used = {*selection.names, *selection.keep}
    if repeated := next((name for name, count in counts.items() if name in used and count > 1), None):
        raise DataError(f"its header must name every column once, got {repeated} more than once.")


def _table_values(table: pd.DataFrame, names: Sequence[str], unit: str, first: int) -> NDArray[np.float64]:

    values = np.column_stack([_with_gaps(table[name], unit, first) for name in names])
    return _finite(values, names, unit, first)


def _with_gaps(column: pd.Series, unit: str, first: int) -> NDArray[np.float64]:
    """A column of numbers, NaN where a cell is empty."""
    from tuner.data.plain_tables import numbers  # noqa: PLC0415

    gaps = column.isna().to_numpy()
    return numbers(column.where(~gaps, 0) if gaps.any() else column, unit, first) + np.where(gaps, np.nan, 0)


def _npy_blocks(path: Path, selection: Selection) -> Iterator[Block]:
    return _array_blocks(open_npy(path), selection)


def _npz_blocks(path: Path, selection: Selection) -> Iterator[Block]:
    return _array_blocks(load_npz(path, selection.array, "--array"), selection)


def _idx_blocks(path: Path, selection: Selection) -> Iterator[Block]:
    return _array_blocks(load_idx(path), selection)


def _array_blocks(array: NDArray[np.generic], selection: Selection) -> Iterator[Block]:
    _check_keep(selection, (), "an array")
    check_rows(array)
    if array.shape[1:] not in (selection.shape, (len(selection.names),)):
        expected = " or ".join(sorted({str(("N", *selection.shape)), str(("N", len(selection.names)))})).replace(
            "'", ""
        )
        raise DataError(f"must have the shape {expected}, got {array.shape}.")
    for first in range(0, len(array), ROWS_AT_ONCE):
        rows = array[first : first + ROWS_AT_ONCE]
        values = rows.reshape(len(rows), -1).astype(np.float64)
        yield Block(first, _finite(values, selection.names, "row", first + 1), total=len(array))


def _image_blocks(path: Path, selection: Selection) -> Iterator[Block]:
    _check_keep(selection, (FILE,), "a folder of images")
    if len(selection.shape) < 2:
        raise DataError(f"must hold rows of {len(selection.names)} numbers, got a folder of images.")
    at_once = max(1, ROWS_AT_ONCE * 64 // len(selection.names))
    if selection.upright:
        folder = image_folder(path)
        files, names, read = folder.files, folder.names, _upright
    else:
        files = tuple(image_files(path))
        names, read = tuple(file.name for file in files), _as_they_lie
    for first in range(0, len(files), at_once):
        part = slice(first, first + at_once)
        images = read(files[part], names[part], selection.shape)
        values = np.stack(images).reshape(len(images), -1).astype(np.float64)
        kept = {name: np.array(names[part], dtype=object) for name in selection.keep}
        yield Block(first, _finite(values, selection.names, "image", first + 1), kept, len(files))


def _as_they_lie(files: Sequence[Path], names: Sequence[str], shape: tuple[int, ...]) -> list[NDArray[np.generic]]:
    """As by rules before 3."""
    images = [read_image(file, ("the model", shape)) for file in files]
    return [_fitting(image, name, shape) for image, name in zip(images, names, strict=True)]


def _upright(files: Sequence[Path], names: Sequence[str], shape: tuple[int, ...]) -> list[NDArray[np.generic]]:
    read = Pictures(like=("the model", shape[:2]))
    for file, name in zip(files, names, strict=True):
        read.add(file, name)
    read.check()
    return [_fitting(one.pixels, name, shape) for one, name in zip(read.pictures, names, strict=True)]


def _fitting(image: NDArray[np.generic], name: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    image = coloured(image) if len(shape) == 3 else image
    if image.shape != shape:
        raise DataError(f"{name}: must be a grey image, as the model was trained on, got a coloured one.")
    return image


def _check_keep(selection: Selection, known: tuple[str, ...], what: str) -> None:
    if odd := [name for name in selection.keep if name not in known]:
        hint = f" ({', '.join(known)} alone can be kept)" if known else ""
        raise DataError(f"--keep names columns of a table, got {odd[0]} for {what}{hint}.")


def _finite(values: NDArray[np.float64], names: Sequence[str], unit: str, first: int) -> NDArray[np.float64]:
    """Refuse infinity; a missing value (NaN) costs its row alone a result."""
    bad = np.isinf(values)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise DataError(f"column {names[column]}, {unit} {first + row}: must be a finite number, got infinity.")
    return values


_READERS: dict[str, Callable[[Path, Selection], Iterator[Block]]] = {
    ".csv": _csv_blocks,
    ".parquet": _parquet_blocks,
    ".npy": _npy_blocks,
    ".npz": _npz_blocks,
    ".idx": _idx_blocks,
}
