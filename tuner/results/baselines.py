"""What a model has to beat: the training rows' mean, and PCA with a code of the same length.

Legend: N rows, F features.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from tuner.data.prepare import Rows

EPSILON = 1e-6  # for bce a reconstruction is clipped into [EPSILON, 1 - EPSILON]: a wrong certainty costs 13.8, not infinity
ROWS_AT_ONCE = 16_384

Values = NDArray[np.float64]
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
    train_NF = rows.train.astype(np.float64)
    predictors = {"mean": _mean(train_NF), "pca": _pca(train_NF, code)}
    splits = {"validation": rows.validation, "test": rows.test}
    return {
        split: {name: _mean_loss(predict, part, loss) for name, predict in predictors.items()}
        for split, part in splits.items()
    }


def _mean(train_NF: Values) -> Reconstruct:
    mean_F = train_NF.mean(axis=0)
    return lambda rows_NF: np.broadcast_to(mean_F, rows_NF.shape)


def _pca(train_NF: Values, code: int) -> Reconstruct:
    """The best linear code (Eckart & Young 1936); no solver here draws random numbers."""
    rows, features = train_NF.shape
    solver = "covariance_eigh" if features <= rows else "full"
    pca = PCA(min(code, rows, features), svd_solver=solver)
    with np.errstate(divide="ignore", invalid="ignore"):  # the variance of a single row, which is not used
        pca.fit(train_NF)
    return lambda rows_NF: pca.inverse_transform(pca.transform(rows_NF))


def _mean_loss(reconstruct: Reconstruct, rows_NF: NDArray[np.float32], loss: str) -> float:
    total = 0.0
    for start in range(0, len(rows_NF), ROWS_AT_ONCE):
        part = rows_NF[start : start + ROWS_AT_ONCE].astype(np.float64)
        total += float(LOSSES[loss](part, reconstruct(part)).sum())
    return total / rows_NF.size


def _squared_error(rows_NF: Values, guess_NF: Values) -> Values:
    return (rows_NF - guess_NF) ** 2


def _cross_entropy(rows_NF: Values, guess_NF: Values) -> Values:
    guess_NF = np.clip(guess_NF, EPSILON, 1 - EPSILON)
    return -(rows_NF * np.log(guess_NF) + (1 - rows_NF) * np.log1p(-guess_NF))


LOSSES = {"mse": _squared_error, "bce": _cross_entropy}
