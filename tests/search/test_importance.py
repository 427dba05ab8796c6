"""Claims about importance: it finds what decided, pruned trials included, and is silent where that is chance."""

from __future__ import annotations

import random
import subprocess
import sys
import warnings

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from tuner.search.importance import LEAST_BEST, LEAST_TRIALS, importances
from tuner.search.loop import quiet_optuna

SPACE = {
    "decides": optuna.distributions.FloatDistribution(0.0, 1.0),
    "idle": optuna.distributions.FloatDistribution(0.0, 1.0),
    "choice": optuna.distributions.CategoricalDistribution(["a", "b"]),
}


def study_of(count: int, state: TrialState) -> optuna.Study:
    """Trials whose loss is one parameter's distance from 0.3; only the state differs between two such studies."""
    draw = random.Random(1)
    with quiet_optuna():
        study = optuna.create_study()
    for _ in range(count):
        params = {"decides": draw.random(), "idle": draw.random(), "choice": draw.choice("ab")}
        loss = abs(params["decides"] - 0.3)
        ended = {"value": loss} if state is TrialState.COMPLETE else {"intermediate_values": {2: loss}}
        study.add_trial(create_trial(state=state, params=params, distributions=SPACE, **ended))
    return study


MIXED = {
    "rate": optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True),
    "share": optuna.distributions.FloatDistribution(0.0, 0.9, step=0.1),
    "width": optuna.distributions.IntDistribution(8, 512, log=True),
    "depth": optuna.distributions.IntDistribution(0, 4),
    "batch": optuna.distributions.CategoricalDistribution([16, 32, 64]),
    "sometimes": optuna.distributions.FloatDistribution(0.0, 1.0),
    "fixed": optuna.distributions.IntDistribution(3, 3),
}


@pytest.mark.parametrize("count", [10, 23, 60, 400])
@pytest.mark.parametrize("seed", range(2))
def test_it_is_optunas_ped_anova(count: int, seed: int) -> None:
    """Every kind of distribution, one of them in some trials alone: Optuna's evaluator gives the same shares of the
    trials themselves in this process."""
    draw, trials = random.Random(seed), []
    for place in range(count):
        params = {
            "rate": 10 ** draw.uniform(-4, -1),
            "share": draw.randrange(10) / 10,
            "width": round(2 ** draw.uniform(3, 9)),
            "depth": min(4, round(4 * place / count) + draw.randrange(2)),
            "batch": draw.choice([16, 32, 64]),
            "fixed": 3,
        } | ({"sometimes": draw.random()} if draw.random() < 0.6 else {})
        distributions = {name: MIXED[name] for name in params}
        trials.append(create_trial(value=float(place), params=params, distributions=distributions))
    best = min(0.5, max(0.1, LEAST_BEST / count))
    with quiet_optuna(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study()
        study.add_trials(draw.sample(trials, count))
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=best)
        expected = optuna.importance.get_param_importances(study, evaluator=evaluator)
    assert importances(study) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_no_process_waits_for_scikit_learn() -> None:
    """`optuna.importance` imports it, which takes 2 s of a core: neither this process nor the helper does, and in the
    helper scikit-learn can still be imported afterwards."""
    code = """
import sys
from tuner.search.importance import _ped_anova, importances
from optuna.distributions import FloatDistribution
one = {"a": FloatDistribution(0, 1), "b": FloatDistribution(0, 1)}
assert sum(_ped_anova([({"a": n / 20, "b": n % 7 / 7}, one) for n in range(20)]).values()) > 0.99
assert not {"sklearn", "torch"} & set(sys.modules)
import sklearn
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED])
def test_what_alone_decides_has_nearly_all_of_the_importance(state: TrialState) -> None:
    """The loss is a function of one parameter: it stands first, with most of a whole of one."""
    shares = importances(study_of(150, state))
    assert next(iter(shares)) == "decides"
    assert shares["decides"] > 0.8
    assert sum(shares.values()) == pytest.approx(1.0)


def test_pruned_trials_count_as_complete_ones_do() -> None:
    """Only the order matters, so that a study whose trials were all pruned tells what a complete one tells."""
    assert importances(study_of(60, TrialState.PRUNED)) == importances(study_of(60, TrialState.COMPLETE))


def test_where_trials_diverge_is_told() -> None:
    """Losses are chance, but every trial above a half of one parameter diverges: that parameter stands first."""
    draw = random.Random(2)
    with quiet_optuna():
        study = optuna.create_study()
    for _ in range(150):
        params = {"decides": draw.random(), "idle": draw.random(), "choice": draw.choice("ab")}
        done = create_trial(value=draw.random(), params=params, distributions=SPACE)
        study.add_trial(_failed(params, "diverged") if params["decides"] > 0.5 else done)
    assert next(iter(importances(study))) == "decides"


def test_what_no_parameter_is_to_blame_for_is_left_out() -> None:
    """Trials that a worker's death or a lack of memory ended change nothing."""
    study = study_of(40, TrialState.COMPLETE)
    before = importances(study)
    for reason in ("failed", "infeasible"):
        for _ in range(20):
            study.add_trial(_failed({"decides": 0.3, "idle": 0.99, "choice": "a"}, reason))
    assert importances(study) == before


def _failed(params: dict[str, object], reason: str) -> optuna.trial.FrozenTrial:
    more = {"user_attrs": {"tuner.state": reason}}
    return create_trial(state=TrialState.FAIL, params=params, distributions=SPACE, **more)


def test_too_few_trials_say_nothing() -> None:
    """Below ten trials there is no best tenth to speak of; nor in an empty study."""
    assert importances(study_of(LEAST_TRIALS - 1, TrialState.COMPLETE)) == {}
    assert importances(study_of(0, TrialState.COMPLETE)) == {}
    assert importances(study_of(LEAST_TRIALS, TrialState.COMPLETE))
