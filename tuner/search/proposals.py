"""How a trial's values are asked for where some hyperparameters depend on others.

Without conditions every sampler is asked for the whole space, as it is with them but for two:
- tpe is asked for what is active alone, one after the other, and models each group of hyperparameters that occur
  together by itself.
- grid goes through the list of the distinct points, for the product of all values names most of them repeatedly.
random, sobol and gp draw what is not active as well, and nothing comes of it: random and sobol are as even over what
is left, and gp still models everything, where it would draw at random what not every trial has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from tuner.search.samplers import PLACE, distributions
from tuner.spec.conditions import Conditions
from tuner.spec.distributions import Scalar
from tuner.spec.study import StudySpec

Propose = Callable[[optuna.Study], tuple[optuna.Trial, Mapping[str, Scalar]]]


def proposals(spec: StudySpec) -> Propose:
    """What asks a study for a trial, and returns it with a value at least for all that is searched and active."""
    space, searched = spec.space, distributions(spec.space)
    if space.conditions.when and spec.search.sampler == "tpe":
        return lambda study: _one_by_one(study, space.conditions, searched, space.fixed())
    if space.conditions.when and spec.search.sampler == "grid":
        points = list(space.grid())
        return lambda study: _listed(study, points)
    return lambda study: _whole(study, searched)


def _whole(study: optuna.Study, searched: Mapping[str, BaseDistribution]) -> tuple[optuna.Trial, Mapping[str, Scalar]]:
    asked = study.ask(dict(searched))
    return asked, asked.params


def _one_by_one(
    study: optuna.Study,
    conditions: Conditions,
    searched: Mapping[str, BaseDistribution],
    fixed: Mapping[str, Scalar],
) -> tuple[optuna.Trial, Mapping[str, Scalar]]:
    asked, active = study.ask(), dict[str, Scalar]()
    for name in conditions.order:
        if conditions.holds(name, active):
            active[name] = _suggested(asked, name, searched[name]) if name in searched else fixed[name]
    return asked, active


def _suggested(asked: optuna.Trial, name: str, value: BaseDistribution) -> Any:
    if isinstance(value, FloatDistribution):
        return asked.suggest_float(name, value.low, value.high, log=value.log, step=value.step)
    if isinstance(value, IntDistribution):
        return asked.suggest_int(name, value.low, value.high, log=value.log, step=value.step)
    assert isinstance(value, optuna.distributions.CategoricalDistribution)
    return asked.suggest_categorical(name, value.choices)


def _listed(study: optuna.Study, points: list[dict[str, Scalar]]) -> tuple[optuna.Trial, Mapping[str, Scalar]]:
    asked = study.ask({PLACE: IntDistribution(0, len(points) - 1)})
    return asked, points[asked.params[PLACE]]
