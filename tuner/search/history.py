"""A bounded view of a study's past: proposing a trial costs the same after ten thousand as after three hundred.

TPE (Bergstra et al. 2011) splits the finished trials into the best few, at most 25 of them, and the rest, and models
both; its time grows with their number. Here it sees all of them up to LIMIT, and beyond it the BEST and an even spread
over the others: the first model stays as it would be, the second keeps its shape. Which trials those are follows from
what was told alone, so replay proposes the same.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Iterator
from contextlib import contextmanager

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from tuner.spec.pareto import fronts

LIMIT = 300
BEST = 200  # where the optimum is looked for, the second model has to be fine; with 64 results were worse

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class BoundedHistory(InMemoryStorage):
    """Optuna's storage in memory, which shows samplers only so many finished trials while `asking`."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: list[int] | None = None  # ids, by number

    @contextmanager
    def asking(self, study_id: int, bound: bool) -> Iterator[None]:
        """Show the bounded view, if it is to be; nothing may be told meanwhile."""
        if not bound:
            yield
            return
        trials = super().get_all_trials(study_id, deepcopy=False)
        seen = {trial.number for trial in bounded([trial for trial in trials if trial.state in _FINISHED])}
        self._shown = [trial._trial_id for trial in trials if trial.state not in _FINISHED or trial.number in seen]
        try:
            yield
        finally:
            self._shown = None

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """As Optuna's own; a trial that is new while asking is shown."""
        trial_id = super().create_new_trial(study_id, template_trial)
        if self._shown is not None:
            self._shown.append(trial_id)
        return trial_id

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """As Optuna's own, finished trials bounded while asking: in time that does not grow with the study.

        Each proposal asks several times, also for waiting trials, which Optuna finds without looking at all others.
        """
        if self._shown is None or states == (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        trials = [self.get_trial(trial_id) for trial_id in self._shown]
        found = [trial for trial in trials if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found


def bounded(finished: list[FrozenTrial]) -> list[FrozenTrial]:
    """At most LIMIT of the finished trials: the best ones, and an even spread over the others, by number."""
    if len(finished) <= LIMIT:
        return finished
    ranked = sorted(finished, key=rank) if len(finished[0].values or ()) < 2 else _by_front(finished)
    best, others = ranked[:BEST], sorted(ranked[BEST:], key=lambda trial: trial.number)
    count = LIMIT - BEST
    spread = [others[place * len(others) // count] for place in range(count)]
    return sorted([*best, *spread], key=lambda trial: trial.number)


def _by_front(finished: list[FrozenTrial]) -> list[FrozenTrial]:
    """As TPE ranks with two objectives: by front; then by number, where TPE measures hypervolumes."""
    points = [(float(trial.values[0]), float(trial.values[1])) for trial in finished]
    return [finished[i] for front in fronts(points) for i in sorted(front)]


def rank(trial: FrozenTrial) -> tuple[int, float, float, int]:
    """As TPE ranks: complete trials by their value, then pruned ones by how far they came and how well they stood."""
    if trial.state is TrialState.COMPLETE:
        return 0, 0.0, float(trial.values[0]), trial.number
    step, value = max(trial.intermediate_values.items(), default=(0, float("inf")))
    return 1, -float(step), value, trial.number
