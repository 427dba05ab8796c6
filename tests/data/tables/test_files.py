"""Claims about several files as one table: parts of pandas, Spark and others, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from tuner.data.source_table import SourceTable
from tuner.data.sources import Sources
from tuner.data.tables import is_table, read_table, table_blocks
from tuner.errors import DataError
from tuner.spec.data import DataSpec, ReadSpec


def read(folder: Path, source: str, **keys: object) -> SourceTable:
    spec = DataSpec.model_validate({"source": source, "read": keys or None})
    return read_table(folder / source, spec, Sources(folder))


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)


def test_a_pattern_reads_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    """As one table; a row is named by its file and line there."""
    write(tmp_path / "parts", b__csv="x,y\n3,4\n5,6\n", a__csv="x,y\n1,2\n", c__txt="no table")
    found = read(tmp_path, "parts/*.csv")
    assert found.table.to_pydict() == {"x": ["1", "3", "5"], "y": ["2", "4", "6"]}
    assert [found.place(row) for row in range(3)] == ["a.csv, line 2", "b.csv, line 2", "b.csv, line 3"]
    assert found.notes[0] == "2 files are read as one table: a.csv, b.csv."


def test_a_folder_of_spark_is_read_without_its_marks(tmp_path: Path) -> None:
    """`_SUCCESS` and hidden checksums are passed over, and said."""
    folder = tmp_path / "out"
    write(folder, _SUCCESS="", **{"_part-0__crc": "x"})
    for place in range(2):
        parquet.write_table(pa.table({"x": [place, place + 1]}), folder / f"part-0000{place}.snappy.parquet")
    found = read(tmp_path, "out")
    assert found.table.to_pydict() == {"x": [0, 1, 1, 2]}
    assert found.notes[1] == "2 other files are passed over: _SUCCESS, _part-0.crc."
    assert found.place(2) == "part-00001.snappy.parquet, row 1"
    assert is_table(folder)


def test_columns_in_another_order_are_put_in_the_first_files(tmp_path: Path) -> None:
    """By their names."""
    write(tmp_path / "p", a__csv="x,y\n1,2\n", b__csv="y,x\n4,3\n")
    assert read(tmp_path, "p").table.to_pydict() == {"x": ["1", "3"], "y": ["2", "4"]}


def test_decimals_are_found_in_all_parts(tmp_path: Path) -> None:
    """The first part alone would be read otherwise."""
    write(tmp_path / "p", a__csv="x;y\n1.031;2\n", b__csv="x;y\n1.500,5;3\n")
    assert read(tmp_path, "p").read.decimal == ","


def test_blocks_of_parts_are_the_rows_of_all(tmp_path: Path) -> None:
    """Each block names its file."""
    write(tmp_path / "p", a__csv="x,y\n1,2\n3,4\n5,6\n7,8\n", b__csv="x,y\n9,0\n")
    blocks = list(table_blocks(tmp_path / "p", ReadSpec(), 2))
    assert pa.concat_tables([block.table for block in blocks])["x"].to_pylist() == ["1", "3", "5", "7", "9"]
    assert blocks[-1].place(0) == "b.csv, line 2"


def test_an_index_of_pandas_is_read_by_arrows_name(tmp_path: Path) -> None:
    """A named index is a column; one without a name is left out, and said."""
    frame = pd.DataFrame({"x": [1.0, 2.0]}, index=pd.Index(["a", "b"], name="label"))
    frame.to_parquet(tmp_path / "named.parquet")
    assert read(tmp_path, "named.parquet").table.to_pydict() == {"x": [1.0, 2.0], "label": ["a", "b"]}
    frame.rename_axis(None).to_parquet(tmp_path / "bare.parquet")
    found = read(tmp_path, "bare.parquet")
    assert found.table.to_pydict() == {"x": [1.0, 2.0]}
    assert found.notes == ("Column __index_level_0__ is an index and is left out.",)
    assert not found.is_text and found.unit == "row" and found.places.tolist() == [1, 2]


@pytest.mark.parametrize("ending", ["feather", "arrow", "parquet", "pq", "ipc"])
def test_arrows_files_keep_their_types(ending: str, tmp_path: Path) -> None:
    """Numbers, text, categories, times and what is missing; whole and in blocks."""
    table = pa.table(
        {
            "n": pa.array([1, None, 3]),
            "t": ["a", None, "c"],
            "c": pa.array(["u", "v", "u"]).dictionary_encode(),
            "d": pd.to_datetime(["2020", "2021", "2022"]),
        }
    )
    path = tmp_path / f"t.{ending}"
    if ending in ("parquet", "pq"):
        parquet.write_table(table, path)
    elif ending == "ipc":
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    else:
        feather.write_feather(table, str(path))
    found = read(tmp_path, path.name).table
    assert found.to_pydict() == table.to_pydict()
    assert pa.types.is_dictionary(found.schema.field("c").type)
    blocks = list(table_blocks(path, ReadSpec(), 2))
    assert [block.table.num_rows for block in blocks] == [2, 1]
    assert blocks[1].places.tolist() == [3]


ENDINGS = ".csv, .tsv, .txt, .tab, .dat, .data, .parquet, .pq, .feather, .arrow, .ipc, .xlsx, .xlsm, .xls"
MISTAKES = {
    "no such pattern": ({}, "p/*.tsv", "must name files with its pattern, got none that fit it."),
    "no table in a folder": (
        {"a__json": "{}"},
        "p",
        f"the folder must hold files that end in {ENDINGS}, got 1 other files.",
    ),
    "another ending": (
        {"a__json": "{}"},
        "p/a.json",
        f"must end in {ENDINGS}, got .json.",
    ),
    "a column less": (
        {"a__csv": "x,y,z\n1,2,3\n", "b__csv": "x,z\n1,2\n"},
        "p",
        "b.csv: must have the same columns as a.csv, got a table without y; move it elsewhere, or mend it.",
    ),
    "a column more": (
        {"a__csv": "x,y\n1,2\n", "b__csv": "x,w,y\n1,2,3\n"},
        "p",
        "b.csv: must have the same columns as a.csv, got a table with w; move it elsewhere, or mend it.",
    ),
    "a mistake in one": (
        {"a__csv": "x,y\n1,2\n", "b__csv": "x,y\n1,2,3\n4,5\n6,7\n"},
        "p",
        "b.csv: line 2: must have as many cells as the header has (2), got 3 cells in '1,2,3'; put quotes around cells"
        " that hold the delimiter, or name another with data.read.delimiter.",
    ),
    "a damaged Parquet file": ({"a__parquet": "PAR1 no more"}, "p/a.parquet", "must be a whole Parquet table, got: "),
    "a damaged Arrow file": ({"a__arrow": "ARROW1 no more"}, "p/a.arrow", "must be a whole Arrow table, got: "),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_names_the_file(name: str, tmp_path: Path) -> None:
    """And the column or line in it."""
    files, source, expected = MISTAKES[name]
    write(tmp_path / "p", **files)
    with pytest.raises(DataError) as raised:
        read(tmp_path, source)
    assert str(raised.value) == expected or (expected.endswith(": ") and str(raised.value).startswith(expected))


def test_a_key_of_text_is_refused_for_parquet(tmp_path: Path) -> None:
    """It would be silently without effect."""
    parquet.write_table(pa.table({"x": [1]}), tmp_path / "t.parquet")
    with pytest.raises(
        DataError, match=r"^data\.read\.delimiter describes another kind of file, got t\.parquet; leave"
    ):
        read(tmp_path, "t.parquet", delimiter=";")


def test_parts_stay_inside_the_data_root(tmp_path: Path) -> None:
    """A link among them that leads out is refused."""
    root = tmp_path / "root"
    write(root / "p", a__csv="x,y\n1,2\n")
    write(tmp_path, secret__csv="x,y\n1,2\n")
    (root / "p" / "b.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(DataError, match="must be inside the data root"):
        read_table(root / "p/*.csv", DataSpec(source="p/*.csv"), Sources(root, root))


def test_an_excel_file_is_read_or_names_what_is_missing(tmp_path: Path) -> None:
    """Types of the cells, title, units; without the library one sentence."""
    path = tmp_path / "t.xlsx"
    path.write_bytes(b"PK\x03\x04 no workbook")
    with pytest.raises(DataError) as raised:
        read(tmp_path, "t.xlsx")
    said = str(raised.value)
    assert said.startswith("must be a whole Excel file, got: ") or said == (
        "Excel files need openpyxl, which is not installed; pip install 'autoencoder-tuner[excel]',"
        " or save the sheet as .csv."
    )
