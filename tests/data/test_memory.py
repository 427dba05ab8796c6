"""Claims about tables and arrays in memory: taken as they are, or one sentence; a study's fingerprint of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.data.examine import examine, fingerprint
from tuner.data.memory import in_memory, memory_notes
from tuner.data.source_table import SourceTable
from tuner.data.sources import Sources
from tuner.errors import DataError
from tuner.spec.reader import spec_from_mapping


def table(data: object, *asked: str) -> SourceTable:
    found = in_memory(data, asked)
    assert isinstance(found, SourceTable)
    assert not found.is_text and found.unit == "row"
    assert found.places.tolist() == list(range(1, found.table.num_rows + 1))
    return found


def array(data: object) -> np.ndarray[Any, Any]:
    found = in_memory(data)
    assert isinstance(found, np.ndarray)
    return found


TABLES: dict[str, tuple[object, dict[str, list[object]]]] = {
    "numbers and text": (pd.DataFrame({"a": [1, 2], "b": ["x", None]}), {"a": [1, 2], "b": ["x", None]}),
    "missing numbers": (pd.DataFrame({"a": [1.5, np.nan]}), {"a": [1.5, None]}),
    "nullable": (
        pd.DataFrame({"i": pd.array([1, None], "Int64"), "b": pd.array([True, None], "boolean")}),
        {"i": [1, None], "b": [True, None]},
    ),
    "pd.NA among objects": (pd.DataFrame({"a": [pd.NA, 1, 2]}), {"a": [None, 1, 2]}),
    "objects of several kinds": (pd.DataFrame({"a": [1, "q", 2.5, None]}), {"a": ["1", "q", "2.5", None]}),
    "objects that are numbers": (pd.DataFrame({"a": np.array([1, 2.5, np.int64(3)], object)}), {"a": [1.0, 2.5, 3.0]}),
    "categories": (pd.DataFrame({"c": pd.Categorical(["u", None, "u"])}), {"c": ["u", None, "u"]}),
    "an index is ignored": (pd.DataFrame({"a": [1, 2]}, index=["x", "y"]), {"a": [1, 2]}),
    "names that are numbers": (pd.DataFrame(np.eye(2)), {"0": [1, 0], "1": [0, 1]}),
    "names of two levels": (
        pd.DataFrame(np.eye(2), columns=pd.MultiIndex.from_tuples([("a", "x"), ("b", "")])),
        {"a.x": [1, 0], "b": [0, 1]},
    ),
    "names twice": (pd.DataFrame(np.eye(2), columns=["a", "a"]), {"a": [1, 0], "a (2)": [0, 1]}),
    "an index that came with a file": (pd.DataFrame({"Unnamed: 0": [0, 1], "a": [5, 6]}), {"a": [5, 6]}),
    "periods and sparse columns": (
        pd.DataFrame({"p": pd.period_range("2020", periods=2, freq="Y"), "s": pd.arrays.SparseArray([0, 7])}),
        {"p": ["2020", "2021"], "s": [0, 7]},
    ),
    "a series": (pd.Series([1, 2], name="s"), {"s": [1, 2]}),
    "pyarrow": (pa.table({"a": [1, None], "b": ["x", "y"]}), {"a": [1, None], "b": ["x", "y"]}),
    "a batch": (pa.record_batch({"a": [1, None]}), {"a": [1, None]}),
    "a structured array": (np.array([(1, "a"), (2, "b")], [("n", "i4"), ("s", "U3")]), {"n": [1, 2], "s": ["a", "b"]}),
    "a masked structured array": (
        np.ma.array([(1, "a"), (2, "b")], [("n", "i4"), ("s", "U3")], mask=[(1, 0), (0, 1)]),
        {"n": [None, 2], "s": ["a", None]},
    ),
    "an array of objects": (np.array([[1, "a"], [2, None]], object), {"column_1": [1, 2], "column_2": ["a", None]}),
    "rows with text": ([[1, "a"], [2, None]], {"column_1": [1, 2], "column_2": ["a", None]}),
    "rows with what is missing": ([[1, 2.5], [3, None]], {"column_1": [1, 3], "column_2": [2.5, None]}),
    "rows by name": ([{"a": 1, "b": "x"}, {"a": 2}], {"a": [1, 2], "b": ["x", None]}),
    "columns": ({"a": [1, 2], "b": np.array([1.0, 2.0])}, {"a": [1, 2], "b": [1.0, 2.0]}),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_taken(name: str) -> None:
    """Each value as it was; what is missing is null, however the library says it."""
    data, expected = TABLES[name]
    assert table(data).table.to_pydict() == expected


def test_an_index_that_is_asked_for_is_a_column() -> None:
    """By its name, as a label may be."""
    frame = pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="who"))
    assert table(frame, "who").table.to_pydict() == {"a": [1, 2], "who": ["x", "y"]}
    assert table(frame, "other").table.to_pydict() == {"a": [1, 2]}


class Exchanged:
    """A table of a library that knows the interchange protocol alone."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def __dataframe__(self, **keys: Any) -> Any:
        return self._frame.__dataframe__(**keys)


