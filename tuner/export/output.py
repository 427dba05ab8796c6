"""A table or an array on the disk, written block by block, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tuner.errors import sentence
from tuner.export.folder import check_file, refused, replacing


class Output(Protocol):
    """What takes the blocks of a result, each in both forms."""

    def write(self, columns: Mapping[str, Any], array: NDArray[Any]) -> None:
        """Append some rows: their columns, and what an array file takes instead."""

    def close(self) -> None:
        """Finish the content."""


@contextmanager
def open_output(path: Path) -> Iterator[Output]:
    """A file that takes its place when the block ends without an error; what was there is replaced.

    Args:
        path: ends in .parquet, .csv or .npy.

    Raises:
        PlaceError: another ending, or no file can be there.
        ExportError: the disk refuses; nothing is left behind.
    """
    check_file(path, _OUTPUTS)
    try:
        with replacing(path) as new, new.open("wb") as file:
            output = _OUTPUTS[path.suffix.lower()](file)
            yield output
            output.close()
            file.flush()
    except OSError as error:
        raise refused(error, sentence(f"{path}: must be writable, got: {error.strerror or error}.")) from None


class _Csv:
    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._header = file, True

    def write(self, columns: Mapping[str, Any], array: NDArray[Any]) -> None:  # noqa: ARG002
        import pandas as pd  # noqa: PLC0415 - a quarter of a second

        lists = {name: value if isinstance(value, np.ndarray) else value.to_pylist() for name, value in columns.items()}
        text = pd.DataFrame(lists).to_csv(index=False, header=self._header, lineterminator="\n")
        self._file.write(text.encode())
        self._header = False

    def close(self) -> None:
        pass  # every block is there


class _Parquet:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._writer: Any = None

    def write(self, columns: Mapping[str, Any], array: NDArray[Any]) -> None:  # noqa: ARG002
        import pyarrow as pa  # noqa: PLC0415 - half a second
        from pyarrow import parquet  # noqa: PLC0415

        table = pa.table(dict(columns))
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._file, table.schema, write_page_checksum=True)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _Npy:
    """The header is written again at the end, when the rows are counted: numpy leaves room in it for that."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._rows = file, 0
        self._form: tuple[np.dtype[Any], tuple[int, ...]] | None = None

    def write(self, columns: Mapping[str, Any], array: NDArray[Any]) -> None:  # noqa: ARG002
        if self._form is None:
            self._form = (array.dtype, array.shape[1:])
            self._header(*self._form)
        self._rows += len(array)
        self._file.write(np.ascontiguousarray(array).tobytes())

    def close(self) -> None:
        if self._form is not None:
            self._file.seek(0)
            self._header(*self._form)

    def _header(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        form = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (self._rows, *shape)}
        np.lib.format.write_array_header_1_0(self._file, form)


_OUTPUTS: dict[str, Callable[[IO[bytes]], Output]] = {".parquet": _Parquet, ".csv": _Csv, ".npy": _Npy}
