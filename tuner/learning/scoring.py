"""The mean loss of given weights, by the same kind of step that trained them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tuner.learning.checkpoint import padded_row
from tuner.learning.layout import Layout, padded_sizes
from tuner.learning.native.library import aligned, library, model
from tuner.learning.native.pack import CHUNK_ROWS
from tuner.learning.packs import compiled
from tuner.learning.rows import padded
from tuner.spec.architecture import Hyperparameters, layer_sizes


def mean_loss(
    point: Hyperparameters, loss: str, weights: dict[str, NDArray[np.float32]], rows: NDArray[np.float32], device: str
) -> float:
    """The mean loss over all rows and features.

    Args:
        point: the trial's hyperparameters.
        loss: `mse` or `bce`.
        weights: the plain module's names to arrays.
        rows: scaled rows (N, F).
        device: where the trial was trained.
    """
    sizes = layer_sizes(rows.shape[1], point)
    step = library() if compiled(device) else None
    if step is None:
        from tuner.learning.inference import Network  # noqa: PLC0415  (torch, 0.8 s)

        return Network(sizes, point.activation, loss, weights).mean_loss(rows)
    described = model(sizes, Layout.of(padded_sizes(sizes)), point, loss)
    work = aligned(step.room(described, CHUNK_ROWS))
    return step.measure(described, padded(rows), CHUNK_ROWS, padded_row(weights, sizes), work) / rows.size
