"""Excel files: the first sheet with a table, or the one that is named."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tuner.data.source_table import SourceTable
from tuner.data.tables.header import is_header, is_units, titles
from tuner.data.tables.names import listed, settled_names
from tuner.data.tables.text import total_word
from tuner.errors import DataError
from tuner.spec.data import ReadSpec

if TYPE_CHECKING:
    import pyarrow as pa

ENDINGS = (".xlsx", ".xlsm", ".xls")
_SAMPLE = 300
Cells = list[list[Any]]


def read_excel(path: Path, where: str, read: ReadSpec) -> SourceTable:
    """One sheet as a table; columns have the types of their cells, those of several kinds are text.

    Args:
        path: of the file.
        where: its name in messages.
        read: what is declared: sheet, header, skip, units, footer, missing.

    Raises:
        DataError: the library that reads it is not installed, or no sheet holds a table.
    """
    import pyarrow as pa  # noqa: PLC0415 - half a second, and only tables need it

    sheet, cells, said = _chosen(_sheets(path), read)
    rows = [(place, row) for place, row in enumerate(cells, start=1) if any(map(_text, row))]
    skip = _skip(rows, read)
    rows = [(place, row) for place, row in rows if place > skip]
    texts = [[_text(cell) for cell in row] for _, row in rows[:_SAMPLE]]
    has_header = bool(rows) and (is_header(texts) if read.header is None else read.header)
    header = [name.strip() for name in texts[0]] if has_header else _numbered(texts)
    has_units = has_header and (is_units(texts[1:]) if read.units is None else read.units)
    rows = rows[has_header + has_units :]
    rows = rows[: len(rows) - (read.footer or 0)]
    columns = [_column([row[place] for _, row in rows]) for place in range(len(header))]
    total = total_word([column.cast(pa.string()).fill_null("") for column in columns]) if read.footer is None else None
    if total is not None:
        said = [
            *said,
            f"Row {rows[-1][0]} ({total}) is a row of totals and is left out (data.read.footer: 0 keeps it).",
        ]
        rows, columns = rows[:-1], [_column([row[place] for _, row in rows[:-1]]) for place in range(len(header))]
    if not rows:
        raise DataError(f"sheet {sheet} must have rows below the header, got none.")
    kept, names, notes = settled_names(header, columns)
    found = read.model_copy(update={"sheet": sheet, "skip": skip, "header": has_header})
    table = pa.table([columns[place] for place in kept], names=names)
    places = np.array([place for place, _ in rows], np.int64)
    notes = [*said, *_notes(skip, has_header, has_units, len(header), read), *notes]
    return SourceTable(table, where, False, "row", places, found, tuple(notes))


def _sheets(path: Path) -> dict[str, Cells]:
    import pandas as pd  # noqa: PLC0415

    try:
        # xlrd prints its remarks to the standard output unless it is given another.
        quiet = {"logfile": io.StringIO()} if path.suffix.lower() == ".xls" else None
        frames = pd.read_excel(path, sheet_name=None, header=None, dtype=object, na_filter=False, engine_kwargs=quiet)
    except ImportError:
        library = "xlrd" if path.suffix.lower() == ".xls" else "openpyxl"
        raise DataError(
            f"Excel files need {library}, which is not installed; pip install 'autoencoder-tuner[excel]',"
            " or save the sheet as .csv."
        ) from None
    except Exception as error:  # the libraries raise many kinds on damaged files
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise DataError(f"must be a whole Excel file, got: {reason}; save it again, or as .csv.") from None
    return {str(name): frame.to_numpy(dtype=object).tolist() for name, frame in frames.items()}


def _chosen(sheets: dict[str, Cells], read: ReadSpec) -> tuple[str, Cells, list[str]]:
    """The sheet that is named, or the first with two rows of two cells; says which others there are."""
    if read.sheet is not None and read.sheet not in sheets:
        raise DataError(f"data.read.sheet must be one of {listed(list(sheets), 20)}, got {read.sheet}.")
    with_rows = [name for name, cells in sheets.items() if _rows_of(cells, 1) > 1]
    with_table = [name for name in with_rows if _rows_of(sheets[name], 2) > 1]
    name = read.sheet or next(iter(with_table or with_rows), None)
    if name is None:
        raise DataError("must hold a sheet with a table, got empty ones.")
    others = [other for other in with_rows if other != name]
    said = [f"Sheet {name} is read, not {listed(others)} (data.read.sheet)."] if others and not read.sheet else []
    return name, _bare(sheets[name]), said


def _rows_of(cells: Cells, least: int) -> int:
    """How many rows say something in so many cells."""
    return sum(sum(bool(_text(cell)) for cell in row) >= least for row in cells)


def _bare(cells: Cells) -> Cells:
    """Without the empty columns at both sides of the table."""
    used = [place for place in range(max(map(len, cells), default=0)) if any(_text(row[place]) for row in cells)]
    return [row[used[0] : used[-1] + 1] for row in cells] if used else []


def _skip(rows: Sequence[tuple[int, list[Any]]], read: ReadSpec) -> int:
    if read.skip is not None or not rows:
        return read.skip or 0
    texts = [[_text(cell) for cell in row] for _, row in rows[:_SAMPLE]]
    first = titles(texts, len(texts[0]))
    return rows[first][0] - 1


def _numbered(texts: Sequence[Sequence[str]]) -> list[str]:
    return [f"column_{place + 1}" for place in range(len(texts[0]) if texts else 0)]


def _text(cell: object) -> str:
    if cell is None:
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _column(cells: Sequence[Any]) -> pa.ChunkedArray:
    """The cells with their own type, where they share one; as text where they do not."""
    import pyarrow as pa  # noqa: PLC0415

    said = [None if isinstance(cell, str) and not cell.strip() else cell for cell in cells]
    kinds = {type(cell) for cell in said if cell is not None}
    if kinds <= {int, float}:
        said = [None if cell is None else float(cell) for cell in said] if float in kinds else said
    elif len(kinds) > 1:
        return pa.chunked_array([pa.array([None if cell is None else _text(cell) for cell in said], pa.string())])
    try:
        return pa.chunked_array([pa.array(said)])
    except (pa.ArrowException, OverflowError):
        return pa.chunked_array([pa.array([None if cell is None else _text(cell) for cell in said], pa.string())])


def _notes(skip: int, has_header: bool, has_units: bool, columns: int, read: ReadSpec) -> list[str]:
    notes = []
    if skip and read.skip is None:
        notes.append(f"The first {skip} rows stand above the table and are passed over (data.read.skip).")
    if not has_header and read.header is None:
        notes.append(f"It has no header; the columns are called column_1 to column_{columns} (data.read.header).")
    if has_units and read.units is None:
        notes.append("The row below the header holds units and is passed over (data.read.units).")
    return notes
