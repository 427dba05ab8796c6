"""The column of a row that is reconstructed worst, in the data's own units and words.

Legend: N rows, F encoded columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.data.parts import column_sums
from tuner.data.preprocess import Preprocessor

Cell = str | float | int | bool | None
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class WorstCell:
    """A column, its value in a row and what was made of it; None is missing."""

    name: str
    value: Cell
    guess: Cell


def worst_cells(
    fitted: Preprocessor, rows: NDArray[np.floating], guess: NDArray[np.floating], losses: Values
) -> list[WorstCell]:
    """One for each row.

    Args:
        fitted: what made the rows.
        rows: scaled (N, F).
        guess: their reconstructions (N, F).
        losses: of each value, (N, F).
    """
    if not len(rows):
        return []
    pairs = tuple(fitted.inverse(values).reshape(len(rows), -1) for values in (rows, guess))
    if fitted.table is None:
        return [
            WorstCell(fitted.names[at], *(_plain(values[row, at]) for values in pairs))
            for row, at in enumerate(losses.argmax(1))
        ]
    names, frames = fitted.table.table_names, [fitted.table.decode(values) for values in pairs]
    worst = column_sums(fitted.table.declared, losses).argmax(1)
    whole = {field.name for field in fitted.table.fields if field.kind == "number" and field.whole}
    return [
        WorstCell(names[at], *(_plain(frame[names[at]].iloc[row], names[at] in whole) for frame in frames))
        for row, at in enumerate(worst)
    ]


def _plain(value: Any, is_whole: bool = False) -> Cell:
    """As JSON has it: a moment as its text, and nothing for what is missing."""
    plain = value.item() if isinstance(value, np.generic) else value
    if plain is None or plain != plain:  # noqa: PLR0124 - NaN and NaT are not equal to themselves
        return None
    if isinstance(plain, bool | int | str):
        return plain
    if isinstance(plain, float):
        return int(plain) if is_whole and plain.is_integer() else float(f"{plain:.6g}")  # single precision once
    return str(plain).removesuffix(" 00:00:00")
