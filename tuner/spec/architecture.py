"""What a set of hyperparameters means as a network, in plain numbers: layer sizes and sizes in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from tuner.spec.hyperparameters import Hyperparameters

__all__ = ["Architecture", "Hyperparameters", "encoder_sizes", "layer_sizes", "parameter_count"]


def encoder_sizes(features: int, depth: int, width: int, bottleneck: int, taper: float = 1.0) -> tuple[int, ...]:
    """Units of each layer from the input to the code, both included; the decoder mirrors them.

    `depth` hidden layers, falling geometrically from `width` towards `bottleneck`: hidden layer i of depth d has
    width * (bottleneck / width) ** (taper * i / d) units, rounded. With taper 0 all of them have `width` units.
    """
    hidden = (round(width * (bottleneck / width) ** (taper * i / depth)) for i in range(depth))
    return (features, *hidden, bottleneck)


def layer_sizes(features: int, point: Hyperparameters) -> tuple[int, ...]:
    """Units of every layer of the autoencoder, input and output included."""
    encoder = encoder_sizes(features, point.depth, point.width, point.bottleneck, point.taper)
    return encoder + encoder[-2::-1]


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a network's weights follow from.

    Attributes:
        sizes: units of every layer, input, code and output included.
        variational: the last layer of the encoder gives a mean and a log-variance for every unit of the code.
        norm: every hidden layer is normalised before its activation, with a gain and a shift for every unit.
        skip: a matrix leads from the input to the code (of a variational one to its means), and one from the code to
            the output, beside the layers between them; they have no biases of their own.
    """

    sizes: tuple[int, ...]
    variational: bool = False
    norm: bool = False
    skip: bool = False

    @classmethod
    @lru_cache(maxsize=4096)  # a segment asks for it in planning, training, measuring and storing each of its trials
    def of(cls, features: int, point: Hyperparameters) -> Architecture:
        """The architecture of a point for rows of so many features, computed once."""
        return cls(
            layer_sizes(features, point), point.kind == "variational", point.norm == "layer", point.skip != "none"
        )

    @property
    def code(self) -> int:
        """The place of the code among the sizes."""
        return len(self.sizes) // 2

    def hidden(self, place: int) -> bool:
        """Whether the layer at a place of the sizes is neither input nor code nor output."""
        return 0 < place < len(self.sizes) - 1 and place != self.code

    @property
    def parameters(self) -> int:
        """Trainable values of the network."""
        count = parameter_count(self.sizes)
        if self.variational:
            count += parameter_count(self.sizes[self.code - 1 : self.code + 1])
        if self.norm:
            count += 2 * sum(size for place, size in enumerate(self.sizes) if self.hidden(place))
        if self.skip:
            count += 2 * self.sizes[0] * self.sizes[self.code]
        return count


def parameter_count(sizes: tuple[int, ...]) -> int:
    """Weights and biases of a stack of linear layers with these sizes."""
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))
