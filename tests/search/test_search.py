"""Claims about the search, with made-up losses: it knows nothing of training."""

from __future__ import annotations

import math
from dataclasses import replace

import optuna
import pytest
from searches import curve, play, spec, valley

from tuner.search import history
from tuner.search.lengths import declared_length
from tuner.search.loop import end_of, quiet_optuna
from tuner.search.rebuild import optuna_study
from tuner.search.rungs import cohort_size, expected_amount, halve, records
from tuner.search.samplers import distributions, make_sampler
from tuner.spec.study import StudySpec
from tuner.spec.work import Curve, Trial, TrialEnd, TrialState


@pytest.mark.parametrize("pruner", ["halving", "hyperband", "median", "none"])
@pytest.mark.parametrize("sampler", ["tpe", "random", "sobol"])
def test_the_same_spec_gives_the_same_trials(sampler: str, pruner: str) -> None:
    """Law 2: two searches that are told the same ask and end the same trials; every trial ends."""
    declared = spec(sampler=sampler, pruner=pruner)
    first, second = play(declared), play(declared)
    assert first == second
    assert sorted(first[1]) == list(range(30))


@pytest.mark.parametrize("pruner", ["halving", "hyperband", "median", "none"])
def test_the_name_of_a_study_changes_nothing(pruner: str) -> None:
    """Law 2: whoever gives the same declaration another name gets the same trials, pruned at the same epochs."""
    declared = spec(sampler="tpe", pruner=pruner)
    assert play(declared) == play(declared.model_copy(update={"name": "another-name"}))


def test_hyperband_draws_brackets_from_the_seed() -> None:
    """Where every trial has the same losses, another seed prunes other trials."""

    def epochs(seed: int) -> list[int]:
        _, ends = play(spec(sampler="random", pruner="hyperband", seed=seed), lambda trial, _: trial.number % 7)
        return [ends[number].epochs for number in sorted(ends)]

    assert epochs(1) != epochs(2)


def test_a_study_with_rules_1_is_pruned_as_it_was() -> None:
    """Epochs that hyperband gave these 30 trials before a study recorded its rules: by the study's name."""
    declared = spec(sampler="random", pruner="hyperband")
    _, ends = play(declared, rules=1)
    before = [27, 27, 1, 27, 3, 1, 1, 27, 3, 1, 1, 1, 1, 1, 3, 1, 27, 27, 3, 3, 3, 27, 3, 27, 3, 1, 1, 27, 3, 9]
    assert [ends[number].epochs for number in sorted(ends)] == before
    assert play(declared.model_copy(update={"name": "another-name"}), rules=1)[1] != ends


def test_another_seed_gives_other_trials() -> None:
    """The sampler's randomness comes from the study's seed."""
    assert play(spec(sampler="random"))[0] != play(spec(sampler="random", seed=1))[0]


def test_gp_proposes_and_repeats_itself() -> None:
    """The Gaussian-process sampler works behind cohorts, too."""
    declared = spec(sampler="gp", trials=14, cohort=7, pruner="none", epochs=2)
    assert play(declared) == play(declared)


def test_grid_visits_every_point_once() -> None:
    """A grid of 2 x 3 x 2 points in 12 trials: each point once."""
    space = {
        "learning_rate": {"type": "categorical", "choices": [1e-3, 1e-2]},
        "width": {"type": "int", "low": 16, "high": 48, "step": 16},
        "weight_decay": {"type": "float", "low": 0.0, "high": 0.1, "step": 0.1},
        "bottleneck": 4,
    }
    trials, ends = play(spec(space=space, sampler="grid", trials=12, cohort=5))
    points = {(t.point.learning_rate, t.point.width, t.point.weight_decay) for t in trials.values()}
    assert len(points) == len(ends) == 12


def test_grid_visits_every_point_once_however_many_there_are() -> None:
    """Beyond the limit of the history that other samplers are shown, too: 400 points in 400 trials."""
    space = {
        "learning_rate": {"type": "categorical", "choices": [1e-3 * n for n in range(1, 21)]},
        "width": {"type": "int", "low": 16, "high": 35},
        "bottleneck": 4,
    }
    declared = spec(space=space, sampler="grid", trials=400, cohort=10, pruner="none", epochs=1)
    assert declared.search.trials >= history.LIMIT + 100
    trials, _ = play(declared)
    assert len({(one.point.learning_rate, one.point.width) for one in trials.values()}) == 400


