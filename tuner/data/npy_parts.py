"""A folder of .npy files as one array: rows that were written in parts, or one row in each file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tuner.data.arrays import Read, check_rows, open_npy, read_distinct
from tuner.data.tables.names import listed
from tuner.errors import DataError
from tuner.spec.data import DataSpec


def is_npy_folder(path: Path) -> bool:
    """Whether a folder holds .npy files."""
    return path.is_dir() and any(_is_part(file) for file in path.iterdir())


def read_npy_parts(path: Path) -> tuple[NDArray[np.generic], tuple[str, ...]]:
    """The rows of all .npy files of a folder, in the order of their names, and what is said of them.

    Files of one dimension are a row each; those of more are rows that are put below one another.

    Args:
        path: of the folder.

    Returns:
        (N, ...) of the type that holds all parts' numbers, and a sentence each on what was read and passed over.

    Raises:
        DataError: a part is damaged, holds no numbers, or has rows of another shape; the sentence names it.
    """
    entries = sorted(path.iterdir())
    files = [file for file in entries if _is_part(file)]
    arrays = [_opened(file) for file in files]
    for file, array in zip(files, arrays, strict=True):
        if array.shape[1:] != arrays[0].shape[1:]:
            raise DataError(
                f"{file.name}: must hold rows of the shape that {files[0].name} has, {arrays[0].shape[1:]},"
                f" got {array.shape[1:]}; move it elsewhere."
            )
    notes = [f"{len(files):,} files are read as one array: {listed([file.name for file in files], 3)}."]
    others = [file.name for file in entries if file not in set(files)]
    if others:
        notes.append(f"{len(others):,} other files are passed over: {listed(others)}.")
    return np.concatenate(arrays), tuple(notes)


def read_folder(path: Path, spec: DataSpec, rules: int) -> Read:  # noqa: ARG001 - the readers share one signature
    """A folder of .npy files as rows."""
    array, notes = read_npy_parts(path)
    return read_distinct(array, rules)._replace(notes=notes)


def _is_part(file: Path) -> bool:
    return file.suffix.lower() == ".npy" and not file.name.startswith((".", "_"))


def _opened(file: Path) -> NDArray[np.generic]:
    try:
        array = open_npy(file)
        rows = array[None] if array.ndim == 1 else array
        check_rows(rows)
    except DataError as error:
        raise DataError(f"{file.name}: {error}") from None
    return rows
