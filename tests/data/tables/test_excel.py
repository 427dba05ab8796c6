"""Claims about Excel files, where the library that reads them is installed."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from tuner.data.source_table import SourceTable
from tuner.data.sources import Sources
from tuner.data.tables import read_table
from tuner.errors import DataError
from tuner.spec.data import DataSpec

openpyxl = pytest.importorskip("openpyxl")


def read(folder: Path, **keys: object) -> SourceTable:
    spec = DataSpec.model_validate({"source": "t.xlsx", "read": keys or None})
    return read_table(folder / "t.xlsx", spec, Sources(folder))


def write(folder: Path, **sheets: list[list[object]]) -> None:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(folder / "t.xlsx")


TABLE: list[list[object]] = [
    ["n", "t", "d", "m"],
    [1, "a", datetime(2020, 1, 1), 1],
    [2.5, None, datetime(2021, 1, 1), "x"],
]


def test_cells_keep_their_types(tmp_path: Path) -> None:
    """Numbers, text, times; a column of several kinds is text; a row has its number in the sheet."""
    write(tmp_path, data=TABLE)
    found = read(tmp_path)
    assert found.table.to_pydict() == {
        "n": [1.0, 2.5],
        "t": ["a", None],
        "d": [datetime(2020, 1, 1), datetime(2021, 1, 1)],
        "m": ["1", "x"],
    }
    assert (found.unit, found.places.tolist(), found.read.sheet, found.read.header) == ("row", [2, 3], "data", True)


def test_what_pandas_writes_is_read_back(tmp_path: Path) -> None:
    """Without the index, which is said to be left out."""
    frame = pd.DataFrame({"x": [1, 2, 3], "y": ["a", "b", "c"]})
    frame.to_excel(tmp_path / "t.xlsx")
    found = read(tmp_path)
    assert found.table.to_pydict() == frame.to_dict("list")
    assert found.notes == ("Column 1, which has no name, is an index and is left out.",)


def test_titles_units_and_totals_are_found(tmp_path: Path) -> None:
    """As in text files."""
    rows = [
        ["Report"],
        [],
        ["who", "T", "p"],
        [None, "degC", "hPa"],
        ["a", 1, 2],
        ["b", 3, 4],
        ["c", 5, 6],
        ["Total", 9, 12],
    ]
    write(tmp_path, empty=[], about=[["A list"], ["of rows"]], data=rows, more=TABLE)
    found = read(tmp_path)
    assert found.table.to_pydict() == {"who": ["a", "b", "c"], "T": [1, 3, 5], "p": [2, 4, 6]}
    assert found.places.tolist() == [5, 6, 7]
    assert found.notes[0] == "Sheet data is read, not about, more (data.read.sheet)."
    assert read(tmp_path, sheet="more").table.column_names == ["n", "t", "d", "m"]
    assert read(tmp_path, sheet="data", units=False, footer=0).table.num_rows == 5


@pytest.mark.parametrize(
    ("sheets", "keys", "expected"),
    [
        ({"a": TABLE}, {"sheet": "b"}, "data.read.sheet must be one of a, got b."),
        ({"a": []}, {}, "must hold a sheet with a table, got empty ones."),
        ({"a": TABLE}, {"skip": 9}, "sheet a must have rows below the header, got none."),
        (
            {"a": TABLE},
            {"delimiter": ";"},
            "data.read.delimiter describes another kind of file, got t.xlsx; leave it out.",
        ),
    ],
)
def test_a_mistake_is_one_sentence(
    sheets: dict[str, list[list[object]]], keys: dict[str, object], expected: str, tmp_path: Path
) -> None:
    """With the sheet or the key."""
    write(tmp_path, **sheets)
    with pytest.raises(DataError) as raised:
        read(tmp_path, **keys)
    assert str(raised.value) == expected


def test_whole_numbers_stay_whole(tmp_path: Path) -> None:
    """Also beside empty cells."""
    write(tmp_path, data=[["x", "y"], [1, 2.5], [None, 1], [3, 2]])
    assert read(tmp_path).table.schema.types == [pa.int64(), pa.float64()]
