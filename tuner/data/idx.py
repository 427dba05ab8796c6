"""IDX files, the form in which MNIST and its kin are published, plain or gzipped; http://yann.lecun.com/exdb/mnist."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from tuner.data.arrays import Read, as_rows
from tuner.errors import DataError
from tuner.spec.data import DataSpec

NAME = re.compile(r".*([.-]idx[0-9]?(-[a-z]+)?)(\.gz)?")  # t10k-images-idx3-ubyte.gz, train.idx3-ubyte, x.idx
_GZIP = b"\x1f\x8b"
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path, spec: DataSpec, rules: int) -> Read:  # noqa: ARG001 - the readers share one signature
    """A whole IDX file of two or more dimensions; the first one counts the rows, more than two are images."""
    array = load_idx(path)
    return as_rows(array)._replace(is_image=array.ndim > 2)


def load_idx(path: Path) -> NDArray[np.generic]:
    """The array of an IDX file.

    Raises:
        DataError: it is no whole one.
    """
    with path.open("rb") as plain:
        packed = plain.read(2) == _GZIP
        plain.seek(0)
        file = gzip.GzipFile(fileobj=plain) if packed else plain
        try:
            return _array(file)  # type: ignore[arg-type]  # a GzipFile reads as any other file
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"must be a whole IDX file, got: {error}") from None


def _array(file: IO[bytes]) -> NDArray[np.generic]:
    """What the header promises, read to its last byte and not beyond: a small file cannot unpack to a large one."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES:
        raise DataError(f"must begin as an IDX file does, with 0, 0, a known type and a rank, got {magic.hex(' ')}.")
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError("must be a whole IDX file, got one that ends within its header.")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    kind = np.dtype(_TYPES[magic[2]])
    values = _exactly(file, math.prod(shape) * kind.itemsize)
    return np.frombuffer(values, kind).reshape(shape)


def _exactly(file: IO[bytes], size: int) -> bytearray:
    """So many bytes, taken as they come: what the header claims is not allocated before it is there."""
    values = bytearray()
    while part := file.read(min(2**20, size + 1 - len(values))):
        values += part
    if len(values) != size:
        more = "more" if len(values) > size else f"{len(values):,}"
        raise DataError(f"must hold {size:,} bytes behind its header, got {more}.")
    return values
