"""The second objective: how large a trial's model is, in the unit that the declaration names."""

from __future__ import annotations

from tuner.spec.architecture import Architecture, Hyperparameters
from tuner.spec.study import StudySpec


def is_front(spec: StudySpec) -> bool:
    """Whether a study looks for a Pareto front, and not for one best trial."""
    return len(spec.objective) > 1


def size(spec: StudySpec, point: Hyperparameters, features: int) -> float:
    """The second objective's value, known before the training; 0 where the validation loss is the only one.

    Args:
        spec: the declaration.
        point: the trial's hyperparameters.
        features: of a row.
    """
    if not is_front(spec):
        return 0.0
    return float(point.bottleneck if spec.objective[1] == "bottleneck" else parameters(point, features))


def parameters(point: Hyperparameters, features: int) -> int:
    """Trainable values of a trial's model."""
    return Architecture.of(features, point).parameters
