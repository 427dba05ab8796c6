"""Where a trial's weights lie in its row of the stack's one flat buffer.

Law 1 to the bit: a trial's padded shape is its own. Every layer's size is rounded up by the trial's parameters alone,
to a multiple of 16 (a cache line of float32), so that neither its neighbours nor its place in a pack can change a bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from tuner.spec.architecture import Hyperparameters, layer_sizes

if TYPE_CHECKING:
    from torch import Tensor

    Rows = TypeVar("Rows", NDArray[np.float32], Tensor)

LINE = 16  # float32 values in a cache line, and in an AVX-512 register
CHUNK_VALUES = 65_536  # values of a validation chunk: 256 kB, so that it and its activations stay in a core's cache


def padded_sizes(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Every layer's size rounded up to whole cache lines."""
    return tuple(-(-size // LINE) * LINE for size in sizes)


def pieces(rows: int, size: int) -> list[tuple[int, int]]:
    """(start, count) of consecutive pieces of at most `size` rows, the last one smaller."""
    return [(start, min(size, rows - start)) for start in range(0, rows, size)]


def chunk_rows(columns: int) -> int:
    """Validation rows that torch's stack measures at once: an even number, by the width of a row alone."""
    return max(32, CHUNK_VALUES // columns // 2 * 2)


@dataclass(frozen=True, slots=True)
class Place:
    """One layer's place in the row: an (inputs, outputs) weight from `weight` on, then its bias from `bias` on."""

    inputs: int
    outputs: int
    weight: int
    bias: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of all layers in a row of `length` values."""

    sizes: tuple[int, ...]
    places: tuple[Place, ...]
    length: int

    @classmethod
    def of(cls, sizes: tuple[int, ...]) -> Layout:
        """The layout for padded layer sizes."""
        places, at = [], 0
        for inputs, outputs in pairwise(sizes):
            places.append(Place(inputs, outputs, at, at + inputs * outputs))
            at += (inputs + 1) * outputs
        return cls(sizes, tuple(places), at)

    def weights(self, rows_MP: Rows) -> list[Rows]:
        """Views (M, inputs, outputs) of each layer's weight."""
        models = rows_MP.shape[0]
        return [rows_MP[:, p.weight : p.bias].reshape(models, p.inputs, p.outputs) for p in self.places]

    def biases(self, rows_MP: Rows) -> list[Rows]:
        """Views (M, 1, outputs) of each layer's bias."""
        return [rows_MP[:, None, p.bias : p.bias + p.outputs] for p in self.places]


def pack_key(point: Hyperparameters, features: int) -> tuple[int, tuple[int, ...]]:
    """What trials must share to be packed: batch size and padded layer sizes (and with them the depth)."""
    return point.batch_size, padded_sizes(layer_sizes(features, point))


def merged_key(point: Hyperparameters, features: int) -> tuple[int, int]:
    """What trials must share to be packed on a GPU: batch size and depth."""
    return point.batch_size, len(layer_sizes(features, point))
