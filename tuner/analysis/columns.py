"""What a reconstruction is worth column by column of the table, and what each adds to a row's score.

Legend: N rows, F encoded columns, C columns of the table, L levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tuner.answers.parts import ColumnQuality
from tuner.data.encoded import EncodedColumn
from tuner.data.terms import Terms, Values

CLASSES = ("boolean", "categorical")  # the types of which one value is right or wrong


def column_quality(
    columns: Sequence[EncodedColumn],
    terms: Terms,
    rows: NDArray[np.floating],
    rebuilt: NDArray[np.floating],
) -> tuple[ColumnQuality, ...]:
    """How well each column is reconstructed, over the rows in which it has a value.

    Args:
        columns: of the table.
        terms: of the loss.
        rows: encoded rows (N, F), NaN where a value is missing.
        rebuilt: their reconstructions (N, F): values, probabilities and rates.
    """
    cells = terms.cells(terms.outputs(rebuilt), rows).sum(0)
    whole = float(cells.sum()) or 1.0
    return tuple(
        _quality(column, rows[:, span], rebuilt[:, span], float(cells[span].sum()) / whole)
        for column, span in ((column, slice(column.first, column.last)) for column in columns)
    )


def row_parts(
    columns: Sequence[EncodedColumn],
    terms: Terms,
    rows: NDArray[np.floating],
    rebuilt: NDArray[np.floating],
) -> Values:
    """What each column adds to each row's score, (N, C); where all columns are given, a row's parts sum to its score.

    Args: as `column_quality`'s.
    """
    cells = terms.cells(terms.outputs(rebuilt), rows)
    parts = np.column_stack([cells[:, column.first : column.last].sum(1) for column in columns])
    return np.asarray(parts / rows.shape[1] * terms.completion(rows)[:, None])


def _quality(
    column: EncodedColumn, rows: NDArray[np.floating], rebuilt: NDArray[np.floating], share: float
) -> ColumnQuality:
    known = ~np.isnan(rows).any(1)
    target, guess = rows[known].astype(np.float64), rebuilt[known].astype(np.float64)
    r2, accuracy, commonest = None, None, None
    if column.type in CLASSES:
        accuracy, commonest = _accuracy(_levels(target), _levels(guess))
    else:
        r2 = _r2(target, guess)
    return ColumnQuality(
        name=column.name,
        type=column.type,
        observed=len(target),
        r2=r2,
        accuracy=accuracy,
        commonest=commonest,
        share=share,
    )


def _levels(values: Values) -> NDArray[np.intp]:
    """Values (N, L) to the place of the likeliest level, (N,); of a yes or no one column is the yes."""
    return values.argmax(1) if values.shape[1] > 1 else (values[:, 0] >= 0.5).astype(np.intp)


def _accuracy(levels: NDArray[np.intp], guess: NDArray[np.intp]) -> tuple[float | None, float | None]:
    """The share of right guesses, and the commonest level's."""
    if not len(levels):
        return None, None
    return float((levels == guess).mean()), float(np.bincount(levels).max() / len(levels))


def _r2(target: Values, guess: Values) -> float | None:
    """Over all encoded columns together; None where they are constant."""
    if not len(target):
        return None
    spread = float(((target - target.mean(0)) ** 2).sum())
    return None if spread == 0 else 1 - float(((target - guess) ** 2).sum()) / spread
