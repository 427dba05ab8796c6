"""Where a trial's weights lie in its row of the stack's one flat buffer.

Law 1 to the bit: a trial's padded shape is its own. Every layer's size is rounded up by the trial's parameters alone,
to a ladder of multiples of 16 (a cache line of float32), so that neither its neighbours nor its place in a pack can
change a bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

LINE = 16  # float32 values in a cache line, and in an AVX-512 register


def padded(size: int) -> int:
    """The size on the ladder: multiples of 16 up to 128, of 32 up to 256, of 64 beyond; at most a quarter too much."""
    step = LINE if size <= 128 else 2 * LINE if size <= 256 else 4 * LINE
    return -(-size // step) * step


def padded_sizes(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Every layer's size on the ladder; the input and output stay on the finest one, for their padding costs most."""
    return tuple(-(-n // LINE) * LINE if i in (0, len(sizes) - 1) else padded(n) for i, n in enumerate(sizes))


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

    def pack(self, linears: list[nn.Linear]) -> Tensor:
        """A row (P,) with the plain model's weights, zero where padded."""
        row_P = torch.zeros(self.length)
        rows_1P = row_P.unsqueeze(0)
        for layer, weight, bias in zip(linears, self.weights(rows_1P), self.biases(rows_1P), strict=True):
            weight[0, : layer.in_features, : layer.out_features] = layer.weight.detach().T
            bias[0, 0, : layer.out_features] = layer.bias.detach()
        return row_P

    def unpack(self, row_P: Tensor, linears: list[nn.Linear]) -> None:
        """Copy a row's weights into the plain model."""
        rows_1P = row_P.unsqueeze(0)
        with torch.no_grad():
            for layer, weight, bias in zip(linears, self.weights(rows_1P), self.biases(rows_1P), strict=True):
                layer.weight.copy_(weight[0, : layer.in_features, : layer.out_features].T)
                layer.bias.copy_(bias[0, 0, : layer.out_features])
