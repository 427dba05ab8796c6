"""Text files as tables: CSV and its many relatives."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tuner.data.source_table import SourceTable
from tuner.data.tables.bulk import MOST_ROWS, Ragged, Rows, rows_of
from tuner.data.tables.cells import is_number
from tuner.data.tables.encoding import find_encoding
from tuner.data.tables.layout import Layout, find_layout, sample
from tuner.data.tables.names import settled_names
from tuner.data.tables.numerals import find_numerals
from tuner.data.tables.opening import opened
from tuner.errors import DataError
from tuner.spec.study import ReadSpec

if TYPE_CHECKING:
    import pyarrow as pa

ENDINGS = (".csv", ".tsv", ".txt", ".tab", ".dat", ".data")
_TOTAL = re.compile(
    r"(?:grand |sub)?totals?|sum|summe|gesamt(?:summe)?|insgesamt|totale?s?|somme|suma|totaal|summa", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class _Found:
    """What is found before the rows are read."""

    encoding: str
    layout: Layout
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Shape:
    """What is settled by a file's rows, or by its first ones where it is read block by block: the columns that stay."""

    kept: tuple[int, ...]
    names: tuple[str, ...]
    read: ReadSpec
    notes: tuple[str, ...]


def read_text(path: Path, where: str, read: ReadSpec) -> SourceTable:
    """A whole text file.

    Args:
        path: of the file, compressed or not.
        where: its name in messages.
        read: what is declared of it; all else is found.

    Raises:
        DataError: it is no regular table; the sentence has the physical line.
    """
    found = _find(path, read)
    ragged = Ragged(found.layout.cells)
    with _lines(path, found.encoding) as lines:
        blocks = list(rows_of(lines, found.layout, MOST_ROWS, ragged, read.footer or 0))
    ragged.refuse(found.layout)
    columns = _joined(blocks, found.layout.columns)
    places = np.concatenate([block.places for block in blocks]) if blocks else np.zeros(0, np.int64)
    total = _total(columns) if read.footer is None else None
    if total is not None:
        total = f"Line {places[-1]} ({total}) is a row of totals and is left out (data.read.footer: 0 keeps it)."
        columns, places = [column[:-1] for column in columns], places[:-1]
    shape = _shape(columns, found, read)
    table = _table(columns, shape, where, places)
    return table if total is None else replace(table, notes=(*table.notes, total))


def text_blocks(path: Path, where: str, read: ReadSpec, rows_at_once: int) -> Iterator[SourceTable]:
    """The rows of a text file block by block; what is not in `read` is found in the file's first lines.

    A row of totals at the end is left out as `read_text` leaves it out. Notes come with the first block.

    Raises:
        DataError: it is no regular table; the sentence has the physical line.
    """
    found = _find(path, read)
    shape: _Shape | None = None
    with _lines(path, found.encoding) as lines:
        for rows, is_last in _with_last(_checked(lines, found.layout, rows_at_once, read.footer or 0)):
            columns, places = _joined([rows], found.layout.columns), rows.places
            if is_last and read.footer is None and _total(columns) is not None:
                columns, places = [column[:-1] for column in columns], places[:-1]
            notes_too, shape = shape is None, shape or _shape(columns, found, read)
            table = _table(columns, shape, where, places)
            yield table if notes_too else replace(table, notes=())


def _checked(lines: Iterator[str], layout: Layout, at_once: int, footer: int) -> Iterator[Rows]:
    ragged = Ragged(layout.cells)
    for rows in rows_of(lines, layout, at_once, ragged, footer):
        ragged.refuse(layout)
        yield rows
    ragged.refuse(layout)


def _with_last(blocks: Iterator[Rows]) -> Iterator[tuple[Rows, bool]]:
    """Each block, and whether it is the last."""
    held = next(blocks, None)
    for block in blocks:
        if held is not None:
            yield held, False
        held = block
    if held is not None:
        yield held, True


def _find(path: Path, read: ReadSpec) -> _Found:
    encoding, said = read.encoding, None
    if encoding is None:
        with opened(path) as stream:
            encoding, said = find_encoding(stream)
    with _lines(path, encoding) as lines:
        layout = find_layout(sample(lines), read)
    return _Found(encoding, layout, (*([f"{said[0].upper()}{said[1:]}."] if said else []), *layout.notes))


@contextmanager
def _lines(path: Path, encoding: str) -> Iterator[Iterator[str]]:
    """The file's lines with their ends as they are: n, r, or both."""
    try:
        codec = codecs.lookup(encoding).name
    except LookupError:
        raise DataError(f"data.read.encoding must be one that Python knows, such as latin-1, got {encoding}.") from None
    with opened(path) as stream:
        text = io.TextIOWrapper(stream, "utf-8-sig" if codec == "utf-8" else codec, newline="")
        try:
            yield text
        except UnicodeError as error:
            reason = str(error).split(": ", 1)[-1]
            raise DataError(f"must be text in {encoding} (data.read.encoding), got other bytes: {reason}.") from None
        finally:
            text.detach()


def _joined(blocks: Sequence[Rows], columns: int) -> list[pa.ChunkedArray]:
    import pyarrow as pa  # noqa: PLC0415 - half a second, and only tables need it

    return [pa.chunked_array([block.columns[place] for block in blocks], pa.string()) for place in range(columns)]


def _total(columns: Sequence[pa.ChunkedArray]) -> str | None:
    """The word that makes the last row one of totals: the first said in it, in no other row, beside numbers."""
    if not columns or len(columns[0]) < 3:
        return None
    last = [column[-1].as_py().strip() for column in columns]
    place = next((place for place, cell in enumerate(last) if cell), 0)
    if _TOTAL.fullmatch(last[place].rstrip(":").rstrip()) is None or not any(map(is_number, last)):
        return None
    others = columns[place][:-1].to_pylist()
    return None if any(_TOTAL.fullmatch(cell.strip().rstrip(":")) for cell in others) else last[place]


def _shape(columns: Sequence[pa.ChunkedArray], found: _Found, read: ReadSpec) -> _Shape:
    """The columns without an index, their names, and how the file was read."""
    layout = found.layout
    header = layout.header or tuple(f"column_{place}" for place in range(1, layout.columns + 1))
    kept, names, notes = settled_names(header, columns)
    decimal, thousands, said = read.decimal, read.thousands, []
    if decimal is None:
        named = ((names[at], columns[place]) for at, place in enumerate(kept))
        decimal, found_thousands, said = find_numerals(named, layout.marks.delimiter)
        thousands = thousands or found_thousands
    marks = layout.marks
    whole = read.model_copy(
        update={
            "delimiter": marks.delimiter,
            "quote": marks.quote,
            "comment": marks.comment,
            "encoding": found.encoding,
            "header": layout.header is not None,
            "skip": layout.skip,
            "decimal": decimal,
            "thousands": thousands,
        }
    )
    return _Shape(tuple(kept), tuple(names), whole, (*found.notes, *notes, *said))


def _table(columns: Sequence[pa.ChunkedArray], shape: _Shape, where: str, places: NDArray[np.int64]) -> SourceTable:
    import pyarrow as pa  # noqa: PLC0415

    table = pa.table([columns[place] for place in shape.kept], names=list(shape.names))
    return SourceTable(table, where, True, "line", places, shape.read, shape.notes)
