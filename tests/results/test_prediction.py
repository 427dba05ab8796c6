"""Claims about what a pruned trial would have come to: worked out by hand, and for curves whose end is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tuner.analysis.prediction import best_predicted, predicted
from tuner.ledger.records import TrialRecord
from tuner.spec.architecture import Hyperparameters
from tuner.spec.work import Curve, TrialState

COMPLETE, PRUNED, DIVERGED = TrialState.COMPLETE, TrialState.PRUNED, TrialState.DIVERGED


def trial(
    number: int, losses: list[float], state: TrialState = COMPLETE, width: int | None = None
) -> tuple[TrialRecord, Curve]:
    """A trial with that curve."""
    point = Hyperparameters(0.01, 16, 1, width or 10 + number, "tanh", 2, 0.0, 0.0)
    finite = [loss for loss in losses if math.isfinite(loss)]
    value = min(finite) if finite else None
    record = TrialRecord(number, 0, point, number, state, value, 1, len(losses), "", 0.0, 0.0, 1.0)
    curve = Curve(number, 0, tuple(losses), tuple(losses), (0.0,) * len(losses), state is DIVERGED, None)
    return record, curve


def of(*made: tuple[TrialRecord, Curve]) -> tuple[list[TrialRecord], dict[int, Curve]]:
    return [record for record, _ in made], {record.number: curve for record, curve in made}


def test_the_formula_worked_out_by_hand() -> None:
    """Rungs 1, 2 and 4. From 1 to 2 trials 0, 1, 2 went on with ratios 1/2, 1/4 and 1 (of its best so far, though its
    second loss is higher): the median is 1/2. From 2 to 4 trial 0 alone: 1/4. So the trial that ended at 2 is predicted
    at a quarter, those that ended at 1 at an eighth, and the complete one at its own."""
    trials, curves = of(
        trial(0, [8.0, 4.0, 2.0, 1.0]),
        trial(1, [8.0, 2.0], PRUNED),
        trial(2, [3.0, 5.0], PRUNED),
        trial(3, [7.2], PRUNED),
        trial(4, [80.0], PRUNED),
    )
    assert predicted(trials, curves) == pytest.approx({0: 1.0, 1: 0.5, 2: 0.75, 3: 0.9, 4: 10.0}, rel=1e-12)
    found = best_predicted(trials, curves, 3)
    assert [one.trial for one in found] == [1, 2, 3], "pruned trials can be better than the only complete one"
    assert [one.predicted for one in found] == pytest.approx([0.5, 0.75, 0.9])


def test_complete_trials_may_have_lengths_of_their_own() -> None:
    """Beyond the last rung each goes to its own end: from rung 1 to 1/2 after two epochs and to 1/8 after four, so the
    pruned one is predicted at the median of the logarithms, a quarter."""
    trials, curves = of(trial(0, [8.0, 4.0]), trial(1, [8.0, 4.0, 2.0, 1.0]), trial(2, [4.0], PRUNED))
    assert predicted(trials, curves) == pytest.approx({0: 4.0, 1: 1.0, 2: 1.0})


def test_there_are_as_many_as_have_a_loss_and_are_different() -> None:
    """A configuration counts once, by its better trial; what diverged or has no finite loss is none."""
    trials, curves = of(
        trial(0, [4.0, 2.0]),
        trial(1, [2.0], PRUNED, width=10),
        trial(2, [3.0], PRUNED),
        trial(3, [0.1, math.nan], DIVERGED),
        trial(4, [math.inf], PRUNED),
    )
    assert [one.trial for one in best_predicted(trials, curves, 9)] == [1, 2]
    assert [one.trial for one in best_predicted(trials[:1], curves, 9)] == [0]
    assert best_predicted([], {}, 9) == ()


def test_a_loss_of_zero_or_below_stays_where_it_is() -> None:
    """It has no logarithm, neither as a trial's own nor in a ratio."""
    trials, curves = of(trial(0, [2.0, 1.0]), trial(1, [1.0, -1.0]), trial(2, [0.0], PRUNED), trial(3, [4.0], PRUNED))
    assert predicted(trials, curves) == pytest.approx({0: 1.0, 1: -1.0, 2: 0.0, 3: 2.0})


def test_where_a_trial_starts_bounds_what_it_is_predicted() -> None:
    """A pruned trial that trained itself above its start is predicted by its training, from 5 to 2.5, and at 2 where it
    started lower; the ratios are of trained epochs alone, 1/2, though the complete trial's start was below both."""
    trials, curves = of(trial(0, [8.0, 4.0]), trial(1, [5.0], PRUNED), trial(2, [5.0], PRUNED), trial(3, [3.0], PRUNED))
    starts = {0: 3.0, 1: 4.0, 2: 2.0, 3: 2.0}
    curves = {number: replace(curve, before=starts[number]) for number, curve in curves.items()}
    trials = [replace(one, value=min(one.value or math.inf, starts[one.number])) for one in trials]
    assert predicted(trials, curves) == pytest.approx({0: 3.0, 1: 2.5, 2: 2.0, 3: 1.5})


def test_curves_that_fall_alike_are_predicted_exactly() -> None:
    """Losses a_t n^-1/2: the ratios are the same for all, so every prediction is a_t 27^-1/2; the factor falls with
    every rung that is left."""
    draw = np.random.default_rng(1)
    ends = [1] * 9 + [3] * 3 + [9] * 2 + [27]
    scales = draw.uniform(0.5, 2.0, len(ends))
    made = [
        trial(number, [scale * n**-0.5 for n in range(1, end + 1)], COMPLETE if end == 27 else PRUNED)
        for number, (scale, end) in enumerate(zip(scales, ends, strict=True))
    ]
    trials, curves = of(*made)
    found = predicted(trials, curves)
    assert [found[number] for number in range(len(ends))] == pytest.approx(list(scales * 27**-0.5), rel=1e-12)
    factors = [found[number] / (trials[number].value or 1.0) for number in (0, 9, 12, 14)]
    assert factors == sorted(factors) and factors[-1] == 1.0
