"""The activation functions: the module a user knows, and the two kernels the stack calls.

The kernels are the very ones that autograd calls (`torch.ops.aten`), with `out=`, so that nothing is allocated. They
are elementwise: z is a hidden layer's value before the function, h after it, and the gradient is turned from dh into
dz in place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_aten = torch.ops.aten
_SELU_ALPHA = 1.6732632423543772  # Klambauer et al. 2017, "Self-Normalizing Neural Networks"
_SELU_SCALE = 1.0507009873554805


@dataclass(frozen=True, slots=True)
class Activation:
    """One activation function.

    Attributes:
        module: makes the `nn.Module` of the plain model.
        forward: writes h = f(z), called as forward(z, h).
        backward: turns dh into dz = dh * f'(z) in place, called as backward(dh, z, h).
        zero_at_zero: f(0) = 0, so that padded units need no mask.
    """

    module: Callable[[], nn.Module]
    forward: Callable[[Tensor, Tensor], object]
    backward: Callable[[Tensor, Tensor, Tensor], object]
    zero_at_zero: bool = True


def _elu(alpha: float, scale: float, module: Callable[[], nn.Module]) -> Activation:
    return Activation(
        module,
        lambda z, h: _aten.elu.out(z, alpha, scale, 1, out=h),
        lambda dh, z, h: _aten.elu_backward.grad_input(dh, alpha, scale, 1, False, z, grad_input=dh),
    )


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(
        nn.ReLU,
        lambda z, h: torch.clamp_min(z, 0, out=h),
        lambda dh, z, h: _aten.threshold_backward.grad_input(dh, h, 0, grad_input=dh),
    ),
    "leaky_relu": Activation(
        nn.LeakyReLU,
        lambda z, h: _aten.leaky_relu.out(z, 0.01, out=h),
        lambda dh, z, h: _aten.leaky_relu_backward.grad_input(dh, z, 0.01, False, grad_input=dh),
    ),
    "elu": _elu(1, 1, nn.ELU),
    "selu": _elu(_SELU_ALPHA, _SELU_SCALE, nn.SELU),
    "gelu": Activation(
        nn.GELU,
        lambda z, h: _aten.gelu.out(z, out=h),
        lambda dh, z, h: _aten.gelu_backward.grad_input(dh, z, grad_input=dh),
    ),
    "silu": Activation(
        nn.SiLU,
        lambda z, h: _aten.silu.out(z, out=h),
        lambda dh, z, h: _aten.silu_backward.grad_input(dh, z, grad_input=dh),
    ),
    "tanh": Activation(
        nn.Tanh,
        lambda z, h: torch.tanh(z, out=h),
        lambda dh, z, h: _aten.tanh_backward.grad_input(dh, h, grad_input=dh),
    ),
    "sigmoid": Activation(
        nn.Sigmoid,
        lambda z, h: torch.sigmoid(z, out=h),
        lambda dh, z, h: _aten.sigmoid_backward.grad_input(dh, h, grad_input=dh),
        zero_at_zero=False,
    ),
}
