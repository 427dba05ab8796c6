"""All that happens to the data before any trial: loaded, checked, split, scaled, written once for all workers."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
from numpy.typing import NDArray

from tuner.data.preprocess import BLOCK_ROWS, Preprocessor
from tuner.data.readers import Dataset, load
from tuner.data.rows import LabelFile, sha256_of
from tuner.data.split import Split, split_rows
from tuner.errors import DataError, StorageError
from tuner.spec.distributions import IntDistribution
from tuner.spec.study import DataSpec, StudySpec
from tuner.waiting import abandonable, never

T = TypeVar("T")
Array = NDArray[np.float32] | NDArray[np.int32]
FORMAT = 1  # grows when the same declaration is to give another file


@dataclass(frozen=True, eq=False, slots=True)
class Prepared:
    """The prepared file and all that is known about it.

    Attributes:
        path: a .npy file, rows of training, validation and test split in this order.
        sha256: of its bytes.
        features: columns.
        train, validation, test: rows of each split.
        shape: a raw row's own shape.
        names: the columns.
        fingerprint: of the raw data and of the declaration's data block.
        preprocessor: fitted on the training rows.
        labels: what the rows are known to be, where that is declared; in the order of the file's rows.
    """

    path: str
    sha256: str
    features: int
    train: int
    validation: int
    test: int
    shape: tuple[int, ...]
    names: tuple[str, ...]
    fingerprint: str
    preprocessor: Preprocessor
    labels: LabelFile | None = None


def fingerprint(data: Dataset, spec: DataSpec) -> str:
    """SHA-256 over the rows, their names and shape, and the data block; without the source, for files may move.

    Labels are in it where they are declared alone, so that other studies keep the fingerprint they had before there
    were any.
    """
    block = spec.model_dump(mode="json", exclude={"source"} if data.labels else {"source", "label"})
    about = {"names": data.names, "shape": data.shape, "rows": data.values.shape, "data": block}
    if data.labels is not None:
        about["classes"] = data.labels.classes
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(data.values, dtype="<f8").data)
    if data.labels is not None:
        digest.update(np.ascontiguousarray(data.labels.codes, dtype="<i4").data)
    return digest.hexdigest()


@dataclass(frozen=True, eq=False, slots=True)
class Examined:
    """Data that fits a declaration: read, split, and measured, with nothing written yet."""

    data: Dataset
    split: Split
    preprocessor: Preprocessor


def examine(spec: StudySpec, base: Path, check: Callable[[], object] = never) -> Examined:
    """Load the data, check it against the declaration, split it, and fit the scaling on its training rows.

    Args:
        spec: the declaration.
        base: the folder that a path in it is relative to.
        check: called now and then; what it raises ends the work.

    Raises:
        DataError: as for `prepare`.
    """
    return abandonable(lambda: _examined(spec, base), check)


def _examined(spec: StudySpec, base: Path) -> Examined:
    data = load(spec.data, base)
    split = split_rows(len(data.values), spec.data.validation, spec.data.test, spec.search.seed)
    _check_batch_size(spec, len(split.train), data.where)
    _check_loss(spec, data)
    train, clip = data.values[split.train], spec.loss == "bce"
    fit = partial(Preprocessor.fit, train, data.shape, data.names, spec.data.scaling, clip)
    return Examined(data, split, _named(data, fit))


def prepare(spec: StudySpec, base: Path, folder: Path, check: Callable[[], object] = never) -> Prepared:
    """Load, check, split, scale, and write the one file that workers map.

    Args:
        spec: the declaration.
        base: the folder that a path in it is relative to.
        folder: where `prepared/` stands.
        check: called now and then; what it raises ends the work, and leaves no file half written.

    Raises:
        DataError: the data cannot be used as declared.
        StorageError: the folder cannot be written.
    """
    examined = examine(spec, base, check)
    data, split, fitted = examined.data, examined.split, examined.preprocessor
    mark = abandonable(lambda: fingerprint(data, spec.data), check)
    path = prepared_path(folder, mark, spec)
    digest = _written(path, lambda: _named(data, lambda: _scaled(data, split, fitted, check)))
    labels = _labels_written(path, data, split)
    counts = len(split.train), len(split.validation), len(split.test)
    return Prepared(str(path), digest, data.values.shape[1], *counts, data.shape, data.names, mark, fitted, labels)


def prepared_path(folder: Path, mark: str, spec: StudySpec) -> Path:
    """Where the prepared data of a declaration lies: named by the data's fingerprint, the seed and the scaling."""
    key = hashlib.sha256(f"{FORMAT}/{mark}/{spec.search.seed}/{spec.loss == 'bce'}".encode()).hexdigest()[:32]
    return (folder / "prepared" / f"{key}.npy").absolute()


def label_path(prepared: Path) -> Path:
    """Where the labels of prepared data lie, if there are any."""
    return prepared.with_suffix(".labels.npy")


def _labels_written(prepared: Path, data: Dataset, split: Split) -> LabelFile | None:
    labels = data.labels
    if labels is None:
        return None
    path = label_path(prepared)
    return LabelFile(str(path), _written(path, lambda: labels.codes[_order(split)]))


def _order(split: Split) -> NDArray[np.int64]:
    return np.concatenate([split.train, split.validation, split.test])


def _scaled(data: Dataset, split: Split, fitted: Preprocessor, check: Callable[[], object]) -> NDArray[np.float32]:
    order = _order(split)
    rows = np.empty(data.values.shape, np.float32)
    for start in range(0, len(order), BLOCK_ROWS):
        check()
        rows[start : start + BLOCK_ROWS] = fitted.transform(data.values[order[start : start + BLOCK_ROWS]])
    return rows


def _written(path: Path, make: Callable[[], Array]) -> str:
    """The digest of a file that is there and whole, or is written now: beside its place, then renamed."""
    note = path.with_suffix(".sha256")
    try:
        if note.read_text(encoding="ascii") == (known := sha256_of(path)):
            return known
    except (OSError, ValueError):
        pass  # not there yet, or not readable: written again
    rows = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, lambda file: np.save(file, rows, allow_pickle=False))
        digest = sha256_of(path)
        _replace(note, lambda file: file.write(digest.encode()))
    except OSError as error:
        why = error.strerror or error
        raise StorageError(f"{path.parent}: the prepared data must be written here, got: {why}.") from None
    return digest


def _replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _named(data: Dataset, call: Callable[[], T]) -> T:
    """Put the source's name into an error of the preprocessor."""
    try:
        return call()
    except DataError as error:
        raise DataError(str(error).replace("data:", f"{data.where}:", 1)) from None


def _check_batch_size(spec: StudySpec, rows: int, where: str) -> None:
    batch = spec.space.largest("batch_size")
    if batch > rows:
        key = "space.batch_size.high" if isinstance(spec.space.batch_size, IntDistribution) else "space.batch_size"
        raise DataError(f"{where}: {key} must be at most {rows}, the rows to train on, got {batch}.")


def _check_loss(spec: StudySpec, data: Dataset) -> None:
    """Loss bce is defined between 0 and 1; minmax brings the training rows there and clips the others."""
    low, high = float(data.values.min()), float(data.values.max())
    if spec.loss == "bce" and spec.data.scaling == "none" and not (low >= 0 and high <= 1):
        raise DataError(
            f"{data.where}: loss bce needs values between 0 and 1, got {low:g} to {high:g};"
            " use scaling minmax or loss mse."
        )
