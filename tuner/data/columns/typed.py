"""A table whose columns have types: declared ones, and for the others what was found in their cells.

Legend: N rows.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tuner.data.columns.arrow import of_arrow, plain_numbers
from tuner.data.columns.cells import MISSING, Distinct, Format, Values, is_missing, plain_number
from tuner.data.columns.decisions import WORDS, Reading, read_as, text_reading, values_of
from tuner.data.columns.odd import SHOWN, Odd, odd_sentence, quoted, wanted_of
from tuner.data.columns.sentinels import sentinel_before, sentinels
from tuner.data.distinct_numbers import distinct_numbers
from tuner.data.source_table import SourceTable
from tuner.errors import DataError
from tuner.spec.data import ColumnSpec, ColumnType, DataSpec
from tuner.spec.rules import FOUND, NEWEST

LEFT_OUT: Final = frozenset(("identifier", "text", "constant"))
MODELLED: Final = frozenset(("numeric", "count", "boolean", "categorical", "datetime"))
_ID_NAME: Final = re.compile(r"(^|[_ .-])(id|ids|uuid|guid|index|idx|rownum|row|key|nr|no)$|^(id|idx|index)([_ .-]|$)")
_TIME_NAME: Final = re.compile(r"(^|[_ .-])(year|yr|date|month|week|quarter|day|hour|minute|time|age)s?($|[_ .-])")
MOST_EXACT: Final = 2.0**53  # above it floats do not tell whole numbers apart
MERGED: Final = "its numbers are too large for floats to tell them apart"


@dataclass(frozen=True, eq=False, slots=True)
class TypedColumn:
    """A column that is modelled.

    Attributes:
        name: its name.
        type: what it holds.
        format: how its cells are read.
        values: (N,) float64: numbers, 0 and 1 of yes and no, seconds since 1970, places of levels. Missing is NaN.
        levels: of a categorical column; of a boolean one what stands for no and for yes.
    """

    name: str
    type: ColumnType
    format: Format
    values: Values
    levels: tuple[str, ...] = ()

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Where a value is missing, (N,)."""
        return np.isnan(self.values)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A column that is not modelled, its type and the reason."""

    name: str
    type: ColumnType
    why: str


@dataclass(frozen=True, eq=False, slots=True)
class TypedTable:
    """A table as it is modelled.

    Attributes:
        source: where it came from.
        columns: those that are modelled, in the source's order.
        left_out: the others, but for those that the declaration leaves out.
        notes: what was decided, a sentence each.
        odd: by column, the cells that are not of its type and count as missing; none where that is refused.
    """

    source: SourceTable
    columns: tuple[TypedColumn, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]
    odd: Mapping[str, Odd] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.source.places)

    def kept(self, rows: NDArray[np.int64]) -> TypedTable:
        """Some of the rows."""
        source = replace(self.source, table=self.source.table.take(rows), places=self.source.places[rows])
        columns = tuple(replace(column, values=column.values[rows]) for column in self.columns)
        return replace(self, source=source, columns=columns)


def typed(source: SourceTable, spec: DataSpec, strict: bool = True, rules: int = NEWEST) -> TypedTable:
    """The chosen columns with their types.

    Args:
        source: the table.
        spec: what is declared of it.
        strict: refuse cells that are not of their column's type.
        rules: the study's number of rules.

    Raises:
        DataError: a declared column is not there, none is left, or a column's cells are not of its type.
    """
    names, notes = chosen_names(source, spec), list(source.notes)
    base = Format(
        kind="text",
        missing=(spec.read.missing or ()) if spec.read else (),
        decimal=source.read.decimal or ".",
        thousands=source.read.thousands or "",
    )
    finder = _Finder(_Cells(source, base), spec, names, rules)
    found = {name: finder.column(name) for name in names}
    odd = {name: one.odd for name, one in found.items() if one.odd is not None}
    if odd and strict:
        raise DataError(odd_sentence(source, odd))
    columns = tuple(made for made in (finder.typed(name, one) for name, one in found.items()) if made is not None)
    notes += [*finder.notes, *_left_out_note(finder.left_out)]
    if not columns:
        why = "; ".join(f"{one.name}: {one.why}" for one in finder.left_out[:SHOWN])
        raise DataError(f"must have a column to model, but all are left out ({why}); declare a type in data.columns.")
    return TypedTable(source, columns, tuple(finder.left_out), tuple(notes), odd)


def _left_out_note(left_out: list[LeftOut]) -> list[str]:
    if not left_out:
        return []
    shown = ", ".join(f"{one.name} ({one.why})" for one in left_out[:SHOWN])
    more = f" and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
    return [f"left out: {shown}{more}; data.columns: {{NAME: {{type: ...}}}} declares otherwise."]


def different_numbers(column: pa.ChunkedArray, how: Format, present_N: NDArray[np.bool_]) -> int:
    """How many different numbers a column has as its source writes them, before they are floats.

    Args:
        column: its cells.
        how: their format.
        present_N: which of them count.
    """
    if pa.types.is_floating(column.type):
        return len(column.filter(pa.array(present_N)).unique())
    distinct = Distinct(column)
    texts = distinct.texts[np.unique(distinct.codes[present_N])]
    return distinct_numbers([plain_number(text, how) or text for text in texts])


def chosen_names(source: SourceTable, spec: DataSpec) -> list[str]:
    """The columns that may be modelled, in the source's order: the label is none of them, nor is the split's key.

    Raises:
        DataError: a column that the declaration names is not there, or none is left.
    """
    names = source.table.column_names
    there, split = set(names), spec.split
    keys = () if split is None else tuple(filter(None, (split.column, split.group)))
    declared: Mapping[str, tuple[str, ...]] = {
        "columns": tuple(spec.columns or ()),
        "exclude": spec.exclude or (),
        "label": (spec.label,) if spec.label else (),
        "split": () if split is None else tuple(filter(None, (*keys, split.time, split.stratify))),
    }
    for key, asked in declared.items():
        for name in asked:
            if name not in there:
                near = difflib.get_close_matches(name, names[:1000], 1)
                hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(names[:20])}."
                raise DataError(f"data.{key}: there is no column {name}{hint}")
    gone, wanted = {*(spec.exclude or ()), spec.label, *keys}, set(spec.selected or names)
    chosen = [name for name in names if name in wanted and name not in gone]
    if not chosen:
        raise DataError("must keep at least one column, but data.exclude, data.label and data.split name them all.")
    return chosen


class _Cells:
    """A table's columns as numbers or as distinct cells, each made once."""

    def __init__(self, source: SourceTable, base: Format) -> None:
        self.source, self.base = source, base
        self._plain: dict[str, Values | None] = {}
        self._distinct: dict[str, Distinct] = {}

    def plain(self, name: str) -> Values | None:
        """A column whose cells are numbers as they stand; else None."""
        if name not in self._plain:
            self._plain[name] = plain_numbers(self.source.table.column(name), self.source.is_text, self.base)
        return self._plain[name]

    def distinct(self, name: str) -> Distinct:
        """A column's distinct cells."""
        if name not in self._distinct:
            self._distinct[name] = Distinct(self.source.table.column(name))
        return self._distinct[name]