@pytest.mark.filterwarnings("ignore:The Dataframe Interchange")  # what pandas says to libraries that still use it
def test_a_table_of_an_unknown_library_is_taken() -> None:
    """Through the dataframe interchange."""
    assert table(Exchanged(pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]}))).table.to_pydict() == {
        "a": [1, 2],
        "b": [0.5, 1.5],
    }


def test_polars_is_taken() -> None:
    """Its text, categories and what is missing; a query must be run first."""
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"a": [1, None], "b": ["x", "y"], "c": pl.Series(["u", "v"], dtype=pl.Categorical)})
    found = table(frame)
    assert found.table.to_pydict() == {"a": [1, None], "b": ["x", "y"], "c": ["u", "v"]}
    assert len(fingerprint(found)) == 64
    with pytest.raises(
        DataError, match=r"^must be a table, got a query of polars that has not run; give data\.collect"
    ):
        in_memory(frame.lazy())


ARRAYS: dict[str, tuple[object, object]] = {
    "integers": (np.arange(6).reshape(3, 2), np.arange(6).reshape(3, 2)),
    "booleans": (np.eye(2, dtype=bool), np.eye(2, dtype=bool)),
    "images": (np.zeros((3, 2, 2), np.uint8), np.zeros((3, 2, 2), np.uint8)),
    "masked": (np.ma.array([[1.0, 6.8e37]], mask=[[0, 1]]), np.array([[1.0, np.nan]])),
    "masked integers": (np.ma.array([[1, 999]], mask=[[0, 1]]), np.array([[1.0, np.nan]])),
    "a tensor with its gradient": (torch.eye(2, requires_grad=True), np.eye(2, dtype=np.float32)),
    "bfloat16": (torch.eye(2, dtype=torch.bfloat16), np.eye(2, dtype=np.float32)),
    "a sparse tensor": (torch.eye(2).to_sparse(), np.eye(2, dtype=np.float32)),
    "a sparse matrix": (sp.csr_matrix(np.eye(3)), np.eye(3)),
    "a sparse array of another form": (sp.coo_array(np.eye(3, dtype=np.int8)), np.eye(3, dtype=np.int8)),
    "rows of numbers": ([[1, 2], [3, 4.5]], np.array([[1, 2], [3, 4.5]])),
    "rows of arrays": ([np.array([1.0, 2]), np.array([3.0, 4])], np.array([[1.0, 2], [3, 4]])),
    "rows of tensors": ([torch.ones(2, 2), torch.zeros(2, 2)], np.stack([np.ones((2, 2)), np.zeros((2, 2))])),
    "nested rows": ([[[1, 2], [3, 4]]], np.array([[[1, 2], [3, 4]]])),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_taken(name: str) -> None:
    """The same numbers; masks are missing values, never what stands below them."""
    data, expected = ARRAYS[name]
    np.testing.assert_array_equal(array(data), np.asarray(expected))


NONE = (
    "must be a table (pandas, polars, pyarrow), an array (NumPy, torch, SciPy sparse) or a list of rows,"
    " got {}; build one of them first, such as numpy.asarray(...)."
)
MISTAKES: dict[str, tuple[object, str]] = {
    "nothing": (None, NONE.format("NoneType")),
    "a number": (np.int64(3), NONE.format("numpy.int64")),
    "a generator": ((row for row in [[1]]), NONE.format("generator")),
    "a range": (range(3), NONE.format("range")),
    "a path": ("t.csv", "must be a table or an array in memory, got the path 't.csv'; name it in data.source."),
    "complex": (
        np.eye(2) * 1j,
        "must hold real numbers, got complex ones; give data.real and data.imag as two columns.",
    ),
    "a complex tensor": (
        torch.eye(2) * 1j,
        "must hold real numbers, got a complex tensor; give data.real and data.imag as two columns.",
    ),
    "a complex column": (
        pd.DataFrame({"z": [1j, 2]}),
        "column z: must hold real numbers, got complex ones; give .real and .imag apart.",
    ),
    "one dimension": (
        np.arange(3),
        "must have rows and columns, got an array of 1 dimension(s); use reshape(-1, 1).",
    ),
    "times": (
        np.array([["2020"]], "M8[D]"),
        "must hold real numbers, got an array of datetime64[D]; give numbers, or a table of columns.",
    ),
    "a field of arrays": (
        np.zeros(2, [("v", "f8", (3,))]),
        "field v: must hold one value in each row, got an array in each; give it as an array.",
    ),
    "a large sparse matrix": (
        sp.csr_matrix((10**6, 20_000)),
        "must fit into 8 GiB as a dense matrix, got 1,000,000 x 20,000, which takes 149 GiB; keep the columns that"
        " matter, such as by sklearn's TruncatedSVD.",
    ),
    "no rows": ([], "must have rows, got an empty list."),
    "an empty frame": (pd.DataFrame({"a": []}), "must have rows and columns, got 0 and 1."),
    "scalars": ([1, 2], "row 1: must be a list of values or a mapping of names to values, got int."),
    "words": (["a", "b"], "row 1: must be a list of values or a mapping of names to values, got str."),
    "a short row": ([[1, 2], [3]], "row 2: must have as many values as row 1 (2), got 1."),
    "a short array": (
        [np.zeros(2), np.zeros(3)],
        "row 2: must have the shape of the first row (2,), got (3,).",
    ),
    "lists within": (
        [[[1, 2], [3]], [[1, 2], [3, 4]]],
        "must be rows of numbers of one shape, got lists of different lengths within them.",
    ),
    "short columns": ({"a": [1, 2], "b": [1]}, "must have columns of one length, got 2 values in a, 1 in b."),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence(name: str) -> None:
    """With what came and what to do; never a traceback of another library."""
    data, expected = MISTAKES[name]
    with pytest.raises(DataError) as raised:
        in_memory(data)
    assert str(raised.value) == expected


def test_what_is_not_plain_is_said() -> None:
    """Masks and sparse matrices."""
    assert memory_notes(np.ma.array([[1, 2]], mask=[[0, 1]])) == ("The array's mask stands for 1 missing values.",)
    assert memory_notes(sp.eye(3)) == ("The sparse matrix is held as a dense one of 3 x 3 (0 MiB).",)
    assert memory_notes(np.eye(2)) == ()


def mark(data: object) -> str:
    """The fingerprint that a study of these data has."""
    spec = spec_from_mapping(
        {
            "name": "x",
            "data": {"source": "memory", "missing": "mask"},
            "space": {"bottleneck": 1, "batch_size": 4, "width": 4},
            "search": {"trials": 1, "epochs": 1},
        }
    )
    return fingerprint(examine(spec, Sources(Path(), data=data)).data, spec.data)


def test_the_fingerprint_is_of_the_content() -> None:
    """Neither chunks, slices, byte order nor memory layout count; each value, name, level and null does."""
    numbers = np.random.default_rng(0).normal(size=30)
    base = pd.DataFrame({"a": numbers, "b": ["x", "y", None] * 10, "c": pd.Categorical(["u", "v", "u"] * 10)})
    sliced = pa.Table.from_pandas(pd.concat([base, base, base]), preserve_index=False).slice(30, 30)
    chunked = pa.concat_tables([sliced.slice(0, 7), sliced.slice(7)])
    assert mark(base) == mark(sliced) == mark(chunked)
    changes = [
        base.assign(a=np.append(numbers[:-1], 9)),
        base.assign(b=["x", None, None] * 5 + ["x", "y", None] * 5),
        base.assign(b=["x", "z", None] * 10),
        base.assign(c=pd.Categorical(["v", "u", "v"] * 10)),
        base.rename(columns={"a": "d"}),
        base[["b", "a", "c"]],
    ]
    assert len({mark(base), *map(mark, changes)}) == len(changes) + 1
    rows = np.random.default_rng(1).normal(size=(30, 3))
    same = [rows, np.asfortranarray(rows), rows.astype(">f8"), np.tile(rows, (1, 2))[:, :3]]
    assert len(set(map(mark, same))) == 1
    assert mark(rows) != mark(rows[::-1])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(-(2**60), 2**60),
            st.none() | st.floats(allow_nan=False),
            st.none() | st.text(max_size=5),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_rows_and_frames_and_arrow_agree(rows: list[tuple[int | None, float | None, str | None]]) -> None:
    """The same content gives the same values, whichever library holds it."""
    plain = [tuple(None if cell is None else cell for cell in row) for row in rows]
    columns = dict(zip(("column_1", "column_2", "column_3"), map(list, zip(*plain, strict=True)), strict=True))
    schema = pa.schema([("column_1", pa.int64()), ("column_2", pa.float64()), ("column_3", pa.string())])
    expected = pa.table(columns, schema=schema)
    nullable = expected.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype(), pa.float64(): pd.Float64Dtype()}.get)
    assert table(expected).table.to_pydict() == columns
    assert table(nullable).table.to_pydict() == columns


def test_asking_imports_nothing() -> None:
    """Neither torch nor pandas nor scipy is loaded to find out that an array is none of theirs."""
    look = "import sys, numpy; from tuner.data.memory import in_memory; in_memory(numpy.eye(2));"
    look += "print([name for name in ('torch', 'pandas', 'scipy', 'polars', 'pyarrow') if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
