"""Claims about the search of conditional spaces, with made-up losses; and that other spaces are searched as ever."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, QMCSampler, RandomSampler, TPESampler
from searches import SPACE, curve, play, spec

from tuner.ledger.records import TrialRecord
from tuner.search.loop import quiet_optuna
from tuner.search.rebuild import optuna_study
from tuner.search.rungs import cohort_size
from tuner.spec.study import StudySpec
from tuner.spec.work import Trial, TrialState, derive_seed

KINDS: dict[str, Any] = {
    "learning_rate": {"type": "float", "low": 1e-5, "high": 1.0, "log": True},
    "beta": {"type": "float", "low": 0.01, "high": 1.0, "log": True, "when": {"kind": "variational"}},
    "depth": {"type": "int", "low": 0, "high": 3},
    "width": {"type": "int", "low": 16, "high": 64, "when": {"depth": [1, 2, 3]}},
    "kind": {"type": "categorical", "choices": ["plain", "sparse", "variational"]},
    "sparsity": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "dropout": {"value": 0.2, "when": {"depth": [2, 3], "kind": ["plain", "sparse"]}},
    "bottleneck": 4,
}


def loss(trial: Trial, epoch: int) -> float:
    """Lowest for a variational one with a beta of 0.1 and a learning rate of 1e-2."""
    point = trial.point
    kind = (math.log10(point.beta) + 1) ** 2 if point.kind == "variational" else 1.0
    return 0.1 * (math.log10(point.learning_rate) + 2) ** 2 + kind + 1 / epoch


def check(trial: Trial) -> None:
    """What is active has one of its values, all else its default."""
    point = trial.point
    assert (0.01 <= point.beta <= 1.0) if point.kind == "variational" else point.beta == 0.0
    assert (1e-4 <= point.sparsity <= 1e-1) if point.kind == "sparse" else point.sparsity == 0.0
    assert (16 <= point.width <= 64) if point.depth else point.width == 128
    assert point.dropout == (0.2 if point.depth >= 2 and point.kind != "variational" else 0.0)


@pytest.mark.parametrize(
    ("sampler", "trials", "pruner"),
    [
        ("tpe", 60, "halving"),
        ("tpe", 60, "none"),
        ("random", 40, "hyperband"),
        ("sobol", 40, "none"),
        ("gp", 11, "none"),
    ],
)
def test_only_what_is_in_force_is_proposed_and_again_the_same(sampler: str, trials: int, pruner: str) -> None:
    """Law 2, and every kind is tried."""
    declared = spec(space=KINDS, sampler=sampler, trials=trials, pruner=pruner, epochs=9, cohort=10)
    first, second = play(declared, loss), play(declared, loss)
    assert first == second
    assert {trial.point.kind for trial in first[0].values()} == {"plain", "sparse", "variational"}
    for trial in first[0].values():
        check(trial)


def test_a_conditional_grid_visits_each_distinct_point_once() -> None:
    """3 kinds, one of them with 3 betas and one with 2 sparsities, each at 2 rates: 12 of the product's 36."""
    space = {
        "learning_rate": {"type": "categorical", "choices": [1e-3, 1e-2]},
        "kind": {"type": "categorical", "choices": ["plain", "sparse", "variational"]},
        "sparsity": {"type": "categorical", "choices": [1e-3, 1e-2]},
        "beta": {"type": "float", "low": 0.5, "high": 1.5, "step": 0.5, "when": {"kind": "variational"}},
        "bottleneck": 4,
    }
    trials, ends = play(spec(space=space, sampler="grid", trials=12, cohort=5, pruner="none", epochs=1))
    points = {(t.point.learning_rate, t.point.kind, t.point.sparsity, t.point.beta) for t in trials.values()}
    assert len(points) == len(ends) == 12


def grouped(trial: optuna.Trial) -> dict[str, Any]:
    """As Optuna's own pages write a conditional space, in the order of our declaration."""
    trial.suggest_float("learning_rate", 1e-5, 1.0, log=True)
    if trial.suggest_int("depth", 0, 3):
        trial.suggest_int("width", 16, 64)
    kind = trial.suggest_categorical("kind", ["plain", "sparse", "variational"])
    if kind == "sparse":
        trial.suggest_float("sparsity", 1e-4, 1e-1, log=True)
    if kind == "variational":
        trial.suggest_float("beta", 0.01, 1.0, log=True)
    return trial.params


def flat(trial: optuna.Trial) -> dict[str, Any]:
    trial.suggest_float("learning_rate", 1e-5, 1.0, log=True)
    trial.suggest_int("width", 16, 256, log=True)
    trial.suggest_categorical("activation", ["relu", "tanh"])
    return trial.params


