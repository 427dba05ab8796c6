"""The Pareto front of a study with several objectives: its complete trials that no other one dominates."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from tuner.ledger.records import TrialRecord, best_trial
from tuner.spec import objectives, pareto
from tuner.spec.study import StudySpec
from tuner.spec.work import TrialState


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """A trial of the front.

    Attributes:
        number: the trial.
        val_loss: its validation loss.
        bottleneck: length of its code.
        parameters: weights and biases.
        pca_val_loss: the validation loss of PCA with a code of this length; None until the study is scored.
        knee: whether it is the front's knee: `pareto.knee`.
    """

    number: int
    val_loss: float
    bottleneck: int
    parameters: int
    pca_val_loss: float | None
    knee: bool


def front_points(
    spec: StudySpec, trials: Sequence[TrialRecord], features: int, pca: Mapping[int, float]
) -> list[FrontPoint]:
    """The front, the lowest loss first, as plain values: for tables and figures.

    Args:
        spec: the study's declaration.
        trials: its trials.
        features: of a row.
        pca: PCA's validation loss by length of the code, as far as it is known.
    """
    found = _front(spec, trials, features)
    knee = _knee(spec, found, features)
    return [
        FrontPoint(
            trial.number,
            float(trial.value or 0.0),
            trial.point.bottleneck,
            objectives.parameters(trial.point, features),
            pca.get(trial.point.bottleneck),
            trial is knee,
        )
        for trial in found
    ]


def chosen_trial(spec: StudySpec, trials: Sequence[TrialRecord], features: int) -> TrialRecord | None:
    """The trial that is scored and exported: the one of the lowest loss, or with several objectives the knee."""
    if not objectives.is_front(spec):
        return best_trial(trials)
    return _knee(spec, _front(spec, trials, features), features)


def _front(spec: StudySpec, trials: Sequence[TrialRecord], features: int) -> list[TrialRecord]:
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE and trial.value is not None]
    first = next(pareto.fronts([_values(spec, trial, features) for trial in complete]), [])
    return [complete[i] for i in first]


def _knee(spec: StudySpec, front: Sequence[TrialRecord], features: int) -> TrialRecord | None:
    return front[pareto.knee([_values(spec, trial, features) for trial in front])] if front else None


def _values(spec: StudySpec, trial: TrialRecord, features: int) -> pareto.Point:
    return float(trial.value or 0.0), objectives.size(spec, trial.point, features)


def front_rows(points: Sequence[FrontPoint]) -> list[dict[str, Any]]:
    """One row per point."""
    return [asdict(point) for point in points]


def front_csv(points: Sequence[FrontPoint]) -> str:
    """The front as CSV; floats are written so that reading them gives the same value."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(FrontPoint)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(front_rows(points))
    return text.getvalue()
