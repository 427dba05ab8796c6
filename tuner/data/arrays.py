"""Arrays in .npy and .npz files; nothing pickled is ever read."""

from __future__ import annotations

import errno
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.data.labels import Labels
from tuner.data.precision import refuse_merged
from tuner.data.preprocess import Each
from tuner.errors import DataError
from tuner.spec.data import DataSpec
from tuner.spec.rules import FIRST, TYPED


class Read(NamedTuple):
    """What a reader gives.

    Attributes:
        values: (N, F).
        names: F of them.
        shape: a row's own shape.
        labels: where they are declared.
        is_image: whether all values of a row have one unit, as pixels do; see `looks_like_images`.
        notes: what was decided while it was read, a sentence each, for the user.
    """

    values: NDArray[np.float64]
    names: tuple[str, ...]
    shape: tuple[int, ...]
    labels: Labels | None = None
    is_image: bool = False
    notes: tuple[str, ...] = ()


SMALLEST_SIDE = 4  # pixels: what is smaller is steps by channels rather than a picture
BYTE = 255
_BROKEN = (
    ValueError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    KeyError,
)


def read_npy(path: Path, spec: DataSpec, rules: int) -> Read:  # noqa: ARG001 - the readers share one signature
    """A whole .npy file."""
    open_npy(path)
    try:
        return read_distinct(np.load(path, allow_pickle=False), rules)
    except _BROKEN as error:
        raise _broken(error) from None


def read_npz(path: Path, spec: DataSpec, rules: int) -> Read:
    """One array of an .npz file: `data.array`, or the only one that is not `data.label`."""
    with _opened(path) as archive:
        names = list(archive.files)
        read = read_distinct(archive[_chosen([name for name in names if name != spec.label], spec.array)], rules)
        return read if spec.label is None else read._replace(labels=_labels(archive, spec.label, len(read.values)))


def open_npy(path: Path) -> NDArray[np.generic]:
    """A .npy file, mapped; a header that claims more than the file has is refused.

    Raises:
        DataError: it is no such file.
    """
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except _BROKEN as error:
        raise _broken(error) from None
    if not isinstance(mapped, np.ndarray):
        raise DataError("must be one array, got an archive; name it .npz.")
    return mapped


def load_npz(path: Path, name: str | None, asked_by: str = "data.array") -> NDArray[np.generic]:
    """The array of that name, or the only one, of an .npz file; `asked_by` is what a user gives the name with.

    Raises:
        DataError: it is no such file, or has no such array.
    """
    with _opened(path) as archive:
        array: NDArray[np.generic] = archive[_chosen(list(archive.files), name, asked_by)]
        return array


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An .npz file; what reading it raises becomes a sentence."""
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise DataError("must be an archive of arrays, got a single one; name it .npy.")
        with archive:
            yield archive
    except _BROKEN as error:
        raise _broken(error) from None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise _broken(error) from None  # a damaged directory of the archive leads to a place that no file has


def _chosen(names: list[str], wanted: str | None, asked_by: str = "data.array") -> str:
    if not names:
        raise DataError("must hold an array, got none.")
    if wanted is None and len(names) > 1:
        raise DataError(f"{asked_by} must name one of its arrays: {', '.join(names)}.")
    if wanted is not None and wanted not in names:
        raise DataError(f"{asked_by} must be one of {', '.join(names)}, got {wanted}.")
    return wanted or names[0]


def _labels(archive: Mapping[str, NDArray[np.generic]], name: str, rows: int) -> Labels:
    if name not in archive:
        raise DataError(f"data.label must be one of {', '.join(archive)}, got {name}.")
    values = archive[name]
    if values.shape != (rows,):
        raise DataError(f"data.label: {name} must hold one value for each of {rows} rows, got shape {values.shape}.")
    return Labels.of(name, values, "row", 1)


def read_distinct(array: NDArray[np.generic], rules: int) -> Read:
    """An array as rows, if its numbers are still different ones then."""
    read = as_rows(array)._replace(is_image=looks_like_images(array))
    if rules > FIRST and array.dtype.itemsize >= 8 and array.dtype != np.float64:
        plain = array.reshape(len(array), -1)
        advice = "leave the column out, or store it less its smallest number"
        refuse_merged(read.values, read.names, lambda place: len(np.unique(plain[:, place])), advice)
    return read


def as_rows(array: NDArray[np.generic]) -> Read:
    """An array of two or more dimensions as rows; the first counts them."""
    check_rows(array)
    shape = tuple(int(size) for size in array.shape[1:])
    values = array.reshape(len(array), -1).astype(np.float64)
    names = tuple("x" + "_".join(map(str, place)) for place in np.ndindex(*shape))
    return Read(values, names, shape)


def looks_like_images(array: NDArray[np.generic]) -> bool:
    """Whether rows of an array are pictures, whose values have one unit and are scaled by one range.

    They are (N, H, W) or (N, H, W, C) with 1, 3 or 4 channels, no side below 4 pixels, and bytes: uint8, or floats that
    are all a whole number of 255ths. Anything else of more than two dimensions has a unit for each channel, the last
    axis: windows of sensors, fields of several quantities.
    """
    shaped = array.ndim == 3 or (array.ndim == 4 and array.shape[-1] in (1, 3, 4))
    if not shaped or min(array.shape[1:3]) < SMALLEST_SIDE:
        return False
    return array.dtype == np.uint8 or (array.dtype.kind == "f" and all(map(_are_bytes, array)))


def _are_bytes(row: NDArray[np.generic]) -> bool:
    values = row.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(values * BYTE - np.round(values * BYTE)) < 1e-3
    return bool((near & (values >= 0) & (values <= 1)).all())


def each_of(shape: tuple[int, ...], is_image: bool, rules: int) -> Each | None:
    """What of rows of this shape has a range of its own; None by rules before 3."""
    if rules < TYPED:
        return None
    return "column" if len(shape) == 1 else "image" if is_image else "channel"


def check_rows(array: NDArray[np.generic]) -> None:
    """Refuse an array that cannot be read as rows.

    Raises:
        DataError: it holds no real numbers, or has less than two dimensions.
    """
    if array.dtype.kind not in "biuf":
        raise DataError(f"must hold real numbers, got an array of {array.dtype}.")
    if array.ndim < 2:
        raise DataError(f"must have rows and columns, got an array of {array.ndim} dimension(s); use reshape(-1, 1).")


def _broken(error: Exception) -> DataError:
    if "pickle" in str(error).lower() or "object" in str(error).lower():
        return DataError("must hold plain numbers; arrays of objects are pickled, and no pickle is ever read.")
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return DataError(f"must be a whole array file, got: {reason}")
