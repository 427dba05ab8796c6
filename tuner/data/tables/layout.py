"""How a text file's table lies in it: characters, titles, header, units; found in its first lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from tuner.data.tables.cells import is_number, is_word
from tuner.data.tables.header import is_header, is_long_header, is_row_names_header, is_units, numbers_name, titles
from tuner.data.tables.marks import declared_delimiter, find_marks, width
from tuner.data.tables.records import Marks, Records, described, parsed
from tuner.errors import DataError
from tuner.spec.data import ReadSpec

_MOST_LINES, _FEWEST_LINES, _ENOUGH_CHARACTERS = 300, 8, 200_000
Rows = list[tuple[int, list[str]]]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the rows are and what they are made of.

    Attributes:
        marks: the characters.
        skip: physical lines above the header, or above the rows where there is none.
        header: the names as they are written, stripped, empty where there is none; None where no line holds names.
        cells: how many each record has.
        has_end: whether each record ends with a delimiter, behind which nothing comes.
        has_units: whether the record below the header holds units.
        notes: what was decided.
    """

    marks: Marks
    skip: int
    header: tuple[str, ...] | None
    cells: int
    has_end: bool = False
    has_units: bool = False
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> int:
        """How many columns the table has."""
        return self.cells - self.has_end

    def below(self, lines: Iterable[str]) -> Iterator[str]:
        """The lines from the header on, of all of the file."""
        return _below(lines, self.skip, self.marks, self.header is not None)


def sample(lines: Iterator[str]) -> list[str]:
    """Enough lines of a file's beginning to find its layout in, however long they are."""
    found: list[str] = []
    characters = 0
    for line in lines:
        found.append(line)
        characters += len(line)
        if len(found) >= _MOST_LINES or (characters >= _ENOUGH_CHARACTERS and len(found) >= _FEWEST_LINES):
            break
    return found


def find_layout(lines: Sequence[str], read: ReadSpec) -> Layout:
    """The layout of a file that begins with these lines.

    Args:
        lines: as `sample` gives them.
        read: what is declared of the file.

    Raises:
        DataError: there is no table in them.
    """
    _refuse_markup(lines)
    marks = _with_decimal_comma(find_marks(lines[read.skip or 0 :] or lines, read), lines, read)
    if read.skip is None and read.delimiter is None and lines and (declared := declared_delimiter(lines[0])):
        marks = replace(marks, delimiter=declared)
    skip, names_a_comment = _skip(lines, marks, read)
    rows = _rows(lines, marks, skip, names_a_comment)
    if not rows:
        _refuse_no_rows(lines, marks, skip)
    usual = width([cells for _, cells in rows[1:]] or [rows[0][1]])
    if is_long_header([cells for _, cells in rows[:2]], usual):
        usual = len(rows[0][1])
    has_header = names_a_comment or (_has_header(rows, usual) if read.header is None else read.header)
    below = [cells for _, cells in rows[has_header:] if len(cells) == usual]
    header = _fitted(rows, usual) if has_header else None
    layout = Layout(marks, skip, header, usual, _has_end(header, below, usual))
    has_units = has_header and (is_units(below) if read.units is None else read.units)
    layout = replace(layout, has_units=has_units, header=None if header is None else header[: layout.columns])
    return replace(layout, notes=tuple(_notes(layout, rows, names_a_comment, read)))


def _refuse_no_rows(lines: Sequence[str], marks: Marks, skip: int) -> NoReturn:
    if not any(map(str.strip, lines)):
        raise DataError("must hold a table, got an empty file.")
    for _ in Records(_below(lines, skip, marks, False), marks, skip + 1):  # says what keeps it from being parsed
        pass
    raise DataError(
        "must hold a table below the lines that are passed over, got none (data.read.skip, data.read.comment)."
    )


def _refuse_markup(lines: Sequence[str]) -> None:
    """Files that have a table's ending and hold something else, such as a page that was saved instead."""
    first = next((line.strip().lower() for line in lines if line.strip()), "")
    for begins, what in ((('{"', "[{"), "JSON"), (("<!doctype html", "<html"), "an HTML page"), (("<?xml",), "XML")):
        if first.startswith(begins):
            raise DataError(f"must be a table with a delimiter between its cells, got {what}; save it as .csv.")


def _with_decimal_comma(marks: Marks, lines: Sequence[str], read: ReadSpec) -> Marks:
    """One column of numbers such as 1,5 below a header without a comma has no delimiter."""
    rows = [cells for _, cells in parsed(lines[read.skip or 0 :], marks)]
    is_one = (
        read.delimiter is None
        and marks.delimiter == ","
        and len(rows) > 1
        and len(rows[0]) == 1
        and not is_number(rows[0][0])
        and any(len(cells) == 2 for cells in rows)
        and all(len(cells) <= 2 and all(cell.strip().lstrip("+-").isdigit() for cell in cells) for cells in rows[1:])
    )
    return replace(marks, delimiter=";") if is_one else marks


def _skip(lines: Sequence[str], marks: Marks, read: ReadSpec) -> tuple[int, bool]:
    """How many lines stand above the header or the rows, and whether the header is a comment."""
    if read.skip is not None:
        starts = marks.comment is not None and lines[read.skip : read.skip + 1]
        return read.skip, bool(starts and lines[read.skip].lstrip().startswith(marks.comment or "") and read.header)
    start = 1 if lines and declared_delimiter(lines[0]) else 0
    rows = [(line + start, cells) for line, cells in parsed(lines[start:], marks)]
    if not rows:
        return start, False
    first = _first(rows)
    skip = rows[first][0] - 1
    named = _rows(lines, marks, skip - 1, True) if skip > start and marks.comment else []
    if named and lines[skip - 1].lstrip().startswith(marks.comment or "") and _names(named, rows[first:]):
        return skip - 1, True
    return skip, False


