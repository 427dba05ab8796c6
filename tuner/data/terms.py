"""How the loss of a row is made of its columns, where these differ in kind or some of their values are missing.

Legend: N rows, F encoded columns, G softmax groups.

A declared column (a number, a level of several, a yes or no) is one or several encoded columns of the matrix that is
trained on. The loss of a split is the mean over its observed cells, one cell a row and declared column:

    sum of weight * cell(output, target)  /  (rows * F * share of the split)

`cell` follows from the kind of the encoded column: (output - target)^2; the logistic cross-entropy; one column's part
of a softmax group's cross-entropy, -target * log softmax(output); Huber's function with the column's `delta`; half of
Poisson's deviance, exp(output) - target * output + the part that makes it 0 where exp(output) is the target. The
weights hold everything that is the same for all rows: the mean predictor's loss that a cell is divided by, the
column's own weight, how many columns there are, and the share of observed cells, so that training rows that are
complete and columns that count alike give a mean of 1 for the mean predictor.

A missing cell is NaN in the rows, for all columns of a softmax group at once. The network reads `fill` there, and the
loss leaves it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Kind(IntEnum):
    """What an encoded column's output means, and with it its loss and link. The compiled step has this order."""

    SQUARE = 0  # a number: identity, squared error
    LOGIT = 1  # yes or no: sigmoid, cross-entropy
    SOFTMAX = 2  # a level of a group: softmax over the group, cross-entropy
    HUBER = 3  # a number: identity, Huber's function
    POISSON = 4  # a count, not shifted by its scaling: exponential, half of the deviance


@dataclass(frozen=True, eq=False, slots=True)
class Terms:
    """The terms of a row's loss.

    Attributes:
        kinds: (F,) int32, a `Kind` each.
        groups: (G, 2) int32, the first column of each softmax group and the one after its last; rising, disjoint,
            exactly the columns of kind SOFTMAX.
        weights: (F,) float32, at least 0; the columns of a group share theirs.
        deltas: (F,) float32, Huber's, above 0; 1 for the other kinds.
        fill: (F,) float32, what the network reads where a value is missing.
        missing: whether any row of any split holds NaN.
        shares: of the training, validation and test split: observed cells, weighted, over all; 1 where none is missing.
    """

    kinds: NDArray[np.int32]
    groups: NDArray[np.int32]
    weights: NDArray[np.float32]
    deltas: NDArray[np.float32]
    fill: NDArray[np.float32]
    missing: bool
    shares: tuple[float, float, float]
