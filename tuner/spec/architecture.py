"""What a set of hyperparameters means as a network, in plain numbers: layer sizes and sizes in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from tuner.spec.names import Activation, Kind, Norm


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """One point of the search space: all that a trial's training depends on beside seed, data and epochs.

    What a record of an earlier version does not name has the value that it was trained with.

    Attributes:
        sparsity: weight of the code's mean absolute value in the training loss; 0 for any kind but sparse.
        beta: weight of the code's Kullback-Leibler divergence from the prior; 0 for any kind but variational.
        dropout: share of hidden units that are left out of a training step.
        taper: how fast the hidden layers narrow; see `encoder_sizes`.
        norm: what stands before every activation.
    """

    learning_rate: float
    batch_size: int
    depth: int
    width: int
    activation: Activation
    bottleneck: int
    weight_decay: float
    input_noise: float
    kind: Kind = "plain"
    sparsity: float = 0.0
    beta: float = 0.0
    dropout: float = 0.0
    taper: float = 1.0
    norm: Norm = "none"

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

    @property
    def code_penalty(self) -> float:
        """Weight of the code's mean absolute value in the training loss."""
        return self.sparsity if self.kind == "sparse" else 0.0

    @property
    def divergence_weight(self) -> float:
        """Weight of the code's divergence from its prior in the training loss."""
        return self.beta if self.kind == "variational" else 0.0


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
    """

    sizes: tuple[int, ...]
    variational: bool = False
    norm: bool = False

    @classmethod
    @lru_cache(maxsize=4096)  # a segment asks for it in planning, training, measuring and storing each of its trials
    def of(cls, features: int, point: Hyperparameters) -> Architecture:
        """The architecture of a point for rows of so many features, computed once."""
        return cls(layer_sizes(features, point), point.kind == "variational", point.norm == "layer")

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
        return count


def parameter_count(sizes: tuple[int, ...]) -> int:
    """Weights and biases of a stack of linear layers with these sizes."""
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))
