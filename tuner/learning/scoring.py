"""The mean loss of given weights, by the same kind of step that trained them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tuner.learning.checkpoint import padded_row
from tuner.learning.draws import LOG_VARIANCES
from tuner.learning.native.library import aligned, aligned_copy, library, model
from tuner.learning.native.pack import CHUNK_ROWS
from tuner.learning.packs import compiled
from tuner.learning.rows import padded
from tuner.spec.architecture import Architecture, Hyperparameters

ACTIVE_NATS = 0.01


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
    shape = Architecture.of(rows.shape[1], point)
    step = library() if compiled(device) else None
    if step is None:
        from tuner.learning.inference import Network  # noqa: PLC0415  (torch, 0.8 s)

        return Network(shape.sizes, point.activation, loss, weights).mean_loss(rows)
    described = model(rows.shape[1], point, loss)
    work = aligned(step.room(described, CHUNK_ROWS))
    return step.measure(described, padded(rows), CHUNK_ROWS, padded_row(weights, shape), work) / rows.size


def divergences(
    point: Hyperparameters, loss: str, weights: dict[str, NDArray[np.float32]], rows: NDArray[np.float32], device: str
) -> NDArray[np.float64]:
    """Each unit's Kullback-Leibler divergence from the standard normal prior, in nats, averaged over the rows: (C,).

    (mean^2 + variance - 1 - log-variance) / 2 (Kingma & Welling 2014, appendix B), by the kind of step that trained the
    weights. Their sum is the KL of the evidence's bound.

    Args:
        point: the hyperparameters of a variational trial.
        loss: `mse` or `bce`.
        weights: the plain module's names to arrays.
        rows: scaled rows (N, F).
        device: where the trial was trained.

    Raises:
        TypeError: the trial is not variational.
    """
    if point.kind != "variational":
        raise TypeError(f"a divergence needs a variational autoencoder, got a {point.kind} one")
    means, log_variances = (half.astype(np.float64) for half in _posterior(point, loss, weights, rows, device))
    each: NDArray[np.float64] = (means**2 + np.exp(log_variances) - 1 - log_variances).mean(0) / 2
    return each


def active_units(each: NDArray[np.float64]) -> int:
    """Units of the code that carry something: a divergence of more than 0.01 nats, averaged over the rows.

    Burda et al. 2016 ask for a variance of the mean of more than 0.01; a unit whose posterior is the prior for every
    row, which is what collapse means, has neither.
    """
    return int((each > ACTIVE_NATS).sum())


def _posterior(
    point: Hyperparameters, loss: str, weights: dict[str, NDArray[np.float32]], rows: NDArray[np.float32], device: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Means and bounded log-variances (N, C)."""
    shape = Architecture.of(rows.shape[1], point)
    step = library() if compiled(device) else None
    if step is None:
        from tuner.learning.inference import Network  # noqa: PLC0415  (torch, 0.8 s)

        return Network(shape.sizes, point.activation, loss, weights).posterior(rows)
    described = model(rows.shape[1], point, loss)
    head = step.encode(described, padded(rows), CHUNK_ROWS, aligned_copy(padded_row(weights, shape)))
    means, log_variances = np.split(head, 2, axis=1)
    return means[:, : point.bottleneck], np.clip(log_variances[:, : point.bottleneck], *LOG_VARIANCES)
