"""Where a trial's weights lie in its row of the stack's one flat buffer.

Law 1 to the bit: a trial's padded shape is its own. Every layer's size is rounded up by the trial's parameters alone,
to a multiple of 16 (a cache line of float32), so that neither its neighbours nor its place in a pack can change a bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

LINE = 16  # float32 values in a cache line, and in an AVX-512 register


def padded_sizes(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Every layer's size rounded up to whole cache lines."""
    return tuple(-(-size // LINE) * LINE for size in sizes)


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

    def weights(self, rows_MP: Tensor) -> list[Tensor]:
        """Views (M, inputs, outputs) of each layer's weight."""
        models = rows_MP.shape[0]
        return [rows_MP[:, p.weight : p.bias].view(models, p.inputs, p.outputs) for p in self.places]

    def biases(self, rows_MP: Tensor) -> list[Tensor]:
        """Views (M, 1, outputs) of each layer's bias."""
        return [rows_MP[:, p.bias : p.bias + p.outputs].unsqueeze(1) for p in self.places]

    def unpack(self, row_P: Tensor, linears: list[nn.Linear]) -> None:
        """Copy a row's weights into the plain model."""
        rows_1P = row_P.unsqueeze(0)
        with torch.no_grad():
            for layer, weight, bias in zip(linears, self.weights(rows_1P), self.biases(rows_1P), strict=True):
                layer.weight.copy_(weight[0, : layer.in_features, : layer.out_features].T)
                layer.bias.copy_(bias[0, 0, : layer.out_features])
