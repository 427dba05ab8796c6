"""Which rows are trained on, compared on, and kept untouched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.errors import DataError
from tuner.spec.work import derive_seed

Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers of each split, rising; together every row once."""

    train: Index
    validation: Index
    test: Index


def split_rows(rows: int, validation: float, test: float, seed: int) -> Split:
    """Split by chance, drawn from a seed by name.

    Args:
        rows: rows in all.
        validation: share of the rows, rounded; at least one row.
        test: share of the rows, rounded; at least one row.
        seed: the split's own.

    Raises:
        DataError: no row is left to train on.
    """
    held_out = max(1, round(rows * validation)), max(1, round(rows * test))
    if rows - sum(held_out) < 1:
        raise DataError(f"data: {rows} rows must leave some to train on, but {sum(held_out)} are held out.")
    order = np.random.default_rng(derive_seed(seed, "split")).permutation(rows)
    first, second = held_out[0], sum(held_out)
    return Split(np.sort(order[second:]), np.sort(order[:first]), np.sort(order[first:second]))
