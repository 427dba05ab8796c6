"""Layer normalisation (Ba et al. 2016) in a stack, over each model's real units.

Shapes: M models, B rows of a batch, O a layer's padded units.

Sums over units are torch's sums over the last dimension, row by row: each model's bits are its own. Products with a
single column are not: the library multiplies one matrix otherwise than many.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-5


class LayerNorm:
    """One layer's normalisation for one number of rows, every buffer made beforehand.

    Args:
        real_M1O: ones where a unit is real.
        gain, shift: views (M, 1, O) of the parameters.
        gradients: views (M, 1, O) of the gain's and the shift's gradients.
        z, y: the layer's values before and after, (M, B, O).
        dz: their gradients.
    """

    def __init__(
        self,
        real_M1O: Tensor,
        gain: tuple[Tensor, Tensor],
        gradients: tuple[Tensor, Tensor],
        values: tuple[Tensor, Tensor],
        dz: Tensor,
    ) -> None:
        self._real_M1O, self._dz = real_M1O, dz
        self._gain, self._shift = gain
        self._gain_gradient, self._shift_gradient = gradients
        self._z, self._y = values
        models, rows, _ = self._z.shape
        self._units_M11 = real_M1O.sum(2, keepdim=True)
        self._ones = torch.ones(models, 1, rows, device=self._z.device)
        self._normal, self._aside = torch.zeros_like(self._z), torch.zeros_like(self._z)
        self._mean_MB1, self._deviation_MB1, self._along_MB1 = (
            torch.zeros(models, rows, 1, device=self._z.device) for _ in range(3)
        )

    def forward(self) -> None:
        """From z to y."""
        torch.sum(self._z, 2, keepdim=True, out=self._mean_MB1).div_(self._units_M11)
        torch.sub(self._z, self._mean_MB1, out=self._normal).mul_(self._real_M1O)
        torch.mul(self._normal, self._normal, out=self._aside)
        torch.sum(self._aside, 2, keepdim=True, out=self._deviation_MB1).div_(self._units_M11)
        self._deviation_MB1.add_(EPSILON).sqrt_()
        self._normal.div_(self._deviation_MB1)
        torch.mul(self._normal, self._gain, out=self._y).add_(self._shift)

    def backward(self) -> None:
        """Turn dy into dz in place, and leave the gradients of gain and shift behind."""
        torch.bmm(self._ones, self._dz, out=self._shift_gradient)
        torch.mul(self._dz, self._normal, out=self._aside)
        torch.bmm(self._ones, self._aside, out=self._gain_gradient)
        self._dz.mul_(self._gain)
        torch.mul(self._dz, self._normal, out=self._aside)
        torch.sum(self._dz, 2, keepdim=True, out=self._mean_MB1).div_(self._units_M11)
        torch.sum(self._aside, 2, keepdim=True, out=self._along_MB1).div_(self._units_M11)
        torch.mul(self._normal, self._along_MB1, out=self._aside)
        self._dz.sub_(self._mean_MB1).sub_(self._aside).div_(self._deviation_MB1).mul_(self._real_M1O)
