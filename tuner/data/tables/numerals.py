"""What stands before decimals and between groups of digits, found in all cells of a table of text.

`1.031` is a thousand beside `866` and a little more than one beside `0.97`; `20,63` and `1.234,5` leave no choice.
Every column of numbers is counted by what its cells can be, and one reading is chosen for the whole file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from tuner.spec.data import ReadSpec

if TYPE_CHECKING:
    import pyarrow as pa

Decimal = Literal[".", ","]
Thousands = Literal[",", ".", " ", "'"]
_HEAD = 1000
_MOSTLY = 0.9
_ENOUGH = 100  # columns with plain decimals: more say no more
_EVIDENCE = 2  # cells of each kind that a reading by size alone needs
_APART = 30  # how many times larger whole numbers must be than the plain reading of those beside them

_MARKS = tuple((mark, mark.encode()) for mark in ".,' \xa0\u202f’")

_FRAME = r"^\s*[+\-−(]?\s?[$€£¥]?\s?(?:{})(?:[eE][+-]?\d+)?\s?[%€)]?\s*$"
_ANY = _FRAME.format(r"\d[\d.,]*|\d{1,3}(?:[  '’]\d{3})+(?:[.,]\d+)?|[.,]\d+")
_NOTHING = r"^\s*(?:|[nN]/?[aA]|NaN|nan|NULL|null|None|\?|-+|\.+)\s*$"
_ADDRESS = r"^\s*\d{1,3}(?:\.\d{1,3}){3}\s*$"  # of the internet, which may look like thousands
_WHOLE = r"^\s*[+\-−]?\d+\s*$"


@dataclass(frozen=True, slots=True)
class _Ways:
    """The patterns of one of the two readings: `point` before decimals and `comma` between groups, or the other way.

    Attributes:
        sure: a cell that can be read in this way alone.
        grouped: a cell of one group behind the mark, which is decimals in the other reading.
    """

    decimal: Decimal
    group: Literal[",", "."]
    sure: str
    groups: str
    grouped: str

    @classmethod
    def of(cls, decimal: Decimal) -> _Ways:
        group: Literal[",", "."] = "," if decimal == "." else "."
        d, g = "\\" + decimal, "\\" + group
        # Decimals are not three digits, follow a zero or four digits and more, or stand behind groups.
        sure = _FRAME.format(
            rf"\d*{d}(?:\d{{1,2}}|\d{{4,}})|0*{d}\d+|0\d+{d}\d+|\d{{4,}}{d}\d+|\d{{1,3}}(?:[{g}  '’]\d{{3}})+{d}\d*"
        )
        groups = _FRAME.format(rf"[1-9]\d{{0,2}}(?:{g}\d{{3}}){{2,}}|[1-9]\d{{0,2}}(?:{g}\d{{3}})+{d}\d*")
        return cls(decimal, group, sure, groups, rf"^\s*[+\-−]?[$€£¥]?\s?[1-9]\d{{0,2}}{g}\d{{3}}\s?[%€]?\s*$")


_POINT, _COMMA = _Ways.of("."), _Ways.of(",")


@dataclass(frozen=True, slots=True)
class _Open:
    """A column that two readings fit: its first such cell, whether size decides, and whether it might."""

    name: str
    cell: str
    is_sure: bool
    is_near: bool


@dataclass(slots=True)
class _Evidence:
    """How many columns speak for a reading, and which columns are open to two."""

    point: int = 0
    comma: int = 0
    groups_of_comma: int = 0
    groups_of_point: int = 0
    blank: int = 0
    apostrophe: int = 0
    open_point: list[_Open] = field(default_factory=list)
    open_comma: list[_Open] = field(default_factory=list)


def find_numerals(
    columns: Iterable[tuple[str, pa.ChunkedArray]], delimiter: str, declared: ReadSpec
) -> tuple[Decimal, Thousands | None, list[str]]:
    """The marks before decimals and between thousands, and what is to be said of them.

    Args:
        columns: the names and cells of columns of text.
        delimiter: the file's: where it is a comma, one inside a cell is likelier between thousands.
        declared: `decimal` and `thousands` win where they are given.
    """
    found = _Evidence()
    for name, column in columns:
        _look(name, column, found)
    other: Decimal | None = {".": ",", ",": "."}.get(declared.thousands or "")  # type: ignore[assignment]
    decimal = declared.decimal or other or _decimal(found, delimiter)
    thousands = declared.thousands or _thousands(found, decimal)
    if declared.decimal is not None or declared.thousands is not None:
        return decimal, thousands, []
    return decimal, thousands, list(_notes(found, decimal, thousands))


def _look(name: str, column: pa.ChunkedArray, found: _Evidence) -> None:
    """Add what one column says."""
    marks = _present(column)
    if not marks or (marks == {"."} and found.point >= _ENOUGH):
        return
    if marks == {"."} and _matches(column.slice(0, _HEAD), _POINT.sure):
        found.point += _is_numeric(column.slice(0, _HEAD))  # as nearly every column with decimals is
        return
    if not _is_numeric(column):
        return
    if {".", ","} & marks:
        _look_at_points(name, column, marks, found)
    found.blank += bool({" ", "\xa0"} & marks) and bool(_matches(column, _spaced("[  ]")))
    found.apostrophe += bool({"'", "’"} & marks) and bool(_matches(column, _spaced("['’]")))


def _look_at_points(name: str, column: pa.ChunkedArray, marks: set[str], found: _Evidence) -> None:
    point = _matches(column, _POINT.sure) if "." in marks else 0
    comma = _matches(column, _COMMA.sure) if "," in marks else 0
    groups_of_comma = _matches(column, _POINT.groups) if "," in marks else 0
    groups_of_point = _matches(column, _COMMA.groups) if "." in marks else 0
    if groups_of_point and _matches(column, _ADDRESS) == groups_of_point:
        return
    found.groups_of_comma += bool(groups_of_comma)
    found.groups_of_point += bool(groups_of_point)
    found.point += (point or groups_of_comma) > (comma or groups_of_point)
    found.comma += (comma or groups_of_point) > (point or groups_of_comma)
    if not (point or comma or groups_of_comma or groups_of_point):
        _look_at_groups(name, column, _POINT, found)
        _look_at_groups(name, column, _COMMA, found)


def _look_at_groups(name: str, column: pa.ChunkedArray, ways: _Ways, found: _Evidence) -> None:
    """Cells that have three digits behind one mark: groups in this reading, decimals in the other.

    Whole numbers beside them tell: one of 1000 and more has no groups, and where 866 and 998 end, 1.031 begins.
    """
    import pyarrow.compute as pc  # noqa: PLC0415

    grouped = column.filter(pc.match_substring_regex(column, ways.grouped))
    if not len(grouped):
        return
    sizes = np.abs(_numbers(column.filter(pc.match_substring_regex(column, _WHOLE))))
    if (sizes >= 1000).any():
        found.comma += ways.decimal == "."
        found.point += ways.decimal == ","
        return
    plain = np.abs(_numbers(pc.replace_substring(grouped, ways.group, ".")))
    is_sure = (
        min(len(sizes), len(plain)) >= _EVIDENCE
        and sizes.max() >= 100
        and np.median(sizes) >= _APART * np.median(plain)
    )
    open_columns = found.open_comma if ways.decimal == "." else found.open_point
    open_columns.append(_Open(name, grouped[0].as_py().strip(), bool(is_sure), bool((sizes >= 100).any())))


def _numbers(cells: pa.ChunkedArray) -> np.ndarray:
    import pyarrow.compute as pc  # noqa: PLC0415

    return np.array(pc.replace_substring_regex(cells, r"[^0-9.]", "").cast("float64").to_numpy(), dtype=np.float64)


def _decimal(found: _Evidence, delimiter: str) -> Decimal:
    if found.point or found.comma:
        return "," if found.comma > found.point else "."
    is_comma = delimiter != "," and bool(found.open_comma) and not any(each.is_sure for each in found.open_comma)
    return "," if is_comma or any(each.is_sure for each in found.open_point) else "."


def _thousands(found: _Evidence, decimal: Decimal) -> Thousands | None:
    if decimal == ",":
        if found.groups_of_point or found.open_point:
            return "."
    elif found.groups_of_comma or found.open_comma:
        return ","
    if found.blank:
        return " "
    return "'" if found.apostrophe else None


def _notes(found: _Evidence, decimal: Decimal, thousands: Thousands | None) -> Iterator[str]:
    if decimal == ",":
        yield "Before decimals stands a comma (data.read.decimal)."
    if thousands is not None:
        named = {",": "a comma", ".": "a point", " ": "a blank", "'": "an apostrophe"}[thousands]
        yield f"Between thousands stands {named} (data.read.thousands)."
    if found.point and found.comma:
        yield (
            f"Columns of numbers disagree on what stands before decimals: {found.point} have a point, {found.comma}"
            f" a comma; {'a comma' if decimal == ',' else 'a point'} is taken for it (data.read.decimal)."
        )
    if not found.point and not found.comma:
        yield from _open_notes(found, decimal)


def _open_notes(found: _Evidence, decimal: Decimal) -> Iterator[str]:
    """The columns that could be read otherwise, and the keys that would."""
    for each in found.open_point if decimal == "." else ():
        if each.is_near:
            yield (
                f"Column {each.name}: {each.cell} is read with decimals; where it means thousands, set"
                " data.read.decimal: ',' and data.read.thousands: '.'."
            )
    for each in found.open_comma:
        if not each.is_sure and decimal == ",":
            yield (
                f"Column {each.name}: {each.cell} is read with decimals; where it means thousands, set"
                " data.read.decimal: '.' and data.read.thousands: ','."
            )
        elif not each.is_sure:
            yield (
                f"Column {each.name}: {each.cell} is read as thousands; where it means decimals, set"
                " data.read.decimal: ','."
            )


def _present(column: pa.ChunkedArray) -> set[str]:
    """Which of the marks occur, found in the bytes."""
    found: set[str] = set()
    for chunk in column.chunks:
        data = chunk.buffers()[2]
        if data is None or not len(chunk):
            continue
        offsets = np.frombuffer(chunk.buffers()[1], np.int32)
        text = memoryview(data)[offsets[chunk.offset] : offsets[chunk.offset + len(chunk)]].tobytes()
        found.update(mark for mark, code in _MARKS if code in text)
    return found


def _is_numeric(column: pa.ChunkedArray) -> bool:
    """Whether nine in ten cells that say anything are numbers; most columns of text show it in their first cells."""
    head = column.slice(0, _HEAD)
    return _share(head) >= _MOSTLY and (len(column) <= _HEAD or _share(column) >= _MOSTLY)


def _share(column: pa.ChunkedArray) -> float:
    said = len(column) - _matches(column, _NOTHING)
    return _matches(column, _ANY) / said if said else 0.0


def _spaced(mark: str) -> str:
    return _FRAME.format(rf"[1-9]\d{{0,2}}(?:{mark}\d{{3}})+(?:[.,]\d+)?")


def _matches(column: pa.ChunkedArray, pattern: str) -> int:
    """How many cells a pattern fits; Arrow compiles it anew each time, which pays for long columns alone."""
    import pyarrow.compute as pc  # noqa: PLC0415

    if len(column) > _HEAD:
        return int(pc.sum(pc.match_substring_regex(column, pattern)).as_py() or 0)
    fits = re.compile(pattern, re.ASCII).match
    return sum(fits(cell) is not None for cell in column.to_pylist())