def optunas_own(declared: StudySpec, sampler: BaseSampler, ask: Any, value: Any) -> list[dict[str, Any]]:
    """What a plain Optuna loop proposes in the same cohorts."""
    with quiet_optuna():
        study = optuna.create_study(sampler=sampler)
        while left := declared.search.trials - len(study.trials):
            asked = [study.ask() for _ in range(min(left, cohort_size(declared.search)))]
            drawn = [ask(one) for one in asked]
            for one, params in zip(asked, drawn, strict=True):
                study.tell(one, value(params))
    return [one.params for one in study.trials]


def test_tpe_models_the_groups_of_a_conditional_space() -> None:
    """The very proposals of Optuna's `multivariate=True, group=True` in a loop written out."""
    declared = spec(space=KINDS, pruner="none", epochs=1, trials=60, cohort=12)
    seed = derive_seed(declared.search.seed, "sampler") % 2**32
    with quiet_optuna():
        sampler = TPESampler(seed=seed, multivariate=True, group=True)

    def value(params: dict[str, Any]) -> float:
        return loss(Trial(0, declared.space.point(params), 0), 1)

    expected = optunas_own(declared, sampler, grouped, value)
    trials, _ = play(declared, loss)
    assert [declared.space.point(params) for params in expected] == [trials[n].point for n in sorted(trials)]


@pytest.mark.parametrize("name", ["tpe", "random", "sobol"])
def test_a_space_without_conditions_is_searched_as_ever(name: str) -> None:
    """Bit for bit the proposals of Optuna's own sampler, made here with nothing but the seed."""
    sobol = partial(QMCSampler, qmc_type="sobol", scramble=True)
    samplers: dict[str, Callable[..., BaseSampler]] = {"tpe": TPESampler, "random": RandomSampler, "sobol": sobol}
    declared = spec(sampler=name, pruner="none", epochs=1, trials=50, cohort=12)
    with quiet_optuna():
        own = samplers[name](seed=derive_seed(declared.search.seed, "sampler") % 2**32)
    expected = optunas_own(declared, own, flat, lambda params: (math.log10(params["learning_rate"]) + 2) ** 2 + 1)
    trials, _ = play(declared)
    assert [{n: trials[t].point.as_dict()[n] for n in expected[0]} for t in sorted(trials)] == expected
    assert set(SPACE) >= set(expected[0])


def test_tpe_finds_the_best_kind_and_its_own_hyperparameter() -> None:
    """Of 80 trials TPE's best is better than chance's for most of five seeds, and of the right kind."""

    def lowest(sampler: str, seed: int) -> tuple[float, str]:
        declared = spec(space=KINDS, sampler=sampler, seed=seed, trials=80, pruner="none", epochs=1, cohort=8)
        trials, ends = play(declared, loss)
        return min((end.value, trials[n].point.kind) for n, end in ends.items() if end.value is not None)

    found = [(lowest("tpe", seed), lowest("random", seed)) for seed in range(5)]
    assert sum(tpe < random for tpe, random in found) >= 4
    assert {kind for (_, kind), _ in found} == {"variational"}


def test_the_rebuilt_study_has_what_was_in_force_alone() -> None:
    """So that Optuna's plots and importances show no value that a trial did not have."""
    declared = spec(space=KINDS, sampler="random")
    trials, ends = play(declared, loss)
    records = [
        TrialRecord(n, 0, trials[n].point, 0, end.state, end.value, end.best_epoch, end.epochs, "", 0.0, None, None)
        for n, end in sorted(ends.items())
    ]
    study = optuna_study(declared, records, {n: curve(trials[n], end.epochs, loss) for n, end in ends.items()})
    for record, rebuilt in zip(records, study.trials, strict=True):
        names = {"learning_rate", "depth", "kind"} | ({"width"} if record.point.depth else set())
        names |= {"sparse": {"sparsity"}, "variational": {"beta"}}.get(record.point.kind, set())
        assert rebuilt.params == {name: record.point.as_dict()[name] for name in names}
    assert study.best_value == min(end.value or 9 for end in ends.values() if end.state is TrialState.COMPLETE)
    kinds: dict[str, type] = {"beta": FloatDistribution, "width": IntDistribution, "kind": CategoricalDistribution}
    seen = {name: value for trial in study.trials for name, value in trial.distributions.items()}
    assert all(isinstance(seen[name], kind) for name, kind in kinds.items())
    assert optuna.importance.get_param_importances(study)
