"""What codes are worth, apart from the loss: measures in numpy, each held to its definition's reference by the tests.

Products are `einsum`'s, never BLAS': they take one thread, so that neither the bits nor two busy workers depend on how
many threads BLAS would take.

Legend: n sampled rows, N rows, C units of the code, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 5
FEWEST_ROWS = 3  # with fewer of them no row has a neighbour to be mistaken for
DEAD_SHARE = 1e-3  # of the largest unit's variance: a deviation of 3 % of that unit's
RIDGE = 1.0  # scikit-learn's default penalty of a RidgeClassifier

Floats = NDArray[np.float64]
Labels = NDArray[np.int32]


@dataclass(slots=True)
class Moments:
    """Sums over rows that come in parts, about a point near their mean so that nothing cancels.

    Attributes:
        about_C: the point.
        count: rows so far.
        sums_C: of the rows less the point.
        products_CC: of these with each other.
    """

    about_C: Floats
    count: int
    sums_C: Floats
    products_CC: Floats

    @classmethod
    def about(cls, point_C: Floats) -> Self:
        """No rows yet."""
        size = len(point_C)
        return cls(point_C, 0, np.zeros(size), np.zeros((size, size)))

    def add(self, codes_NC: NDArray[np.floating]) -> None:
        """Take some more rows."""
        centred_CN = _by_unit(codes_NC, self.about_C)
        self.count += centred_CN.shape[1]
        self.sums_C += centred_CN.sum(axis=1)
        self.products_CC += np.einsum("in,jn->ij", centred_CN, centred_CN)

    def scatter(self) -> Floats:
        """Products of the rows less their mean, (C, C): the covariance times the rows' count."""
        return self.products_CC - np.outer(self.sums_C, self.sums_C) / self.count


def _by_unit(codes_NC: NDArray[np.floating], point_C: Floats) -> Floats:
    return np.ascontiguousarray((codes_NC - point_C).T, np.float64)


def effective_dims(scatter_CC: Floats) -> float:
    """How many dimensions the codes fill: the participation ratio of their covariance's eigenvalues l.

    (sum l)^2 / sum l^2: 1 where all variance is in one direction, C where it is equal in all, 0 where there is none.
    Its sums are the covariance's trace and squared Frobenius norm, so no eigenvalue is computed. Gao et al. 2017,
    "A theory of multineuronal dimensionality, dynamics and measurement".
    """
    squares = float((scatter_CC**2).sum())
    return float(np.trace(scatter_CC)) ** 2 / squares if squares > 0 else 0.0


def dead_units(scatter_CC: Floats) -> int:
    """Units of the code whose variance is at most DEAD_SHARE of the largest unit's; all where no unit varies."""
    variances = np.diag(scatter_CC)
    return int((variances <= DEAD_SHARE * variances.max()).sum())


def neighbour_ranks(rows_nF: NDArray[np.floating]) -> NDArray[np.int32]:
    """For each row the rank of every other one by distance, (n, n), the nearest 1; a row's own rank is 0.

    Among equally distant rows the earlier ranks first.
    """
    order = np.argsort(_distances(rows_nF), axis=1, kind="stable")
    ranks = np.empty(order.shape, np.int32)
    np.put_along_axis(ranks, order, np.arange(len(order), dtype=np.int32)[None], axis=1)
    return ranks


