"""Which searched parameters decided whether a trial came among the best."""

from __future__ import annotations

import math
import warnings

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.search.loop import quiet_optuna

LEAST_TRIALS = 10  # with fewer, the best tenth is one trial, and what it says is chance
LEAST_BEST = 5  # trials that PED-ANOVA asks for among the best


def importances(study: optuna.Study) -> dict[str, float]:
    """Each searched parameter's share, the largest first; empty where there are too few trials to tell.

    PED-ANOVA (Watanabe et al. 2023, https://arxiv.org/abs/2304.10255) compares the best tenth of the trials with all of
    them. It needs their order alone, so that pruned trials count as well: most trials of a study that halves are
    pruned, and those that complete are the few that nothing can be learnt from. The order is the sampler's: complete
    trials by loss, then pruned ones by how far they came and by their last loss, then those that diverged.

    Args:
        study: as `optuna_study` rebuilds it.
    """
    ranked = sorted((trial for trial in study.trials if trial.params and _counts(trial)), key=_rank)
    names = {name for trial in ranked for name in trial.params}
    if len(ranked) < LEAST_TRIALS or len(names) < 2:
        return {}
    with quiet_optuna(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        order = optuna.create_study()
        order.add_trials([_as_rank(trial, place) for place, trial in enumerate(ranked)])
        best = min(0.5, max(0.1, LEAST_BEST / len(ranked)))
        shares = get_param_importances(order, evaluator=PedAnovaImportanceEvaluator(target_quantile=best))
    return {name: float(share) for name, share in sorted(shares.items(), key=lambda item: (-item[1], item[0]))}


def _counts(trial: FrozenTrial) -> bool:
    """Trials that failed for want of a worker or of memory say nothing about their parameters' worth."""
    return trial.state is not TrialState.FAIL or trial.user_attrs.get("tuner.state") == "diverged"


def _rank(trial: FrozenTrial) -> tuple[int, float, float, int]:
    if trial.state is TrialState.COMPLETE:
        return 0, 0.0, float(trial.values[0]), trial.number
    step, value = max(trial.intermediate_values.items(), default=(0, math.inf))
    diverged = trial.state is TrialState.FAIL
    return 2 if diverged else 1, -float(step), value if math.isfinite(value) else math.inf, trial.number


def _as_rank(trial: FrozenTrial, place: int) -> FrozenTrial:
    return create_trial(value=float(place), params=trial.params, distributions=trial.distributions)
