"""What a reconstruction is worth column by column of the table.

Under a loss without classes (mse) a level's columns are numbers between 0 and 1 like any others: what is guessed is the
level with the largest one, and yes where that is above a half, as a reconstructed table has it. A moment is read back
from its elapsed time alone, and judged by that: of its weekday or hour a code often holds nothing.

Legend: N rows, F encoded columns, L levels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tuner.analysis.baselines import ValueLosses
from tuner.answers.parts import ColumnQuality
from tuner.data.encoded import EncodedColumn
from tuner.data.pca import rows_at_once
from tuner.data.terms import Values

Matrix = NDArray[np.float32]
CLASSES = ("boolean", "categorical")  # the types of which one value is right or wrong


def column_quality(
    columns: Sequence[EncodedColumn], losses: ValueLosses, rows: Matrix, rebuild: Callable[[Matrix], Matrix]
) -> tuple[ColumnQuality, ...]:
    """How well each column is reconstructed, over the rows in which it has a value; some rows at a time.

    Args:
        columns: of the table; those without weight, which are read and not rebuilt, are left out.
        losses: the loss of each value.
        rows: encoded rows (N, F), NaN where a value is missing.
        rebuild: gives their reconstructions (N, F): values, probabilities and rates.
    """
    tallies, whole = [_Tally(column) for column in columns if column.weight > 0], 0.0
    count = rows_at_once(rows.shape[1])
    for start in range(0, len(rows), count):
        part = np.asarray(rows[start : start + count])
        target, guess = part.astype(np.float64), rebuild(part).astype(np.float64)
        cells = losses(target, guess).sum(0)
        whole += float(cells.sum())
        for tally in tallies:
            tally.add(target, guess, cells)
    return tuple(tally.quality(whole) for tally in tallies)


class _Tally:
    """What is counted of one column, block by block."""

    def __init__(self, column: EncodedColumn) -> None:
        self._column, self._span = column, slice(column.first, column.last)
        self._observed, self._right, self._lost = 0, 0, 0.0
        self._levels = np.zeros(max(2, column.last - column.first), np.int64)
        self._first: np.float64 | None = None  # numbers are counted from it: their squares keep their digits
        self._sum, self._squares, self._missed = 0.0, 0.0, 0.0

    def add(self, target: Values, guess: Values, cells: Values) -> None:
        """Rows and reconstructions (N, F), and the sums (F,) of their losses."""
        self._lost += float(cells[self._span].sum())
        known = ~np.isnan(target[:, self._span]).any(1)
        if not known.any():
            return
        self._observed += int(known.sum())
        if self._column.type in CLASSES:
            self._add_levels(target[known, self._span], guess[known, self._span])
        else:
            self._add_numbers(target[known, self._column.first], guess[known, self._column.first])

    def _add_levels(self, target: Values, guess: Values) -> None:
        levels = self._places(target)
        self._right += int((levels == self._places(guess)).sum())
        self._levels += np.bincount(levels, minlength=len(self._levels))

    def _places(self, values: Values) -> NDArray[np.intp]:
        """Values (N, L) to the place of the likeliest level, (N,); of a yes or no one column is the yes."""
        return values.argmax(1) if self._column.type == "categorical" else (values[:, 0] > 0.5).astype(np.intp)

    def _add_numbers(self, target: Values, guess: Values) -> None:
        if self._first is None:
            self._first = target[0]
        away = target - self._first
        self._sum += float(away.sum())
        self._squares += float((away**2).sum())
        self._missed += float(((target - guess) ** 2).sum())

    def quality(self, whole: float) -> ColumnQuality:
        """Of all rows, whose loss in all is `whole`."""
        classes = self._column.type in CLASSES and self._observed > 0
        return ColumnQuality(
            name=self._column.name,
            type=self._column.type,
            observed=self._observed,
            r2=None if self._column.type in CLASSES else self._r2(),
            accuracy=self._right / self._observed if classes else None,
            commonest=float(self._levels.max()) / self._observed if classes else None,
            share=_finite(self._lost / whole if whole else 0.0) or 0.0,
        )

    def _r2(self) -> float | None:
        """None where it is constant."""
        spread = self._squares - self._sum**2 / max(1, self._observed)
        return _finite(1 - self._missed / spread) if spread > 0 else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
