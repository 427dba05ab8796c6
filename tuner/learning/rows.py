"""Prepared rows as a pack on the CPU reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.data.terms import Terms
from tuner.learning.layout import LINE


@dataclass(frozen=True, slots=True)
class PaddedRows:
    """Both splits in memory, features padded with zeros to whole cache lines.

    Attributes:
        train_NF: training rows.
        validation_VF: validation rows.
        features: real features.
        terms: of the loss on them; None where it is the mean of one function over all values.
    """

    train_NF: NDArray[np.float32]
    validation_VF: NDArray[np.float32]
    features: int
    terms: Terms | None = None

    @classmethod
    def of(cls, train: NDArray[np.float32], validation: NDArray[np.float32], terms: Terms | None = None) -> PaddedRows:
        """From (N, F) and (V, F) arrays; rows that need no padding are not copied."""
        return cls(padded(train), padded(validation), train.shape[1], terms)


def padded(rows: NDArray[np.float32], multiple: int = 1) -> NDArray[np.float32]:
    """Rows (N, F) with zeros up to whole cache lines, and to a multiple of rows; copied only where that is needed."""
    missing = -len(rows) % multiple, -rows.shape[1] % LINE
    return np.pad(rows, ((0, missing[0]), (0, missing[1]))) if any(missing) else np.ascontiguousarray(rows)
