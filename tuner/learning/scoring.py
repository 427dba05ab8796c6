"""What given weights make of rows, by the same kind of step that trained them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tuner.learning.checkpoint import padded_row, plain_weights
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


def encode(
    point: Hyperparameters, loss: str, row_P: NDArray[np.float32], rows: NDArray[np.float32], device: str
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The rows' codes (N, C), and each row's mean loss over its features (N,).

    Args:
        point: the trial's hyperparameters.
        loss: `mse` or `bce`.
        row_P: the trial's weights as they are trained, padded.
        rows: scaled rows (N, F).
        device: where the trial was trained.
    """
    sizes = layer_sizes(rows.shape[1], point)
    step = library() if compiled(device) else None
    if step is None:
        from tuner.learning.inference import Network  # noqa: PLC0415  (torch, 0.8 s)

        network = Network(sizes, point.activation, loss, plain_weights(row_P, sizes))
        return network.encode(rows), network.losses(rows)
    described = model(sizes, Layout.of(padded_sizes(sizes)), point, loss)
    work = aligned(step.room(described, CHUNK_ROWS))
    codes_NC, sums_N = step.encode(described, padded(rows), CHUNK_ROWS, row_P, work)
    return codes_NC[:, : point.bottleneck], sums_N / rows.shape[1]