def optunas_own(declared: StudySpec) -> list[dict[str, object]]:
    """What Optuna proposes in the same cohorts with a storage of its own, where every trial has one epoch."""
    with quiet_optuna():
        study, searched = optuna.create_study(sampler=make_sampler(declared)), distributions(declared.space)
        while left := declared.search.trials - len(study.trials):
            asked = [study.ask(searched) for _ in range(min(left, cohort_size(declared.search)))]
            for one in asked:
                study.tell(one, (math.log10(one.params["learning_rate"]) + 2) ** 2 + 1)
    return [one.params for one in study.trials]


@pytest.mark.parametrize(("sampler", "size", "limit"), [("tpe", 60, 30), ("gp", 14, 11)])
def test_the_search_shows_its_sampler_a_bounded_history(
    sampler: str, size: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit Optuna's own proposals as long as there are no more trials than the limit, then other ones."""
    declared = spec(sampler=sampler, pruner="none", epochs=1, trials=size, cohort=12)
    plain, same = optunas_own(declared), 12 * (limit // 12 + 1)

    def proposed() -> list[dict[str, object]]:
        trials, _ = play(declared)
        return [{name: trials[n].point.as_dict()[name] for name in plain[0]} for n in sorted(trials)]

    assert size < history.LIMIT
    assert proposed() == plain
    monkeypatch.setattr(history, "LIMIT", limit)
    monkeypatch.setattr(history, "BEST", limit // 2)
    bounded = proposed()
    assert bounded[:same] == plain[:same]
    assert all(one != other for one, other in zip(bounded[same:], plain[same:], strict=True))


def test_halving_lets_a_third_climb_by_validation_loss() -> None:
    """27 trials: 18 end at the first rung, 6 at the second, 2 at the third, and the best one is complete."""
    trials, ends = play(spec(trials=27, sampler="random"))
    by_epochs = {epochs: sum(end.epochs == epochs for end in ends.values()) for epochs in (1, 3, 9, 27)}
    assert by_epochs == {1: 18, 3: 6, 9: 2, 27: 1}
    (winner,) = [end for end in ends.values() if end.state is TrialState.COMPLETE]
    assert winner.number == min(trials, key=lambda number: valley(trials[number], 27))
    assert sum(end.epochs for end in ends.values()) == expected_amount(
        spec().search, declared_length(spec().search), 27
    )


def test_halving_ranks_equals_by_number() -> None:
    """Nothing but value and number decides; at least one climbs."""
    assert halve({3: 1.0, 1: 1.0, 2: 1.0}) == {2: 2, 3: 3}
    assert halve({7: 5.0}) == {}
    assert halve({4: 2.0, 5: 1.0}) == {4: 2}


@pytest.mark.parametrize("pruner", ["hyperband", "median"])
def test_optunas_pruners_end_weak_trials_early(pruner: str) -> None:
    """Some trials end before the last epoch, none of them the best, and all end at a rung."""
    declared = spec(pruner=pruner, trials=60, sampler="random")
    trials, ends = play(declared)
    pruned = {n for n, end in ends.items() if end.state is TrialState.PRUNED}
    assert 5 < len(pruned) < 60
    assert min(trials, key=lambda n: valley(trials[n], 27)) not in pruned
    assert {end.epochs for end in ends.values()} <= set(declared_length(declared.search).rungs)


def test_without_a_pruner_every_trial_runs_to_the_end() -> None:
    """`none` prunes nothing, however it is cut into rounds."""
    _, ends = play(spec(pruner="none", epochs=120))
    assert {(end.state, end.epochs) for end in ends.values()} == {(TrialState.COMPLETE, 120)}


def test_a_diverged_trial_ends_with_its_reason_and_its_best_finite_epoch() -> None:
    """Divergence in epoch 3 leaves the value of epoch 2."""
    _, ends = play(spec(pruner="none", trials=1), lambda trial, epoch: 1 / epoch if epoch < 3 else math.nan)
    assert ends[0] == TrialEnd(0, TrialState.DIVERGED, 0.5, 2, 3, "the training loss was not finite in epoch 3")


@pytest.mark.parametrize(("sampler", "size"), [("tpe", 60), pytest.param("gp", 30, marks=pytest.mark.long)])
def test_the_sampler_learns_to_avoid_divergence(sampler: str, size: int) -> None:
    """Where every rate above 1e-2 diverges at once, later cohorts propose far fewer such rates than the first ones."""

    def cliff(trial: Trial, epoch: int) -> float:
        return math.inf if trial.point.learning_rate > 1e-2 else (math.log10(trial.point.learning_rate) + 4) ** 2

    trials, ends = play(spec(sampler=sampler, pruner="none", epochs=1, trials=size, cohort=size // 6), cliff)
    diverged = [ends[number].state is TrialState.DIVERGED for number in sorted(trials)]
    third = size // 3
    assert sum(diverged[:third]) >= third / 4
    assert sum(diverged[-third:]) <= sum(diverged[:third]) / 2


def test_search_is_better_than_chance() -> None:
    """TPE's best of 60 trials is nearer to the optimum than random search's, for most of five seeds."""

    def lowest(sampler: str, seed: int) -> float:
        _, ends = play(spec(sampler=sampler, seed=seed, trials=60, pruner="none", epochs=1, cohort=8))
        return min(end.value for end in ends.values() if end.value is not None)

    assert sum(lowest("tpe", seed) < lowest("random", seed) for seed in range(5)) >= 3


def test_a_pinned_trial_seed_is_every_trials() -> None:
    """`trial_seed` replaces the seeds that differ by trial."""
    assert {t.seed for t in play(spec(trial_seed=7))[0].values()} == {7}
    assert len({t.seed for t in play(spec())[0].values()}) == 30


def test_the_rebuilt_study_is_what_optuna_would_have_kept() -> None:
    """Values, states, parameters and intermediate values survive; importances can be computed."""
    declared = spec(sampler="random")
    trials, ends = play(declared)

    class Record:
        def __init__(self, end: TrialEnd) -> None:
            self.number, self.point = end.number, trials[end.number].point
            self.state, self.value = end.state, end.value

    curves = {n: curve(trials[n], end.epochs, valley) for n, end in ends.items()}
    study = optuna_study(declared, [Record(ends[n]) for n in sorted(ends)], curves)
    assert [t.number for t in study.trials] == list(range(30))
    assert study.best_value == min(
        e.value for e in ends.values() if e.state is TrialState.COMPLETE and e.value is not None
    )
    assert study.trials[4].intermediate_values == dict(enumerate(curves[4].val_loss, start=1))
    assert study.trials[4].params.keys() == {"learning_rate", "width", "activation"}
    assert optuna.importance.get_param_importances(study)


def test_best_is_the_first_of_equals() -> None:
    """A curve's best epoch counts from 1 and skips what is not finite; 0 is the solution that it starts at."""
    assert Curve(0, 0, (1.0,) * 4, (3.0, math.nan, 2.0, 2.0), (0.0,) * 4, True, None).best == (2.0, 3)
    assert Curve(0, 0, (1.0,), (math.nan,), (0.0,), True, None).best == (math.inf, None)
    started = Curve(0, 0, (1.0,) * 2, (3.0, 2.0), (0.0,) * 2, False, None, before=2.0)
    assert (started.best, started.lowest) == ((2.0, 0), 2.0)
    assert replace(started, val_loss=(math.nan,) * 2).best == (2.0, 0)


def test_a_run_that_is_compared_with_no_other_ends_as_its_curve_does() -> None:
    """Whole, diverged, or given up with what it had; nothing at all is a failure too."""
    whole = Curve(7, 0, (3.0, 2.0), (0.5, 0.25), (1.0, 2.0), False, None)
    diverged = Curve(7, 0, (3.0, 2.0), (0.5, math.inf), (1.0, 2.0), True, None)
    lost = (TrialState.INFEASIBLE, "too large")
    assert end_of(7, whole, None) == TrialEnd(7, TrialState.COMPLETE, 0.25, 2, 2, "")
    reason = "the validation loss was not finite in epoch 2"
    assert end_of(7, diverged, None) == TrialEnd(7, TrialState.DIVERGED, 0.5, 1, 2, reason)
    assert end_of(7, whole, lost) == TrialEnd(7, TrialState.INFEASIBLE, 0.25, 2, 2, "too large")
    assert end_of(7, None, lost) == TrialEnd(7, TrialState.INFEASIBLE, None, None, 0, "too large")


def test_a_run_of_the_final_stage_is_recorded_every_so_often() -> None:
    """However it is pruned in the search."""
    assert records(50) == (50,)
    assert records(120) == (50, 100, 120)
