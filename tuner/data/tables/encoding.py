"""The encoding of a text file, found in all of its bytes."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO

from tuner.errors import DataError

_CHUNK = 1 << 22
_SAMPLE = 1 << 16
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NOT_IN_CP1252 = frozenset((0x81, 0x8D, 0x8F, 0x90, 0x9D))
_FOREIGN = 0.15  # this share of bytes beyond ASCII is no western text
_FOREIGN_NAMES = ("cp1251", "koi8_r", "cp1253", "cp1255", "cp1256", "cp932", "euc_jp", "gb18030", "big5", "euc_kr")
_PACKED = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ": ".xz", b"PK\x03\x04": ".zip or .xlsx", b"PAR1": ".parquet"}


def find_encoding(stream: BinaryIO) -> tuple[str, str | None]:
    """The encoding of a stream of bytes, and a sentence for the user where it is a guess.

    Args:
        stream: at its beginning; it is read to its end.

    Returns:
        A name that Python knows. UTF-8 is read with or without its mark by `utf-8-sig`.

    Raises:
        DataError: the bytes are no text.
    """
    head = stream.read(_CHUNK)
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name, None
    for magic, ending in _PACKED.items():
        if head.startswith(magic):
            raise DataError(f"must be text, got the bytes of a {ending} file; name it so.")
    if b"\0" in head:
        return _of_two_bytes(head), "it has no mark of its encoding; UTF-16 was recognised (data.read.encoding)"
    odd = _not_utf8(_chunks(head, stream))
    if odd is None:
        return "utf-8", None
    name = _western(odd)
    return name, f"it is no UTF-8, and was read as {name} (data.read.encoding)"


def _chunks(head: bytes, stream: BinaryIO) -> Iterator[bytes]:
    while head:
        yield head
        head = stream.read(_CHUNK)


def _not_utf8(chunks: Iterator[bytes]) -> bytes | None:
    """The bytes around the first that are no UTF-8, or None."""
    decoder, lines, wide = codecs.getincrementaldecoder("utf-8")(), 1, False
    for chunk in _ended(chunks):
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            _refuse_mixed(error, lines, wide)
            return error.object[max(0, error.start - _SAMPLE // 2) : error.start + _SAMPLE // 2]
        lines, wide = lines + text.count("\n"), wide or not text.isascii()
    return None


def _ended(chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield from chunks
    yield b""


def _refuse_mixed(error: UnicodeDecodeError, lines: int, wide: bool) -> None:
    """A file with letters in UTF-8 before the odd byte is damaged, or was put together from two."""
    before = error.object[: error.start]
    if wide or not before.isascii():
        line = lines + before.count(b"\n")
        raise DataError(
            f"line {line}: must be UTF-8 as the lines before it are, got the byte {error.object[error.start]:#x};"
            " save the file as UTF-8, or name what it is in, such as data.read.encoding: latin-1."
        )


def _of_two_bytes(head: bytes) -> str:
    """UTF-16 without a mark has its zeros at every second place."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if max(even, odd) < 0.3 * len(head) / 2 or min(even, odd) > 0.1 * max(even, odd):
        line = head[: head.index(0)].count(b"\n") + 1
        raise DataError(f"line {line}: must be text, got a NUL byte; the file is damaged, or is no text file.")
    return "utf-16-le" if odd > even else "utf-16-be"


def _western(sample: bytes) -> str:
    high = sample.translate(None, bytes(range(0x80)))
    if len(high) > _FOREIGN * len(sample):
        from charset_normalizer import from_bytes  # noqa: PLC0415 - only files of other scripts need it

        best = from_bytes(sample, threshold=0.6, cp_isolation=list(_FOREIGN_NAMES)).best()
        if best is not None:
            return str(best.encoding)
    return "latin-1" if _NOT_IN_CP1252.intersection(high) else "cp1252"
