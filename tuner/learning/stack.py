"""The training step of M models at once, written by hand: forward, backward and AdamW over one flat buffer each.

Shapes: M models, B rows of a batch, F padded features, I and O a layer's padded inputs and outputs, P a model's padded
parameters.

Why it gives each model the same bits whatever the others are: batched products treat models one by one; elementwise
kernels run whole vectors of 32 values and finish a tail with other code, so every model's slab is kept a multiple of
32 values (sizes are multiples of 16 and rows are even); sums over rows are products with ones; the optimizer is called
once per model (`optimizers.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from tuner.learning.activations import ACTIVATIONS, Activation
from tuner.learning.layout import Layout
from tuner.learning.products import PRODUCTS


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring models first <= m < last that share an activation function."""

    first: int
    last: int
    activation: Activation


def runs(names: Sequence[str]) -> tuple[Run, ...]:
    """The models' activation functions, neighbours with the same one joined."""
    found: list[Run] = []
    for name, members in groupby(range(len(names)), key=lambda m: names[m]):
        numbers = list(members)
        found.append(Run(numbers[0], numbers[-1] + 1, ACTIVATIONS[name]))
    return tuple(found)


class Stack:
    """Parameters, gradients and moments of M models, one flat (M, P) buffer each."""

    def __init__(self, layout: Layout, models: int, device: torch.device, precision: str = "fp32") -> None:
        self.layout, self.device, self.products = layout, device, PRODUCTS[precision]
        self.wide = torch.float64 if device.type != "mps" else torch.float32  # what sums are made in
        self.parameters_MP = torch.zeros(models, layout.length, device=device)
        self.gradients_MP = torch.zeros_like(self.parameters_MP)
        self.first_moments_MP = torch.zeros_like(self.parameters_MP)
        self.second_moments_MP = torch.zeros_like(self.parameters_MP)
        self.steps = torch.zeros((), device=device)
        self.weights = layout.weights(self.parameters_MP)
        self.weights_T = [weight.transpose(1, 2) for weight in self.weights]
        self.biases = layout.biases(self.parameters_MP)
        self.weight_gradients = layout.weights(self.gradients_MP)
        self.bias_gradients = layout.biases(self.gradients_MP)

    def buffers(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Parameters, gradients, first and second moments."""
        return self.parameters_MP, self.gradients_MP, self.first_moments_MP, self.second_moments_MP


class Passes:
    """Forward and backward of a stack for one fixed number of rows, every buffer made beforehand.

    Args:
        stack: the models.
        features: real features; the columns beyond are padding and have no loss.
        activations: each model's runs of activation functions.
        masks: for each hidden layer (M, 1, O) ones where a unit is real, or None where no model needs it.
        loss: `mse` or `bce`.
        rows: rows of a batch; rounded up to an even number, the added row having no gradient and no loss.
    """

    def __init__(
        self,
        stack: Stack,
        features: int,
        activations: tuple[Run, ...],
        masks: list[Tensor | None],
        loss: str,
        rows: int,
    ) -> None:
        self.stack, self.rows, self.features, self.loss = stack, rows, features, loss
        self.even = rows + rows % 2
        sizes = stack.layout.sizes
        self.ones = torch.ones(stack.parameters_MP.shape[0], 1, self.even, device=stack.device)
        self.z = [self._zeros(size) for size in sizes[1:]]
        linear = (len(sizes) // 2 - 1, len(sizes) - 2)
        self.h = [z if layer in linear else torch.zeros_like(z) for layer, z in enumerate(self.z)]
        self.h_T = [h.transpose(1, 2) for h in self.h]
        self.dz = [self._zeros(size) for size in sizes[1:]]
        self.loss_MBF, self.total_MBF = self._zeros(sizes[-1]), self._zeros(sizes[-1])
        self.calls = [
            [] if layer in linear else [_Call(run, self.z[layer], self.h[layer], self.dz[layer]) for run in activations]
            for layer in range(len(self.z))
        ]
        self.masks = [None if layer in linear else masks[layer] for layer in range(len(self.z))]

    def _zeros(self, size: int) -> Tensor:
        return torch.zeros(self.stack.parameters_MP.shape[0], self.even, size, device=self.stack.device)

    def forward(self, x_MBF: Tensor) -> Tensor:
        """The stack's outputs (M, B, F) for its inputs."""
        h = x_MBF
        for layer, (weight, bias) in enumerate(zip(self.stack.weights, self.stack.biases, strict=True)):
            self.stack.products.layer(bias, h, weight, self.z[layer])
            for call in self.calls[layer]:
                call.forward(call.z, call.h)
            h = self.h[layer]
            mask = self.masks[layer]
            if mask is not None:
                h.mul_(mask)
        return h

    def add_loss(self, target_MBF: Tensor) -> None:
        """Add each value's loss to `total_MBF`, and leave dz of the output layer (not yet scaled) behind."""
        y, dz = self.z[-1], self.dz[-1]
        if self.loss == "bce":
            self._bce(target_MBF, y, dz)
        else:
            torch.sub(y, target_MBF, out=dz)
            self._drop_added_row(dz)
            self.total_MBF.addcmul_(dz, dz)

    def losses(self, merged: bool) -> Tensor:
        """Each model's total (M,) since the last call; slab by slab, so that no sum spans two models, unless merged."""
        wide = self.stack.wide
        if merged:
            sums_M = self.total_MBF.sum((1, 2), dtype=wide)
        else:
            sums_M = torch.stack([slab.sum(dtype=wide) for slab in self.total_MBF])
        self.total_MBF.zero_()
        return sums_M

    def _bce(self, target_MBF: Tensor, y: Tensor, dz: Tensor) -> None:
        torch.ops.aten.softplus.out(y, out=self.loss_MBF)
        self.loss_MBF.addcmul_(y, target_MBF, value=-1)
        torch.sigmoid(y, out=dz).sub_(target_MBF)
        for buffer in (self.loss_MBF, dz):
            self._drop_added_row(buffer)
            if self.features < buffer.shape[2]:
                buffer[:, :, self.features :] = 0
        self.total_MBF.add_(self.loss_MBF)

    def _drop_added_row(self, buffer: Tensor) -> None:
        if self.even > self.rows:
            buffer[:, self.rows :] = 0

    def backward(self, x_MBF: Tensor) -> None:
        """Gradients of the mean loss over the batch's values, from what `forward` and `add_loss` left behind."""
        stack = self.stack
        self.dz[-1].mul_((1 if self.loss == "bce" else 2) / (self.rows * self.features))
        x_T = x_MBF.transpose(1, 2)
        for layer in range(len(self.dz) - 1, -1, -1):
            dz = self.dz[layer]
            torch.bmm(self.ones, dz, out=stack.bias_gradients[layer])
            stack.products.gradient(self.h_T[layer - 1] if layer else x_T, dz, stack.weight_gradients[layer])
            if layer:
                stack.products.gradient(dz, stack.weights_T[layer], self.dz[layer - 1])
                for call in self.calls[layer - 1]:
                    call.backward(call.dz, call.z, call.h)


class _Call:
    """One activation function on the slabs of its models."""

    __slots__ = ("backward", "dz", "forward", "h", "z")

    def __init__(self, run: Run, z: Tensor, h: Tensor, dz: Tensor) -> None:
        self.forward, self.backward = run.activation.forward, run.activation.backward
        self.z, self.h, self.dz = (buffer[run.first : run.last] for buffer in (z, h, dz))
