"""Claims about a search with several objectives, with made-up losses."""

from __future__ import annotations

import math

import pytest
from optuna.trial import create_trial
from searches import SPACE, play

from tuner.errors import SpecError
from tuner.search import history
from tuner.search.rungs import halve_front
from tuner.spec.pareto import fronts
from tuner.spec.reader import spec_from_mapping
from tuner.spec.study import StudySpec
from tuner.spec.work import Trial, TrialState


def declared(**search: object) -> StudySpec:
    """A study of loss and length of the code."""
    return spec_from_mapping(
        {
            "name": "front",
            "data": {"source": "sklearn:digits"},
            "space": {**SPACE, "bottleneck": {"type": "int", "low": 1, "high": 8}},
            "objective": search.pop("objective", ["val_loss", "bottleneck"]),
            "search": {"trials": 54, "epochs": 27, **search},
        }
    )


def loss(trial: Trial, epoch: int) -> float:
    """Falls with the epochs and with the length of the code, lowest at a rate of 1e-2."""
    return ((math.log10(trial.point.learning_rate) + 2) ** 2 + 1 + 1 / epoch) / trial.point.bottleneck


@pytest.mark.parametrize("sampler", ["tpe", "random", "sobol"])
@pytest.mark.parametrize("pruner", ["halving", "none"])
def test_the_same_spec_gives_the_same_trials(sampler: str, pruner: str) -> None:
    """Law 2 with several objectives, for every sampler and pruner that they have."""
    spec = declared(sampler=sampler, pruner=pruner)
    assert play(spec, loss) == play(spec, loss)


def test_nothing_that_is_best_of_its_size_is_pruned() -> None:
    """At equal code size: a pruned trial has one in its cohort that is no larger and no worse at that epoch."""
    trials, ends = play(declared(sampler="random"), loss)
    pruned = [end for end in ends.values() if end.state is TrialState.PRUNED]
    assert pruned
    for end in pruned:
        cohort = [n for n in trials if n // 27 == end.number // 27 and ends[n].epochs >= end.epochs]
        assert any(
            trials[n].point.bottleneck <= trials[end.number].point.bottleneck
            and loss(trials[n], end.epochs) <= loss(trials[end.number], end.epochs)
            for n in cohort
            if n != end.number
        )


def test_halving_keeps_a_third_and_the_whole_front() -> None:
    """Six trials, four of them on the front: two end, with their rank and front; of one front by size none ends."""
    values = {0: (4.0, 1.0), 1: (3.0, 2.0), 2: (2.0, 3.0), 3: (1.0, 4.0), 4: (3.5, 2.0), 5: (9.0, 9.0)}
    assert halve_front(values) == {4: (5, 2), 5: (6, 3)}
    assert halve_front({1: (1.0, 1.0), 2: (2.0, 2.0), 3: (3.0, 3.0)}) == {2: (2, 2), 3: (3, 3)}


def test_diverging_trials_do_not_draw_the_sampler() -> None:
    """Codes of length 1 always diverge, and would all stand on the front by their size: TPE proposes fewer of them."""

    def cliff(trial: Trial, epoch: int) -> float:
        return math.nan if trial.point.bottleneck == 1 else loss(trial, epoch)

    trials, ends = play(declared(pruner="none", epochs=1, trials=80, cohort=10), cliff)
    diverged = [ends[n].state is TrialState.DIVERGED for n in sorted(trials)]
    assert any(diverged[:20])
    assert sum(diverged[40:]) <= sum(diverged[:40])


def test_a_long_history_keeps_the_front() -> None:
    """Bounded by front, not by loss alone: of 1,000 trials the sampler sees LIMIT, the whole front among them."""
    points = [((number * 0.618) % 1 + 0.1 * (number % 9), float(number % 9)) for number in range(1000)]
    trials = []
    for number, point in enumerate(points):
        trials.append(create_trial(values=point))
        trials[-1].number = number
    shown = {trial.number for trial in history.bounded(trials)}
    assert len(shown) == history.LIMIT
    assert set(next(fronts(points))) <= shown


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pruner": "median"}, "search.pruner: must be halving or none"),
        ({"pruner": "hyperband"}, "search.pruner: must be halving or none"),
        ({"sampler": "gp"}, "search.sampler: must be tpe, random, sobol or grid"),
        ({"objective": ["bottleneck"]}, r"objective: must be \[val_loss\] \| \[val_loss, bottleneck\]"),
        ({"objective": ["val_loss", "val_loss"]}, "objective: must be"),
        ({"objective": "val_los"}, "did you mean val_loss"),
        ({"objective": []}, "objective: must have at least 1"),
    ],
)
def test_what_cannot_be_with_several_objectives_is_refused(changes: dict[str, object], message: str) -> None:
    """In one sentence, with its key."""
    with pytest.raises(SpecError, match=message):
        declared(**changes)