def trustworthiness(ranks_nn: NDArray[np.int32], codes_nC: NDArray[np.floating]) -> float:
    """Whether neighbours in the code are neighbours in the data as well: 1 where all are, about 0.5 by chance.

    Venna & Kaski 2001, "Neighborhood preservation in nonlinear projection methods": each of a row's NEIGHBOURS nearest
    codes costs by how far its rank in the data is beyond NEIGHBOURS. Fewer neighbours where there are 10 rows or less.

    Args:
        ranks_nn: the rows' `neighbour_ranks`.
        codes_nC: their codes, in the same order.

    Returns:
        NaN where there are fewer than FEWEST_ROWS rows.
    """
    rows = len(ranks_nn)
    k = min(NEIGHBOURS, (rows - 1) // 2)
    if k == 0:
        return float("nan")
    nearest = np.argpartition(_distances(codes_nC), k, axis=1)[:, : k + 1]  # the row itself is one of them
    beyond = np.take_along_axis(ranks_nn, nearest, axis=1) - k
    return 1 - 2 * int(beyond[beyond > 0].sum()) / (rows * k * (2 * rows - 3 * k - 1))


def _distances(rows_nF: NDArray[np.floating]) -> Floats:
    """Squared distances (n, n); a row is nearer to itself than any other, even an equal one."""
    centred_Fn = _by_unit(rows_nF, rows_nF.mean(axis=0, dtype=np.float64))
    squares = (centred_Fn**2).sum(axis=0)
    rows_n = np.ascontiguousarray(centred_Fn.T)
    distances: Floats = squares[:, None] + squares - 2 * np.einsum("if,jf->ij", rows_n, rows_n)
    np.fill_diagonal(distances, -np.inf)
    return distances


class Probe:
    """A linear classifier on codes, in closed form: scikit-learn's RidgeClassifier with its default penalty.

    Targets are 1 for a row's class and -1 for the others, the squared error and RIDGE times the squared weights are
    least, and the class with the largest output is told. Fitted on rows that come in parts.

    Args:
        point_C: near the codes' mean.
        classes: K.
    """

    def __init__(self, point_C: Floats, classes: int) -> None:
        self._moments, self._counts = Moments.about(point_C), np.zeros(classes, np.int64)
        self._sums_KC = np.zeros((classes, len(point_C)))

    def add(self, codes_NC: NDArray[np.floating], labels_N: Labels) -> None:
        """Take some more training rows."""
        self._moments.add(codes_NC)
        one_hot_KN = (np.arange(len(self._counts))[:, None] == labels_N).astype(np.float64)
        self._counts += one_hot_KN.sum(axis=1).astype(np.int64)
        self._sums_KC += np.einsum("kn,cn->kc", one_hot_KN, _by_unit(codes_NC, self._moments.about_C))

    def fit(self) -> Linear | None:
        """The classifier; None where the training rows are of one class alone."""
        seen = np.flatnonzero(self._counts)
        if len(seen) < 2:
            return None
        moments, rows = self._moments, self._moments.count
        mean_C = moments.sums_C / rows
        targets_K = 2 * self._counts[seen] / rows - 1
        # sum over rows of (code - mean) (target - mean target): targets differ from -1 by 2 where the class is theirs.
        cross_CK = 2 * (self._sums_KC[seen] - np.outer(self._counts[seen], mean_C)).T
        penalty = RIDGE * np.eye(len(mean_C))
        weights_CK = np.linalg.solve(moments.scatter() + penalty, cross_CK)
        return Linear(seen.astype(np.int32), moments.about_C + mean_C, weights_CK, targets_K)


@dataclass(frozen=True, eq=False, slots=True)
class Linear:
    """A fitted probe: (code - mean) weights + intercept, one output for each class that was seen."""

    classes: Labels
    mean_C: Floats
    weights_CK: Floats
    intercept_K: Floats

    def predict(self, codes_NC: NDArray[np.floating]) -> Labels:
        """The class of each row; of equal outputs the first one's."""
        outputs_KN = np.einsum("ck,cn->kn", self.weights_CK, _by_unit(codes_NC, self.mean_C))
        told: Labels = self.classes[(outputs_KN + self.intercept_K[:, None]).argmax(axis=0)]
        return told


def auroc(scores_N: Floats, positive_N: NDArray[np.bool_]) -> float:
    """The chance that a positive row scores above a negative one, ties counting half: the area under the ROC curve.

    From ranks (Mann & Whitney 1947); a score that is no number counts as the highest.

    Returns:
        NaN where the rows are all positive, or all negative.
    """
    positives = int(positive_N.sum())
    negatives = len(positive_N) - positives
    if not positives or not negatives:
        return float("nan")
    known_N = np.where(np.isnan(scores_N), np.inf, scores_N)
    _, place, counts = np.unique(known_N, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    above = float(ranks[place[positive_N]].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)
