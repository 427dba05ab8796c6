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
        skip: a matrix leads from the input to the code (a variational one's mean), and one from the code to the output,
            beside the layers between them.
        terms: of the loss, whatever that is called; then a missing value of a row is NaN.
        bounded: outputs are cut off at bounds, which are loaded with the weights.

    Shapes: rows are (N, F), codes (N, C). What only training has, noise and dropout, is not here.
    """

    def __init__(  # noqa: PLR0913 - what the weights follow from, by name
        self,
        sizes: tuple[int, ...],
        activation: str,
        loss: str = "mse",
        *,
        norm: bool = False,
        variational: bool = False,
        skip: bool = False,
        terms: Terms | None = None,
        bounded: bool = False,
    ) -> None:
        super().__init__()
        middle = len(sizes) // 2
        self.sizes, self.activation, self.loss = sizes, activation, loss
        self.encoder = _layers(sizes[: middle + 1], activation, norm)
        self.decoder = _layers(sizes[middle:], activation, norm)
        self.log_variance = _uninitialised(*sizes[middle - 1 : middle + 1]) if variational else None
        self.skip_encoder = _uninitialised(sizes[0], sizes[middle], bias=False) if skip else None
        self.skip_decoder = _uninitialised(sizes[middle], sizes[0], bias=False) if skip else None
        self.terms = None if terms is None else TermModule(terms)
        self.bounds = _Bounds(sizes[-1]) if bounded else None

    def encode(self, rows: Tensor) -> Tensor:
        """(N, F) scaled rows to (N, C), means of a variational code."""
        return self.code(self.filled(rows))

    def forward(self, rows: Tensor) -> Tensor:
        """(N, F) scaled rows to (N, F): reconstructions for mse, logits for bce."""
        return self.output(self.encode(rows))

    def code(self, filled: Tensor) -> Tensor:
        """(N, F) scaled rows without missing values to (N, C), means of a variational code."""
        return _around(self.skip_encoder, filled, self.encoder(filled))

    def output(self, code: Tensor) -> Tensor:
        """Codes (N, C) to what the decoder gives (N, F), see `link`."""
        given = _around(self.skip_decoder, code, self.decoder(code))
        return given if self.bounds is None else self.bounds(given)

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
        filled = self.filled(rows)
        hidden = self.encoder[:-1](filled)
        mean = _around(self.skip_encoder, filled, self.encoder[-1](hidden))
        return mean, self.log_variance(hidden).clamp(*LOG_VARIANCES)

    def linears(self) -> list[nn.Linear]:
        """The linear layers from input to output."""
        return [layer for layer in self.modules() if isinstance(layer, nn.Linear)]


class _Bounds(nn.Module):
    """Between which values each output is, (F,) each."""

    low: Tensor
    high: Tensor

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("low", torch.full((columns,), -torch.inf))
        self.register_buffer("high", torch.full((columns,), torch.inf))

    def forward(self, outputs: Tensor) -> Tensor:
        """(N, F) to (N, F). No minimum of two: what that is of NaN differs between runtimes."""
        below = torch.where(outputs > self.high, self.high, outputs)
        return torch.where(below < self.low, self.low, below)


def _layers(sizes: tuple[int, ...], activation: str, norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes[:-1]):
        layers.append(_uninitialised(inputs, outputs))
        layers += [nn.LayerNorm(outputs)] * norm
        layers.append(ACTIVATIONS[activation].module())
    return nn.Sequential(*layers, _uninitialised(*sizes[-2:]))


def _uninitialised(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """A layer whose making draws nothing from torch's global generator."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=bias)  # type: ignore[no-untyped-call]
    return layer


def _around(skip: nn.Linear | None, read: Tensor, given: Tensor) -> Tensor:
    """What layers give for what they read, and with it what goes around them."""
    return given if skip is None else given + skip(read)
