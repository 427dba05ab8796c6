"""AdamW (Loshchilov & Hutter 2019) for a stack, each model with its own rate and decay.

On the CPU a call per model is cheap and one fused pass is fast. On a GPU a call is a launch, so there a step is a
handful of elementwise passes over all models at once, with everything that changes kept on the device, as a CUDA graph
needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from tuner.spec.architecture import Hyperparameters

if TYPE_CHECKING:
    from tuner.learning.stacked.stack import Stack

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class FusedByModel:
    """torch's fused kernel, once per model row: the same bits for a model with any neighbours."""

    def __init__(self, stack: Stack, points: Sequence[Hyperparameters]) -> None:
        self._stack, self._points = stack, points
        # Made once: a new view a step would cost as much as the product it feeds.
        self._rows = [[[buffer[m]] for buffer in stack.buffers()] for m in range(len(points))]

    def step(self) -> None:
        """One step of every model."""
        steps = self._stack.steps
        steps += 1
        for (parameters, gradients, first, second), point in zip(self._rows, self._points, strict=True):
            torch._fused_adamw_(
                parameters,
                gradients,
                first,
                second,
                [],
                [steps],
                lr=point.learning_rate,
                beta1=BETA1,
                beta2=BETA2,
                weight_decay=point.weight_decay,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )


class Elementwise:
    """A few passes over the flat (M, P) buffers; nothing comes from the host, and nothing is allocated."""

    def __init__(self, stack: Stack, points: Sequence[Hyperparameters]) -> None:
        self._stack = stack
        rates = [[point.learning_rate] for point in points]
        decays = [[1 - point.learning_rate * point.weight_decay] for point in points]
        device, wide = stack.device, stack.wide
        self._rate_M1 = torch.tensor(rates, dtype=wide, device=device)
        self._keep_M1 = torch.tensor(decays, dtype=torch.float32, device=device)
        self._scale_M1 = torch.zeros(len(points), 1, device=device)
        self._root = torch.zeros((), device=device)
        self._wide_steps = torch.zeros((), dtype=wide, device=device)
        self._update_MP = torch.zeros_like(stack.parameters_MP)

    def step(self) -> None:
        """One step of every model."""
        parameters, gradients, first, second = self._stack.buffers()
        self._stack.steps += 1
        self._wide_steps.copy_(self._stack.steps)
        self._root.copy_((1 - BETA2**self._wide_steps).sqrt())
        self._scale_M1.copy_(self._rate_M1 / (BETA1**self._wide_steps - 1))
        first.lerp_(gradients, 1 - BETA1)
        second.mul_(BETA2).addcmul_(gradients, gradients, value=1 - BETA2)
        torch.sqrt(second, out=self._update_MP)
        self._update_MP.div_(self._root).add_(EPSILON)
        torch.div(first, self._update_MP, out=self._update_MP)
        parameters.mul_(self._keep_M1).addcmul_(self._update_MP, self._scale_M1)
