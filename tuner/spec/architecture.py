"""What a set of hyperparameters means as a network, in plain numbers: layer sizes and sizes in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from tuner.spec.space import Activation


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """One point of the search space: all that a trial's training depends on beside seed, data and epochs."""

    learning_rate: float
    batch_size: int
    depth: int
    width: int
    activation: Activation
    bottleneck: int
    weight_decay: float
    input_noise: float

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From a value for each name.

        Raises:
            TypeError: a name is missing or unknown.
        """
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """Name to value, in the order of declaration."""
        return asdict(self)


def encoder_sizes(features: int, depth: int, width: int, bottleneck: int) -> tuple[int, ...]:
    """Units of each layer from the input to the code, both included; the decoder mirrors them.

    `depth` hidden layers, falling geometrically from `width` towards `bottleneck`: hidden layer i of depth d has
    width * (bottleneck / width) ** (i / d) units, rounded.
    """
    hidden = (round(width * (bottleneck / width) ** (i / depth)) for i in range(depth))
    return (features, *hidden, bottleneck)


def layer_sizes(features: int, point: Hyperparameters) -> tuple[int, ...]:
    """Units of every layer of the autoencoder, input and output included."""
    encoder = encoder_sizes(features, point.depth, point.width, point.bottleneck)
    return encoder + encoder[-2::-1]


def parameter_count(sizes: tuple[int, ...]) -> int:
    """Weights and biases of a stack of linear layers with these sizes."""
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))
