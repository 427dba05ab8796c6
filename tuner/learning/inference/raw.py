"""Scaling and network in one module: raw rows in, codes, reconstructions in the data's own units, and scores out.

Legend: N rows, F features, C units of the code.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tuner.learning.inference.model import Autoencoder


class RawModel(nn.Module):
    """A module that takes rows as the data has them: a model to export.

    Scaled rows are (raw - offset) / scale in double precision, so that a column of large values that lie close together
    (Unix times) keeps its digits; the network then computes in single precision, as it was trained.

    Args:
        model: the network.
        offset: (F,) float64.
        scale: (F,) float64, never zero.
        clip: scaled values are clipped to [0, 1], as the training rows' were for loss bce.
        limit: (F,), how far from 0 scaled values may be, infinite where they may be anywhere; None for no limit at all.

    Shapes: rows (N, F) float64; codes (N, C) float32, reconstructions (N, F) float64, scores (N,) float64.
    """

    offset: Tensor
    scale: Tensor
    limit: Tensor | None

    def __init__(
        self,
        model: Autoencoder,
        offset: NDArray[np.float64],
        scale: NDArray[np.float64],
        clip: bool,
        limit: NDArray[np.float64] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.clip = model, clip
        self.register_buffer("offset", torch.from_numpy(np.array(offset, dtype=np.float64)))
        self.register_buffer("scale", torch.from_numpy(np.array(scale, dtype=np.float64)))
        self.register_buffer("limit", None if limit is None else torch.from_numpy(np.array(limit, dtype=np.float64)))

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Raw rows to their codes, reconstructions in raw units, and scores.

        A score is the row's training loss, averaged over its features, in scaled space, see `Autoencoder.scores`;
        infinite for a row that is too far out for single precision.
        """
        narrow = self.scaled(rows)
        found = self.model.scores(narrow)
        scores = torch.where(torch.isnan(found), torch.inf, found)
        return self.model.encode(narrow), self.model.reconstruct(narrow).double() * self.scale + self.offset, scores

    def scaled(self, rows: Tensor) -> Tensor:
        """Raw rows (N, F) scaled, (N, F) float32; what is missing stays NaN."""
        scaled = (rows - self.offset) / self.scale
        if self.clip:
            scaled = scaled.clamp(0, 1)
        elif self.limit is not None:  # no minimum of two: what that is of NaN differs between runtimes
            scaled = torch.where(scaled > self.limit, self.limit, scaled)
            scaled = torch.where(scaled < -self.limit, -self.limit, scaled)
        return scaled.float()


class RawReconstruction(nn.Module):
    """Of a `RawModel` the reconstructions alone, in the shape that rows have.

    Args:
        model: what is asked.

    Shapes: rows (N, *shape) of any real type, reconstructions (N, *shape) float64.
    """

    def __init__(self, model: RawModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, rows: Tensor) -> Tensor:
        """(N, *shape) to (N, *shape)."""
        rebuilt: Tensor = self.model(rows.double().flatten(1))[1]
        return rebuilt.reshape(rows.shape)
