"""The samplers, all Optuna's own, seeded from the study's seed by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution as OptunaCategorical
from optuna.distributions import FloatDistribution as OptunaFloat
from optuna.distributions import IntDistribution as OptunaInt
from optuna.samplers import BaseSampler

from tuner.quiet import without_warnings
from tuner.spec.distributions import Distribution, FloatDistribution, IntDistribution, grid_values
from tuner.spec.space import SearchSpace
from tuner.spec.study import MOST_GRID_POINTS, StudySpec
from tuner.spec.work import derive_seed

PLACE = "point"  # in the list of the distinct points of a grid with conditions


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The searched hyperparameters as Optuna's distributions."""
    with without_warnings():  # that `high` is no whole number of steps above `low`: none has to be
        return {name: _distribution(value) for name, value in space.searched().items()}


def _distribution(value: Distribution) -> BaseDistribution:
    if isinstance(value, FloatDistribution):
        return OptunaFloat(value.low, value.high, log=value.log, step=value.step)
    if isinstance(value, IntDistribution):
        return OptunaInt(value.low, value.high, log=value.log, step=value.step)
    return OptunaCategorical(value.choices)


def _tpe(space: SearchSpace, seed: int) -> BaseSampler:
    """Conditional hyperparameters need `group`, without which those that not every trial has are drawn one by one."""
    if space.conditions.when:
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True)
    return optuna.samplers.TPESampler(seed=seed)


def _random(space: SearchSpace, seed: int) -> BaseSampler:  # noqa: ARG001 - the samplers share one signature
    return optuna.samplers.RandomSampler(seed=seed)


def _sobol(space: SearchSpace, seed: int) -> BaseSampler:  # noqa: ARG001
    return optuna.samplers.QMCSampler(qmc_type="sobol", scramble=True, seed=seed, warn_independent_sampling=False)


def _gp(space: SearchSpace, seed: int) -> BaseSampler:  # noqa: ARG001
    return optuna.samplers.GPSampler(seed=seed)


class _Grid(optuna.samplers.GridSampler):
    """Optuna's own, without its call to `Study.stop` at the last point, which raises outside `Study.optimize`."""

    def after_trial(self, *_: object) -> None:
        """Do nothing: the study's budget ends it."""


def _grid(space: SearchSpace, seed: int) -> BaseSampler:
    if space.conditions.when:
        return _Grid({PLACE: range(space.grid_size(MOST_GRID_POINTS))}, seed=seed)
    return _Grid({name: list[Any](grid_values(v)) for name, v in space.searched().items()}, seed=seed)


SAMPLERS: dict[str, Callable[[SearchSpace, int], BaseSampler]] = {
    "tpe": _tpe,
    "random": _random,
    "sobol": _sobol,
    "gp": _gp,
    "grid": _grid,
}


def make_sampler(spec: StudySpec) -> BaseSampler:
    """The sampler that a spec names."""
    with without_warnings(optuna.exceptions.ExperimentalWarning):
        seed = derive_seed(spec.search.seed, "sampler") % 2**32
        return SAMPLERS[spec.search.sampler](spec.space, seed)
