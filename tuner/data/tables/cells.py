"""What a cell of text looks like, for finding a file's dialect: a number, a time, a missing value, a word."""

from __future__ import annotations

import re
from collections.abc import Iterable

# A sign, a currency, digits with points, commas, blanks or apostrophes between them, an exponent, a percent sign.
_NUMBER = re.compile(
    r"[+\-−(]?\s?[$€£¥]?\s?(?:\d[\d.,]*(?:[  '’]\d{3})*(?:[.,]\d+)?|[.,]\d+)(?:[eE][+-]?\d+)?\s?[%€)]?"
    r"|[+-]?(?:inf|infinity)",
    re.IGNORECASE,
)
_TIME = re.compile(
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[T ]\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?\s?(?:Z|[AaPp][Mm]|[+-]\d{2}:?\d{2})?)?"
    r"|\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?\s?(?:[AaPp][Mm])?"
)
_MISSING = frozenset(
    ("", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "?", "-", "--", ".", "..", "*", "missing", "<na>", "-nan")
)


def is_number(cell: str) -> bool:
    """Whether a cell is a number in any of the usual ways of writing one."""
    return _NUMBER.fullmatch(cell.strip()) is not None


def is_time(cell: str) -> bool:
    """Whether a cell is a date or a time of day, written in digits."""
    return _TIME.fullmatch(cell.strip()) is not None


def is_missing(cell: str) -> bool:
    """Whether a cell is empty or one of the usual words for nothing."""
    return cell.strip().lower() in _MISSING


def is_word(cell: str) -> bool:
    """Whether a cell says something that is neither a number nor a time."""
    return not (is_missing(cell) or is_number(cell) or is_time(cell))


def is_numeric(cells: Iterable[str]) -> bool:
    """Whether nine in ten of the cells that say anything are numbers or times, and one at least does."""
    said = [cell for cell in cells if not is_missing(cell)]
    return bool(said) and sum(is_number(cell) or is_time(cell) for cell in said) >= 0.9 * len(said)
