"""A study as Optuna knows it, rebuilt in memory from the record: for its plots and its importance functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import optuna
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial

from tuner.search.loop import quiet_optuna
from tuner.search.samplers import distributions
from tuner.spec.architecture import Hyperparameters
from tuner.spec.objectives import size
from tuner.spec.study import StudySpec
from tuner.spec.work import Curve, TrialState


class Recorded(Protocol):
    """What the record knows of a trial."""

    @property
    def number(self) -> int: ...  # noqa: D102
    @property
    def point(self) -> Hyperparameters: ...  # noqa: D102
    @property
    def state(self) -> TrialState: ...  # noqa: D102
    @property
    def value(self) -> float | None: ...  # noqa: D102


_STATES = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.RUNNING: OptunaState.RUNNING,
}


def optuna_study(
    spec: StudySpec, trials: Iterable[Recorded], curves: Mapping[int, Curve], features: int = 0
) -> optuna.Study:
    """An in-memory study with every trial that ended, and each one's validation losses as intermediate values.

    A trial has the searched hyperparameters that are active at its point, and no others.

    Diverged and failed trials appear as FAIL, with their state in the user attribute `tuner.state`.
    """
    space = distributions(spec.space)
    with quiet_optuna():
        study = optuna.create_study(study_name=spec.name, directions=["minimize"] * len(spec.objective))
    for trial in trials:
        if trial.state is TrialState.RUNNING:
            continue
        active = spec.space.conditions.active(trial.point.as_dict())
        params = {name: active[name] for name in space if name in active}
        state = _STATES.get(trial.state, OptunaState.FAIL)
        values = [_loss(trial, curves.get(trial.number)), size(spec, trial.point, features)][: len(spec.objective)]
        study.add_trial(
            create_trial(
                state=state,
                values=None if state is OptunaState.FAIL else values,
                params=params,
                distributions={name: space[name] for name in params},
                intermediate_values=dict(enumerate(curves[trial.number].val_loss, start=1))
                if trial.number in curves
                else {},
                user_attrs={"tuner.state": str(trial.state)},
            )
        )
    return study


def _loss(trial: Recorded, curve: Curve | None) -> float:
    """What a trial was ranked by: a solution that many start at says nothing about their hyperparameters."""
    return trial.value or 0.0 if curve is None or curve.before is None else curve.lowest
