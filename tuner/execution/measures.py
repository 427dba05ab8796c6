"""What a finished trial's code is worth: measured once, on its best epoch's weights and on validation rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final, final

import numpy as np
from numpy.typing import NDArray

from tuner.data.rows import LabelFile, Rows, SplitLabels, open_labels, open_rows
from tuner.learning import quality
from tuner.learning.draws import generator
from tuner.learning.scoring import Encoded, active_units, divergences, encode
from tuner.spec.work import Trial

if TYPE_CHECKING:
    from tuner.execution.worker import Workplace

SAMPLE = 256  # validation rows whose neighbours are looked at: the time grows with its square
ROWS_AT_ONCE = 4096  # training rows encoded at once


@dataclass(frozen=True, eq=False, slots=True)
class Ground:
    """What every trial of a study is measured on.

    Attributes:
        rows: the prepared splits.
        sample_n: numbers of the validation rows whose neighbours are looked at, drawn from the study's seed.
        ranks_nn: their `neighbour_ranks` in the data.
        labels: where they are declared.
    """

    rows: Rows
    sample_n: NDArray[np.int64]
    ranks_nn: NDArray[np.int32]
    labels: SplitLabels | None


def measure(place: Workplace, trial: Trial, weights_P: NDArray[np.float32]) -> dict[str, float]:
    """Every measure of `MEASURES` that can be had; one that fails or is no finite number is left out.

    Args:
        place: what the study's segments share.
        trial: the trial.
        weights_P: its best epoch's weights, padded.

    Raises:
        DataError: the prepared rows or the labels cannot be read.
    """
    subject = Subject(_ground(place.rows, place.counts, place.seed, place.labels), place, trial, weights_P)
    found = {name: _tried(measure_of, subject) for name, measure_of in MEASURES.items()}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def forget_rows() -> None:
    """Let go of the rows of past trials."""
    _ground.cache_clear()


@lru_cache(maxsize=2)
def _ground(path: str, counts: tuple[int, int, int], seed: int, labels: LabelFile | None) -> Ground:
    rows = open_rows(path, None, counts)
    sample_n = np.sort(generator(seed, "quality").permutation(counts[1])[:SAMPLE])
    ranks_nn = quality.neighbour_ranks(rows.validation[sample_n])
    return Ground(rows, sample_n, ranks_nn, None if labels is None else open_labels(labels, counts))


def _tried(measure_of: Callable[[Subject], float], subject: Subject) -> float:
    """A measure is no reason to fail a trial."""
    try:
        return measure_of(subject)
    except Exception:
        return math.nan


@final
class Subject:
    """One trial, measured: what several measures need is computed once, and only where one asks for it.

    Args:
        ground: what it is measured on.
        place: what the study's segments share.
        trial: the trial.
        weights_P: its best epoch's weights, padded.

    Attributes:
        ground: likewise.
    """

    def __init__(self, ground: Ground, place: Workplace, trial: Trial, weights_P: NDArray[np.float32]) -> None:
        self.ground, self._place, self._trial, self._weights_P = ground, place, trial, weights_P

    def encode(self, rows: NDArray[np.float32]) -> Encoded:
        """The codes (N, C) and errors (N,) of some rows."""
        return encode(self._trial.point, self._place.loss, self._weights_P, rows, self._place.device)

    @property
    def is_variational(self) -> bool:
        """Whether the code is a distribution."""
        return self._trial.point.kind == "variational"

    @cached_property
    def validation(self) -> Encoded:
        """The codes and errors of all validation rows."""
        return self.encode(self.ground.rows.validation)

    @cached_property
    def middle(self) -> NDArray[np.float64]:
        """The validation codes' mean, (C,)."""
        middle: NDArray[np.float64] = self.validation.codes.mean(axis=0, dtype=np.float64)
        return middle

    @cached_property
    def scatter(self) -> NDArray[np.float64]:
        """The validation codes' covariance, (C, C), times their count."""
        moments = quality.Moments.about(self.middle)
        moments.add(self.validation.codes)
        return moments.scatter()


def _trustworthiness(subject: Subject) -> float:
    return quality.trustworthiness(subject.ground.ranks_nn, subject.validation.codes[subject.ground.sample_n])


def _probe_accuracy(subject: Subject) -> float:
    """The share of validation rows whose label a linear classifier tells from the code; fitted on all training rows."""
    labels, train = subject.ground.labels, subject.ground.rows.train
    if labels is None:
        return math.nan
    probe = quality.Probe(subject.middle, labels.classes)
    for start in range(0, len(train), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        probe.add(subject.encode(train[part]).codes, labels.train[part])
    fitted = probe.fit()
    return math.nan if fitted is None else float((fitted.predict(subject.validation.codes) == labels.validation).mean())


def _anomaly_auroc(subject: Subject) -> float:
    """How well the error tells the rarer of two classes, on all validation rows."""
    labels = subject.ground.labels
    if labels is None or labels.anomaly is None:
        return math.nan
    return quality.auroc(subject.validation.errors, labels.validation == labels.anomaly)


def _divergence(subject: Subject) -> float:
    """The evidence bound's second part, on all validation rows."""
    return float(divergences(subject.validation).sum()) if subject.is_variational else math.nan


def _active_units(subject: Subject) -> float:
    return active_units(divergences(subject.validation)) if subject.is_variational else math.nan


# In the order of the table's columns. A measure gives NaN where it has nothing to say about a trial.
MEASURES: Final[dict[str, Callable[[Subject], float]]] = {
    "effective_dims": lambda subject: quality.effective_dims(subject.scatter),
    "dead_units": lambda subject: quality.dead_units(subject.scatter),
    "trustworthiness": _trustworthiness,
    "kl": _divergence,
    "active_units": _active_units,
    "probe_accuracy": _probe_accuracy,
    "anomaly_auroc": _anomaly_auroc,
}
