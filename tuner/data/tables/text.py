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

from tuner.data.source_table import SourceTable
from tuner.data.tables.bulk import MOST_ROWS, Rows, rows_of
from tuner.data.tables.cells import is_number
from tuner.data.tables.encoding import find_encoding
from tuner.data.tables.layout import Layout, find_layout, sample
from tuner.data.tables.names import settled_names
from tuner.data.tables.numerals import find_numerals
from tuner.data.tables.opening import opened
from tuner.data.tables.ragged import Ragged
from tuner.errors import DataError
from tuner.spec.data import ReadSpec

if TYPE_CHECKING:
    import pyarrow as pa

ENDINGS = (".csv", ".tsv", ".txt", ".tab", ".dat", ".data")
_FEWEST = 3  # rows that a row of totals may stand below, itself counted
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
    ragged = Ragged(found.layout)
    with _lines(path, found.encoding) as lines:
        blocks = list(rows_of(lines, found.layout, MOST_ROWS, ragged))
    rows, notes = _ended(_joined(blocks, found.layout.columns), ragged, read)
    table = _table(rows, _shape(rows.columns, found, read, True), where)
    return replace(table, notes=(*table.notes, *notes))


def text_blocks(path: Path, where: str, read: ReadSpec, rows_at_once: int) -> Iterator[SourceTable]:
    """The rows of a text file block by block; what is not in `read` is found in the file's first lines.

    A row of totals at the end is left out as `read_text` leaves it out. Notes come with the first block.

    Raises:
        DataError: it is no regular table; the sentence has the physical line.
    """
    found = _find(path, read)
    shape: _Shape | None = None
    ragged = Ragged(found.layout)
    with _lines(path, found.encoding) as lines:
        for blocks, is_last in _held(
            rows_of(lines, found.layout, rows_at_once, ragged), max(read.footer or 0, _FEWEST)
        ):
            rows = _joined(blocks, found.layout.columns)
            notes: list[str] = []
            if is_last:
                rows, notes = _ended(rows, ragged, read)
            elif len(rows.places):
                ragged.refuse(before=rows.places[-1])
            is_first, shape = shape is None, shape or _shape(rows.columns, found, read, False)
            table = _table(rows, shape, where)
            yield replace(table, notes=(*(table.notes if is_first else ()), *notes))


def _held(blocks: Iterator[Rows], footer: int) -> Iterator[tuple[list[Rows], bool]]:
    """Each block alone, but at the end, as the last, all those that the footer may reach into."""
    held: list[Rows] = []
    for block in blocks:
        held.append(block)
        while len(held) > 1 and sum(len(each.places) for each in held[1:]) > footer:
            yield [held.pop(0)], False
    yield held, True


def _ended(rows: Rows, ragged: Ragged, read: ReadSpec) -> tuple[Rows, list[str]]:
    """The rows without what stands at the end of the file, and what is said of it.

    Raises:
        DataError: a line above does not fit.
    """
    if read.footer is not None:
        lines = sorted([*rows.places[-read.footer :].tolist(), *(each.line for each in ragged.odd)])[-read.footer :]
        first = lines[0] if read.footer and lines else float("inf")
        ragged.refuse(before=first)
        return _first_of(rows, int((rows.places < first).sum())), [each for each in (ragged.padded_note(),) if each]
    below = ragged.take_footer(int(rows.places[-1])) if len(rows.places) else None
    ragged.refuse_cut(int(rows.places[-1]) if len(rows.places) else 0)
    ragged.refuse()
    if not len(rows.places):
        raise DataError("must have rows below the header, got none.")
    word = total_word(rows.columns)
    total = f"Line {rows.places[-1]} ({word}) is a row of totals and is left out (data.read.footer: 0 keeps it)."
    notes = [each for each in (ragged.padded_note(), below, total if word else None) if each]
    return _first_of(rows, len(rows.places) - (word is not None)), notes


def _first_of(rows: Rows, count: int) -> Rows:
    return Rows([column[:count] for column in rows.columns], rows.places[:count])


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
        except UnicodeDecodeError as error:
            came = f"the byte {error.object[error.start]:#x}"
            raise DataError(f"must be text in {encoding} (data.read.encoding), got {came}.") from None
        except UnicodeError as error:
            raise DataError(f"must be text in {encoding} (data.read.encoding), got other bytes: {error}.") from None
        finally:
            text.detach()


def _joined(blocks: Sequence[Rows], columns: int) -> Rows:
    import pyarrow as pa  # noqa: PLC0415 - half a second, and only tables need it

    joined = [pa.chunked_array([block.columns[place] for block in blocks], pa.string()) for place in range(columns)]
    return Rows(joined, np.concatenate([np.zeros(0, np.int64), *(block.places for block in blocks)]))


def total_word(columns: Sequence[pa.ChunkedArray]) -> str | None:
    """The word that makes the last row one of totals: the first said in it, in no other row, beside numbers."""
    if not columns or len(columns[0]) < _FEWEST:
        return None
    last = [column[-1].as_py().strip() for column in columns]
    place = next((place for place, cell in enumerate(last) if cell), 0)
    if _TOTAL.fullmatch(last[place].rstrip(":").rstrip()) is None or not any(map(is_number, last)):
        return None
    others = columns[place][:-1].to_pylist()
    return None if any(_TOTAL.fullmatch(cell.strip().rstrip(":")) for cell in others) else last[place]


def _shape(columns: Sequence[pa.ChunkedArray], found: _Found, read: ReadSpec, is_whole: bool) -> _Shape:
    """The columns without an index, their names, and how the file was read."""
    layout = found.layout
    header = layout.header or tuple(f"column_{place}" for place in range(1, layout.columns + 1))
    kept, names, notes = settled_names(header, columns)
    decimal, thousands = read.decimal, read.thousands
    said: list[str] = []
    if decimal is None or is_whole:  # a block is read by what is known: it has too few cells to find thousands in
        named = ((names[at], columns[place]) for at, place in enumerate(kept))
        decimal, thousands, said = find_numerals(named, layout.marks.delimiter, read)
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


def _table(rows: Rows, shape: _Shape, where: str) -> SourceTable:
    import pyarrow as pa  # noqa: PLC0415

    table = pa.table([rows.columns[place] for place in shape.kept], names=list(shape.names))
    return SourceTable(table, where, True, "line", rows.places, shape.read, shape.notes)
