"""A column's cells as values: text becomes numbers, dates or levels by one rule for the whole column.

Legend: N rows, D distinct cells.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Values = NDArray[np.float64]

# What stands for a missing value in a column of numbers, dates or yes and no, in small letters and without blanks.
MISSING: Final = frozenset(
    ("", "na", "n/a", "n.a.", "nan", "null", "none", "-", "--", "?", ".", "..", "#n/a", "#na", "<na>", "nil", "missing")
)  # fmt: skip
ALWAYS_MISSING: Final = frozenset(("", "?"))  # in a column of text as well, where NA may be a country
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_CURRENCIES: Final = "$€£¥"


Negative = Literal["-5", "5-", "(5)"]
_LATER: Final = {"negative": "-5"}  # keys that a format has had since rules 5, and what it was before


class Format(BaseModel):
    """How a column's cells are written.

    Attributes:
        kind: what they are.
        missing: texts that stand for a missing value, as they are written.
        decimal: before a number's decimals.
        thousands: between groups of digits; empty for nothing.
        percent: numbers end in %, and are a hundredth of what they say.
        negative: how a number below 0 is written.
        date: the format of dates, as `datetime.strptime` has it; ISO8601 for that standard's.
        words: of yes and no: what stands for no, and for yes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["number", "date", "boolean", "text"]
    missing: tuple[str, ...] = ()
    decimal: str = "."
    thousands: str = ""
    percent: bool = False
    negative: Negative = "-5"
    date: str | None = None
    words: tuple[str, str] | None = None

    def digested(self) -> dict[str, Any]:
        """What a study's fingerprint has of it: keys that older versions did not know where they say something."""
        known = self.model_dump(mode="json")
        return {key: value for key, value in known.items() if key not in _LATER or _LATER[key] != value}


class Distinct:
    """A column's distinct cells, and which of them each row has.

    Attributes:
        texts: (D,) object, text stripped of blanks at its ends.
        codes: (N,) int64, places in `texts`; -1 for a null.
        counts: (D,) rows of each.
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        if pa.types.is_floating(column.type) and pc.all(pc.equal(pc.floor(column), column)).as_py():
            with suppress(pa.ArrowInvalid):  # too large, or infinite
                column = column.cast(pa.int64())  # codes that a missing value among them made floats: 1, not 1.0
        whole = pa.concat_arrays(column.cast(pa.string()).chunks) if column.num_chunks else pa.array([], pa.string())
        encoded = pc.utf8_trim_whitespace(whole).dictionary_encode()
        self.texts: NDArray[np.object_] = encoded.dictionary.to_numpy(zero_copy_only=False).astype(object)
        self.codes: NDArray[np.int64] = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        self.counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.texts))

    def spread(self, values_D: NDArray[np.generic], missing: object) -> NDArray[np.generic]:
        """A value for each distinct cell to a value for each row."""
        if not len(values_D):
            return np.full(len(self.codes), missing)
        rows: NDArray[Any] = values_D[self.codes]
        rows[self.codes < 0] = missing
        return rows

    def first(self, places_D: NDArray[np.bool_]) -> int:
        """The first row whose cell is one of these."""
        marked = np.append(places_D, False)  # a null has code -1
        return int(marked[self.codes].argmax())


def is_missing(texts: NDArray[np.object_], missing: tuple[str, ...], words: frozenset[str]) -> NDArray[np.bool_]:
    """Which texts (D,) stand for a missing value: those given, and `words` in small letters."""
    given = {*missing, *(text.strip() for text in missing)}
    return np.fromiter((text in given or text.lower() in words for text in texts), np.bool_, len(texts))


def numbers(texts: NDArray[np.object_], how: Format) -> Values:
    """Texts (D,) as numbers; NaN where one is none."""
    plain = [plain_number(text, how) for text in texts]
    return np.asarray(pd.to_numeric(pd.Series(plain, dtype=object), errors="coerce"), np.float64)


def plain_number(text: str, how: Format) -> str | None:
    """A number as Python writes it; None where the text is no number in this format."""
    text = _signed_before(text, how.negative)
    sign = "-" if text.startswith("-") else ""
    text = text.removeprefix("-").strip(_CURRENCIES).strip()
    if how.percent:
        text = text.removesuffix("%").rstrip()
    if how.thousands and how.thousands in text:
        whole, point, rest = text.partition(how.decimal)
        groups = whole.split(how.thousands)
        if not (1 <= len(groups[0]) <= 3 and all(len(group) == 3 for group in groups[1:])):
            return None
        text = "".join(groups) + point + rest
    if how.decimal != ".":
        if "." in text:
            return None
        text = text.replace(how.decimal, ".")
    if _NUMBER.fullmatch(text) is None:
        return None
    return sign + text


def _signed_before(text: str, negative: Negative) -> str:
    """A negative number with its sign before it, however it is written."""
    if negative == "5-" and text.endswith("-"):
        return "-" + text[:-1].rstrip()
    if negative == "(5)" and text.startswith("(") and text.endswith(")"):
        return "-" + text[1:-1].strip()
    return text


def dates(texts: NDArray[np.object_], date: str) -> Values:
    """Texts (D,) as seconds since 1970, those with a zone in UTC; NaN where one is no such date."""
    parsed = pd.to_datetime(pd.Series(texts, dtype=object), format=date, errors="coerce", utc=True)
    seconds = parsed.dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
    return np.where(np.isnat(seconds), np.nan, seconds.astype(np.int64) / 1e6)


def booleans(texts: NDArray[np.object_], words: tuple[str, str]) -> Values:
    """Texts (D,) as 0 and 1; NaN where one is neither word, in any case."""
    known = {words[0].lower(): 0.0, words[1].lower(): 1.0}
    return np.array([known.get(text.lower(), np.nan) for text in texts], np.float64)
