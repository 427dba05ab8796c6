"""One autoencoder as a plain module: what a trial trains, as anyone would write it."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from tuner.data.terms import Terms
from tuner.learning.activations import ACTIVATIONS
from tuner.learning.draws import LOG_VARIANCES
from tuner.learning.inference.terms import TermModule, cross_entropy


class Autoencoder(nn.Module):
    """An encoder to a linear code and a mirrored decoder to a linear output.

    Args:
        sizes: units of every layer, input, code and output included; the code is in the middle.
        activation: name in `ACTIVATIONS`, put after every layer but the code and the output.
        loss: `mse`, or `bce`, where the output is the logit of each feature.
        norm: layer normalisation comes before every activation.
        variational: the code is a normal distribution (Kingma & Welling 2014): `encoder` gives its mean, which is
            decoded, and the layer `log_variance`, from the same last hidden layer, the logarithm of its variance.
        terms: of the loss, whatever that is called; then a missing value of a row is NaN.

    Shapes: rows are (N, F), codes (N, C). What only training has, noise and dropout, is not here.
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        activation: str,
        loss: str = "mse",
        *,
        norm: bool = False,
        variational: bool = False,
        terms: Terms | None = None,
    ) -> None:
        super().__init__()
        middle = len(sizes) // 2
        self.sizes, self.activation, self.loss = sizes, activation, loss
        self.encoder = _layers(sizes[: middle + 1], activation, norm)
        self.decoder = _layers(sizes[middle:], activation, norm)
        self.log_variance = _uninitialised(*sizes[middle - 1 : middle + 1]) if variational else None
        self.terms = None if terms is None else TermModule(terms)

    def encode(self, rows: Tensor) -> Tensor:
        """(N, F) scaled rows to (N, C), means of a variational code."""
        code: Tensor = self.encoder(self.filled(rows))
        return code

    def forward(self, rows: Tensor) -> Tensor:
        """(N, F) scaled rows to (N, F): reconstructions for mse, logits for bce."""
        output: Tensor = self.decoder(self.encode(rows))
        return output

    def link(self, output: Tensor) -> Tensor:
        """What the decoder gives (N, F) to reconstructions (N, F)."""
        if self.terms is not None:
            return self.terms.link(output)
        return torch.sigmoid(output) if self.loss == "bce" else output

    def reconstruct(self, rows: Tensor) -> Tensor:
        """(N, F) scaled rows to their (N, F) reconstructions."""
        return self.link(self(rows))

    def losses(self, rows: Tensor) -> Tensor:
        """(N, F) scaled rows to the (N, F) loss of each feature; by terms weighted, and 0 where one is missing."""
        output = self(rows)
        if self.terms is not None:
            return self.terms.cells(output, rows)
        if self.loss == "bce":
            return cross_entropy(output, rows)
        return nn.functional.mse_loss(output, rows, reduction="none")

    def scores(self, rows: Tensor) -> Tensor:
        """(N, F) scaled rows to the score of each, (N,) float64: its mean loss over its features.

        By terms it is made comparable between rows with and without missing values, see `Terms.scores`.
        """
        losses = self.losses(rows)
        return losses.double().mean(1) if self.terms is None else self.terms.scores(losses, rows)

    def filled(self, rows: Tensor) -> Tensor:
        """What the network reads of scaled rows (N, F)."""
        return rows if self.terms is None else self.terms.filled(rows)

    def posterior(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(N, F) scaled rows to the means and the log-variances (N, C) of a variational code."""
        if self.log_variance is None:
            raise TypeError("only a variational autoencoder's code has a log-variance")
        hidden = self.encoder[:-1](self.filled(rows))
        return self.encoder[-1](hidden), self.log_variance(hidden).clamp(*LOG_VARIANCES)

    def linears(self) -> list[nn.Linear]:
        """The linear layers from input to output."""
        return [layer for layer in self.modules() if isinstance(layer, nn.Linear)]


def _layers(sizes: tuple[int, ...], activation: str, norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes[:-1]):
        layers.append(_uninitialised(inputs, outputs))
        layers += [nn.LayerNorm(outputs)] * norm
        layers.append(ACTIVATIONS[activation].module())
    return nn.Sequential(*layers, _uninitialised(*sizes[-2:]))


def _uninitialised(inputs: int, outputs: int) -> nn.Linear:
    """A layer whose making draws nothing from torch's global generator."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)  # type: ignore[no-untyped-call]
    return layer
