"""What sparse and variational autoencoders do at the code, in a stack.

Shapes: M models, B rows of a batch, C padded units of the code.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tuner.learning.draws import LOG_VARIANCES
from tuner.learning.stacked.staged import Staged
from tuner.spec.architecture import Hyperparameters
from tuner.spec.work import Trial


class Sparse:
    """The slope of each model's mean absolute code, times its weight.

    Args:
        points: of the models.
        code: (M, B, C).
        rows: real rows of a batch.
    """

    def __init__(self, points: Sequence[Hyperparameters], code: Tensor, rows: int) -> None:
        weights = [point.code_penalty / (rows * point.bottleneck) for point in points]
        self._weights = torch.tensor(weights, device=code.device).view(-1, 1, 1)
        self._code, self._rows, self._aside = code, rows, torch.zeros_like(code)

    def backward(self, gradient: Tensor) -> None:
        """Add it to the code's gradient; the added row's is nothing."""
        torch.sign(self._code, out=self._aside).mul_(self._weights)
        gradient[:, : self._rows] += self._aside[:, : self._rows]


class Variational:
    """Codes drawn from normal distributions (Kingma & Welling 2014) in training, their means else.

    Args:
        points: of the models.
        head: means, then log-variances, (M, B, 2C).
        head_gradient: of the same shape.
        rows: real rows of a batch.
        features: real features of a row.

    Attributes:
        code: what the decoder reads.
        gradient: of the code.
        noise: on the code, (M, B, C); zero for padded units and the added row.
    """

    def __init__(
        self, points: Sequence[Hyperparameters], head: Tensor, head_gradient: Tensor, rows: int, features: int
    ) -> None:
        weights = [point.divergence_weight / (rows * features) for point in points]
        self._weights = torch.tensor(weights, device=head.device).view(-1, 1, 1)
        self._mean, self._raw = head.chunk(2, 2)
        self._mean_gradient, self._raw_gradient = head_gradient.chunk(2, 2)
        self._rows = rows
        self.code, self.gradient, self.noise, self._deviation, self._aside = (
            torch.zeros(self._mean.shape, device=head.device) for _ in range(5)
        )
        self._inside = torch.zeros(self._mean.shape, dtype=torch.bool, device=head.device)

    def forward(self, training: bool) -> None:
        """From the head to the code."""
        self.code.copy_(self._mean)
        if training:
            torch.clamp(self._raw, *LOG_VARIANCES, out=self._deviation)
            torch.eq(self._raw, self._deviation, out=self._inside)
            self._deviation.mul_(0.5).exp_()
            self.code.add_(torch.mul(self._deviation, self.noise, out=self._aside))

    def backward(self) -> None:
        """From the code's gradient to the head's, with that of the divergence from the standard normal prior."""
        torch.mul(self._deviation, self._deviation, out=self._aside)
        self._aside.sub_(1).mul_(self._weights)
        self._deviation.mul_(self.noise).mul_(self.gradient).add_(self._aside).mul_(0.5).mul_(self._inside)
        self._raw_gradient.copy_(self._deviation)
        torch.mul(self._mean, self._weights, out=self._aside)
        self._mean_gradient.copy_(self._aside.add_(self.gradient))
        if self._rows < self.code.shape[1]:
            self._mean_gradient[:, self._rows :] = 0
            self._raw_gradient[:, self._rows :] = 0


class CodeNoise:
    """What an epoch draws for the codes of one number of rows.

    Args:
        trials: of the models.
        noise_MBC: what is filled before every step.
        rows: real rows of a batch.
    """

    def __init__(self, trials: Sequence[Trial], noise_MBC: Tensor, rows: int) -> None:
        self._units = [trial.point.bottleneck for trial in trials]
        self._rows, self._staged = rows, Staged(noise_MBC)

    def send(self, generators: Sequence[np.random.Generator]) -> None:
        """Draw, and launch the copy."""
        buffer = self._staged.buffer()
        for m, (generator, units) in enumerate(zip(generators, self._units, strict=True)):
            drawn = generator.standard_normal((self._rows, units), dtype=np.float32)
            buffer[m, : self._rows, :units] = torch.from_numpy(drawn)
        self._staged.send()
