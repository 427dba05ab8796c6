"""What a column of text holds: numbers, dates, yes and no, levels, names, prose, or nothing that varies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tuner.data.columns.cells import (
    ALWAYS_MISSING,
    MISSING,
    Distinct,
    Format,
    Negative,
    Values,
    booleans,
    dates,
    is_missing,
)
from tuner.data.columns.cells import numbers as as_numbers
from tuner.spec.data import ColumnType
from tuner.spec.rules import FOUND, NEWEST

WORDS: Final = (("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"), ("off", "on"))
DATES: Final = (
    "ISO8601", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%d-%m-%Y", "%m-%d-%Y",
    "%d-%b-%Y", "%d-%b-%y", "%b-%d-%Y", "%b %d %Y", "%b %d, %Y", "%d %b %Y", "%B %d, %Y", "%Y%m%d%H%M%S",
)  # fmt: skip
TIMES: Final = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", " %H:%M:%S.%f")
_DATE_LIKE: Final = re.compile(r"\d{1,4}[-/. ]\w{1,9}[-/., ]+\d{1,4}.*|[A-Za-z]{3,9}[. -]+\d{1,2},?[ -]\d{4}.*|\d{14}")
_MONTH: Final = re.compile(r"(1[89]|20)\d\d-\d\d")
ALMOST: Final = 0.9  # of the cells: a column with so many numbers is meant to be one of numbers
FEW: Final = 5  # distinct texts among them
MOST: Final = 0.5  # of the cells: a column with so many numbers or dates would lose them as one of text
SOME: Final = 0.1  # different odd texts for each cell: with more the numbers among them may be codes as well
MEASURED: Final = 30  # different numbers: more than there are levels of a column by default
PROSE: Final = 40  # characters of a cell on average


@dataclass(frozen=True, slots=True)
class Reading:
    """How a column's cells are to be read.

    Attributes:
        type: what it holds.
        format: how that is written.
        odd: texts that are not of this type: they must be dealt with before the column can be used.
        why: a sentence where the column is left out, or something was decided that the user should see.
    """

    type: ColumnType
    format: Format
    odd: tuple[str, ...] = ()
    why: str = ""


def read_as(distinct: Distinct, base: Format, file_missing: frozenset[str], rules: int = NEWEST) -> Reading:
    """What a column of text holds.

    Args:
        distinct: its cells.
        base: missing texts, decimal point and thousands of the file.
        file_missing: what stands for a missing value in the file's columns of numbers, in small letters.
        rules: the study's number of rules.
    """
    missing = is_missing(distinct.texts, base.missing, MISSING)
    present = distinct.texts[~missing]
    if not len(present):
        return Reading("constant", base, why="it has no values")
    found = _number(present, base, rules) or _boolean(present, base) or _date(present, base, rules)
    if found is not None:
        return found
    counts = distinct.counts[~missing]
    almost = _almost_numbers(present, counts, base, rules)
    text = text_reading(distinct, base, file_missing)
    if almost is not None or rules < FOUND:
        return almost or text
    return _mostly_numbers(present, counts, base, text) or _mostly_dates(present, counts, base) or text


def _number(present: NDArray[np.object_], base: Format, rules: int) -> Reading | None:
    for how in _number_formats(present, base, rules):
        if np.isfinite(as_numbers(present, how)).all():
            return Reading("numeric", how, why=_bare(present) if how.percent else "")
    return None


def _bare(present: NDArray[np.object_]) -> str:
    """What to know of numbers without % among percentages."""
    bare = [text for text in present if not text.endswith("%")]
    if not bare:
        return ""
    texts = "text" if len(bare) == 1 else "texts"
    return f"{len(bare):,} different {texts} without %, {bare[0]!r} first, count as percentages like the others"


def _number_formats(present: NDArray[np.object_], base: Format, rules: int) -> Iterator[Format]:
    negative = "-5" if rules < FOUND else _negative(present)
    number = base.model_copy(update={"kind": "number", "negative": negative})
    yield number
    if any(text.endswith("%") for text in present[:1000]):
        yield number.model_copy(update={"percent": True})
    if not base.thousands and base.decimal == "." and any("," in text for text in present[:1000]):
        yield number.model_copy(update={"thousands": ","})
        yield number.model_copy(update={"decimal": ","})


def _negative(present: NDArray[np.object_]) -> Negative:
    if any(text.startswith("(") and text.endswith(")") for text in present):
        return "(5)"
    return "5-" if any(text.endswith("-") for text in present) else "-5"


def _boolean(present: NDArray[np.object_], base: Format) -> Reading | None:
    if len(present) > 4:  # two words, each in two cases
        return None
    lower = {text.lower() for text in present}
    words = next((pair for pair in WORDS if lower == set(pair)), None)
    return None if words is None else Reading("boolean", base.model_copy(update={"kind": "boolean", "words": words}))


def _date(present: NDArray[np.object_], base: Format, rules: int) -> Reading | None:
    if not all(_is_date_like(text, rules) for text in present[:50]) or _are_seasons(present):
        return None
    fitting = [date for date in _date_formats(present[:50]) if np.isfinite(dates(present, date)).all()]
    if not fitting:
        return None
    both = [date for date in fitting if date.startswith(("%m/%d", "%d/%m", "%m-%d", "%d-%m"))]
    said = f"its dates fit {both[0]} and {both[1]}; the first is taken" if len(both) > 1 else ""
    return Reading("datetime", base.model_copy(update={"kind": "date", "date": fitting[0]}), why=said)


def _is_date_like(text: str, rules: int) -> bool:
    """Whether it may be a date: all formats need not be tried on a text that is none."""
    return bool(_DATE_LIKE.fullmatch(text) or (rules >= FOUND and _MONTH.fullmatch(text)))


def _are_seasons(texts: NDArray[np.object_]) -> bool:
    """Whether each is a year and the next one, such as 2010-11, which could be a month as well."""
    return all(_MONTH.fullmatch(text) and int(text[5:]) == (int(text[:4]) + 1) % 100 for text in texts)


def _date_formats(some: NDArray[np.object_], share: float = 1.0) -> list[str]:
    """The formats that fit so many of some cells: few are then tried on all."""
    tried = [date + time for date in DATES for time in (TIMES if date.startswith("%") and "%H" not in date else ("",))]
    return [date for date in tried if np.isfinite(dates(some, date)).mean() >= share]


def _almost_numbers(
    present: NDArray[np.object_], counts: NDArray[np.int64], base: Format, rules: int
) -> Reading | None:
    """A column of numbers but for a few texts, which somebody must decide on."""
    if rules < FOUND:
        how = base.model_copy(update={"kind": "number"})
        fits = np.isfinite(as_numbers(present, how))
    else:
        how, fits = _best_numbers(present, counts, base)
    if not 0 < (~fits).sum() <= FEW or counts[fits].sum() < ALMOST * counts.sum():
        return None
    return Reading("numeric", how, tuple(present[~fits]))


def _mostly_numbers(
    present: NDArray[np.object_], counts: NDArray[np.int64], base: Format, text: Reading
) -> Reading | None:
    """A column that would lose its numbers if it were read as text; what is none in it somebody must decide on.

    Levels stay levels unless nearly all of their texts are numbers; names stay names where very many are no numbers.
    """
    how, fits = _best_numbers(present, counts, base)
    odd, share = int((~fits).sum()), counts[fits].sum() / counts.sum()
    if share < MOST or (text.type == "categorical" and (odd > FEW or fits.sum() <= MEASURED)):
        return None
    if odd > max(FEW, SOME * counts.sum()):
        return replace(text, why=f"{text.why}; {share:.0%} of its cells are numbers") if text.why else None
    return Reading("numeric", how, tuple(present[~fits]))


def _best_numbers(
    present: NDArray[np.object_], counts: NDArray[np.int64], base: Format
) -> tuple[Format, NDArray[np.bool_]]:
    """The format that makes most cells numbers, and which of the texts these are."""
    tried = [(how, np.isfinite(as_numbers(present, how))) for how in _number_formats(present, base, FOUND)]
    return max(tried, key=lambda one: counts[one[1]].sum())


def _mostly_dates(present: NDArray[np.object_], counts: NDArray[np.int64], base: Format) -> Reading | None:
    """A column of dates but for some texts, which somebody must decide on; they may be dates in another form."""
    like = np.fromiter((_is_date_like(text, FOUND) for text in present), np.bool_, len(present))
    if counts[like].sum() < MOST * counts.sum():
        return None
    some = present[like][:: max(1, int(like.sum()) // 50)]
    fitting = [np.isfinite(dates(present, date)) for date in _date_formats(some, MOST / 2)]
    fits = max(fitting, key=lambda one: counts[one].sum(), default=~like)
    if counts[fits].sum() < MOST * counts.sum():
        return None
    found = _date(present[fits], base, FOUND)
    return None if found is None else replace(found, odd=tuple(present[~fits]))


def text_reading(distinct: Distinct, base: Format, file_missing: frozenset[str]) -> Reading:
    """Levels, names or prose."""
    codes = _two_letters(distinct.texts)
    words = ALWAYS_MISSING if codes else ALWAYS_MISSING | file_missing
    gone = is_missing(distinct.texts, base.missing, words)
    how = base.model_copy(update={"kind": "text", "missing": tuple(map(str, distinct.texts[gone]))})
    present, counts = distinct.texts[~gone], distinct.counts[~gone]
    if len(present) < 2:
        return Reading("constant", how, why="it is the same in all rows" if len(present) else "it has no values")
    rows, repeated = int(counts.sum()), int(counts[counts > 1].sum())
    if repeated >= rows / 2:
        return Reading("categorical", how)
    if np.average([len(text) for text in present], weights=counts) > PROSE:
        return Reading("text", how, why="it holds prose")
    return Reading("identifier", how, why=f"it names rows: {len(present):,} different texts in {rows:,} rows")


def _two_letters(texts: Sequence[str] | NDArray[np.object_]) -> bool:
    """Whether the texts are codes such as countries, of which NA is one."""
    others = [text for text in texts if text.lower() not in MISSING]
    return len(others) > 1 and all(len(text) == 2 and text.isupper() for text in others)


def values_of(distinct: Distinct, how: Format) -> tuple[Values, NDArray[np.bool_]]:
    """A column of numbers, dates or yes and no by a format that is known.

    Returns:
        The rows' values (N,), NaN where one is missing or odd; and which distinct cells (D,) are odd.
    """
    made = {
        "number": lambda: as_numbers(distinct.texts, how) / (100 if how.percent else 1),
        "date": lambda: dates(distinct.texts, how.date or "ISO8601"),
        "boolean": lambda: booleans(distinct.texts, how.words or WORDS[0]),
    }[how.kind]()
    missing = is_missing(distinct.texts, how.missing, MISSING)
    made[missing] = np.nan
    return np.asarray(distinct.spread(made, np.nan), np.float64), np.isnan(made) & ~missing
