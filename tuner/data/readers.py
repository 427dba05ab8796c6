"""From what a user has to one matrix of numbers: a reader for each kind of source."""

from __future__ import annotations

import difflib
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.data.arrays import Read, as_rows, each_of, looks_like_images, read_npy, read_npz
from tuner.data.dataset import Dataset
from tuner.data.idx import NAME as IDX_NAME
from tuner.data.idx import read_idx
from tuner.data.images import read_images
from tuner.data.labels import Labels
from tuner.data.memory import in_memory, memory_notes
from tuner.data.npy_parts import is_npy_folder, read_folder
from tuner.data.source_table import SourceTable
from tuner.data.sources import Sources
from tuner.data.tables import ENDINGS, is_table
from tuner.errors import DataError, HelperError
from tuner.helper import Helper
from tuner.spec.data import DataSpec
from tuner.spec.rules import NEWEST, TYPED

MEMORY = "memory"  # the source of data that is given in Python
LEAST_ROWS = 3
BUNDLED = ("digits", "breast_cancer", "wine", "iris", "diabetes")


def _csv(path: Path, spec: DataSpec, rules: int) -> Read:
    from tuner.data.plain_tables import read_csv  # noqa: PLC0415 - pandas takes a quarter of a second, and only tables need it

    return read_csv(path, spec, rules)


def _parquet(path: Path, spec: DataSpec, rules: int) -> Read:
    from tuner.data.plain_tables import read_parquet  # noqa: PLC0415

    return read_parquet(path, spec, rules)


_READERS: dict[str, Callable[[Path, DataSpec, int], Read]] = {
    ".csv": _csv,
    ".parquet": _parquet,
    ".npy": read_npy,
    ".npz": read_npz,
    ".idx": read_idx,
}
_ARRAYS = (".npy", ".npz", ".idx")


def load(spec: DataSpec, sources: Sources, rules: int = NEWEST) -> Dataset:
    """The rows that a declaration's data block names.

    Args:
        spec: the block.
        sources: where a path in it leads.
        rules: the study's number of rules.

    Raises:
        DataError: the rows cannot be had, or are not finite numbers; the sentence names file, column and row.
    """
    data = read_rows(spec, sources, rules)
    return data if data.where.startswith("sklearn:") else checked(data, _advice(spec, data.shape, rules))


def _advice(spec: DataSpec, shape: tuple[int, ...], rules: int) -> str:
    """What to do about a missing value: arrays of two dimensions may be read as tables."""
    can = rules >= TYPED and len(shape) == 1 and spec.source.lower().endswith((MEMORY, ".npy", ".npz"))
    return "; say data.missing: mask, mean, median or drop" if can else ""


def read_rows(spec: DataSpec, sources: Sources, rules: int = NEWEST) -> Dataset:
    """The same rows as for `load`, which may not be finite numbers.

    Raises:
        DataError: the rows cannot be had.
    """
    if spec.source.startswith("sklearn:"):
        _refuse_columns(spec, "a bundled data set")
        known = bundled(spec.source, spec.label)
        return replace(known, each=each_of(known.shape, True, rules))
    where = spec.source
    with file_errors(where):
        values, names, shape, labels, is_image, notes = _read(spec, sources, rules)
    each, values = each_of(shape, is_image, rules), np.ascontiguousarray(values, dtype=np.float64)
    return Dataset(values, names, shape, where, labels, each, notes)


def _read(spec: DataSpec, sources: Sources, rules: int) -> Read:
    if spec.source == MEMORY and rules >= TYPED:
        _refuse_columns(spec, "an array")
        _refuse_label(spec, "an array")
        taken, data = in_memory(given(sources)), sources.data
        if isinstance(taken, SourceTable):
            raise TypeError("a table has types, and is read by load_table")
        return as_rows(taken)._replace(is_image=looks_like_images(taken), notes=memory_notes(data))
    path = sources.path(spec.source)
    return reader_of(path, spec.source, spec)(path, spec, rules)


def given(sources: Sources) -> object:
    """The data that was given in Python.

    Raises:
        DataError: none was.
    """
    if sources.data is None:
        raise DataError(
            "this study's data was given in Python and is not kept; give it again: tuner.run(..., data=...)."
        )
    return sources.data


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Put the name of the data's source before every sentence about it."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{where}: {str(error).removeprefix(f'{where}: ').removeprefix('data: ')}") from None


