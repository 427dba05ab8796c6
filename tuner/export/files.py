"""Files of an export, which may come from anywhere: only regular ones are opened, and only up to a size."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from tuner.errors import ExportError

_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_file(path: Path, most: int) -> bytes:
    """The content of a regular file; links to one are followed.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        ExportError: it is missing, no regular file, or larger.
    """
    try:
        _check(path, path.stat(), most)
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe that took its place meanwhile is not waited for
        with os.fdopen(handle, "rb") as file:
            _check(path, os.fstat(handle), most)
            return file.read(most)
    except OSError as error:
        raise ExportError(f"{path}: expected a file of an export, got: {error.strerror}.") from error


def _check(path: Path, found: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise ExportError(f"{path}: expected a regular file of an export, got {kind}.")
    if found.st_size > most:
        raise ExportError(
            f"{path}: expected a file of an export, of at most {_words(most)}, got one of {_words(found.st_size)}."
        )


def _words(size: int) -> str:
    """Bytes for a reader: 1.5 MB."""
    unit, name = next(((unit, name) for unit, name in ((1e6, "MB"), (1e3, "kB")) if size >= unit), (1, "B"))
    return f"{size / unit:,.3g} {name}" if size < 1000 * unit else f"{size / unit:,.0f} {name}"
