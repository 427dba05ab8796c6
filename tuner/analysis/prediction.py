"""What a trial that was pruned would have come to, and which configurations are the best by that.

Let b_t(r) be the best validation loss of trial t within its first r trained epochs, and r_0 < r_1 < ... < R the epochs
after which trials of this study were pruned. Between two such rungs the study's own trials say what training on brings:
with all trials that came to rung r', and beyond the last rung with the complete ones, each to its own end,

    g(r, r') = exp(median of log(b_t(r') / b_t(r))),        at most 1,

and a trial that was pruned at rung r with the best loss v is predicted to end at

    v g(r, r') g(r', r'') ... g(R, end),

but a trial that starts at a solution (`skip: pca`) at no more than its loss there, and a complete one at its own. The
factor falls with every rung that is left (successive halving's own evidence; the ratio of losses and not their
difference, for losses of one study span orders of magnitude). A loss of 0 or below has no logarithm: such trials give
no ratios, and are predicted to stay where they are. Where trials are measured after intervals, these stand for epochs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from tuner.ledger.records import TrialRecord
from tuner.spec.architecture import Hyperparameters
from tuner.spec.final import Candidate
from tuner.spec.work import Curve, TrialState

_KNOWN = (TrialState.COMPLETE, TrialState.PRUNED)


def predicted(trials: Iterable[TrialRecord], curves: Mapping[int, Curve]) -> dict[int, float]:
    """The predicted final loss of every complete or pruned trial that has a finite loss, by number."""
    known = [trial for trial in trials if trial.state in _KNOWN and trial.value is not None]
    complete = [trial for trial in known if trial.state is TrialState.COMPLETE]
    rungs = sorted({trial.epochs for trial in known if trial.state is TrialState.PRUNED})
    left, following = 0.0, None
    gains = dict[int, float]()  # the logarithm of what is left to be gained after each rung
    for rung in reversed(rungs):
        came = complete if following is None else [trial for trial in known if trial.epochs >= following]
        left += _gain([curves[trial.number] for trial in came if trial.number in curves], rung, following)
        gains[rung], following = left, rung
    return {trial.number: _predicted(trial, curves.get(trial.number), gains.get(trial.epochs, 0.0)) for trial in known}


def _gain(curves: Sequence[Curve], rung: int, following: int | None) -> float:
    """The median logarithm of what training from one rung to the next, or to the end, leaves of the best loss."""
    pairs = [(_best(curve, rung), _best(curve, following)) for curve in curves]
    ratios = [math.log(after / before) for before, after in pairs if before < math.inf and after > 0]
    return median(ratios) if ratios else 0.0


def _best(curve: Curve, epochs: int | None) -> float:
    return min((loss for loss in curve.val_loss[:epochs] if math.isfinite(loss)), default=math.inf)


def _predicted(trial: TrialRecord, curve: Curve | None, gain: float) -> float:
    value = float(trial.value or 0.0)
    if trial.state is TrialState.COMPLETE or curve is None:
        return value
    trained = _best(curve, trial.epochs)
    return min(value, trained * math.exp(gain) if trained > 0 else trained)


def best_predicted(trials: Sequence[TrialRecord], curves: Mapping[int, Curve], top: int) -> tuple[Candidate, ...]:
    """The best different configurations by predicted loss, at most `top`; of equals the first that was asked for."""
    losses = predicted(trials, curves)
    of = {trial.number: trial.point for trial in trials}
    first = dict[Hyperparameters, Candidate]()
    for number in sorted(losses, key=lambda number: (losses[number], number)):
        first.setdefault(of[number], Candidate(number, losses[number]))
    return tuple(first.values())[:top]
