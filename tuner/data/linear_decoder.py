"""The linear decoder that fits a loss best: what a skip starts at where the loss is no squared error.

The outputs z B + b of PCA's codes z are fitted to the rows under the loss itself, which is convex in B and b:
generalised linear models (McCullagh & Nelder 1989) side by side, one for each column or group of levels. A small ridge
keeps what can be told apart perfectly finite.

Legend: N rows, C units of the code, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tuner.data.pca import Tick, quiet
from tuner.data.terms import Kind, Terms

RIDGE: Final = 1e-3  # times the mean square of B, codes being of size one
ITERATIONS: Final = 60
MOST_ROWS: Final = 4096  # of the training rows, evenly spread
MOST_PRODUCTS: Final = 2e9  # multiply-adds of one iteration
MOST_LENGTHS: Final = 8  # code lengths that are fitted; a length between them takes the next longer one's first rows

Values = NDArray[np.float64]
Fit = Callable[[Values], tuple[float, Values]]  # outputs (N, F) to their summed loss and its slopes (N, F)


def lengths(codes: tuple[int, ...]) -> tuple[int, ...]:
    """The code lengths that are fitted for those that are asked for: all of a few, else evenly spread ones."""
    known = sorted(set(codes))
    if len(known) <= MOST_LENGTHS:
        return tuple(known)
    places = np.linspace(0, len(known) - 1, MOST_LENGTHS).round().astype(int)
    return tuple(known[place] for place in places)


def sample(rows: NDArray[np.float32], code: int) -> NDArray[np.float32]:
    """The training rows (N, F) that a decoder is fitted on."""
    count = int(np.clip(MOST_PRODUCTS / (rows.shape[1] * max(1, code)), 256, MOST_ROWS))
    return rows[:: -(-len(rows) // count)]


def fit_decoder(
    codes_NC: Values, rows_NF: Values, outputs_F: Values, terms: Terms | None, tick: Tick = quiet
) -> tuple[Values, Values]:
    """B (C, F) and b (F,), from B = 0 and b = `outputs_F`, the best constant.

    Args:
        codes_NC: PCA's codes.
        rows_NF: scaled rows; NaN is a missing value, which only rows with terms have.
        outputs_F: the best constant outputs.
        terms: of the loss; None for bce.
        tick: called with what is being done, for each evaluation of the loss; what it raises ends the fit.
    """
    from scipy.optimize import minimize  # noqa: PLC0415  (a fifth of a second)

    size_C = np.sqrt((codes_NC**2).mean(axis=0))
    size_C[size_C == 0] = 1
    unit_NC = np.hstack([codes_NC / size_C, np.ones((len(codes_NC), 1))])
    fit = _fit_of(rows_NF, terms)
    ridge = RIDGE * len(rows_NF)
    first = np.vstack([np.zeros((codes_NC.shape[1], rows_NF.shape[1])), outputs_F])

    def objective(flat: Values) -> tuple[float, Values]:
        tick(f"linear decoder of {codes_NC.shape[1]} units")
        both = flat.reshape(first.shape)
        loss, slopes_NF = fit(unit_NC @ both)
        gradient = unit_NC.T @ slopes_NF
        gradient[:-1] += ridge * both[:-1]
        return loss + ridge / 2 * float((both[:-1] ** 2).sum()), gradient.ravel()

    found = minimize(objective, first.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
    both = found.x.reshape(first.shape)
    return both[:-1] / size_C[:, None], both[-1]


def _fit_of(rows_NF: Values, terms: Terms | None) -> Fit:
    if terms is None:
        return lambda outputs: (float(_entropy(outputs, rows_NF).sum()), _sigmoid(outputs) - rows_NF)
    return lambda outputs: (float(terms.cells(outputs, rows_NF).sum()), _slopes(terms, outputs, rows_NF))


def _entropy(outputs: Values, rows: Values) -> Values:
    return np.logaddexp(0, outputs) - outputs * rows


def _sigmoid(outputs: Values) -> Values:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * outputs)))


def _slopes(terms: Terms, outputs: Values, rows: Values) -> Values:
    """The slopes (N, F) of `Terms.cells`: the links are canonical, so it is what the outputs mean, less the row."""
    off = terms.link(outputs) - np.where(np.isnan(rows), 0, rows)
    huber, square = terms.kinds == Kind.HUBER, terms.kinds == Kind.SQUARE
    off[:, square] *= 2
    off[:, huber] = np.clip(off[:, huber], -terms.deltas[huber], terms.deltas[huber])
    return np.where(np.isnan(rows), 0.0, terms.weights * off)