def _first(rows: Rows) -> int:
    """The place of the first record of the table."""
    cells = [each for _, each in rows]
    usual = width(cells)
    first = titles(cells, usual)
    is_blank = not any(cell.strip() for each in cells[:first] for cell in each)
    if is_blank and not is_header([each for each in cells[first:] if len(each) == usual]):
        return 0  # rows in which all is missing
    while first + 1 < len(rows) and rows[first + 1][0] - rows[first][0] > 1 and _are_words(cells[first : first + 2]):
        first += 1  # a title of as many cells, above a blank line and the header
    return first


def _are_words(records: Sequence[Sequence[str]]) -> bool:
    return all(is_word(cell) for cells in records for cell in cells)


def _names(named: Rows, rows: Rows) -> bool:
    """Whether a comment directly above the rows names their columns."""
    above, first = named[0][1], rows[0][1]
    if len(above) != len(first) or len(set(above)) != len(above) or not all(map(str.strip, above)):
        return False
    below = [cells for _, cells in rows if len(cells) == len(first)]
    return is_header([above, *below]) and not is_header(below)


def _rows(lines: Sequence[str], marks: Marks, skip: int, has_header: bool) -> Rows:
    return [(line + skip, cells) for line, cells in parsed(list(_below(iter(lines), skip, marks, has_header)), marks)]


def _below(lines: Iterable[str], skip: int, marks: Marks, has_header: bool) -> Iterator[str]:
    """The lines below those that are skipped; a header that is a comment is freed of its mark."""
    below = iter(lines)
    for _ in range(skip):
        next(below, None)
    first = next(below, None)
    if first is None:
        return
    bare = first.lstrip()
    yield bare[len(marks.comment) :] if has_header and marks.comment and bare.startswith(marks.comment) else first
    yield from below


def _has_header(rows: Rows, usual: int) -> bool:
    first = [cells for _, cells in rows[:2]]
    if len(first[0]) != usual:
        return True  # a row of values has as many as the others; what is wrong with it is said when it is read
    return is_header([cells for _, cells in rows if len(cells) == usual])


def _fitted(rows: Rows, usual: int) -> tuple[str, ...]:
    """The header with one name for each cell of a row: R's has none for the rows' names, some end with a delimiter."""
    first = [cells for _, cells in rows[:2]]
    names = [name.strip() for name in first[0]]
    if is_row_names_header(first, usual):
        return ("", *names)
    while len(names) > usual and not names[-1]:
        names.pop()
    if len(names) == usual - 1 and len(rows) > 1 and not rows[1][1][-1].strip():
        names.append("")
    if len(names) != usual:
        raise DataError(
            f"line {rows[0][0]}: the header must have as many cells as the rows below it ({usual}), got {len(names)};"
            " data.read.skip counts the lines above the header, data.read.delimiter names what is between cells."
        )
    return tuple(names)


def _has_end(header: Sequence[str] | None, below: Sequence[Sequence[str]], usual: int) -> bool:
    """Whether every record ends with a delimiter behind which neither a name nor a value comes."""
    if usual < 2 or not below or (header is not None and header[-1]):
        return False
    return all(not cells[-1].strip() for cells in below)


def _notes(layout: Layout, rows: Rows, names_a_comment: bool, read: ReadSpec) -> Iterator[str]:
    marks = layout.marks
    if marks.delimiter != "," and layout.columns > 1 and read.delimiter is None:
        yield f"Between cells stands {described(marks.delimiter)} (data.read.delimiter)."
    if marks.is_spaced:
        yield f"Blanks behind {described(marks.delimiter)} are no part of the cells."
    if marks.quote != '"' and read.quote is None:
        yield f"Around cells stands {marks.quote} (data.read.quote)."
    if marks.comment is not None and read.comment is None:
        yield f"Lines that begin with {marks.comment} are passed over (data.read.comment)."
    if layout.skip and read.skip is None:
        what = "Line 1 stands" if layout.skip == 1 else f"Lines 1 to {layout.skip} stand"
        yield f"{what} above the table and {'is' if layout.skip == 1 else 'are'} passed over (data.read.skip)."
    if layout.header is None and read.header is None:
        yield (
            f"It has no header; the columns are called column_1 to column_{layout.columns}"
            " (data.read.header: true where the first line names them)."
        )
    if names_a_comment and read.header is None:
        yield f"The comment in line {layout.skip + 1} names the columns (data.read.header)."
    elif layout.header is not None and read.header is None and _is_numbered(rows, layout.cells):
        yield (
            f"The numbers of line {rows[0][0]} ({', '.join(rows[0][1][:4])}, ...) are taken for the columns' names"
            " (data.read.header: false where they are a row)."
        )
    if layout.has_units and read.units is None:
        yield f"Line {rows[1][0]} holds units and is passed over (data.read.units: false where it is a row)."


def _is_numbered(rows: Rows, cells: int) -> bool:
    return len(rows) > 1 and len(rows[0][1]) == cells and numbers_name([row for _, row in rows if len(row) == cells])
