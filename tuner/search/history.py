"""A bounded view of a study's past: proposing a trial costs the same after ten thousand as after three hundred.

TPE (Bergstra et al. 2011) splits the finished trials into the best few, at most 25 of them, and the rest, and models
both; its time grows with their number. Here it sees all of them up to LIMIT, and beyond it the BEST and an even spread
over the others: the first model stays as it would be, the second keeps its shape. Which trials those are follows from
what was told alone, so replay proposes the same.
"""

from __future__ import annotations

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
        self._seen: set[int] | None = None

    @contextmanager
    def asking(self, study_id: int, bound: bool) -> Iterator[None]:
        """Show the bounded view, if it is to be; nothing may be told meanwhile."""
        if not bound:
            yield
            return
        finished = super().get_all_trials(study_id, deepcopy=False, states=_FINISHED)
        self._seen = {trial.number for trial in bounded(finished)}
        try:
            yield
        finally:
            self._seen = None

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """As Optuna's own, finished trials bounded while asking."""
        trials = super().get_all_trials(study_id, deepcopy, states)
        if self._seen is None:
            return trials
        return [trial for trial in trials if trial.state not in _FINISHED or trial.number in self._seen]


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
