"""Records of a text file, each with the physical line on which it begins."""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tuner.errors import DataError

LONGEST_CELL = 131_072  # csv's own limit, which only the whole process could raise
BLANKS = re.compile(r"[ \t]+")


@dataclass(frozen=True, slots=True)
class Marks:
    """The characters by which lines become records.

    Attributes:
        delimiter: between cells; a blank stands for any run of blanks and tabs.
        quote: around cells that hold delimiters; None where quotes are letters like others.
        escape: before a quote inside a quoted cell, where it is not doubled.
        comment: what lines to pass over begin with.
        is_spaced: whether blanks behind a delimiter belong to it.
        is_padded: whether those before it do as well.
    """

    delimiter: str = ","
    quote: str | None = '"'
    escape: str | None = None
    comment: str | None = None
    is_spaced: bool = False
    is_padded: bool = False


class Records:
    """Iterates over (line, cells); `line` is the last that was read."""

    def __init__(self, lines: Iterable[str], marks: Marks, first: int = 1) -> None:
        """From lines with their ends, the first of which is line `first` of the file."""
        self._lines, self._marks, self.line = iter(lines), marks, first - 1
        self._starts, self._begun = True, first

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Each record.

        Raises:
            DataError: a quote is not closed, or is followed by more; the sentence has the line.
        """
        reader = self._reader()
        while True:
            self._starts = True
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise DataError(f"line {self._begun}: {self._explained(str(error))}") from None
            yield self._begun, [cell.rstrip(" ") for cell in cells] if self._marks.is_padded else cells

    def _reader(self) -> Iterator[list[str]]:
        marks = self._marks
        return csv.reader(
            self._physical(),
            delimiter=marks.delimiter,
            quotechar=marks.quote or '"',
            escapechar=marks.escape,
            doublequote=marks.escape is None,
            skipinitialspace=marks.is_spaced or marks.delimiter == " ",
            quoting=csv.QUOTE_NONE if marks.quote is None else csv.QUOTE_MINIMAL,
            strict=True,
        )

    def _physical(self) -> Iterator[str]:
        """The lines that the parser sees: between records neither blank ones nor comments."""
        comment, is_blank, is_tab = self._marks.comment, self._marks.delimiter == " ", self._marks.delimiter == "\t"
        for line in self._lines:
            self.line += 1
            if self._starts:
                if line.isspace() and (not is_tab or line.strip(" \r\n") == ""):
                    continue
                if comment is not None and line.lstrip().startswith(comment):
                    continue
                self._begun, self._starts = self.line, False
            if "\0" in line:
                raise DataError(f"line {self.line}: must be text, got a NUL byte; the file is damaged.")
            yield BLANKS.sub(" ", line).rstrip() if is_blank else line

    def _explained(self, error: str) -> str:
        quote = self._marks.quote
        if "field larger" in error:
            return (
                f"a cell must have at most {LONGEST_CELL:,} characters, got more; is its quote ({quote}) closed?"
                " data.read.quote names the right one."
            )
        if "end of data" in error:
            return f"the quote ({quote}) that begins a cell must be closed, but is not; data.read.quote names another."
        return (
            f"behind a closing quote ({quote}) must come {described(self._marks.delimiter)}, got other text;"
            " data.read.quote names another quote, data.read.delimiter another delimiter."
        )


def described(delimiter: str) -> str:
    """A delimiter in words."""
    return {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar", " ": "a blank"}.get(
        delimiter, repr(delimiter)
    )


def parsed(lines: Sequence[str], marks: Marks, most: int | None = None) -> list[tuple[int, list[str]]]:
    """The records of some lines; the last, which may be cut, is left out where it cannot be parsed."""
    found: list[tuple[int, list[str]]] = []
    with contextlib.suppress(DataError):
        found.extend(itertools.islice(Records(lines, marks), most))
    return found
