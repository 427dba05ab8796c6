"""The prepared file as every process maps it; small to import, since workers start with it."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tuner.data.labels import rarer
from tuner.data.linear_start import LinearStart
from tuner.data.terms import Terms
from tuner.errors import DataError

Matrix = NDArray[np.float32]


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """The prepared splits, (rows, F) float32 each; NaN is a missing value, which only rows with `terms` have.

    Attributes:
        train, validation, test: the rows.
        terms: how a row's loss is made of its columns; None where it is the mean of `mse` or `bce` over all of them.
        start: where trainings on them start; None by rules before 4.
    """

    train: Matrix
    validation: Matrix
    test: Matrix
    terms: Terms | None = None
    start: LinearStart | None = None


@dataclass(frozen=True, slots=True)
class LabelFile:
    """Where the rows' labels lie: a .npy file of places in a list of classes, in the order of the prepared rows."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class TermsFile:
    """Where the terms of the loss lie: an .npz file beside the prepared rows, without anything pickled."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class StartFile:
    """Where the start of all trainings lies: an .npz file beside the prepared rows, without anything pickled."""

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
        terms: how a row's loss is made of its columns, where that is not the mean over all of them.
        start: where trainings on them start; None by rules before 4.
    """

    path: str
    counts: tuple[int, int, int]
    features: int
    labels: LabelFile | None = None
    terms: TermsFile | None = None
    start: StartFile | None = None

    @property
    def name(self) -> str:
        """The file's path."""
        return self.path

    def open(self) -> Rows:
        """Map the file; its digest was checked when the run began."""
        return whole(open_rows(self.path, None, self.counts), self.terms, self.start)

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
    content = _checked_bytes(file, "labels")
    labels: NDArray[np.int32] = np.load(io.BytesIO(content), allow_pickle=False)
    first, second = counts[0], counts[0] + counts[1]
    return SplitLabels(labels[:first], labels[first:second], labels[second:], int(labels.max()) + 1, rarer(labels))


def whole(rows: Rows, terms: TermsFile | None, start: StartFile | None) -> Rows:
    """Rows with what lies beside them.

    Raises:
        DataError: one of the files is missing or damaged.
    """
    return replace(
        rows,
        terms=None if terms is None else open_terms(terms),
        start=None if start is None else open_start(start),
    )


def open_start(file: StartFile) -> LinearStart:
    """Read a file of a start, and check its digest: it is small.

    Raises:
        DataError: the file is missing or damaged.
    """
    return LinearStart.from_bytes(_checked_bytes(file, "start of the trainings"))


def open_terms(file: TermsFile) -> Terms:
    """Read a file of terms, and check its digest: it is small.

    Raises:
        DataError: the file is missing or damaged.
    """
    with np.load(io.BytesIO(_checked_bytes(file, "terms of the loss")), allow_pickle=False) as known:
        arrays = {name: known[name] for name in ("kinds", "groups", "weights", "deltas", "fill")}
        first, second, third = known["shares"].tolist()
        return Terms(**arrays, missing=bool(known["missing"]), shares=(first, second, third))


def terms_bytes(terms: Terms) -> bytes:
    """The content of a file of terms; equal terms give equal bytes."""
    content = io.BytesIO()
    np.savez(
        content,
        kinds=terms.kinds,
        groups=terms.groups,
        weights=terms.weights,
        deltas=terms.deltas,
        fill=terms.fill,
        missing=np.array(terms.missing),
        shares=np.array(terms.shares),
    )
    return content.getvalue()


def _checked_bytes(file: LabelFile | TermsFile | StartFile, what: str) -> bytes:
    try:
        content = Path(file.path).read_bytes()
    except OSError as error:
        raise DataError(f"{file.path}: the {what} cannot be read ({error.strerror}); run the study again.") from None
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise DataError(f"{file.path}: the file of {what} is damaged; delete it and run the study again.")
    return content


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
