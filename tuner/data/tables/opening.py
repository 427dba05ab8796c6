"""A table's file as a stream of bytes, whatever it is compressed with."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from tuner.errors import DataError

_DAMAGED = (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError)
_HIDDEN = ("__MACOSX/", ".")  # what macOS and editors add to archives


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked by its last ending.

    Raises:
        DataError: the archive is damaged, is encrypted, or holds no or several files.
    """
    suffix = path.suffix.lower()
    try:
        with _OPENERS.get(suffix, _plain)(path) as stream:
            yield cast(BinaryIO, stream)
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk; those of the decompressors have no number
        reason = str(error).rstrip(".") or type(error).__name__
        raise DataError(f"must be a whole {suffix} file, got: {reason}; pack it again, or give it unpacked.") from None


def stem(path: Path) -> tuple[str, bool]:
    """The ending that says what a file holds, and whether it is compressed: `.csv`, True of `x.csv.gz`."""
    packed = path.suffix.lower() in _OPENERS
    if not packed:
        return path.suffix.lower(), False
    inner = Path(path.stem).suffix.lower()
    if not inner and path.suffix.lower() == ".zip":
        with opened(path) as stream:
            inner = Path(getattr(stream, "name", "")).suffix.lower()
    return inner, True


def _plain(path: Path) -> IO[bytes]:
    return path.open("rb")


def _gzip(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb"))


def _bz2(path: Path) -> IO[bytes]:
    return bz2.open(path, "rb")


def _xz(path: Path) -> IO[bytes]:
    return lzma.open(path, "rb")


def _zstd(path: Path) -> IO[bytes]:
    import pyarrow as pa  # noqa: PLC0415 - Python has no zstd before 3.14, Arrow has

    try:
        return cast(IO[bytes], pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
    except pa.ArrowException as error:
        raise DataError(f"must be a whole .zst file, got: {error}") from None


@contextmanager
def _zip(path: Path) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith(_HIDDEN)]
        if len(names) != 1:
            there = f": {', '.join(names[:5])}" if names else ""
            raise DataError(
                f"must be a .zip of one table, got one of {len(names)} files{there};"
                " unpack it, and name a file or, for several parts of one table, the folder."
            )
        if archive.getinfo(names[0]).flag_bits & 1:
            raise DataError("must be a .zip without a password, got an encrypted one; unpack it first.")
        with archive.open(names[0]) as stream:
            yield stream


_OPENERS: dict[str, Callable[[Path], AbstractContextManager[object]]] = {
    ".gz": _gzip,
    ".bz2": _bz2,
    ".xz": _xz,
    ".zip": _zip,
    ".zst": _zstd,
}
