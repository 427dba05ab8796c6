"""Claims about the bounded history that samplers are shown."""

from __future__ import annotations

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers._tpe.sampler import _split_trials
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.search import history
from tuner.search.history import BEST, LIMIT, BoundedHistory, bounded

SPACE = {"x": FloatDistribution(0, 1)}


def finished(count: int) -> list[FrozenTrial]:
    """Complete and pruned trials, some of them infinitely bad, in no order of value."""
    trials = []
    for number in range(count):
        x = (number * 0.618) % 1
        value = float("inf") if number % 17 == 0 else abs(x - 0.3)
        state = TrialState.PRUNED if number % 3 else TrialState.COMPLETE
        steps = {1: value + 1} if state is TrialState.PRUNED else {1: value + 1, 3: value}
        if number % 5 == 0 and state is TrialState.PRUNED:
            steps[3] = value
        trial = create_trial(
            state=state,
            value=value if state is TrialState.COMPLETE else None,
            params={"x": x},
            distributions=SPACE,
            intermediate_values=steps,
        )
        trial.number = number
        trials.append(trial)
    return trials


def test_a_short_history_is_shown_whole() -> None:
    """Up to the limit every trial, so that such studies are what Optuna alone would make of them."""
    trials = finished(LIMIT)
    assert bounded(trials) == trials


@pytest.mark.parametrize("count", [LIMIT + 1, 1000, 5000])
def test_a_long_history_keeps_its_best_and_a_spread(count: int) -> None:
    """LIMIT trials in order, the ones that TPE takes for the best among them, the others from everywhere."""
    trials = finished(count)
    shown = bounded(trials)
    numbers = [trial.number for trial in shown]
    assert len(set(numbers)) == LIMIT
    assert numbers == sorted(numbers)
    study = optuna.create_study()
    below, _ = _split_trials(study, trials, 25)
    again, _ = _split_trials(study, shown, 25)
    assert [trial.number for trial in again] == [trial.number for trial in below]
    tenth = count / 10
    assert all(any(k * tenth <= n < (k + 1) * tenth for n in numbers) for k in range(10))
    assert BEST >= 25


def proposals(count: int, storage: BoundedHistory | None) -> list[float]:
    """What TPE proposes in cohorts of 10."""
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1), storage=storage)
    found: list[float] = []
    for _ in range(0, count, 10):
        if storage is None:
            asked = [study.ask(SPACE) for _ in range(10)]
        else:
            with storage.asking(study._study_id, True):
                asked = [study.ask(SPACE) for _ in range(10)]
        for trial in asked:
            study.tell(trial, (trial.params["x"] - 0.3) ** 2)
        found += [trial.params["x"] for trial in asked]
    return found


def test_proposals_are_optunas_own_below_the_limit() -> None:
    """Bit for bit the points that Optuna proposes without us; beyond the limit other ones, but of the same quality."""
    plain, ours = proposals(LIMIT + 100, None), proposals(LIMIT + 100, BoundedHistory())
    assert ours[: LIMIT + 10] == plain[: LIMIT + 10]
    assert ours != plain
    assert min(abs(x - 0.3) for x in ours[LIMIT:]) < 0.01


def test_all_is_shown_again_after_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pruners and the caller see every trial."""
    monkeypatch.setattr(history, "LIMIT", 70)
    monkeypatch.setattr(history, "BEST", 30)
    storage = BoundedHistory()
    study = optuna.create_study(storage=storage)
    for trial in finished(100):
        study.add_trial(trial)
    with storage.asking(study._study_id, True):
        assert len(study.get_trials()) == 70
    assert len(study.get_trials()) == 100
    with storage.asking(study._study_id, False):
        assert len(study.get_trials()) == 100


def test_while_asking_finished_trials_are_bounded_and_all_others_are_there() -> None:
    """For every choice of states; the oracle is Optuna's own list, of which the bounded finished trials are kept.
    A trial that is asked for meanwhile is in it, with the parameters that it has got so far."""
    storage = BoundedHistory()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1), storage=storage)
    study.add_trials(finished(LIMIT + 50))
    study.enqueue_trial({"x": 0.5})
    study.enqueue_trial({"x": 0.25})
    choices = [None, (TrialState.COMPLETE,), (TrialState.RUNNING, TrialState.PRUNED), (TrialState.WAITING,)]
    with storage.asking(study._study_id, True):
        asked = [study.ask(SPACE) for _ in range(3)]
        shown = [
            storage.get_all_trials(study._study_id, deepcopy, states)
            for deepcopy in (False, True)
            for states in choices
        ]
    every = study.get_trials(deepcopy=False)
    kept = {trial.number for trial in bounded([trial for trial in every if trial.state.is_finished()])}
    assert [trial.params["x"] for trial in every[-3:]] == [trial.params["x"] for trial in asked]
    assert shown == 2 * [
        [
            trial
            for trial in every
            if (not trial.state.is_finished() or trial.number in kept) and (some is None or trial.state in some)
        ]
        for some in choices
    ]
