"""AdamW (Loshchilov & Hutter 2019) for a stack, each model with its own rate, decay and bound on its gradient.

On the CPU a call per model is cheap and one fused pass is fast. On a GPU a call is a launch, so there a step is a
handful of elementwise passes over all models at once, with everything that changes kept on the device, as a CUDA graph
needs it.

Shapes: M models, P a model's padded parameters, S steps of an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tuner.learning.schedule import rates
from tuner.learning.stacked.staged import Staged
from tuner.spec.architecture import Hyperparameters
from tuner.spec.work import TrainingPlan

if TYPE_CHECKING:
    from tuner.learning.stacked.stack import Stack

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
CLIP_EPSILON = 1e-6  # torch.nn.utils.clip_grad_norm_'s


class FusedByModel:
    """torch's fused kernel, once per model row: the same bits for a model with any neighbours.

    Args:
        stack: the parameters.
        points: the models' hyperparameters.
        plan: of their whole training; None where nothing depends on its length.
        steps: S.
    """

    def __init__(self, stack: Stack, points: Sequence[Hyperparameters], plan: TrainingPlan | None, steps: int) -> None:
        self._stack, self._points, self._plan, self._epoch_steps = stack, points, plan, steps
        # Made once: a new view a step would cost as much as the product it feeds.
        self._rows = [[[buffer[m]] for buffer in stack.buffers()] for m in range(len(points))]
        self._rates, self._at = [point.learning_rate for point in points], 0
        self._scheduled: dict[int, list[float]] = {}

    def begin(self, epoch: int, first: int) -> None:
        """What changes with the epoch that the next steps belong to, counted from 1, and the first of these steps."""
        found = {m: rates(point, self._plan, self._epoch_steps, epoch) for m, point in enumerate(self._points)}
        self._scheduled, self._at = {m: values.tolist() for m, values in found.items() if values is not None}, first

    def step(self) -> None:
        """One step of every model."""
        for m, values in self._scheduled.items():
            self._rates[m] = values[self._at]
        self._at += 1
        steps = self._stack.steps
        steps += 1
        for (parameters, gradients, first, second), point, rate in zip(
            self._rows, self._points, self._rates, strict=True
        ):
            if point.clip_norm > 0:
                _clip(gradients[0], point.clip_norm)
            torch._fused_adamw_(
                parameters,
                gradients,
                first,
                second,
                [],
                [steps],
                lr=rate,
                beta1=BETA1,
                beta2=BETA2,
                weight_decay=point.weight_decay,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )


def _clip(gradient_P: Tensor, most: float) -> None:
    """As `torch.nn.utils.clip_grad_norm_` does, on one model's gradient."""
    norm = torch.linalg.vector_norm(gradient_P)
    gradient_P.mul_((most / (norm + CLIP_EPSILON)).clamp_(max=1.0))


class Elementwise:
    """A few passes over the flat (M, P) buffers; in a step nothing comes from the host, and nothing is allocated.

    A schedule's rates come from the host once an epoch. A step, which a graph may hold, takes its own by a counter on
    the device.

    Args: as `FusedByModel`'s.
    """

    def __init__(self, stack: Stack, points: Sequence[Hyperparameters], plan: TrainingPlan | None, steps: int) -> None:
        self._stack, self._points, self._plan = stack, points, plan
        device, wide = stack.device, stack.wide
        rate = [[point.learning_rate] for point in points]
        keep = [[1 - point.learning_rate * point.weight_decay] for point in points]
        self._rate_M1 = torch.tensor(rate, dtype=wide, device=device)
        self._keep_M1 = torch.tensor(keep, dtype=torch.float32, device=device)
        self._scale_M1 = torch.zeros(len(points), 1, device=device)
        self._root = torch.zeros((), device=device)
        self._wide_steps = torch.zeros((), dtype=wide, device=device)
        self._update_MP = torch.zeros_like(stack.parameters_MP)
        self._rates_MS: Tensor | None = None
        if any(point.scheduled for point in points):
            self._rates_MS = torch.zeros(len(points), steps, dtype=wide, device=device)
            self._staged, self._at = Staged(self._rates_MS), torch.zeros(1, dtype=torch.int64, device=device)
            self._decay_M1 = torch.tensor([[point.weight_decay] for point in points], dtype=wide, device=device)
        self._most_M1: Tensor | None = None
        if any(point.clip_norm > 0 for point in points):
            most = [[point.clip_norm or math.inf] for point in points]
            self._most_M1 = torch.tensor(most, dtype=wide, device=device)

    def begin(self, epoch: int, first: int) -> None:
        """What changes with the epoch that the next steps belong to, counted from 1, and the first of these steps."""
        if self._rates_MS is None:
            return
        buffer = self._staged.buffer()
        for m, point in enumerate(self._points):
            found = rates(point, self._plan, buffer.shape[1], epoch)
            buffer[m] = point.learning_rate if found is None else torch.from_numpy(found)
        self._staged.send()
        self._at.fill_(first)

    def step(self) -> None:
        """One step of every model."""
        parameters, gradients, first, second = self._stack.buffers()
        self._prepare(gradients)
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

    def _prepare(self, gradients_MP: Tensor) -> None:
        """The step's own rates, and gradients of at most their norm."""
        if self._rates_MS is not None:
            torch.index_select(self._rates_MS, 1, self._at, out=self._rate_M1)
            self._at += 1
            self._keep_M1.copy_(1 - self._rate_M1 * self._decay_M1)
        if self._most_M1 is not None:
            norm_M1 = torch.linalg.vector_norm(gradients_MP, dim=1, keepdim=True, dtype=self._stack.wide)
            gradients_MP.mul_((self._most_M1 / (norm_M1 + CLIP_EPSILON)).clamp_(max=1.0).float())
