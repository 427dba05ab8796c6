"""What a model has to beat: the training rows' mean, and PCA with a code of the same length."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from tuner.data.rows import Rows

EPSILON = (
    1e-6  # for bce a reconstruction is clipped into [EPSILON, 1 - EPSILON]: a wrong certainty costs 13.8, not infinity
)
ROWS_AT_ONCE = 16_384

Values = NDArray[np.float64]  # (rows, features)
Reconstruct = Callable[[Values], Values]


def baselines(rows: Rows, code: int, loss: str) -> dict[str, dict[str, float]]:
    """The losses of the mean predictor and of PCA, both fitted on the training rows alone, in float64.

    Args:
        rows: the prepared splits, scaled as the models see them.
        code: length of the code; PCA has as many components, where there are as many training rows and features.
        loss: `mse` or `bce`.

    Returns:
        `{"validation": {"mean": ..., "pca": ...}, "test": {...}}`, each the mean over rows and features.
    """
    train = rows.train.astype(np.float64)
    predictors = {"mean": _mean(train), "pca": _pca(train, code)}
    splits = {"validation": rows.validation, "test": rows.test}
    return {
        split: {name: _mean_loss(predict, part, loss) for name, predict in predictors.items()}
        for split, part in splits.items()
    }


def pca_losses(rows: Rows, codes: Iterable[int], loss: str) -> dict[int, float]:
    """PCA's loss on the validation rows with a code of each of these lengths: what a Pareto front stands beside."""
    directions = _directions(rows.train.astype(np.float64))
    return {code: _mean_loss(_projection(*directions, code), rows.validation, loss) for code in sorted(set(codes))}


def _mean(train: Values) -> Reconstruct:
    mean = train.mean(axis=0)
    return lambda rows: np.broadcast_to(mean, rows.shape)


def _pca(train: Values, code: int) -> Reconstruct:
    return _projection(*_directions(train), code)


def _directions(train: Values) -> tuple[Values, Values]:
    """The mean, and the directions of the best linear code (Eckart & Young 1936) as columns, most variance first.

    Written out, for scikit-learn takes most of a second to import, and the tests hold it to scikit-learn's PCA.
    """
    mean = train.mean(axis=0)
    centred = train - mean
    if train.shape[1] <= train.shape[0]:
        directions = np.linalg.eigh(centred.T @ centred).eigenvectors[:, ::-1]
    else:
        directions = np.linalg.svd(centred, full_matrices=False).Vh.T
    return mean, directions[:, : min(train.shape)]


def _projection(mean: Values, directions: Values, code: int) -> Reconstruct:
    """On as many of the leading directions as the code is long, or on all there are."""
    kept = directions[:, :code]
    return lambda rows: (rows - mean) @ kept @ kept.T + mean


def _mean_loss(reconstruct: Reconstruct, rows: NDArray[np.float32], loss: str) -> float:
    total = 0.0
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[start : start + ROWS_AT_ONCE].astype(np.float64)
        total += float(LOSSES[loss](part, reconstruct(part)).sum())
    return total / rows.size


def _squared_error(rows: Values, guess: Values) -> Values:
    return (rows - guess) ** 2


def _cross_entropy(rows: Values, guess: Values) -> Values:
    guess = np.clip(guess, EPSILON, 1 - EPSILON)
    return -(rows * np.log(guess) + (1 - rows) * np.log1p(-guess))


LOSSES = {"mse": _squared_error, "bce": _cross_entropy}
