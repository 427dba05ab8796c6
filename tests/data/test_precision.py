"""Claims about columns whose different numbers floats cannot tell apart: refused, and named, in every kind of file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from tuner.data.dataset import Dataset
from tuner.data.examine import examine
from tuner.data.readers import MEMORY, load
from tuner.data.sources import Sources
from tuner.errors import DataError
from tuner.spec.data import ColumnSpec, ColumnType, DataSpec
from tuner.spec.reader import spec_from_mapping
from tuner.spec.rules import NEWEST
from tuner.spec.study import StudySpec

ROWS = 60
OTHER = [float(n % 7) for n in range(ROWS)]
HALF = [other / 2 for other in OTHER]


def ids(start: int, step: int = 1) -> list[int]:
    return [start + step * n for n in range(ROWS)]


def csv(folder: Path, column: Sequence[object]) -> str:
    lines = [f"{value},{other},{other / 2}" for value, other in zip(column, OTHER, strict=True)]
    (folder / "t.csv").write_text("\n".join(["id,other,half", *lines, ""]))
    return "t.csv"


def table(folder: Path, column: pa.Array) -> str:
    parquet.write_table(pa.table({"id": column, "other": OTHER, "half": HALF}), folder / "t.parquet")
    return "t.parquet"


def npy(folder: Path, column: Sequence[int], kind: str = "int64") -> str:
    np.save(folder / "t.npy", np.array([column, range(ROWS)], dtype=kind).T)
    return "t.npy"


def npz(folder: Path, column: Sequence[int]) -> str:
    np.savez(folder / "t.npz", x=np.array([column, range(ROWS)], dtype=np.int64).T)
    return "t.npz"


def opened(folder: Path, source: str, rules: int = 2) -> Dataset:
    return load(DataSpec(source=source), Sources(folder), rules)


def spec(source: str, scaling: str) -> StudySpec:
    return spec_from_mapping(
        {
            "name": "x",
            "data": {"source": source, "scaling": scaling},
            "space": {"bottleneck": 1, "batch_size": 4},
            "search": {"trials": 1, "epochs": 1},
        }
    )


BIG = 2**60
MERGED = {
    "csv": lambda folder: csv(folder, ids(BIG)),
    "csv, beyond 64 bits": lambda folder: csv(folder, ids(2**64)),
    "csv, negative and not": lambda folder: csv(folder, ids(-(2**63), 3)),
    "csv, as fractions": lambda folder: csv(folder, [f"{n}.5" for n in ids(BIG)]),
    "csv, of which one is a fraction": lambda folder: csv(folder, [*ids(BIG)[1:], f"{BIG}.25"]),
    "csv, of which one is zero": lambda folder: csv(folder, [0, *ids(BIG)[1:]]),
    "parquet": lambda folder: table(folder, pa.array(ids(BIG))),
    "parquet, unsigned": lambda folder: table(folder, pa.array(ids(2**63), pa.uint64())),
    "parquet, decimal": lambda folder: table(folder, pa.array(map(Decimal, ids(BIG)), pa.decimal128(30))),
    "parquet, text": lambda folder: table(folder, pa.array(map(str, ids(BIG)))),
    "npy": lambda folder: npy(folder, ids(BIG)),
    "npy, unsigned": lambda folder: npy(folder, ids(2**63), "uint64"),
    "npz": lambda folder: npz(folder, ids(BIG)),
}


@pytest.mark.parametrize("kind", MERGED)
def test_identifiers_that_reading_would_merge_are_refused(kind: str, tmp_path: Path) -> None:
    """File, column, how many they are and how few would be left, and what to do; nothing is learnt from a constant."""
    source = MERGED[kind](tmp_path)
    column = "x0" if kind.startswith("np") else "id"
    with pytest.raises(DataError) as refused:
        opened(tmp_path, source)
    start = f"{source}: column {column}: its 60 different numbers must stay different as 64-bit floats, but become "
    assert str(refused.value).startswith(start)
    assert ("exclude: [id]" in str(refused.value)) == (column == "id")


def declared(source: str, wanted: ColumnType | None = None) -> StudySpec:
    """A study by the newest rules of the table, its first column declared so, or not at all."""
    made = spec(source, "minmax")
    columns = {"id": ColumnSpec(type=wanted)} if wanted else None
    return made.model_copy(update={"data": made.data.model_copy(update={"columns": columns, "missing": "mean"})})


def frame() -> pd.DataFrame:
    return pd.DataFrame({"id": ids(BIG), "other": OTHER, "half": HALF})


TABLES = {kind: make for kind, make in MERGED.items() if not kind.startswith("np")} | {
    "csv, in groups of three": lambda folder: csv(folder, [f'"{n:,}"' for n in ids(BIG)]),
    "csv, some missing": lambda folder: csv(folder, ["", "NA", *ids(BIG)[2:]]),
    "parquet, some missing": lambda folder: table(folder, pa.array([None, *ids(BIG)[1:]])),
    "parquet, each twice": lambda folder: table(folder, pa.array([BIG + n // 2 for n in range(ROWS)])),
    "in memory": lambda _: MEMORY,
}


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("wanted", ["numeric", "count"])
@pytest.mark.parametrize("kind", TABLES)
def test_declared_numbers_of_a_table_that_floats_merge_are_refused(
    kind: str, wanted: ColumnType, begun: bool, tmp_path: Path
) -> None:
    """The same sentence by the newest rules; a study that has begun with such a column goes on with it."""
    source = TABLES[kind](tmp_path)
    study, sources = declared(source, wanted), Sources(tmp_path, data=frame())
    if begun:
        assert "id" in examine(study, sources, begun=True).data.names
        return
    with pytest.raises(DataError) as refused:
        examine(study, sources)
    known = (
        rf"{re.escape(source)}: column id: its (30|5\d|60) different numbers must stay different as 64-bit floats, but"
    )
    assert re.match(known, str(refused.value))
    assert "exclude: [id]" in str(refused.value)


@pytest.mark.parametrize("kind", TABLES)
def test_what_floats_merge_is_left_out_of_a_table_for_that_reason(kind: str, tmp_path: Path) -> None:
    """Undeclared such numbers name rows: it is not said that they are all the same, which they are not."""
    source = TABLES[kind](tmp_path)
    found = examine(declared(source), Sources(tmp_path, data=frame()))
    said = [note for note in found.notes if "left out: id" in note]
    assert "id" not in found.data.names
    assert len(said) == 1
    assert "id (its numbers are too large for floats to tell them apart)" in said[0]


@pytest.mark.parametrize("wanted", ["numeric", "count"])
@pytest.mark.parametrize(
    "column", [ids(BIG, 256), ids(BIG, 10**6), ids(2**53 - ROWS), [BIG + 1, *ids(BIG, 10**6)[1:]], [1e30, *[2e30] * 59]]
)
def test_declared_large_numbers_that_floats_tell_apart_are_modelled(
    wanted: ColumnType, column: list[float], tmp_path: Path
) -> None:
    """As text, as whole numbers and as floats."""
    for source in (csv(tmp_path, column), table(tmp_path, pa.array(column))):
        assert examine(declared(source, wanted), Sources(tmp_path)).data.names == ("id", "other", "half")


def test_a_large_number_in_all_rows_is_constant(tmp_path: Path) -> None:
    """However it is written."""
    source = csv(tmp_path, [BIG, f"{BIG}.0"] * (ROWS // 2))
    (said,) = [note for note in examine(declared(source), Sources(tmp_path)).notes if "left out" in note]
    assert "id (it is the same in all rows)" in said


@pytest.mark.parametrize("make", [csv, npy, npz])
def test_a_study_with_rules_1_keeps_its_constant_column(make, tmp_path: Path) -> None:
    """It was begun before anybody looked, and goes on."""
    values = opened(tmp_path, make(tmp_path, ids(BIG)), rules=1).values
    assert len(np.unique(values[:, 0])) == 1


@pytest.mark.parametrize("make", [csv, npy, npz])
@pytest.mark.parametrize(
    "column", [ids(BIG, 256), ids(BIG, 10**6), [BIG] * ROWS, ids(2**53 - ROWS), [BIG + 1, *ids(BIG, 10**6)[1:]]]
)
def test_large_numbers_that_floats_tell_apart_are_read(make, column: list[int], tmp_path: Path) -> None:
    """Times in nanoseconds, a true constant, a few equals in a range that floats cut finely enough."""
    values = opened(tmp_path, make(tmp_path, column)).values[:, 0]
    assert values.tolist() == [float(value) for value in column]


def numeric(spec: StudySpec) -> StudySpec:
    """The same with its first column declared a number, which by newer rules would be found to name rows."""
    described = spec.data.model_copy(update={"columns": {"id": ColumnSpec(type="numeric")}})
    return spec.model_copy(update={"data": described})


@pytest.mark.parametrize(
    ("scaling", "column", "advice"),
    [
        ("none", ids(1_700_000_000), "use scaling minmax or standard."),
        ("standard", [n * 1e-200 for n in range(1, ROWS + 1)], "use scaling minmax."),
    ],
)
@pytest.mark.parametrize("rules", [2, NEWEST])
def test_numbers_that_scaling_would_merge_are_refused(
    rules: int, scaling: str, column: list[float], advice: str, tmp_path: Path
) -> None:
    """What trains are 32-bit floats; the sentence names the scaling that keeps them apart, and it does."""
    source = csv(tmp_path, column)
    with pytest.raises(DataError) as refused:
        examine(numeric(spec(source, scaling)), Sources(tmp_path), rules=rules)
    start = "t.csv: column id: its 42 different numbers in the training rows must stay different as 32-bit floats, but"
    assert str(refused.value).startswith(start)
    assert str(refused.value).endswith(advice)
    fine = examine(numeric(spec(source, "minmax")), Sources(tmp_path), rules=rules)
    assert len(np.unique(fine.preprocessor.transform(fine.data.raw(np.arange(ROWS)))[:, 0])) == ROWS
    examine(spec(source, scaling), Sources(tmp_path), rules=1)


@pytest.mark.parametrize("scaling", ["minmax", "standard", "none"])
def test_ordinary_columns_pass_whatever_their_rounding(scaling: str, tmp_path: Path) -> None:
    """Many equal values, an outlier far away, a constant, two large numbers that stay two, an image's dark border."""
    draws = np.random.default_rng(1)
    columns = [draws.integers(0, 2, 90), draws.normal(size=90), np.full(90, 3.0), draws.integers(10**6, 10**6 + 2, 90)]
    rows = np.column_stack(columns).astype(float)
    rows[3, 1] = -999_999
    np.save(tmp_path / "t.npy", rows)
    examine(spec("t.npy", scaling), Sources(tmp_path))
    images = draws.random((90, 4, 4)) * 255
    images[:, 0] = draws.random((90, 4)) * 1e-9
    np.save(tmp_path / "i.npy", images)
    examine(spec("i.npy", scaling), Sources(tmp_path))