def _file_missing(cells: _Cells, names: list[str]) -> frozenset[str]:
    """What stands for a missing value in this file's columns of numbers, in small letters; in those of levels, too."""
    found: set[str] = set()
    for name in names if cells.source.is_text else ():
        if cells.plain(name) is not None:
            continue  # without any word
        distinct = cells.distinct(name)
        words = {text.lower() for text in distinct.texts} & MISSING
        others = [text for text in distinct.texts if text.lower() not in MISSING]
        if words and others and pd.to_numeric(pd.Series(others), errors="coerce").notna().all():
            found |= words
    return frozenset(found)


class _Finder:
    """Finds one table's types, and remembers what it decided."""

    def __init__(self, cells: _Cells, spec: DataSpec, names: list[str], rules: int) -> None:
        self._cells, self._base, self._file_missing = cells, cells.base, _file_missing(cells, names)
        self._declared, self._rules = spec.described, rules
        self.left_out: list[LeftOut] = []
        self.notes: list[str] = []

    def column(self, name: str) -> _Found:
        """A column's values, as far as its cells go without knowing what they are to be."""
        declared = self._declared.get(name, ColumnSpec())
        if declared.type in LEFT_OUT:
            return _Found(declared.type, self._base, why="it is declared so")
        plain = None if declared.type in ("categorical", "datetime") else self._cells.plain(name)
        if declared.type == "boolean" and plain is not None and set(np.unique(plain[~np.isnan(plain)])) <= {0.0, 1.0}:
            return _Found("boolean", self._base.model_copy(update={"kind": "number"}), plain, ("0", "1"))
        if plain is not None and declared.type != "boolean":
            return self._numbers(name, plain)
        return self._read(name, declared)

    def _numbers(self, name: str, plain: Values) -> _Found:
        """A column of numbers, of which infinity is none: by rules before 5 it was a missing value."""
        found = _Found("numeric", self._base.model_copy(update={"kind": "number"}), plain)
        infinite = np.isinf(plain)
        if not infinite.any():
            return replace(found, why=self._leading_zeros(name))
        found = replace(found, values=np.where(infinite, np.nan, plain))
        if self._rules < FOUND:
            return found
        distinct = self._cells.distinct(name)
        odd = np.isin(np.arange(len(distinct.texts)), distinct.codes[infinite])
        return replace(found, odd=Odd.of(distinct, odd, "a finite number"))

    def _leading_zeros(self, name: str) -> str:
        """What to know of numbers that are written like codes; nothing where a type is declared."""
        column = self._cells.source.table.column(name)
        if not self._cells.source.is_text or name in self._declared:
            return ""
        codes = int(pc.sum(pc.match_substring_regex(column, r"^\s*0\d+\s*$")).as_py() or 0)
        if not codes:
            return ""
        advice = f"data.columns: {{{quoted(name)}: {{type: categorical}}}}"
        return f"{codes:,} cells have leading zeros, as codes have; {advice} makes levels of them"

    def _read(self, name: str, declared: ColumnSpec) -> _Found:
        source = self._cells.source
        if not source.is_text and declared.type != "categorical":
            ready = of_arrow(source.table.column(name), self._base)
            if ready is not None:
                return _Found(ready.type, ready.format, ready.values, ready.levels, ready.why)
        distinct = self._cells.distinct(name)
        reading = self._reading(distinct, declared.type)
        if reading.format.kind == "text":
            return self._levels(distinct, reading)
        values, odd = values_of(distinct, reading.format)
        words = reading.format.words or ()
        wrong = Odd.of(distinct, odd, wanted_of(reading.format))
        return _Found(reading.type, reading.format, values, words, reading.why, wrong)

    def _reading(self, distinct: Distinct, wanted: ColumnType | None) -> Reading:
        """What the column holds: what is declared, in the format that fits best, or what is found."""
        if wanted == "categorical":
            how = text_reading(distinct, self._base, self._file_missing).format
            return Reading("categorical", how)
        found = read_as(distinct, self._base, self._file_missing, self._rules)
        if wanted is None or wanted == found.type or (wanted == "count" and found.type == "numeric"):
            return found
        kind = {"datetime": "date", "boolean": "boolean"}.get(wanted, "number")
        return Reading(wanted, self._base.model_copy(update={"kind": kind, "date": "ISO8601", "words": WORDS[0]}))

    def _levels(self, distinct: Distinct, reading: Reading) -> _Found:
        gone = is_missing(distinct.texts, reading.format.missing, frozenset(("",)))
        order = np.argsort(distinct.texts[~gone].astype(str), kind="stable")
        levels, places = tuple(map(str, distinct.texts[~gone][order])), np.full(len(gone), np.nan)
        places[np.flatnonzero(~gone)[order]] = np.arange(len(order))
        values = np.asarray(distinct.spread(places, np.nan), np.float64)
        return _Found(reading.type, reading.format, values, levels, reading.why)

    def typed(self, name: str, found: _Found) -> TypedColumn | None:
        """The column as it is modelled; None where it is left out, for a reason that is remembered."""
        declared = self._declared.get(name, ColumnSpec()).type
        values = found.values
        if declared is None and found.type == "numeric" and values is not None:
            found = self._settled(name, found, values)
        elif declared in MODELLED and found.type in LEFT_OUT:
            found = replace(found, type=declared, why="")
        if found.values is not None and np.isnan(found.values).all() and found.type not in LEFT_OUT:
            found = replace(found, type="constant", why="it has no values")
        if found.type in LEFT_OUT or found.values is None:
            self.left_out.append(LeftOut(name, found.type, found.why))
            return None
        if found.why:
            self.notes.append(f"column {name}: {found.why}.")
        return TypedColumn(name, declared or found.type, found.format, found.values, found.levels)

    def _settled(self, name: str, found: _Found, values: Values) -> _Found:
        """What a column of numbers is: one that varies, yes and no, counts, or a name for rows."""
        found, values = self._without_sentinels(name, found, values)
        present = values[~np.isnan(values)]
        if not len(present) or (present == present[0]).all():
            if self._has_merged(name, found, values):
                return replace(found, type="identifier", why=MERGED)
            why = "it is the same in all rows" if len(present) else "it has no values"
            return replace(found, type="constant", why=why)
        if set(np.unique(present[:1000])) <= {0.0, 1.0} and set(np.unique(present)) == {0.0, 1.0}:
            return replace(found, type="boolean", levels=("0", "1"))
        whole = bool((present == np.floor(present)).all())
        if whole and abs(present).max() > MOST_EXACT:
            return replace(found, type="identifier", why=MERGED)
        if whole and _names_rows(name, present):
            return replace(found, type="identifier", why="it numbers rows or things")
        return replace(found, type="count" if whole and (present >= 0).all() else "numeric")

    def _has_merged(self, name: str, found: _Found, values: Values) -> bool:
        """Whether numbers that are all the same as floats differ in the source."""
        present_N = ~np.isnan(values)
        if not present_N.any() or abs(values[present_N][0]) < MOST_EXACT:
            return False
        return different_numbers(self._cells.source.table.column(name), found.format, present_N) > 1

    def _without_sentinels(self, name: str, found: _Found, values: Values) -> tuple[_Found, Values]:
        """A column of numbers whose sentinels are missing values, with a note; as it is where missing is declared."""
        if self._base.missing:
            return found, values
        numbers = sentinels(values) if self._rules >= FOUND else sentinel_before(values)
        if not numbers:
            return found, values
        gone = np.isin(values, list(numbers))
        texts = [f"{number:.15g}" for number in numbers]
        written = self._written(name, gone) if self._rules >= FOUND else ()
        values = np.where(gone, np.nan, values)
        self.notes.append(
            f"column {name}: {' and '.join(texts)} {'counts' if len(texts) == 1 else 'count'} as a missing value"
            f" ({int(np.isnan(values).sum())} in all), for it is far from all others; declare data.read.missing to"
            " decide otherwise."
        )
        missing = tuple(dict.fromkeys((*found.format.missing, *texts, *written)))
        return replace(found, values=values, format=found.format.model_copy(update={"missing": missing})), values

    def _written(self, name: str, rows: NDArray[np.bool_]) -> tuple[str, ...]:
        """How a text file spells some rows' cells, -999.0 for example, by which they are known in new files."""
        if not self._cells.source.is_text:
            return ()
        distinct = self._cells.distinct(name)
        return tuple(map(str, distinct.texts[np.unique(distinct.codes[rows])]))


@dataclass(frozen=True, eq=False, slots=True)
class _Found:
    type: ColumnType
    format: Format
    values: Values | None = None
    levels: tuple[str, ...] = ()
    why: str = ""
    odd: Odd | None = None


def _names_rows(name: str, present: Values) -> bool:
    """Whether whole numbers say which row or thing it is, and not how much of something."""
    distinct, steps = len(np.unique(present)), np.diff(present)
    spelled = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    if _TIME_NAME.search(spelled):
        return False  # years that count up say when, and with it how much of something there was
    if distinct == len(present) and len(present) > 2 and (steps == steps[0]).all() and abs(steps[0]) == 1:
        return True
    return _ID_NAME.search(spelled) is not None and distinct > max(20, 0.05 * len(present))
