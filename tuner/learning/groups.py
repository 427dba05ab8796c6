"""The softmax groups of a row as a few rectangles, for functions that want every group to be of one size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.data.terms import Terms


@dataclass(frozen=True, eq=False, slots=True)
class Bucket:
    """Groups of nearly one size, each padded to the same.

    Attributes:
        columns: (G, L) int64, L a power of two: each group's columns, and for padding its first column again.
        real: (G, L) whether it is no padding; of padded groups nothing is.
    """

    columns: NDArray[np.int64]
    real: NDArray[np.bool_]


def buckets(terms: Terms, multiple: int = 1) -> tuple[Bucket, ...]:
    """The groups by the power of two that holds them: less than half of what is padded is padding.

    Args:
        terms: of the loss.
        multiple: groups are added, all of padding, until a bucket has a multiple of so many values.
    """
    sizes: dict[int, list[tuple[int, int]]] = {}
    for first, last in terms.groups.tolist():
        sizes.setdefault(max(2, 1 << (last - first - 1).bit_length()), []).append((first, last))
    return tuple(_bucket(groups, length, multiple) for length, groups in sorted(sizes.items()))


def _bucket(groups: list[tuple[int, int]], length: int, multiple: int) -> Bucket:
    added = -(-len(groups) * length // multiple) * multiple // length - len(groups) if length < multiple else 0
    firsts, lasts = np.array([*groups, *[(0, 0)] * added], np.int64).T[..., None]
    columns = firsts + np.arange(length)
    real = columns < lasts
    return Bucket(np.where(real, columns, firsts), real)


def places(found: tuple[Bucket, ...], columns: int) -> NDArray[np.int64]:
    """Where each column is found in a row of `columns` values with all buckets laid behind it: (columns,)."""
    place, start = np.arange(columns), columns
    for bucket in found:
        flat, real = bucket.columns.ravel(), bucket.real.ravel()
        place[flat[real]] = start + np.flatnonzero(real)
        start += flat.size
    return place
