"""Makes progress of what a run does, and shows it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import final

from tuner.execution.base import Alive
from tuner.ledger.records import TrialRecord, best_trial
from tuner.orchestration.driver import Tally
from tuner.orchestration.progress import Phase, Progress, Speed
from tuner.search.final_budget import final_amount
from tuner.search.rungs import expected_amount
from tuner.spec.defaults import rules_of
from tuner.spec.length import Length
from tuner.spec.study import StudySpec

SHOW_SECONDS = 0.2  # between two signs of progress while data is prepared or the winner scored


@final
class ProgressReporter:
    """The state of one run.

    Args:
        spec: the study's declaration.
        show: called with each progress.
    """

    def __init__(self, spec: StudySpec, show: Callable[[Progress], None]) -> None:
        self._spec, self._show = spec, show
        self._shown_at = time.monotonic()
        self._speed = Speed()
        self._tally = Tally({}, None, 0)
        self._rules = rules_of(spec)
        self._length: Length | None = None

    def begin(self, trials: Sequence[TrialRecord], rules: int) -> None:
        """A study of these rules and trials goes on; its epochs are counted anew, for the speed is this run's."""
        self._rules, best = rules, best_trial(trials)
        counts = dict(Counter(trial.state for trial in trials))
        self._tally = Tally(counts, None if best is None else best.value, 0)

    def sized(self, length: Length) -> None:
        """How long the study's trials train is known."""
        self._length = length

    def extend(self, spec: StudySpec) -> None:
        """The run goes on with a larger budget."""
        self._spec = spec

    def change(self, tally: Tally, alive: Alive) -> None:
        """Something was trained or recorded, by so many workers."""
        self._tally = tally
        self.show("training" if tally.confirmed is None else "confirming", alive=alive)

    def tick(self, what: str, phase: Phase = "scoring") -> None:
        """A step of what takes long beside the training."""
        if time.monotonic() - self._shown_at > SHOW_SECONDS:
            self.show(phase, what)

    def show(self, phase: Phase, detail: str = "", waiting: int = 0, alive: Alive | None = None) -> None:
        """Show the state of the study.

        Args:
            phase: what is being done.
            detail: more of that.
            waiting: records that MLflow does not have yet.
            alive: what is there to train; None while nothing is trained.
        """
        self._shown_at = time.monotonic()
        search, tally = self._spec.search, self._tally
        rate = self._speed.of(tally.amount)
        left = 0.0 if self._length is None else self._left(self._length)
        self._show(
            Progress(
                self._spec.name,
                search.trials,
                tally.counts,
                tally.best,
                rate,
                max(0, left) / rate if rate > 0 else None,
                waiting,
                phase,
                tally.confirmed,
                detail,
                unit="epochs" if self._length is None else self._length.unit,
                slots=None if alive is None else alive.slots,
                nodes=None if alive is None else alive.nodes,
                room=None if alive is None else alive.room,
            )
        )

    def _left(self, length: Length) -> float:
        """Epochs or steps that are left to train, an upper bound where trials train until their losses are flat."""
        if self._tally.confirmed is not None:
            done, of = self._tally.confirmed
            longest = self._tally.longest
            each = length.amount(length.plan.intervals) if longest is None else length.of_final.amount(longest)
            return (of - done) * each
        planned = expected_amount(self._spec.search, length, self._spec.search.trials, len(self._spec.objective))
        return planned + final_amount(self._spec, length, self._rules) - self._tally.amount
