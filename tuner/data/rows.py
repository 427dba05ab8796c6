"""The prepared file as every process maps it; small to import, since workers start with it."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tuner.data.labels import rarer
from tuner.errors import DataError

Matrix = NDArray[np.float32]


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """The prepared splits, (rows, F) float32 each."""

    train: Matrix
    validation: Matrix
    test: Matrix


@dataclass(frozen=True, slots=True)
class LabelFile:
    """Where the rows' labels lie: a .npy file of places in a list of classes, in the order of the prepared rows."""

    path: str
    sha256: str


@dataclass(frozen=True, eq=False, slots=True)
class SplitLabels:
    """The labels of each split, places in a list of classes.

    Attributes:
        train, validation, test: (rows,) each.
        classes: how many there are.
        anomaly: which of two classes counts as the anomaly, the rarer one; None where there are more than two.
    """

    train: NDArray[np.int32]
    validation: NDArray[np.int32]
    test: NDArray[np.int32]
    classes: int
    anomaly: int | None


class RowsSource(Protocol):
    """Where the prepared rows of a study come from.

    An implementation is a frozen value that can be pickled and hashed: it travels to the workers with every segment,
    and each of them opens it once.
    """

    @property
    def name(self) -> str:
        """What an error message calls it."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """Rows of each split: training, validation, test."""

    @property
    def features(self) -> int:
        """Real features of a row."""

    def open(self) -> Rows:
        """The rows.

        Raises:
            DataError: they are missing or damaged.
        """

    def __hash__(self) -> int: ...

    def open_labels(self) -> SplitLabels | None:
        """What the rows are known to be, where that is declared.

        Raises:
            DataError: it is missing or damaged.
        """


@dataclass(frozen=True, slots=True)
class RowsFile:
    """Prepared rows in a file of this machine, which all processes map together.

    Attributes:
        path: the prepared file.
        counts: rows of each split: training, validation, test.
        features: real features of a row.
        labels: what the rows are known to be, where that is declared.
    """

    path: str
    counts: tuple[int, int, int]
    features: int
    labels: LabelFile | None = None

    @property
    def name(self) -> str:
        """The file's path."""
        return self.path

    def open(self) -> Rows:
        """Map the file; its digest was checked when the run began."""
        return open_rows(self.path, None, self.counts)

    def open_labels(self) -> SplitLabels | None:
        """Read the file of labels, and check its digest."""
        return None if self.labels is None else open_labels(self.labels, self.counts)


def open_labels(file: LabelFile, counts: tuple[int, int, int]) -> SplitLabels:
    """Read a file of labels, and check its digest: it is small.

    Args:
        file: the file.
        counts: rows of each split.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        content = Path(file.path).read_bytes()
    except OSError as error:
        raise DataError(f"{file.path}: the labels cannot be read ({error.strerror}); run the study again.") from None
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise DataError(f"{file.path}: the file of labels is damaged; delete it and run the study again.")
    labels: NDArray[np.int32] = np.load(io.BytesIO(content), allow_pickle=False)
    first, second = counts[0], counts[0] + counts[1]
    return SplitLabels(labels[:first], labels[first:second], labels[second:], int(labels.max()) + 1, rarer(labels))


def open_rows(path: str, sha256: str | None, counts: tuple[int, int, int]) -> Rows:
    """Map a prepared file; its pages are shared by all processes that do.

    Args:
        path: the file.
        sha256: what its bytes must give; None skips the check.
        counts: rows of each split.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        if sha256 is not None and sha256_of(Path(path)) != sha256:
            raise DataError(f"{path}: the prepared data is damaged; delete the file and run the study again.")
        rows = np.lib.format.open_memmap(path, mode="c")
    except DataError:
        raise
    except Exception as error:
        # numpy's header parser raises many kinds of errors on damaged files.
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DataError(f"{path}: the prepared data cannot be read ({reason}); run the study again.") from None
    first, second = counts[0], counts[0] + counts[1]
    if rows.ndim != 2 or len(rows) != second + counts[2] or rows.dtype != np.float32:
        raise DataError(f"{path}: the prepared data has another shape; delete the file and run the study again.")
    return Rows(rows[:first], rows[first:second], rows[second:])


def sha256_of(path: Path) -> str:
    """The hexadecimal digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
