"""Files with their digest beside them: written under another name, renamed, and taken again while they are whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from tuner.data.rows import sha256_of
from tuner.errors import StorageError

Array = NDArray[np.float32] | NDArray[np.int32] | NDArray[np.int64]


def note(path: Path) -> Path:
    """The file that holds a file's digest."""
    return path.with_suffix(".sha256")


def written(path: Path, make: Callable[[], Array]) -> str:
    """The digest of a file that is there and whole, or is written now: under a temporary name, then renamed."""
    if (known := known_digest(path)) is not None:
        return known
    rows = make()
    return bytes_written(path, lambda file: np.save(file, rows, allow_pickle=False))


def known_digest(path: Path) -> str | None:
    """The digest of a file that is there and whole."""
    try:
        known = sha256_of(path)
        return known if note(path).read_text(encoding="ascii") == known else None
    except (OSError, ValueError):
        return None


def bytes_written(path: Path, write: Callable[[IO[bytes]], object]) -> str:
    """Write a file and its digest, which is returned.

    Raises:
        StorageError: the folder cannot be written.
    """
    beside = note(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replaced(path, write)
        digest = sha256_of(path)
        replaced(beside, lambda file: file.write(digest.encode()))
    except OSError as error:
        why = error.strerror or error
        raise StorageError(f"{path.parent}: the prepared data must be written here, got: {why}.") from None
    return digest


def replaced(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file that is there whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
