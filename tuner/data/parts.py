"""What each column of a table adds to a row's score.

Legend: N rows, F encoded columns, C columns of the table.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tuner.data.encoded import EncodedColumn
from tuner.data.terms import Terms, Values


def column_sums(columns: Sequence[EncodedColumn], cells: Values) -> Values:
    """The losses of encoded columns, (N, F), added up for each column of the table, (N, C)."""
    return np.column_stack([cells[:, column.first : column.last].sum(1) for column in columns])


def row_parts(
    columns: Sequence[EncodedColumn], cells: Values, rows: NDArray[np.floating], terms: Terms | None
) -> Values:
    """What each column adds to each row's score, (N, C); where all columns are given, a row's parts sum to its score.

    Args:
        columns: of the table.
        cells: the loss of each encoded column, (N, F); by terms weighted, and 0 where a value is missing.
        rows: the encoded rows (N, F), NaN where a value is missing.
        terms: of the loss; None where it is the mean over all encoded columns.
    """
    parts: Values = column_sums(columns, cells) / cells.shape[1]
    return parts if terms is None else np.asarray(parts * terms.completion(rows)[:, None])
