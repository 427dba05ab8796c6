"""One autoencoder as a plain module: what a trial trains, as anyone would write it."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from tuner.learning.activations import ACTIVATIONS


class Autoencoder(nn.Module):
    """An encoder to a linear code and a mirrored decoder to a linear output.

    Args:
        sizes: units of every layer, input, code and output included; the code stands in the middle.
        activation: name in `ACTIVATIONS`, put after every layer but the code and the output.
        loss: `mse`, or `bce`, where the output is the logit of each feature.

    Shapes: rows are (N, F), codes (N, C).
    """

    def __init__(self, sizes: tuple[int, ...], activation: str, loss: str = "mse") -> None:
        super().__init__()
        middle = len(sizes) // 2
        self.sizes, self.activation, self.loss = sizes, activation, loss
        self.encoder = _layers(sizes[: middle + 1], activation)
        self.decoder = _layers(sizes[middle:], activation)

    def forward(self, rows: Tensor) -> Tensor:
        """(N, F) scaled rows to (N, F): reconstructions for mse, logits for bce."""
        output: Tensor = self.decoder(self.encoder(rows))
        return output

    def reconstruct(self, rows: Tensor) -> Tensor:
        """(N, F) scaled rows to their (N, F) reconstructions."""
        output: Tensor = self(rows)
        return torch.sigmoid(output) if self.loss == "bce" else output

    def losses(self, rows: Tensor) -> Tensor:
        """(N, F) scaled rows to the (N, F) loss of each feature."""
        function = nn.functional.binary_cross_entropy_with_logits if self.loss == "bce" else nn.functional.mse_loss
        return function(self(rows), rows, reduction="none")

    def linears(self) -> list[nn.Linear]:
        """The linear layers from input to output."""
        return [layer for layer in self.modules() if isinstance(layer, nn.Linear)]


def _layers(sizes: tuple[int, ...], activation: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [_uninitialised(inputs, outputs), ACTIVATIONS[activation].module()]
    return nn.Sequential(*layers[:-1])


def _uninitialised(inputs: int, outputs: int) -> nn.Linear:
    """A layer whose making draws nothing from torch's global generator."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)  # type: ignore[no-untyped-call]
    return layer
