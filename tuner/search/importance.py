"""Which searched parameters decided whether a trial came among the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

LEAST_TRIALS = 10  # with fewer, the best tenth is one trial, and what it says is chance
LEAST_BEST = 5  # trials that PED-ANOVA asks for among the best
_GRID: Final = 50  # points that a range is cut into
_LEAST_SIGMA: Final = 0.5 / 1.64  # of a kernel: nine tenths of it within its own point
_NEVER_ZERO: Final = 1e-12

Values = NDArray[np.float64]


def importances(study: optuna.Study) -> dict[str, float]:
    """Each searched parameter's share, the largest first; empty where there are too few trials to tell.

    PED-ANOVA (Watanabe et al. 2023, https://arxiv.org/abs/2304.10255; for conditions 2026,
    https://arxiv.org/abs/2601.20800) compares the best tenth of the trials with all of them. It needs their order
    alone, so that pruned trials count as well: most trials of a study that halves are pruned, and those that complete
    are the few that nothing can be learnt from. The order is the sampler's: complete trials by loss, then pruned ones
    by how far they came and by their last loss, then those that diverged.

    The formula is Optuna's, written again: `optuna.importance` imports scikit-learn, a second at every study's end.

    Args:
        study: as `optuna_study` rebuilds it.
    """
    ranked = sorted((trial for trial in study.get_trials(deepcopy=False) if trial.params and _counts(trial)), key=_rank)
    names = {name for trial in ranked for name in trial.params}
    if len(ranked) < LEAST_TRIALS or len(names) < 2:
        return {}
    best = ranked[: math.ceil(min(0.5, max(0.1, LEAST_BEST / len(ranked))) * len(ranked))]
    raw = {name: _importance(name, best, ranked) for name in names}
    whole = sum(raw.values())
    shares = {name: value / whole if whole else 1.0 / len(raw) for name, value in raw.items()}
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


def _importance(name: str, best: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]) -> float:
    """How far the best trials' values of a parameter are from all trials', among those that have it (algorithm 1)."""
    among_all = [trial for trial in trials if name in trial.params]
    among_best = [trial for trial in best if name in trial.params]
    distribution = among_all[0].distributions[name]
    if len(among_all) < 2 or not among_best or distribution.single():
        return 0.0
    having = (len(among_best) / len(best)) ** 2 / (len(among_all) / len(trials))
    grid, size = _on_grid(distribution, [trial.params[name] for trial in among_all])
    best_grid, _ = _on_grid(distribution, [trial.params[name] for trial in among_best])
    density = _categorical if isinstance(distribution, CategoricalDistribution) else _numerical
    of_all, of_best = (density(np.bincount(values, minlength=size)) + _NEVER_ZERO for values in (grid, best_grid))
    return having * float(of_all @ (of_best / of_all - 1) ** 2)


def _on_grid(distribution: BaseDistribution, values: Sequence[Any]) -> tuple[NDArray[np.int64], int]:
    """Each value's point, and how many points there are."""
    if isinstance(distribution, CategoricalDistribution):
        return np.array([int(distribution.to_internal_repr(value)) for value in values]), len(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, size, scaled = distribution.low, distribution.high, _GRID, np.array(values, np.float64)
    if distribution.log:
        if isinstance(distribution, IntDistribution):
            size = min(size, math.ceil(math.log2(high - low + 1)) + 1)
        low, high, scaled = math.log(low), math.log(high), np.log(scaled)
    elif distribution.step is not None:
        size = min(size, round((high - low) / distribution.step) + 1)
    points = np.ceil((scaled - low) / ((high - low) / (size - 1)) - 0.5)  # halfway: the lower one
    return np.clip(points, 0, size - 1).astype(np.int64), size


def _categorical(counts_G: NDArray[np.int64]) -> Values:
    """A mixture of one kernel for each choice that was seen, weighted by its count, and a flat one."""
    seen, kinds = np.flatnonzero(counts_G), len(counts_G)
    kernels = np.full((len(seen) + 1, kinds), 1.0 / (len(seen) + 1))
    kernels[np.arange(len(seen)), seen] += 1
    kernels /= kernels.sum(axis=1, keepdims=True)
    return np.asarray(_weights(counts_G[seen]) @ kernels)


def _numerical(counts_G: NDArray[np.int64]) -> Values:
    """The same of normal kernels as wide as Scott's rule (1992) has it, cut off at the range's ends."""
    seen, last = np.flatnonzero(counts_G), len(counts_G) - 1
    weights = counts_G[seen]
    below, count = np.cumsum(weights), int(weights.sum())
    deviation = math.sqrt((seen - seen @ weights / count) ** 2 @ weights / max(1, count - 1))
    upper = seen[min(len(seen) - 1, int(np.searchsorted(below, count * 3 // 4, side="right")))]
    quartiles = upper - seen[np.searchsorted(below, count // 4, side="left")]
    sigma = max(1.059 * min(quartiles / 1.34, deviation) * count**-0.2, _LEAST_SIGMA)
    mus = np.append(seen, last / 2)[:, None]
    sigmas = np.append(np.full(len(seen), sigma), last + 1)[:, None]
    cuts = _normal((np.arange(last + 2) - 0.5 - mus) / sigmas)
    return np.asarray(_weights(weights) @ (np.diff(cuts, axis=1) / (cuts[:, -1:] - cuts[:, :1])))


def _weights(counts: NDArray[np.int64]) -> Values:
    """Of the kernels that were seen, and of the prior, which counts as one value."""
    weights = np.append(counts, 1.0)
    return np.asarray(weights / weights.sum())


def _normal(values: Values) -> Values:
    """The normal distribution function."""
    return np.array([[0.5 * math.erfc(-value / math.sqrt(2)) for value in row] for row in values])
