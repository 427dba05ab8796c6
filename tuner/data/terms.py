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

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Self

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

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        arrays = {name: getattr(self, name).tolist() for name in ARRAYS}
        return {**arrays, "missing": self.missing, "shares": list(self.shares)}

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> Self:
        """What `to_json` gave.

        Raises:
            ValueError, TypeError, KeyError: it is something else.
        """
        arrays = {name: np.array(known[name], dtype) for name, dtype in ARRAYS.items()}
        arrays["groups"] = arrays["groups"].reshape(-1, 2)
        first, second, third = map(float, known["shares"])
        made = cls(**arrays, missing=known["missing"] is True, shares=(first, second, third))
        made.check(len(made.kinds))
        return made

    def check(self, columns: int) -> None:
        """Refuse what no terms of so many encoded columns can be.

        Raises:
            ValueError: the reason.
        """
        vectors = (self.kinds, self.weights, self.deltas, self.fill)
        if any(each.shape != (columns,) for each in vectors):
            raise ValueError("terms of another number of columns")
        if not all(np.isfinite(each).all() for each in vectors) or min(self.shares) <= 0 or max(self.shares) > 1:
            raise ValueError("terms that are out of range")
        if (self.weights < 0).any() or (self.deltas <= 0).any() or not set(self.kinds.tolist()) <= set(Kind):
            raise ValueError("terms with a weight, delta or kind that is none")
        grouped = np.concatenate([np.arange(first, last) for first, last in self.groups] or [np.array([], np.int64)])
        if not np.array_equal(grouped, np.flatnonzero(self.kinds == Kind.SOFTMAX)):
            raise ValueError("groups that are not the columns of levels")


ARRAYS: Final[Mapping[str, type[np.generic]]] = {
    "kinds": np.int32, "groups": np.int32, "weights": np.float32, "deltas": np.float32, "fill": np.float32,
}  # fmt: skip
