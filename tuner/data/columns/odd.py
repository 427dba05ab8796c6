"""Cells that are not of their column's type, and the sentences that name them to the user.

Legend: D distinct cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tuner.data.columns.cells import Distinct, Format
from tuner.data.source_table import SourceTable

SHOWN: Final = 10  # columns that a sentence names
FEW_TEXTS: Final = 12  # and texts


@dataclass(frozen=True, slots=True)
class Odd:
    """Cells that are not of their column's type.

    Attributes:
        wanted: what they should be, for messages.
        texts: the different ones.
        row: the first of the rows.
        count: how many rows.
    """

    wanted: str
    texts: tuple[str, ...]
    row: int
    count: int

    @classmethod
    def of(cls, distinct: Distinct, odd_D: NDArray[np.bool_], wanted: str) -> Odd | None:
        """Of distinct cells (D,) those that are marked; None where none is."""
        if not odd_D.any():
            return None
        texts = tuple(map(str, distinct.texts[odd_D]))
        return cls(wanted, texts, distinct.first(odd_D), int(distinct.counts[odd_D].sum()))


def odd_sentence(source: SourceTable, odd: Mapping[str, Odd]) -> str:
    """All columns with cells that are not of their type, in one sentence, with what to do."""
    listed = "; ".join(_said(source, name, one) for name, one in list(odd.items())[:SHOWN])
    more = f"; and {len(odd) - SHOWN} more columns" if len(odd) > SHOWN else ""
    texts = dict.fromkeys(text for one in odd.values() for text in one.texts)
    spelled = ", ".join(quoted(text) for text in list(texts)[:FEW_TEXTS])
    rest = f" and {len(texts) - FEW_TEXTS} more, which tuner init writes" if len(texts) > FEW_TEXTS else ""
    name = next(iter(odd))
    return (
        f"{listed}{more}. Where this stands for a missing value, say data.read.missing: [{spelled}]{rest};"
        f" where it is a level, data.columns: {{{quoted(name)}: {{type: categorical}}}}."
    )


def _said(source: SourceTable, name: str, odd: Odd) -> str:
    return (
        f"column {name}, {source.place(odd.row)}: must be {odd.wanted}, got {odd.texts[0][:40]!r}"
        f" ({odd.count} of {len(source.places)} cells)"
    )


def wanted_of(how: Format) -> str:
    """What a cell of this format is, for messages."""
    return {"number": "a number", "date": f"a date ({how.date})", "boolean": "yes or no"}[how.kind]


def quoted(text: str) -> str:
    """A text as YAML takes it for text."""
    return "'" + text.replace("'", "''") + "'"
