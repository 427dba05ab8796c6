"""Which searched parameters decided whether a trial came among the best."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.helper import Helper

LEAST_TRIALS = 10  # with fewer, the best tenth is one trial, and what it says is chance
LEAST_BEST = 5  # trials that PED-ANOVA asks for among the best


def importances(study: optuna.Study) -> dict[str, float]:
    """Each searched parameter's share, the largest first; empty where there are too few trials.

    PED-ANOVA (Watanabe et al. 2023, https://arxiv.org/abs/2304.10255; for conditions 2026,
    https://arxiv.org/abs/2601.20800) compares the best tenth of the trials with all of them. It needs their order
    alone, so that pruned trials count as well: most trials of a study that halves are pruned, and those that complete
    are the few that nothing can be learnt from. The order is the sampler's: complete trials by loss, then pruned ones
    by how far they came and by their last loss, then those that diverged.

    Optuna's evaluator computes them, in a helper process, for what it imports changes the process; it is given the
    trials' ranks as their values.

    Args:
        study: as `optuna_study` rebuilds it.

    Raises:
        HelperError: the helper process could not be started, or ended before it answered.
    """
    ranked = sorted((trial for trial in study.get_trials(deepcopy=False) if trial.params and _counts(trial)), key=_rank)
    names = {name for trial in ranked for name in trial.params}
    if len(ranked) < LEAST_TRIALS or len(names) < 2:
        return {}
    with Helper() as helper:
        shares = helper.call(_ped_anova, [(trial.params, trial.distributions) for trial in ranked])
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))


def _counts(trial: FrozenTrial) -> bool:
    """Trials that failed for want of a worker or of memory say nothing about their parameters' worth."""
    return trial.state is not TrialState.FAIL or trial.user_attrs.get("tuner.state") == "diverged"


def _rank(trial: FrozenTrial) -> tuple[int, float, float, int]:
    if trial.state is TrialState.COMPLETE:
        return 0, 0.0, float(trial.values[0]), trial.number
    step, value = max(trial.intermediate_values.items(), default=(0, math.inf))
    diverged = trial.state is TrialState.FAIL
    return 2 if diverged else 1, -float(step), value if math.isfinite(value) else math.inf, trial.number


def _ped_anova(ranked: Sequence[tuple[Mapping[str, Any], Mapping[str, BaseDistribution]]]) -> dict[str, float]:
    """In a helper process: Optuna's shares of trials, the best one first."""
    evaluators = _evaluators()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the evaluator is experimental, and warns of parameters that few trials have
        study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
        for rank, (params, distributions) in enumerate(ranked):
            study.add_trial(create_trial(value=float(rank), params=dict(params), distributions=dict(distributions)))
        best = min(0.5, max(0.1, LEAST_BEST / len(ranked)))
        evaluator = evaluators.PedAnovaImportanceEvaluator(target_quantile=best)
        return dict(evaluators.get_param_importances(study, evaluator=evaluator))


def _evaluators() -> ModuleType:
    """`optuna.importance`, without the evaluator that needs scikit-learn: importing that takes 2 s of a core."""
    missing = "sklearn" not in sys.modules
    if missing:
        sys.modules["sklearn"] = None  # type: ignore[assignment]  # Optuna does without it
    try:
        import optuna.importance as evaluators  # noqa: PLC0415
    finally:
        if missing:
            del sys.modules["sklearn"]
    return evaluators
