"""The Pareto front of a study with several objectives: its complete trials that no other one dominates."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from tuner.answers.parts import FrontPoint
from tuner.ledger.records import TrialRecord, best_trial
from tuner.spec import objectives, pareto
from tuner.spec.study import StudySpec
from tuner.spec.work import TrialState


def front_points(
    spec: StudySpec, trials: Sequence[TrialRecord], features: int, pca: Mapping[int, float]
) -> list[FrontPoint]:
    """The front, the lowest loss first.

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
            number=trial.number,
            val_loss=float(trial.value or 0.0),
            bottleneck=trial.point.bottleneck,
            parameters=objectives.parameters(trial.point, features),
            pca_val_loss=pca.get(trial.point.bottleneck),
            knee=trial is knee,
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


def front_csv(points: Sequence[FrontPoint]) -> str:
    """The front as CSV; floats are written so that reading them gives the same value."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(FrontPoint.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(point.model_dump() for point in points)
    return text.getvalue()
