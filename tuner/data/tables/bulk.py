"""The rows of a text file as columns of text, block by block."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tuner.data.tables.layout import Layout
from tuner.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

MOST_ROWS, _MOST_CELLS = 65_536, 4_000_000
_SHOWN = 60


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """Some rows of a file.

    Attributes:
        columns: one of Arrow's type string for each column, (N,) each.
        places: (N,) int64, the physical line on which each row begins.
    """

    columns: list[pa.Array]
    places: NDArray[np.int64]


@dataclass(slots=True)
class Ragged:
    """The rows of another length than the header's."""

    cells: int
    count: int = 0
    line: int = 0
    found: list[str] = field(default_factory=list)

    def add(self, line: int, cells: list[str]) -> None:
        """Count one more; the first is kept for the message."""
        if not self.count:
            self.line, self.found = line, cells
        self.count += 1

    def refuse(self, layout: Layout) -> None:
        """Say what is wrong.

        Raises:
            DataError: there is such a row.
        """
        if not self.count:
            return
        others = f" ({self.count:,} such lines)" if self.count > 1 else ""
        whose = "the header has" if layout.header is not None else "most lines have"
        cells = "1 cell" if len(self.found) == 1 else f"{len(self.found):,} cells"
        raise DataError(
            f"line {self.line}: must have as many cells as {whose} ({self.cells:,}), got {cells}"
            f" in {_shown(layout.marks.delimiter.join(self.found))}{others}; {self._advice(layout)}."
        )

    def _advice(self, layout: Layout) -> str:
        """The key that helps, by what the line looks like."""
        begins = self.found[0].lstrip()[:1] if self.found else ""
        if len(self.found) == 1 and begins and begins in "#%*!/":
            return f"data.read.comment: {begins!r} passes over lines that begin so"
        if len(self.found) < self.cells:
            return (
                "mend the line, or where the table ends before it set data.read.footer to the number of lines from it on"
            )
        return "put quotes around cells that hold the delimiter, or name another with data.read.delimiter"


def rows_of(lines: Iterable[str], layout: Layout, at_once: int, ragged: Ragged, footer: int = 0) -> Iterator[Rows]:
    """The rows below the header.

    Args:
        lines: all of the file, with their ends.
        layout: of the file.
        at_once: how many rows a block has at most; wide ones have less.
        ragged: takes the rows that do not fit.
        footer: how many records at the end are left out.

    Raises:
        DataError: a line cannot be parsed.
    """
    at_once = max(1, min(at_once, _MOST_CELLS // max(1, layout.cells)))
    records = iter(layout.records(lines))
    for _ in range((layout.header is not None) + layout.has_units):
        next(records, None)
    cells: list[list[str]] = []
    places: list[int] = []
    width, bare = layout.cells, layout.columns
    for line, found in _without_last(records, footer):
        if len(found) != width:
            if len(found) != bare or not layout.has_end:
                ragged.add(line, found)
                continue
            found = [*found, ""]  # noqa: PLW2901 - the last line of a file often lacks the delimiter at its end
        cells.append(found)
        places.append(line)
        if len(cells) == at_once:
            yield _columns(cells, places, bare)
            cells, places = [], []
    if cells:
        yield _columns(cells, places, bare)


def _without_last(records: Iterator[tuple[int, list[str]]], count: int) -> Iterator[tuple[int, list[str]]]:
    held: deque[tuple[int, list[str]]] = deque()
    for record in records:
        held.append(record)
        if len(held) > count:
            yield held.popleft()


def _columns(cells: list[list[str]], places: list[int], columns: int) -> Rows:
    import pyarrow as pa  # noqa: PLC0415 - half a second, and only tables need it

    turned = [pa.array(column, pa.string()) for column in zip(*cells, strict=True)]
    return Rows(turned[:columns], np.array(places, np.int64))


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
