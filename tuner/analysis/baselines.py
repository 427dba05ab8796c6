"""What a model has to beat: the training rows' mean, and PCA with a code of the same length.

Where the loss has terms, both are judged by it. Their guesses are values, probabilities and rates as the columns hold
them: the means of a group's columns are its levels' shares, and PCA's projection of them is nearly a distribution. A
probability is taken for at least 1e-6, those of a group are then divided by their sum, one of yes or no is at most
1 - 1e-6, and a rate is at least 1e-6 (`Terms.outputs`); so the mean predictor's training loss is 1 where the weights
are chosen so. A missing value is taken for its column's mean where PCA is fitted and where it projects; it costs
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.answers.parts import BaselineLosses, Baselines
from tuner.data.pca import Tick, Values, blocks, filled, known_means, principal, quiet
from tuner.data.rows import Rows
from tuner.data.terms import TEST, VALIDATION, Terms, split_scale

EPSILON = (
    1e-6  # for bce a reconstruction is clipped into [EPSILON, 1 - EPSILON]: a wrong certainty costs 13.8, not infinity
)

Reconstruct = Callable[[Values], Values]
ValueLosses = Callable[[Values, Values], Values]  # of rows and guesses, (N, F) each, to the loss of each value


def baselines(rows: Rows, code: int, loss: str, tick: Tick = quiet) -> Baselines:
    """The losses of the mean predictor and of PCA, both fitted on the training rows alone, in float64.

    Args:
        rows: the prepared splits, scaled as the models see them.
        code: length of the code; PCA has as many components, where there are as many training rows and features.
        loss: `mse` or `bce`; where the rows have terms, these are the loss whatever it is called.
        tick: called with what is being done; what it raises ends it.

    Returns:
        Of both splits, each the mean over rows and features.
    """
    judge = _Judge.of(rows, loss, tick)
    mean, directions = principal(rows.train, code, tick, judge.fill)
    predictors = {"mean": _constant(mean), "pca": _projection(mean, directions, code)}

    def losses(split: int, part: NDArray[np.float32]) -> BaselineLosses:
        return BaselineLosses(**{name: judge.mean_loss(predict, split, part) for name, predict in predictors.items()})

    return Baselines(losses(VALIDATION, rows.validation), losses(TEST, rows.test))


def pca_losses(rows: Rows, codes: Iterable[int], loss: str, tick: Tick = quiet) -> dict[int, float]:
    """PCA's loss on the validation rows with a code of each of these lengths: for comparison with a Pareto front."""
    lengths, judge = sorted(set(codes)), _Judge.of(rows, loss, tick)
    mean, directions = principal(rows.train, max(lengths, default=1), tick, judge.fill)
    guesses = {code: _projection(mean, directions, code) for code in lengths}
    return {code: judge.mean_loss(guess, VALIDATION, rows.validation) for code, guess in guesses.items()}


def value_losses(loss: str, terms: Terms | None) -> ValueLosses:
    """The loss of each value, given its row and what was made of it; by terms weighted, and 0 where it is missing."""
    if terms is None:
        return LOSSES[loss]
    return lambda rows, guess: terms.cells(terms.outputs(guess), rows)


def _constant(mean: Values) -> Reconstruct:
    return lambda rows: np.broadcast_to(mean, rows.shape)


def _projection(mean: Values, directions: Values, code: int) -> Reconstruct:
    """On as many of the leading directions as the code is long, or on all there are."""
    kept = directions[:, :code]
    return lambda rows: (rows - mean) @ kept @ kept.T + mean


@dataclass(frozen=True, eq=False, slots=True)
class _Judge:
    """The loss that predictors are judged by, and what they read where a value is missing."""

    losses: ValueLosses
    terms: Terms | None
    fill: Values | None
    tick: Tick

    @classmethod
    def of(cls, rows: Rows, loss: str, tick: Tick) -> _Judge:
        terms = rows.terms
        fill = known_means(rows.train) if terms is not None and terms.missing else None
        return cls(value_losses(loss, terms), terms, fill, tick)

    def mean_loss(self, reconstruct: Reconstruct, split: int, rows: NDArray[np.float32]) -> float:
        """Of a split's rows (N, F)."""
        total = 0.0
        for part in blocks(rows):
            self.tick("the baselines' losses")
            total += float(self.losses(part, reconstruct(filled(part, self.fill))).sum())
        return total / rows.size * split_scale(self.terms, split)


def _squared_error(rows: Values, guess: Values) -> Values:
    return (rows - guess) ** 2


def _cross_entropy(rows: Values, guess: Values) -> Values:
    guess = np.clip(guess, EPSILON, 1 - EPSILON)
    return -(rows * np.log(guess) + (1 - rows) * np.log1p(-guess))


LOSSES: dict[str, ValueLosses] = {"mse": _squared_error, "bce": _cross_entropy}
