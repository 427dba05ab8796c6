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

What is here is computed in float64, and is what every way of training and applying a model is held to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

MOST_LOG_RATE = 30.0  # of a POISSON output; beyond it exp goes on as its tangent does, so that a loss stays finite
EPSILON = 1e-6  # a probability or a rate that was guessed is taken for at least this, so that none costs infinity
TRAIN, VALIDATION, TEST = range(3)  # the order of `Terms.shares`

Values = NDArray[np.float64]


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

    def scale(self, split: int) -> float:
        """What makes the mean loss of a split as trained, sum / (rows * F), the mean over its observed cells."""
        return self.shares[TRAIN] / self.shares[split]

    def filled(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the network reads of rows (N, F)."""
        return np.where(np.isnan(rows), self.fill, rows)

    def link(self, outputs: NDArray[np.floating]) -> Values:
        """Outputs (N, F) to what they mean: values, probabilities and rates."""
        found = np.array(outputs, np.float64)
        logit, poisson = (self.kinds == kind for kind in (Kind.LOGIT, Kind.POISSON))
        found[:, logit] = np.exp(-np.logaddexp(0, -found[:, logit]))
        found[:, poisson] = np.exp(np.minimum(found[:, poisson], MOST_LOG_RATE))
        for first, last in self.groups:
            found[:, first:last] = np.exp(_log_softmax(found[:, first:last]))
        return found

    def outputs(self, guess: NDArray[np.floating]) -> Values:
        """Outputs (N, F) whose `link` is a guess (N, F) of values, probabilities and rates, whatever made it.

        A guessed probability below EPSILON is taken for EPSILON, and those of a group are then divided by their sum; of
        a LOGIT it is at most 1 - EPSILON; a rate is at least EPSILON.
        """
        found = np.array(guess, np.float64)
        logit, poisson = (self.kinds == kind for kind in (Kind.LOGIT, Kind.POISSON))
        likely = np.clip(found[:, logit], EPSILON, 1 - EPSILON)
        found[:, logit] = np.log(likely) - np.log1p(-likely)
        found[:, poisson] = np.log(np.maximum(found[:, poisson], EPSILON))
        for first, last in self.groups:
            likely = np.clip(found[:, first:last], EPSILON, 1)
            found[:, first:last] = np.log(likely / likely.sum(1, keepdims=True))
        return found

    def cells(self, outputs: NDArray[np.floating], targets: NDArray[np.floating]) -> Values:
        """Each value's weight * cell(output, target), (N, F): 0 where the target is missing."""
        wide, known = np.asarray(outputs, np.float64), ~np.isnan(targets)
        wanted = np.where(known, targets, 0).astype(np.float64)
        found = np.zeros(wide.shape)
        for kind, cell in _CELLS.items():
            at = self.kinds == kind
            found[:, at] = cell(wide[:, at], wanted[:, at], self.deltas[at].astype(np.float64))
        for first, last in self.groups:
            found[:, first:last] = -wanted[:, first:last] * _log_softmax(wide[:, first:last])
        return np.where(known, self.weights * found, 0.0)

    def heads(self) -> NDArray[np.bool_]:
        """Whether an encoded column stands for its cell and counts: (F,), of a softmax group its first column."""
        head = self.kinds != Kind.SOFTMAX
        head[self.groups[:, 0]] = True
        counts: NDArray[np.bool_] = head & (self.weights > 0)
        return counts

    def completion(self, targets: NDArray[np.floating]) -> Values:
        """Of each row the cells that count over those of them that are observed, (N,); where none is, over 1."""
        heads = self.heads()
        observed = (~np.isnan(targets[:, heads])).sum(1)
        return np.asarray(heads.sum() / np.maximum(observed, 1))

    def scores(self, cells: Values, targets: NDArray[np.floating]) -> Values:
        """Each row's score, (N,), of its `cells`: their sum / F * cells that count / those of them that are observed.

        So a row with missing cells is compared as if these had cost what its others did, and a complete row scores what
        it adds to the mean loss. A row without any observed cell scores 0.
        """
        return np.asarray(cells.sum(1) / cells.shape[1] * self.completion(targets))


ARRAYS: Final[Mapping[str, type[np.generic]]] = {
    "kinds": np.int32, "groups": np.int32, "weights": np.float32, "deltas": np.float32, "fill": np.float32,
}  # fmt: skip


def split_scale(terms: Terms | None, split: int) -> float:
    """What a split's mean loss as trained is to be multiplied by; see `Terms.scale`."""
    return 1.0 if terms is None else terms.scale(split)


def _log_softmax(outputs: Values) -> Values:
    shifted = outputs - outputs.max(1, keepdims=True)
    found: Values = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return found


def _square(output: Values, target: Values, _: Values) -> Values:
    return (output - target) ** 2


def _logistic(output: Values, target: Values, _: Values) -> Values:
    return np.asarray(np.logaddexp(0, output) - target * output)


def _huber(output: Values, target: Values, delta: Values) -> Values:
    size = np.abs(output - target)
    within = np.minimum(size, delta)
    return within * (size - within / 2)


def _poisson(output: Values, target: Values, _: Values) -> Values:
    low = np.minimum(output, MOST_LOG_RATE)
    at_optimum = target * np.log(np.where(target > 0, target, 1)) - target
    return np.exp(low) * (1 + output - low) - target * output + at_optimum


_CELLS = {Kind.SQUARE: _square, Kind.LOGIT: _logistic, Kind.HUBER: _huber, Kind.POISSON: _poisson}
