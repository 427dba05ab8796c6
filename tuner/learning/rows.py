"""Prepared rows as a pack on the CPU reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.data.linear_start import LinearStart
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
        start: where trainings start; None where networks read the rows as they are. Where its targets are in the
            network's units, so are these rows.
    """

    train_NF: NDArray[np.float32]
    validation_VF: NDArray[np.float32]
    features: int
    terms: Terms | None = None
    start: LinearStart | None = None

    @classmethod
    def of(
        cls,
        train: NDArray[np.float32],
        validation: NDArray[np.float32],
        terms: Terms | None = None,
        start: LinearStart | None = None,
    ) -> PaddedRows:
        """From (N, F) and (V, F) scaled rows, not copied where they need neither padding nor the network's units."""
        wanted = padded(targets(train, start)), padded(targets(validation, start))
        return cls(*wanted, train.shape[1], terms, start)


def targets(rows: NDArray[np.float32], start: LinearStart | None) -> NDArray[np.float32]:
    """What a network is to give for scaled rows (N, F)."""
    return rows if start is None or not start.targets else start.read(rows)


def padded(rows: NDArray[np.float32], multiple: int = 1) -> NDArray[np.float32]:
    """Rows (N, F) with zeros up to whole cache lines, and to a multiple of rows; copied only where that is needed."""
    missing = -len(rows) % multiple, -rows.shape[1] % LINE
    return np.pad(rows, ((0, missing[0]), (0, missing[1]))) if any(missing) else np.ascontiguousarray(rows)
