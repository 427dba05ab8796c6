"""What a model has to beat: the training rows' mean, and PCA with a code of the same length."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from tuner.analysis.pca import Tick, Values, blocks, principal, quiet
from tuner.answers.parts import BaselineLosses, Baselines
from tuner.data.rows import Rows

EPSILON = (
    1e-6  # for bce a reconstruction is clipped into [EPSILON, 1 - EPSILON]: a wrong certainty costs 13.8, not infinity
)

Reconstruct = Callable[[Values], Values]


def baselines(rows: Rows, code: int, loss: str, tick: Tick = quiet) -> Baselines:
    """The losses of the mean predictor and of PCA, both fitted on the training rows alone, in float64.

    Args:
        rows: the prepared splits, scaled as the models see them.
        code: length of the code; PCA has as many components, where there are as many training rows and features.
        loss: `mse` or `bce`.
        tick: called with what is being done; what it raises ends it.

    Returns:
        Of both splits, each the mean over rows and features.
    """
    mean, directions = principal(rows.train, code, tick)
    predictors = {"mean": _constant(mean), "pca": _projection(mean, directions, code)}

    def losses(part: NDArray[np.float32]) -> BaselineLosses:
        return BaselineLosses(**{name: _mean_loss(predict, part, loss, tick) for name, predict in predictors.items()})

    return Baselines(losses(rows.validation), losses(rows.test))


def pca_losses(rows: Rows, codes: Iterable[int], loss: str, tick: Tick = quiet) -> dict[int, float]:
    """PCA's loss on the validation rows with a code of each of these lengths: for comparison with a Pareto front."""
    lengths = sorted(set(codes))
    mean, directions = principal(rows.train, max(lengths, default=1), tick)
    return {code: _mean_loss(_projection(mean, directions, code), rows.validation, loss, tick) for code in lengths}


def _constant(mean: Values) -> Reconstruct:
    return lambda rows: np.broadcast_to(mean, rows.shape)


def _projection(mean: Values, directions: Values, code: int) -> Reconstruct:
    """On as many of the leading directions as the code is long, or on all there are."""
    kept = directions[:, :code]
    return lambda rows: (rows - mean) @ kept @ kept.T + mean


def _mean_loss(reconstruct: Reconstruct, rows: NDArray[np.float32], loss: str, tick: Tick) -> float:
    total = 0.0
    for part in blocks(rows):
        tick("the baselines' losses")
        total += float(LOSSES[loss](part, reconstruct(part)).sum())
    return total / rows.size


def _squared_error(rows: Values, guess: Values) -> Values:
    return (rows - guess) ** 2


def _cross_entropy(rows: Values, guess: Values) -> Values:
    guess = np.clip(guess, EPSILON, 1 - EPSILON)
    return -(rows * np.log(guess) + (1 - rows) * np.log1p(-guess))


LOSSES = {"mse": _squared_error, "bce": _cross_entropy}
