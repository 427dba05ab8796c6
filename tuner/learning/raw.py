"""An autoencoder with the scaling that it was trained with, as one module: raw rows in, raw rows out."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tuner.learning.inference import Network


class RawAutoencoder(nn.Module):
    """Reconstructs rows in the data's own units, in double precision around the network's single.

    Args:
        network: the trained autoencoder.
        offset: (F,), scaled = (raw - offset) / scale.
        scale: (F,).
        clip: scaled values are clipped to [0, 1].

    Shapes: rows are (N, *shape) of any real type, reconstructions (N, *shape) float64.
    """

    offset: Tensor
    scale: Tensor

    def __init__(
        self, network: Network, offset: NDArray[np.float64], scale: NDArray[np.float64], clip: bool = False
    ) -> None:
        super().__init__()
        self.network, self._clip = network.module, clip
        self.register_buffer("offset", torch.from_numpy(offset.copy()))
        self.register_buffer("scale", torch.from_numpy(scale.copy()))

    def forward(self, rows: Tensor) -> Tensor:
        """(N, *shape) to (N, *shape)."""
        scaled = (rows.double().flatten(1) - self.offset) / self.scale
        if self._clip:
            scaled = scaled.clamp(0, 1)
        rebuilt: Tensor = self.network.reconstruct(scaled.float())
        return (rebuilt.double() * self.scale + self.offset).reshape(rows.shape)
