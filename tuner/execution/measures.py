"""What a finished trial's code is worth: measured once, on its best epoch's weights and on validation rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from tuner.data.rows import Rows, RowsSource, SplitLabels
from tuner.execution.context import Workplace
from tuner.learning import quality
from tuner.learning.draws import generator
from tuner.learning.folding import folded_row
from tuner.learning.scoring import Encoded, active_units, divergences, encode
from tuner.spec.architecture import Architecture
from tuner.spec.work import Trial

SAMPLE = 256  # validation rows whose neighbours are looked at: the time grows with its square
ROWS_AT_ONCE = 4096  # training rows encoded at once


@dataclass(frozen=True, eq=False, slots=True)
class Reference:
    """What every trial of a study is measured on.

    Attributes:
        rows: the prepared splits.
        sample_n: numbers of the validation rows whose neighbours are looked at, drawn from the split's seed.
        ranks_nn: their `neighbour_ranks` in the data, as the network reads it.
        labels: where they are declared.
    """

    rows: Rows
    sample_n: NDArray[np.int64]
    ranks_nn: NDArray[np.int32]
    labels: SplitLabels | None


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found of one trial.

    Attributes:
        values: finite numbers by the measures' names.
        reasons: why a measure that applies to the trial has no number, by its name.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


def measure(place: Workplace, trial: Trial, weights_P: NDArray[np.float32]) -> Measured:
    """Every measure of `MEASURES` that applies to the trial.

    Arithmetic that fails gives the same on every machine, so it may leave a measure out, with the reason. Any other
    error would leave it out on one machine or at one moment alone, and is raised.

    Args:
        place: what the study's segments share.
        trial: the trial.
        weights_P: its best epoch's weights, padded.

    Raises:
        DataError: the prepared rows or the labels cannot be read.
    """
    values, reasons = {}, dict[str, str]()
    # What numpy says of overflow depends on the caller's settings: the numbers must not.
    with np.errstate(all="ignore"):
        measured = MeasuredTrial(_reference(place.rows, place.seed), place, trial, weights_P)
        for name, measure_of in MEASURES.items():
            try:
                value = measure_of(measured)
            except (ArithmeticError, np.linalg.LinAlgError) as error:
                reasons[name] = f"{type(error).__name__}: {error}"
                continue
            if value is not None and math.isfinite(value):
                values[name] = value
            elif value is not None:
                reasons[name] = f"it came out as {value}"
    return Measured(values, reasons)


def forget_rows() -> None:
    """Let go of the rows of past trials."""
    _reference.cache_clear()


@lru_cache(maxsize=2)
def _reference(source: RowsSource, seed: int) -> Reference:
    rows = source.open()
    sample_n = np.sort(generator(seed, "quality").permutation(source.counts[1])[:SAMPLE])
    sample = rows.validation[sample_n]
    ranks_nn = quality.neighbour_ranks(sample if rows.terms is None else rows.terms.filled(sample))
    return Reference(rows, sample_n, ranks_nn, source.open_labels())


@final
class MeasuredTrial:
    """One trial, measured: what several measures need is computed once, and only where one asks for it.

    Args:
        reference: what it is measured on.
        place: what the study's segments share.
        trial: the trial.
        weights_P: its best epoch's weights, padded.

    Attributes:
        reference: what it is measured on.
    """

    def __init__(self, reference: Reference, place: Workplace, trial: Trial, weights_P: NDArray[np.float32]) -> None:
        self.reference, self._place, self._trial, self._weights_P = reference, place, trial, weights_P

    def encode(self, rows: NDArray[np.float32]) -> Encoded:
        """The codes (N, C) and errors (N,) of some rows."""
        place, known = self._place, self.reference.rows
        bounds = None if known.start is None else known.start.bounds
        return encode(
            self._trial.point, place.loss, self._scaled_weights, rows, place.compiled, known.terms, bounds=bounds
        )

    @cached_property
    def _scaled_weights(self) -> NDArray[np.float32]:
        """The weights (P,) as those of a network for scaled rows."""
        shape = Architecture.of(self._place.rows.features, self._trial.point)
        return folded_row(self._weights_P, shape, self.reference.rows.start)

    @property
    def is_variational(self) -> bool:
        """Whether the code is a distribution."""
        return self._trial.point.kind == "variational"

    @cached_property
    def validation(self) -> Encoded:
        """The codes and errors of all validation rows."""
        return self.encode(self.reference.rows.validation)

    @cached_property
    def finite(self) -> Encoded:
        """The same, for what is computed from the codes.

        Raises:
            FloatingPointError: some code is no finite number: comparisons with it would give numbers that mean nothing.
        """
        return _finite(self.validation)

    @cached_property
    def middle(self) -> NDArray[np.float64]:
        """The validation codes' mean, (C,)."""
        middle: NDArray[np.float64] = self.finite.codes.mean(axis=0, dtype=np.float64)
        return middle

    @cached_property
    def scatter(self) -> NDArray[np.float64]:
        """The validation codes' covariance, (C, C), times their count."""
        moments = quality.Moments.about(self.middle)
        moments.add(self.finite.codes)
        return moments.scatter()


def _finite(encoded: Encoded) -> Encoded:
    if not np.isfinite(encoded.codes).all():
        raise FloatingPointError("the codes are not all finite numbers")
    return encoded


def _trustworthiness(measured: MeasuredTrial) -> float | None:
    ranks_nn = measured.reference.ranks_nn
    if len(ranks_nn) < quality.FEWEST_ROWS:
        return None
    return quality.trustworthiness(ranks_nn, measured.finite.codes[measured.reference.sample_n])


def _probe_accuracy(measured: MeasuredTrial) -> float | None:
    """The share of validation labels that a linear classifier on the code predicts; fitted on all training rows."""
    labels, train = measured.reference.labels, measured.reference.rows.train
    if labels is None:
        return None
    probe = quality.Probe(measured.middle, labels.classes)
    for start in range(0, len(train), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        probe.add(_finite(measured.encode(train[part])).codes, labels.train[part])
    fitted = probe.fit()
    return None if fitted is None else float((fitted.predict(measured.finite.codes) == labels.validation).mean())


def _anomaly_auroc(measured: MeasuredTrial) -> float | None:
    """How well the error separates the rarer of two classes, on all validation rows."""
    labels = measured.reference.labels
    if labels is None or labels.anomaly is None:
        return None
    anomalous_N = labels.validation == labels.anomaly
    if anomalous_N.all() or not anomalous_N.any():
        return None
    return quality.auroc(measured.validation.errors, anomalous_N)


def _divergence(measured: MeasuredTrial) -> float | None:
    """The evidence bound's second part, on all validation rows."""
    return float(divergences(measured.finite).sum()) if measured.is_variational else None


def _active_units(measured: MeasuredTrial) -> float | None:
    return active_units(divergences(measured.finite)) if measured.is_variational else None


# In the order of the table's columns. A measure gives None where it has nothing to say about a trial.
MEASURES: Final[dict[str, Callable[[MeasuredTrial], float | None]]] = {
    "effective_dims": lambda measured: quality.effective_dims(measured.scatter),
    "dead_units": lambda measured: quality.dead_units(measured.scatter),
    "trustworthiness": _trustworthiness,
    "kl": _divergence,
    "active_units": _active_units,
    "probe_accuracy": _probe_accuracy,
    "anomaly_auroc": _anomaly_auroc,
}
