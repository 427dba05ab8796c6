"""The training step of M models at once, written by hand: forward, backward and AdamW over one flat buffer each.

Shapes: M models, B rows of a batch, F padded features, I and O a layer's padded inputs and outputs, P a model's padded
parameters.

Why it gives each model the same bits with any neighbours: batched products treat models one by one; elementwise
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
from tuner.learning.layout import Layout, merged_layout
from tuner.learning.stacked.around import Around
from tuner.learning.stacked.codes import Sparse, Variational
from tuner.learning.stacked.dropout import Masks
from tuner.learning.stacked.norms import LayerNorm
from tuner.learning.stacked.products import PRODUCTS
from tuner.learning.stacked.terms import TermLoss
from tuner.spec.architecture import Architecture
from tuner.spec.work import Trial


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


@dataclass(frozen=True, slots=True)
class Members:
    """The models of a stack.

    Attributes:
        trials: neighbours share an activation function where they can.
        shapes: their architectures, which share depth and parts.
        features: real features of a row; the columns beyond are padding and have no loss.
    """

    trials: tuple[Trial, ...]
    shapes: tuple[Architecture, ...]
    features: int

    @classmethod
    def of(cls, trials: Sequence[Trial], features: int) -> Members:
        """Trials that share a `merged_key`."""
        return cls(tuple(trials), tuple(Architecture.of(features, trial.point) for trial in trials), features)

    @property
    def layout(self) -> Layout:
        """Padded to the largest."""
        return merged_layout(self.shapes)

    @property
    def runs(self) -> tuple[Run, ...]:
        """Their activation functions."""
        return runs([trial.point.activation for trial in self.trials])

    @property
    def dropping(self) -> bool:
        """Whether any of them leaves units out."""
        return any(trial.point.dropout > 0 for trial in self.trials)

    @property
    def sparse(self) -> bool:
        """Whether any of them has a penalty on its code."""
        return any(trial.point.code_penalty > 0 for trial in self.trials)

    def real(self, layer: int, size: int) -> Tensor:
        """Ones (M, 1, O) where a layer's unit is real."""
        units = torch.tensor([shape.sizes[layer + 1] for shape in self.shapes])
        return (torch.arange(size) < units.view(-1, 1, 1)).float()

    def mask(self, layer: int, size: int) -> Tensor | None:
        """The same for models whose activation function does not keep zero; None where no unit needs it."""
        stays = torch.tensor([ACTIVATIONS[trial.point.activation].zero_at_zero for trial in self.trials])
        mask_M1O = self.real(layer, size).masked_fill(stays.view(-1, 1, 1), 1)
        return None if bool(mask_M1O.all()) else mask_M1O


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
        self.gains = layout.gains(self.parameters_MP)
        self.gain_gradients = layout.gains(self.gradients_MP)
        self.skips, self.skip_gradients = layout.skips(self.parameters_MP), layout.skips(self.gradients_MP)

    def buffers(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Parameters, gradients, first and second moments."""
        return self.parameters_MP, self.gradients_MP, self.first_moments_MP, self.second_moments_MP


class Passes:
    """Forward and backward of a stack for one fixed number of rows, every buffer made beforehand.

    Args:
        stack: the parameters.
        members: whose they are.
        loss: `mse` or `bce`.
        rows: rows of a batch; rounded up to an even number, the added row having no gradient and no loss.
        training: whether `backward` will be asked for, and units are left out.
        terms: of the loss, whatever that is called.
        centre: what is taken from rows (F,) before they are read, and what the rest is multiplied by; None where
            networks read the rows as they are.
        bounds: between which the outputs are, (F,) each; None where they may be anything.

    Of every layer z is what its product gives, y what is activated (z itself, unless it is normalised), h the function
    of it, and `fed` what the next layer reads: h, or what dropout left of it, or a variational code.
    """

    def __init__(  # noqa: PLR0913 - the last three are of the rows, which a pack has once
        self,
        stack: Stack,
        members: Members,
        loss: str,
        rows: int,
        training: bool,
        *,
        terms: TermLoss | None = None,
        centre: tuple[Tensor, float] | None = None,
        bounds: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self.stack, self.rows, self.features = stack, rows, members.features
        self.terms, self.loss, self._centre, self._bounds = terms, loss, centre, bounds
        self._slope = 2 if terms is None and loss == "mse" else 1  # what `add_loss` leaves to be multiplied
        self.even = rows + rows % 2
        self.training = training
        sizes = stack.layout.sizes
        code = len(sizes) // 2 - 1
        self._code, self._linear = code, (code, len(sizes) - 2)
        self.ones = torch.ones(stack.parameters_MP.shape[0], 1, self.even, device=stack.device)
        self.z = [self._zeros(place.outputs) for place in stack.layout.places]
        self.y = [
            self._zeros(z.shape[2]) if gain is not None else z for z, gain in zip(self.z, stack.gains, strict=True)
        ]
        self.h = [y if layer in self._linear else torch.zeros_like(y) for layer, y in enumerate(self.y)]
        self.dz = [self._zeros(place.outputs) for place in stack.layout.places]
        self.loss_MBF, self.total_MBF = self._zeros(sizes[-1]), self._zeros(sizes[-1])
        self._add_parts(members, code)
        self._add_calls(members)
        self.fed_T = [fed.transpose(1, 2) for fed in self.fed]

    def _add_parts(self, members: Members, code: int) -> None:
        """What only some kinds have, and with it `fed` and its gradients."""
        points, stack = [trial.point for trial in members.trials], self.stack
        self.norms = [
            LayerNorm(members.real(n, z.shape[2]).to(z.device), gain, slopes, (z, y), dz) if gain and slopes else None
            for n, (z, y, dz, gain, slopes) in enumerate(
                zip(self.z, self.y, self.dz, stack.gains, stack.gain_gradients, strict=True)
            )
        ]
        self.fed, self.dfed = list(self.h), list(self.dz)
        self.variational = self.sparse = self.dropout = self.around = None
        if stack.skips is not None and stack.skip_gradients is not None:
            ends = self.z[code], self.z[-1]
            self.around = Around(stack.skips, stack.skip_gradients, stack.products, ends)
        if members.shapes[0].variational:
            self.variational = Variational(points, self.z[code], self.dz[code], self.rows, self.features)
            self.fed[code], self.dfed[code] = self.variational.code, self.variational.gradient
        if self.training and members.sparse:
            self.sparse = Sparse(points, self.fed[code], self.rows)
        if self.training and members.dropping:
            self.dropout = Masks(members.trials, members.shapes, stack.layout.sizes, self.even, stack.device)
            for place, factors in self.dropout.factors.items():
                self.fed[place - 1] = torch.zeros_like(factors)

    def _add_calls(self, members: Members) -> None:
        found, hidden = members.runs, [n for n in range(len(self.z)) if n not in self._linear]
        self.calls: list[list[_Call]] = [[] for _ in self.z]
        self.masks: list[Tensor | None] = [None for _ in self.z]
        for n in hidden:
            self.calls[n] = [_Call(run, self.y[n], self.h[n], self.dz[n]) for run in found]
            mask = members.mask(n, self.z[n].shape[2])
            self.masks[n] = None if mask is None else mask.to(self.stack.device)

    def _zeros(self, size: int) -> Tensor:
        return torch.zeros(self.stack.parameters_MP.shape[0], self.even, size, device=self.stack.device)

    def forward(self, x_MBF: Tensor) -> Tensor:
        """The stack's outputs (M, B, F) for its inputs."""
        h = x_MBF
        if self.dropout is not None:
            self.dropout.draw()
        for layer, (weight, bias) in enumerate(zip(self.stack.weights, self.stack.biases, strict=True)):
            self.stack.products.layer(bias, h, weight, self.z[layer])
            if self.around is not None and layer == self._code:
                self.around.to_code(x_MBF)
            elif self.around is not None and layer == self._linear[1]:
                self.around.to_output(self.fed[self._code])
            self._activate(layer)
            h = self.fed[layer]
        if self._bounds is not None:  # the gradient is taken as if they could be passed, see tuner/data/bounds.py
            torch.clamp(h, *self._bounds, out=h)
        return h

    def _activate(self, layer: int) -> None:
        """From what a layer's product gives to what the next one reads."""
        norm, mask = self.norms[layer], self.masks[layer]
        if norm is not None:
            norm.forward()
        for call in self.calls[layer]:
            call.forward(call.z, call.h)
        if mask is not None:
            self.h[layer].mul_(mask)
        if layer == self._linear[0] and self.variational is not None:
            self.variational.forward(self.training)
        if self.dropout is not None and layer not in self._linear:
            torch.mul(self.h[layer], self.dropout.factors[layer + 1], out=self.fed[layer])

    def _activate_back(self, layer: int) -> None:
        """The gradient of what the next layer read becomes that of the layer's product."""
        norm = self.norms[layer]
        if layer == self._linear[0]:
            if self.sparse is not None:
                self.sparse.backward(self.dfed[layer])
            if self.variational is not None:
                self.variational.backward()
        elif self.dropout is not None:
            self.dz[layer].mul_(self.dropout.factors[layer + 1])
        for call in self.calls[layer]:
            call.backward(call.dz, call.z, call.h)
        if norm is not None:
            norm.backward()

    def add_loss(self, target_MBF: Tensor) -> None:
        """Add each value's loss to `total_MBF`, and leave dz of the output layer (not yet scaled) behind."""
        y, dz = self.z[-1], self.dz[-1]
        if self.terms is not None:
            self._by_terms(self.terms, target_MBF)
        elif self.loss == "bce":
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

    def _by_terms(self, terms: TermLoss, target_MBF: Tensor) -> None:
        losses, slopes = terms.losses(self.z[-1], target_MBF)
        self.dz[-1].copy_(slopes)
        for buffer in (losses, self.dz[-1]):
            self._drop_added_row(buffer)
        self.total_MBF.add_(losses)

    @property
    def reads_targets(self) -> bool:
        """Whether the network reads rows as they are."""
        return self._centre is None and not (self.terms is not None and self.terms.missing)

    def read(self, rows_MBF: Tensor) -> Tensor:
        """What the network reads of rows: nothing is missing there."""
        whole = rows_MBF if self.terms is None else self.terms.filled(rows_MBF)
        return whole if self._centre is None else (whole - self._centre[0]) * self._centre[1]

    def _drop_added_row(self, buffer: Tensor) -> None:
        if self.even > self.rows:
            buffer[:, self.rows :] = 0

    def backward(self, x_MBF: Tensor) -> None:
        """Gradients of the mean loss over the batch's values, from what `forward` and `add_loss` left behind."""
        stack = self.stack
        self.dz[-1].mul_(self._slope / (self.rows * self.features))
        x_T = x_MBF.transpose(1, 2)
        if self.around is not None:
            self.around.decoder_back(self.fed_T[self._code], self.dz[-1])
        for layer in range(len(self.dz) - 1, -1, -1):
            dz = self.dz[layer]
            if self.around is not None and layer == self._code:
                self.around.encoder_back(x_T, dz)
            torch.bmm(self.ones, dz, out=stack.bias_gradients[layer])
            stack.products.gradient(self.fed_T[layer - 1] if layer else x_T, dz, stack.weight_gradients[layer])
            if layer:
                stack.products.gradient(dz, stack.weights_T[layer], self.dfed[layer - 1])
                if self.around is not None and layer - 1 == self._code:
                    self.around.add_code_gradient(self.dfed[self._code])
                self._activate_back(layer - 1)


class _Call:
    """One activation function on the slabs of its models."""

    __slots__ = ("backward", "dz", "forward", "h", "z")

    def __init__(self, run: Run, z: Tensor, h: Tensor, dz: Tensor) -> None:
        self.forward, self.backward = run.activation.forward, run.activation.backward
        self.z, self.h, self.dz = (buffer[run.first : run.last] for buffer in (z, h, dz))
