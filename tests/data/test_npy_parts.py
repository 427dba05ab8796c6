"""Claims about a folder of .npy files: one array, or one sentence that names the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tuner.data.blocks import Selection, read_blocks
from tuner.data.npy_parts import is_npy_folder, read_npy_parts
from tuner.data.readers import load
from tuner.data.sources import Sources
from tuner.errors import DataError
from tuner.spec.data import DataSpec


def write(folder: Path, **arrays: object) -> None:
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", np.asarray(array))


def test_parts_are_rows_of_one_array(tmp_path: Path) -> None:
    """In the order of their names; what else lies there is passed over, and said."""
    write(tmp_path, b=[[5, 6.5]], a=[[1, 2], [3, 4]])
    (tmp_path / "._a.npy").write_bytes(b"x")
    assert is_npy_folder(tmp_path)
    array, notes = read_npy_parts(tmp_path)
    assert array.tolist() == [[1, 2], [3, 4], [5, 6.5]]
    assert notes == ("2 files are read as one array: a.npy, b.npy.", "1 other files are passed over: ._a.npy.")


def test_files_of_one_dimension_are_a_row_each(tmp_path: Path) -> None:
    """As signals often are."""
    write(tmp_path, a=[1, 2, 3], b=[4, 5, 6])
    assert read_npy_parts(tmp_path)[0].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_a_mistake_names_the_file(tmp_path: Path) -> None:
    """Another shape, no numbers, a damaged file."""
    write(tmp_path, a=[[1, 2]], b=[[1, 2, 3]])
    with pytest.raises(
        DataError, match=r"^b\.npy: must hold rows of the shape that a\.npy has, \(2,\), got \(3,\); move"
    ):
        read_npy_parts(tmp_path)
    write(tmp_path, b=[["x", "y"]])
    with pytest.raises(DataError, match=r"^b\.npy: must hold real numbers"):
        read_npy_parts(tmp_path)
    (tmp_path / "b.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match=r"^b\.npy: must be a whole array file"):
        read_npy_parts(tmp_path)


def test_a_study_reads_such_a_folder(tmp_path: Path) -> None:
    """As the one array that its parts are, with a word on what it took; and so does an export that is applied to it."""
    rows = np.random.default_rng(0).normal(size=(12, 3))
    (tmp_path / "parts").mkdir()
    write(tmp_path / "parts", a=rows[:5], b=rows[5:])
    data = load(DataSpec(source="parts"), Sources(tmp_path))
    np.testing.assert_array_equal(data.values, rows)
    assert data.notes == ("2 files are read as one array: a.npy, b.npy.",)
    (block,) = read_blocks(str(tmp_path / "parts"), Selection(data.names, (3,)))
    np.testing.assert_array_equal(block.values, rows)
