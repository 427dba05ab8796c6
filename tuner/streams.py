"""Standard output and standard error of a command, and what becomes of it where one of them cannot be written."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, final


class OutputLost(BaseException):
    """What a command answers cannot be written; no error of the code that writes, which must not catch it."""


class ReaderGone(BaseException):
    """Whoever read what a command answers has seen enough."""


@contextmanager
def guarded() -> Iterator[None]:
    """Take over the standard streams of this process while the block runs.

    A failure to write the answer raises `OutputLost`, and nothing is written there any more, not even at exit. A
    failure to write to standard error loses the words and nothing else: no study ends for its progress line. A stream
    that was closed is opened on the null device, so that no file of ours can get its number.
    """
    if os.name != "posix":
        yield
        return
    former = sys.stdout, sys.stderr
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        _fill(number, flags)  # standard output so that writing fails
    sys.stdout = _text(1, sys.stdout, _lose_output)
    sys.stderr = _text(2, sys.stderr, lambda _: None)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = former


def _fill(number: int, flags: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, flags)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)


def _lose_output(error: OSError) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    if isinstance(error, BrokenPipeError):
        raise ReaderGone from None
    raise OutputLost(f"standard output: must be writable, got: {error.strerror}. What is recorded stays.") from None


def _text(number: int, former: TextIO | None, lost: Callable[[OSError], None]) -> TextIO:
    encoding = former.encoding if former is not None else "utf-8"
    errors = former.errors if former is not None else "backslashreplace"
    raw: Any = _Stream(number, lost)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=number == 2 or raw.isatty())


@final
class _Stream(io.RawIOBase):
    """The bytes of a standard stream; `lost` is called with what went wrong."""

    def __init__(self, number: int, lost: Callable[[OSError], None]) -> None:
        self._number, self._lost = number, lost

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def writable(self) -> bool:
        return True

    def write(self, content: bytes) -> int:  # type: ignore[override]  # any object with a buffer
        try:
            return os.write(self._number, content)
        except OSError as error:
            self._lost(error)
        return len(content)