@contextmanager
def file_errors(where: str) -> Iterator[None]:
    """Turn every error of reading a file into one sentence that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries, to programmers; what comes out is checked
            yield
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    except MemoryError:
        raise DataError(f"{where}: must fit into memory, but does not.") from None
    except OSError as error:
        raise DataError(f"{where}: must be readable, got: {error.strerror or error}.") from None
    except Exception as error:
        # Parsers raise many kinds of errors on damaged files; the name of the file is known here.
        reason = (str(error).splitlines() or [""])[0][:200]
        raise DataError(f"{where}: must be a whole file, got: {type(error).__name__}: {reason}") from None


def may_be_table(spec: DataSpec, sources: Sources) -> bool:
    """Whether a source has columns with types: what reads these takes most of a second to import."""
    if spec.source.startswith("sklearn:"):
        return False
    if spec.source == MEMORY or spec.missing != "error" or spec.split is not None:
        return True
    with suppress(DataError, OSError, ValueError):  # what cannot be looked at is refused where it is read
        return is_table(sources.path(spec.source))
    return True


def mode_of(path: Path, where: str) -> int:
    """What kind of file is there.

    Raises:
        DataError: none, or one that cannot be looked at.
    """
    try:
        return path.stat().st_mode
    except OSError as error:
        raise DataError(f"must be a file or folder beside the space file, got: {error.strerror} ({path}).") from None
    except UnicodeEncodeError as error:
        raise DataError(
            f"has a name that file names cannot have in this locale (encoding {error.encoding}, see LC_ALL);"
            " set LC_ALL=C.UTF-8, or rename the file."
        ) from None
    except ValueError:
        raise DataError(f"must be a file's name, got {where!r}.") from None


def reader_of(path: Path, where: str, spec: DataSpec) -> Callable[[Path, DataSpec, int], Read]:
    """What reads a file or folder, by its ending.

    Raises:
        DataError: nothing does, or the declaration has keys that mean nothing for it.
    """
    mode = mode_of(path, where)
    if stat.S_ISDIR(mode) and is_npy_folder(path):
        _refuse_columns(spec, "a folder of arrays")
        _refuse_label(spec, "a folder of arrays")
        return read_folder
    if stat.S_ISDIR(mode):
        _refuse_columns(spec, "a folder of images")
        return read_images
    if not stat.S_ISREG(mode):
        raise DataError("must be a regular file or a folder.")
    kind = ".idx" if IDX_NAME.fullmatch(path.name.lower()) else path.suffix.lower()
    if kind not in _READERS:
        known = ", ".join((*ENDINGS, *_ARRAYS))
        raise DataError(f"must end in {known} or be a folder of images, got {kind or 'no ending'}.")
    if kind in _ARRAYS:
        _refuse_columns(spec, "an array")
    if kind in (".npy", ".idx"):
        _refuse_label(spec, f"a {kind} file")
    if spec.array is not None and kind != ".npz":
        raise DataError(f"data.array names an array inside an .npz file, got a {kind} file.")
    return _READERS[kind]


def _refuse_columns(spec: DataSpec, what: str) -> None:
    if spec.columns or spec.exclude:
        raise DataError(f"data.columns and data.exclude choose columns of a table by name, got {what}.")


def _refuse_label(spec: DataSpec, what: str) -> None:
    if spec.label is not None:
        raise DataError(f"data.label names a column of a table or an array of an .npz file, got {what}.")


def bundled(source: str, label: str | None = None) -> Dataset:
    """One of scikit-learn's bundled sets; nothing is downloaded."""
    name = source.removeprefix("sklearn:")
    if name not in BUNDLED:
        near = difflib.get_close_matches(name, BUNDLED, 1)
        hint = f"; did you mean sklearn:{near[0]}?" if near else "."
        raise DataError(f"{source}: must be one of {', '.join(f'sklearn:{one}' for one in BUNDLED)}{hint}")
    if label not in (None, "target"):
        raise DataError(f"{source}: data.label must be target, got {label}.")
    values, names, target = _of_sklearn(name)
    shape = (8, 8) if name == "digits" else (values.shape[1],)
    labels = None if label is None else Labels.of(label, target.copy(), "row", 1)
    return Dataset(values.copy(), names, shape, source, labels)


@lru_cache
def _of_sklearn(name: str) -> tuple[NDArray[np.float64], tuple[str, ...], NDArray[Any]]:
    """A bundled set's values, columns and classes."""
    try:
        with Helper() as helper:
            return helper.call(_load, name)
    except HelperError as error:
        raise DataError(f"sklearn:{name}: cannot be read, for {error}.") from None


def _load(name: str) -> tuple[NDArray[np.float64], tuple[str, ...], NDArray[Any]]:
    """In a helper process: scikit-learn sets variables that every child inherits, and draws from `random`."""
    from sklearn import datasets  # noqa: PLC0415

    bunch = getattr(datasets, f"load_{name}")()
    target = np.asarray(bunch.target_names)[bunch.target] if "target_names" in bunch else bunch.target
    return np.ascontiguousarray(bunch.data, dtype=np.float64), tuple(map(str, bunch.feature_names)), target


def checked(data: Dataset, advice: str = "") -> Dataset:
    """Refuse what no autoencoder can learn from.

    Args:
        data: the rows.
        advice: what to do about a missing value, behind the sentence on it.

    Raises:
        DataError: too few rows, values that are no finite numbers, or rows that are all the same.
    """
    rows, columns = data.values.shape
    if rows < 3 or columns == 0:
        raise DataError(f"{data.where}: must have at least 3 rows and 1 column, got {rows} and {columns}.")
    bad = np.argwhere(~np.isfinite(data.values))
    if len(bad):
        row, column = bad[0]
        missing = bool(np.isnan(data.values[row, column]))
        came = "a missing value" if missing else "infinity"
        raise DataError(
            f"{data.where}: column {data.names[column]}, row {row + 1}: must be a finite number, got {came}"
            f" ({len(bad)} such values in all){advice if missing else ''}."
        )
    if (data.values == data.values[0]).all():
        raise DataError(f"{data.where}: must hold rows that differ, got {rows} equal ones.")
    return data
