"""Rows far outside the range that a scaling was fitted on: another unit, a sensor that failed, a sentinel.

Far is more than 10 times the range's width beyond its ends, which no row of the same kind is; a constant column is as
wide as it is scaled, max(1, |value|).

Legend: N rows, F columns, U units: columns, channels, or all pixels as one.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tuner.data.preprocess import BLOCK_ROWS, Preprocessor

FAR: Final = 10.0
_NAMED: Final = 5
Values = NDArray[np.float64]


class Outside:
    """Counts such rows, block by block.

    Args:
        fitted: the scaling; one of rules before 3 does not know its range, and finds none.
    """

    def __init__(self, fitted: Preprocessor) -> None:
        self._fitted = fitted
        self._rows, self._far_rows = 0, 0
        extent = fitted.extent
        if extent is None:
            return
        width = np.where(extent.constant, np.maximum(1.0, np.abs(extent.low)), extent.high - extent.low)
        self._low, self._high, self._width = extent.low, extent.high, width
        self._counts = np.zeros(len(width), np.int64)
        self._distance, self._worst = np.zeros(len(width)), np.zeros(len(width))

    def add(self, rows_NF: Values) -> None:
        """Take some more raw rows; NaN is a missing value, and is nowhere."""
        if self._fitted.extent is None:
            return
        for start in range(0, len(rows_NF), BLOCK_ROWS):
            self._add_block(rows_NF[start : start + BLOCK_ROWS])

    def _add_block(self, rows_NF: Values) -> None:
        self._rows += len(rows_NF)
        with np.errstate(over="ignore"):
            distance = np.maximum(self._low - rows_NF, rows_NF - self._high) / self._width
        far = distance > FAR
        if not far.any():
            return
        self._far_rows += int(far.any(1).sum())
        self._counts += far.sum(0)
        distance = np.where(far, distance, 0.0)
        columns, worst = np.arange(rows_NF.shape[1]), distance.argmax(0)
        further = distance[worst, columns] > self._distance
        self._distance = np.where(further, distance[worst, columns], self._distance)
        self._worst = np.where(further, rows_NF[worst, columns], self._worst)

    def sentence(self, what: str = "rows") -> str | None:
        """What to tell the user; `what` are the rows: `validation rows`. None where there is nothing to tell."""
        if not self._far_rows:
            return None
        places = np.argsort(-self._counts, kind="stable")
        places = places[self._counts[places] > 0]
        image = self._fitted.extent is not None and self._fitted.extent.each == "image"
        listed = [self._told(int(place), image) for place in places[: 1 if image else _NAMED]]
        more = 0 if image else len(places) - len(listed)
        return (
            f"{self._far_rows:,} of {self._rows:,} {what} {'lies' if self._far_rows == 1 else 'lie'} far outside the"
            f" training rows' range, by more than {FAR:g} times its width: {', '.join(listed)}"
            + (f" and {more} more" if more else "")
            + "; their losses can outweigh all others."
        )

    def _told(self, place: int, image: bool) -> str:
        name = "pixels" if image else self._fitted.names[place]
        return f"{name} has {self._said(place, self._worst[place])} where training has {self._range(place)}"

    def _range(self, place: int) -> str:
        low, high = (self._said(place, end[place]) for end in (self._low, self._high))
        return low if low == high else f"{low} to {high}"

    def _said(self, place: int, value: float) -> str:
        """A value in the data's own units: what a table's rows are is encoded already."""
        table = self._fitted.table
        return f"{value:g}" if table is None else table.in_units(place, value)


def outside(fitted: Preprocessor, rows_NF: Values, what: str = "rows") -> str | None:
    """A sentence on the raw rows (N, F) that lie far outside the training rows' range; None where none does."""
    found = Outside(fitted)
    found.add(rows_NF)
    return found.sentence(what)
