"""The best linear code of the training rows: exact where that is quick, else by randomised subspace iteration.

Legend: N training rows, F features, K length of the code, L columns that are iterated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.spec.work import derive_seed

EXACT_SIDE = 1024  # the exact way takes time that grows with the cube of the smaller of N and F
EXACT_VALUES = 50_000_000  # and three copies of the training rows in double precision
ROWS_AT_ONCE = 16_384  # of rows that are at most EXACT_SIDE long; of longer ones fewer
SPARE = 16  # columns that are iterated beside the code's, and a tenth of these
PASSES = 3  # of the iteration
SEED = 0  # of its start: one data set has one PCA for all seeds of a study

Values = NDArray[np.float64]
Matrix = NDArray[np.float32]
Tick = Callable[[str], object]  # called with what is being done, often; it may raise to end that


def quiet(_: str) -> None:
    """Reports nothing."""


def rows_at_once(features: int) -> int:
    """How many rows of this length are worked on at once: 134 MB of double precision at the most."""
    return ROWS_AT_ONCE if features <= EXACT_SIDE else max(1, ROWS_AT_ONCE * EXACT_SIDE // features)


def blocks(rows: Matrix, fill: Values | None = None) -> Iterator[Values]:
    """Rows (N, F) in double precision, some at a time; with `fill` (F,) where a value is missing, if there is one."""
    count = rows_at_once(rows.shape[1])
    for start in range(0, len(rows), count):
        yield filled(rows[start : start + count].astype(np.float64), fill)


def filled(rows: Values, fill: Values | None) -> Values:
    """Rows (N, F) with `fill` (F,) where a value is missing, if there is one."""
    return rows if fill is None else np.where(np.isnan(rows), fill, rows)


def known_means(rows: Matrix) -> Values:
    """The mean (F,) of what is observed in each column; 0 where nothing is."""
    sums, counts = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for block in blocks(rows):
        sums += np.nansum(block, axis=0)
        counts += (~np.isnan(block)).sum(axis=0)
    return sums / np.maximum(counts, 1)


def principal(train: Matrix, most: int, tick: Tick = quiet, fill: Values | None = None) -> tuple[Values, Values]:
    """The mean (F,) and the directions of the best linear code (Eckart & Young 1936) as columns, most variance first.

    There are at least `most` of them, or as many as there are rows or features. Where both N and F are above
    EXACT_SIDE, or N times F above EXACT_VALUES, they are an approximation: its loss is within 1 % of the exact one's.

    Args:
        train: scaled training rows (N, F).
        most: the longest code that is asked for.
        tick: called with what is being done.
        fill: (F,) what a missing value is taken for; None where none is missing.
    """
    tick(f"PCA of {min(most, *train.shape)} components")
    if min(train.shape) <= EXACT_SIDE and train.size <= EXACT_VALUES:
        return _exact(filled(train.astype(np.float64), fill))
    mean = sum((block.sum(axis=0) for block in blocks(train, fill)), np.zeros(train.shape[1])) / len(train)
    return mean, _approximate(_Training(train, fill, tick), mean, most)


def _exact(train: Values) -> tuple[Values, Values]:
    """Written out, for scikit-learn takes most of a second to import; the tests hold it to scikit-learn's PCA."""
    mean = train.mean(axis=0)
    centred = train - mean
    if train.shape[1] <= train.shape[0]:
        directions = np.linalg.eigh(centred.T @ centred).eigenvectors[:, ::-1]
    else:
        directions = np.linalg.svd(centred, full_matrices=False).Vh.T
    return mean, directions[:, : min(train.shape)]


@dataclass(frozen=True, eq=False, slots=True)
class _Training:
    """Training rows that are read again and again, what a missing value is taken for, and whom to tell."""

    rows: Matrix
    fill: Values | None
    tick: Tick

    def centred(self, mean: Values, what: str) -> Iterator[Values]:
        """The rows without their mean, block by block."""
        done = 0
        for block in blocks(self.rows, self.fill):
            self.tick(f"{what}, {100 * done // len(self.rows)} %")
            yield block - mean
            done += len(block)


def _approximate(train: _Training, mean: Values, most: int) -> Values:
    """Subspace iteration from a random start (Halko, Martinsson & Tropp 2011, algorithm 4.4), then Rayleigh and Ritz.

    Every pass reads the rows once, block by block, and multiplies by the covariance. The products are in double
    precision: in single, directions with less than 1e-7 of the largest variance would be lost, and PCA's loss on
    data that is nearly linear would look worse than it is.
    """
    columns = min(most + most // 10 + SPARE, *train.rows.shape)
    draw = np.random.Generator(np.random.PCG64DXSM(derive_seed(SEED, "pca")))
    basis_FL = draw.standard_normal((train.rows.shape[1], columns))
    for number in range(PASSES):
        product_FL = np.zeros_like(basis_FL)
        for block_BF in train.centred(mean, f"PCA of {most} components, pass {number + 1} of {PASSES + 1}"):
            product_FL += block_BF.T @ (block_BF @ basis_FL)
        basis_FL = np.linalg.qr(product_FL).Q
    ritz_LL = np.zeros((columns, columns))
    for block_BF in train.centred(mean, f"PCA of {most} components, pass {PASSES + 1} of {PASSES + 1}"):
        codes_BL = block_BF @ basis_FL
        ritz_LL += codes_BL.T @ codes_BL
    return np.asarray(basis_FL @ np.linalg.eigh(ritz_LL).eigenvectors[:, ::-1])[:, :most]
