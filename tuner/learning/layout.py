"""Where a trial's weights lie in its row of the stack's one flat buffer.

Law 1 to the bit: a trial's padded shape is its own. Every layer's size is rounded up by the trial's parameters alone,
to a multiple of 16 (a cache line of float32), so that neither its neighbours nor its place in a pack can change a bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from tuner.spec.architecture import Architecture, Hyperparameters

if TYPE_CHECKING:
    from torch import Tensor

    Rows = TypeVar("Rows", NDArray[np.float32], Tensor)

LINE = 16  # float32 values in a cache line, and in an AVX-512 register
BOUNDS = ("bounds.low", "bounds.high")  # the plain module's names
SKIPS = ("skip_encoder.weight", "skip_decoder.weight")  # the plain module's names, in the order of the row
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
    """One layer's place in the row: an (inputs, outputs) weight from `weight` on, then its bias from `bias` on.

    A variational code's layer has twice as many outputs as the code: means, then log-variances. With layer
    normalisation a hidden layer's gain follows from `gain` on, and then its shift; else `gain` is None.
    """

    inputs: int
    outputs: int
    weight: int
    bias: int
    gain: int | None = None

    @property
    def end(self) -> int:
        """Where the next layer begins."""
        return self.bias + self.outputs * (1 if self.gain is None else 3)


@dataclass(frozen=True, slots=True)
class Skip:
    """Where a linear skip's matrices begin: `encoder`'s is (features, code), `decoder`'s (code, features), padded."""

    features: int
    code: int
    encoder: int
    decoder: int

    @property
    def end(self) -> int:
        """The row's end."""
        return self.decoder + self.features * self.code


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of all layers in a row of `length` values; `sizes` are the layers' padded units.

    The matrices of a linear skip come last.
    """

    sizes: tuple[int, ...]
    places: tuple[Place, ...]
    length: int
    skip: Skip | None = None

    @classmethod
    def of(cls, sizes: tuple[int, ...], variational: bool = False, norm: bool = False, skip: bool = False) -> Layout:
        """The layout for padded layer sizes."""
        shape = Architecture(sizes, variational, norm)
        places: list[Place] = []
        at = 0
        for layer, (inputs, units) in enumerate(pairwise(sizes), start=1):
            outputs = 2 * units if variational and layer == shape.code else units
            bias = at + inputs * outputs
            gain = bias + outputs if norm and shape.hidden(layer) else None
            places.append(Place(inputs, outputs, at, bias, gain))
            at = places[-1].end
        if not skip:
            return cls(sizes, tuple(places), at)
        around = Skip(sizes[0], sizes[shape.code], at, at + sizes[0] * sizes[shape.code])
        return cls(sizes, tuple(places), around.end, around)

    @classmethod
    @lru_cache(maxsize=4096)  # as `Architecture.of`
    def own(cls, shape: Architecture) -> Layout:
        """A network's own layout, padded as it is alone, computed once."""
        return cls.of(padded_sizes(shape.sizes), shape.variational, shape.norm, shape.skip)

    def weights(self, rows_MP: Rows) -> list[Rows]:
        """Views (M, inputs, outputs) of each layer's weight."""
        models = rows_MP.shape[0]
        return [rows_MP[:, p.weight : p.bias].reshape(models, p.inputs, p.outputs) for p in self.places]

    def biases(self, rows_MP: Rows) -> list[Rows]:
        """Views (M, 1, outputs) of each layer's bias."""
        return [rows_MP[:, None, p.bias : p.bias + p.outputs] for p in self.places]

    def gains(self, rows_MP: Rows) -> list[tuple[Rows, Rows] | None]:
        """Views (M, 1, outputs) of the gain and the shift of each layer that is normalised."""
        return [
            None
            if p.gain is None
            else (rows_MP[:, None, p.gain : p.gain + p.outputs], rows_MP[:, None, p.end - p.outputs : p.end])
            for p in self.places
        ]

    def skips(self, rows_MP: Rows) -> tuple[Rows, Rows] | None:
        """Views (M, features, code) and (M, code, features) of a linear skip, if there is one."""
        if self.skip is None:
            return None
        models, skip = rows_MP.shape[0], self.skip
        encoder = rows_MP[:, skip.encoder : skip.decoder].reshape(models, skip.features, skip.code)
        return encoder, rows_MP[:, skip.decoder : skip.end].reshape(models, skip.code, skip.features)

    def tensors(self, rows_MP: Rows) -> list[tuple[str, int, Rows]]:
        """Every tensor's name within its layer, the layer, and a view (M, inputs or 1, units).

        A variational code's layer comes as two: the means' and the log-variances'. A skip's matrices have names of
        their own, and the layers that they end in.
        """
        found: list[tuple[str, int, Rows]] = []
        layers = zip(self.weights(rows_MP), self.biases(rows_MP), self.gains(rows_MP), strict=True)
        for layer, (weight, bias, gain) in enumerate(layers):
            units = self.sizes[layer + 1]
            found += [("weight", layer, weight[:, :, :units]), ("bias", layer, bias[:, :, :units])]
            if weight.shape[2] > units:
                found += [
                    ("log_variance.weight", layer, weight[:, :, units:]),
                    ("log_variance.bias", layer, bias[:, :, units:]),
                ]
            if gain is not None:
                found += [("gain", layer, gain[0]), ("shift", layer, gain[1])]
        if (skips := self.skips(rows_MP)) is not None:
            code = len(self.places) // 2 - 1
            found += [(name, layer, view) for name, layer, view in zip(SKIPS, (code, 2 * code + 1), skips, strict=True)]
        return found


def skip_inputs(name: str, shape: Architecture) -> int | None:
    """The real inputs of a skip's matrix; None for any other tensor's name."""
    return dict(zip(SKIPS, (shape.sizes[0], shape.sizes[shape.code]), strict=True)).get(name)


def pack_key(point: Hyperparameters, features: int) -> tuple[int, tuple[int, ...], bool, bool, bool]:
    """What trials must share to be packed: batch size, padded layer sizes (and with them the depth), and parts."""
    shape = Architecture.of(features, point)
    return point.batch_size, padded_sizes(shape.sizes), shape.variational, shape.norm, shape.skip


def merged_key(point: Hyperparameters, features: int) -> tuple[int, int, bool, bool, bool]:
    """What trials must share to be packed on a GPU: batch size, depth, and their parts."""
    shape = Architecture.of(features, point)
    return point.batch_size, len(shape.sizes), shape.variational, shape.norm, shape.skip


def merged_layout(shapes: Sequence[Architecture]) -> Layout:
    """The layout of a pack of such networks, padded to the largest layer of each place."""
    sizes = tuple(max(layer) for layer in zip(*(padded_sizes(shape.sizes) for shape in shapes), strict=True))
    return Layout.of(sizes, shapes[0].variational, shapes[0].norm, shapes[0].skip)
