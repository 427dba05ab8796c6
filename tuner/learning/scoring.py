"""The mean loss and the codes of given weights, by the same kind of step that trained them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.data.bounds import Bounds
from tuner.data.terms import Terms
from tuner.learning.checkpoint import padded_row, plain_weights
from tuner.learning.compiled.border import aligned, aligned_copy, model
from tuner.learning.compiled.library import library
from tuner.learning.compiled.pack import CHUNK_ROWS
from tuner.learning.draws import LOG_VARIANCES
from tuner.learning.folding import bounds_of, weights_of
from tuner.learning.rows import padded
from tuner.spec.architecture import Architecture, Hyperparameters

ACTIVE_NATS = 0.01


def mean_loss(
    point: Hyperparameters,
    loss: str,
    weights: dict[str, NDArray[np.float32]],
    rows: NDArray[np.float32],
    compiled: bool,
    terms: Terms | None = None,
) -> float:
    """The mean loss over all rows and features; by terms as trained, so of a split multiplied by `Terms.scale`.

    Args:
        point: the trial's hyperparameters.
        loss: `mse` or `bce`.
        weights: the plain module's names to arrays.
        rows: scaled rows (N, F).
        compiled: by the compiled step, which must be there, or else by torch.
        terms: of the loss, whatever that is called.
    """
    shape = Architecture.of(rows.shape[1], point)
    step = library() if compiled else None
    if step is None:
        from tuner.learning.inference.network import Network  # noqa: PLC0415  (torch, 0.8 s)

        return Network(shape.sizes, point.activation, loss, weights, terms).mean_loss(rows)
    described = model(rows.shape[1], point, loss, terms, bounds=bounds_of(weights))
    work = aligned(step.room(described, CHUNK_ROWS))
    return step.measure(described, padded(rows), CHUNK_ROWS, padded_row(weights, shape), work) / rows.size


class Encoded(NamedTuple):
    """What a network makes of some rows.

    Attributes:
        codes: (N, C); of a variational code the mean.
        errors: each row's mean loss over its features, (N,); by terms its score, see `Terms.scores`.
        log_variances: (N, C) of a variational code, else None.
    """

    codes: NDArray[np.float32]
    errors: NDArray[np.float64]
    log_variances: NDArray[np.float32] | None


def encode(  # noqa: PLR0913 - all that codes and errors follow from
    point: Hyperparameters,
    loss: str,
    row_P: NDArray[np.float32],
    rows: NDArray[np.float32],
    compiled: bool,
    terms: Terms | None = None,
    *,
    bounds: Bounds | None = None,
) -> Encoded:
    """The rows' codes and errors.

    Args:
        point: the trial's hyperparameters.
        loss: `mse` or `bce`.
        row_P: the trial's weights for scaled rows, padded.
        rows: scaled rows (N, F).
        compiled: by the compiled step, which must be there, or else by torch.
        terms: of the loss, whatever that is called.
        bounds: of the outputs, for scaled rows.
    """
    shape = Architecture.of(rows.shape[1], point)
    step = library() if compiled else None
    if step is None:
        from tuner.learning.inference.network import Network  # noqa: PLC0415  (torch, 0.8 s)

        weights = {**plain_weights(row_P, shape), **weights_of(bounds)}
        network = Network(shape.sizes, point.activation, loss, weights, terms)
        log_variances = network.posterior(rows)[1] if shape.variational else None
        return Encoded(network.encode(rows), network.losses(rows), log_variances)
    described = model(rows.shape[1], point, loss, terms, bounds=bounds)
    head, sums = step.encode(described, padded(rows), CHUNK_ROWS, aligned_copy(row_P))
    means, *variances = (half[:, : point.bottleneck] for half in np.split(head, 1 + shape.variational, axis=1))
    log_variances = np.clip(variances[0], *LOG_VARIANCES) if variances else None
    errors = sums / rows.shape[1]
    return Encoded(means, errors if terms is None else errors * terms.completion(rows), log_variances)


def reconstruct(
    point: Hyperparameters,
    loss: str,
    weights: dict[str, NDArray[np.float32]],
    rows: NDArray[np.float32],
    compiled: bool,
    terms: Terms | None = None,
) -> NDArray[np.float32]:
    """Scaled rows (N, F) to their (N, F) reconstructions.

    Args:
        point: the trial's hyperparameters.
        loss: `mse` or `bce`.
        weights: the plain module's names to arrays.
        rows: scaled rows (N, F).
        compiled: by the compiled step, which must be there, or else by torch.
        terms: of the loss, whatever that is called.
    """
    shape = Architecture.of(rows.shape[1], point)
    step = library() if compiled else None
    if step is None:
        from tuner.learning.inference.network import Network  # noqa: PLC0415  (torch, 0.8 s)

        return Network(shape.sizes, point.activation, loss, weights, terms).reconstruct(rows)
    described, whole = model(rows.shape[1], point, loss, terms, bounds=bounds_of(weights)), padded(rows)
    outputs = np.empty(whole.shape, np.float32)
    step.encode(described, whole, CHUNK_ROWS, aligned_copy(padded_row(weights, shape)), outputs)
    rebuilt = outputs[:, : rows.shape[1]]
    if terms is not None:
        return terms.link(rebuilt).astype(np.float32)
    return rebuilt if loss == "mse" else np.asarray(0.5 * (1 + np.tanh(0.5 * rebuilt)), np.float32)


def divergences(encoded: Encoded) -> NDArray[np.float64]:
    """Each unit's Kullback-Leibler divergence from the standard normal prior, in nats, averaged over the rows: (C,).

    (mean^2 + variance - 1 - log-variance) / 2 (Kingma & Welling 2014, appendix B). Their sum is the KL of the
    evidence's bound.

    Raises:
        TypeError: the code is not variational.
    """
    if encoded.log_variances is None:
        raise TypeError("a divergence needs a variational autoencoder's code")
    means, log_variances = encoded.codes.astype(np.float64), encoded.log_variances.astype(np.float64)
    each: NDArray[np.float64] = (means**2 + np.exp(log_variances) - 1 - log_variances).mean(0) / 2
    return each


def active_units(each: NDArray[np.float64]) -> int:
    """Units of the code that carry something: a divergence of more than 0.01 nats, averaged over the rows.

    Burda et al. 2016 ask for a variance of the mean of more than 0.01; a unit whose posterior is the prior for every
    row, which is what collapse means, has neither.
    """
    return int((each > ACTIVE_NATS).sum())
