"""The rows of a text file as columns of text, block by block.

Lines that Arrow's parser and Python's must agree on go through the first, which is ten times as fast; where a quoted
cell spans lines, a comment stands between them, or anything is odd, the second reads them and counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tuner.data.tables.layout import Layout
from tuner.data.tables.ragged import Ragged
from tuner.data.tables.records import LONGEST_CELL, Records
from tuner.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

MOST_ROWS, _MOST_CELLS = 65_536, 4_000_000


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """Some rows of a file.

    Attributes:
        columns: one of Arrow's type string for each column, (N,) each.
        places: (N,) int64, the physical line on which each row begins.
    """

    columns: list[pa.Array | pa.ChunkedArray]
    places: NDArray[np.int64]


def rows_of(lines: Iterable[str], layout: Layout, at_once: int, ragged: Ragged) -> Iterator[Rows]:
    """The rows below the header.

    Args:
        lines: all of the file, with their ends.
        layout: of the file.
        at_once: how many rows a block has at most; wide ones have less.
        ragged: takes the rows that do not fit.

    Raises:
        DataError: a line cannot be parsed.
    """
    at_once = max(1, min(at_once, _MOST_CELLS // max(1, layout.cells)))
    below = layout.below(lines)
    head = Records(below, layout.marks, layout.skip + 1)
    for _ in zip(range((layout.header is not None) + layout.has_units), head, strict=False):
        pass
    line, parse = head.line, _Fast(layout)
    while chunk := list(itertools.islice(below, at_once)):
        rows = parse(chunk, line + 1)
        if rows is None:
            records = Records(itertools.chain(chunk, below), layout.marks, line + 1)
            rows = _counted(records, line + len(chunk), ragged)
            line = records.line
        else:
            line += len(chunk)
        if len(rows.places):
            yield _without_end(rows, layout)


def _counted(records: Records, end: int, ragged: Ragged) -> Rows:
    """The records that begin before line `end` is passed; the last may reach beyond it."""
    import pyarrow as pa  # noqa: PLC0415 - half a second, and only tables need it

    cells: list[list[str]] = []
    places: list[int] = []
    for line, found in records:
        fitted = ragged.fitted(line, found)
        if fitted is not None:
            cells.append(fitted)
            places.append(line)
        if records.line >= end:
            break
    turned = [pa.array(column, pa.string()) for column in zip(*cells, strict=True)]
    return Rows(turned, np.array(places, np.int64))


def _without_end(rows: Rows, layout: Layout) -> Rows:
    """Without the empty cells behind a delimiter that ends each line.

    Raises:
        DataError: one is not empty, as they were in the first lines.
    """
    import pyarrow.compute as pc  # noqa: PLC0415

    if not layout.has_end:
        return rows
    full = pc.not_equal(pc.utf8_trim_whitespace(rows.columns[-1]), "").to_numpy(zero_copy_only=False)
    if full.any():
        row = int(full.argmax())
        raise DataError(
            f"line {rows.places[row]}: must end with its last delimiter as the first lines do, got"
            f" {rows.columns[-1][row].as_py()[:40]!r} behind it; give the column a name in the header."
        )
    return Rows(rows.columns[: layout.columns], rows.places)


class _Fast:
    """Arrow's parser, for chunks in which each line is a record of the usual number of cells."""

    def __init__(self, layout: Layout) -> None:
        marks = layout.marks
        self._marks, self._cells = marks, layout.cells
        self._fits = layout.cells > 1 and marks.escape is None and not marks.is_spaced and marks.delimiter != " "
        if self._fits:
            self._fits = (marks.delimiter + (marks.quote or "")).isascii()
        self._options: dict[str, Any] = _options(layout) if self._fits else {}

    def __call__(self, lines: list[str], first: int) -> Rows | None:
        """The rows of some lines; None where these must be read record by record.

        Args:
            lines: with their ends.
            first: the number of the first.
        """
        import pyarrow as pa  # noqa: PLC0415
        from pyarrow import csv  # noqa: PLC0415

        text = "".join(lines)
        if not self._fits or self._is_odd(text):
            return None
        data = text.encode()
        if self._marks.quote is not None and not _quotes_are_plain(data, self._marks.quote, self._marks.delimiter):
            return None
        try:
            read = csv.ReadOptions(block_size=len(data) + 1, use_threads=False, autogenerate_column_names=True)
            table = csv.read_csv(pa.BufferReader(data), read, **self._options)
        except pa.ArrowInvalid:
            return None
        if (table.num_rows, table.num_columns) != (len(lines), self._cells):
            return None
        columns = [column.combine_chunks() for column in table.itercolumns()]
        return Rows(columns, np.arange(first, first + len(lines), dtype=np.int64))

    def _is_odd(self, text: str) -> bool:
        """Comments, lone returns, NUL bytes, and quotes in a text without them, which Arrow would see."""
        if self._marks.comment is not None and self._marks.comment in text:
            return True
        return "\0" in text or text.count("\r") != text.count("\r\n")


def _options(layout: Layout) -> dict[str, Any]:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import csv  # noqa: PLC0415

    marks = layout.marks
    return {
        "parse_options": csv.ParseOptions(
            delimiter=marks.delimiter, quote_char=marks.quote or False, newlines_in_values=True
        ),
        "convert_options": csv.ConvertOptions(
            column_types={f"f{place}": pa.string() for place in range(layout.cells)}, strings_can_be_null=False
        ),
    }


def _quotes_are_plain(data: bytes, quote: str, delimiter: str) -> bool:
    """Whether each quote stands at the beginning or end of a cell, or beside another, and none opens a long cell."""
    codes = np.frombuffer(data, np.uint8)
    places = np.flatnonzero(codes == ord(quote))
    if not len(places):
        return True
    if len(places) % 2 or np.diff(places).max(initial=0) > LONGEST_CELL:
        return False
    around = np.zeros(256, bool)
    around[[ord(quote), ord(delimiter), 10, 13]] = True
    framed = np.concatenate(([10], codes, [10])).astype(np.uint8)
    return bool((around[framed[places]] | around[framed[places + 2]]).all())
