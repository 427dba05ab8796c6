"""Limits that columns do not pass, found where many rows lie on them: the black of an image, a tank that is empty.

Where a share of a column's values are its lowest one, that is hardly by chance: the quantity ends there. A network that
may give less spends its code on holding those values at the limit. So its outputs are cut off there, as values are in a
censored regression (Tobin 1958), and the gradient passes as if they were not (straight through, Bengio et al. 2013):
an output outside of its limit is drawn back by a target inside of it and left alone by one on it.

Legend: N rows, F columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tuner.data.pca import rows_at_once

SHARE: Final = 0.05  # of the training rows, that lie on a limit
LEAST_ROWS: Final = 5
NONE: Final = np.finfo(np.float32).max  # a column's limit where it has none: files of weights hold finite numbers

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False, slots=True)
class Bounds:
    """Between which values each column's outputs are.

    Attributes:
        low_F, high_F: (F,) float32; -NONE and NONE where a column has no limit.
    """

    low_F: Floats
    high_F: Floats

    def of_outputs(self, centre_F: Floats, unit: float) -> Bounds:
        """The same of outputs (y - centre) / unit, to the bits that rows come to which are divided so."""
        with np.errstate(over="ignore"):
            low, high = ((values - centre_F) / np.float32(unit) for values in (self.low_F, self.high_F))
        return Bounds(
            np.where(self.low_F == -NONE, -NONE, low).astype(np.float32),
            np.where(self.high_F == NONE, NONE, high).astype(np.float32),
        )


def found(train: Floats, validation: Floats) -> Bounds | None:
    """The limits that scaled rows show; None where they show none.

    A side of a column is one where at least 5 % of the training rows, and five, have the same lowest or highest value
    and no validation row is beyond it.

    Args:
        train: training rows (N, F), without missing values.
        validation: the rows that trials are compared by.
    """
    needed = max(LEAST_ROWS, SHARE * len(train))
    low, high = train.min(0), train.max(0)
    at_low, at_high = np.zeros(len(low), np.int64), np.zeros(len(low), np.int64)
    count = rows_at_once(train.shape[1])
    for start in range(0, len(train), count):
        block = train[start : start + count]
        at_low += (block == low).sum(0)
        at_high += (block == high).sum(0)
    low_F = np.where((at_low >= needed) & (validation.min(0) >= low), low, -NONE).astype(np.float32)
    high_F = np.where((at_high >= needed) & (validation.max(0) <= high), high, NONE).astype(np.float32)
    if (low_F == -NONE).all() and (high_F == NONE).all():
        return None
    return Bounds(low_F, high_F)
