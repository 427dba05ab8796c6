"""Where a running study stands, as a caller is shown it a few times a second."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

from tuner.ledger.records import TrialRecord, best_trial
from tuner.orchestration.driver import Tally
from tuner.search.rungs import expected_epochs, final_epochs
from tuner.spec.study import StudySpec
from tuner.spec.work import TrialState

Phase = Literal["preparing data", "training", "confirming", "scoring", "publishing"]
SHOW_SECONDS: Final = 0.2  # between two signs of progress while the winner is scored
RATE_SECONDS: Final = 5.0  # the speed shown is that of the last seconds


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a running study stands.

    `seconds_left` is None until there is a speed to tell it from, `confirmed` (the final stage's runs that are done, of
    all) before the final stage. `detail` says what is being done while the winner is scored.
    """

    name: str
    total: int
    counts: dict[TrialState, int]
    best: float | None
    epochs_per_second: float
    seconds_left: float | None
    waiting: int
    phase: Phase
    confirmed: tuple[int, int] | None = None
    detail: str = ""


@final
class ProgressReporter:
    """Makes `Progress` of what happens, and shows it.

    Args:
        spec: the study's declaration.
        show: called with each.
    """

    def __init__(self, spec: StudySpec, show: Callable[[Progress], None] | None) -> None:
        self._spec, self._show = spec, show or (lambda _: None)
        self._shown_at = time.monotonic()
        self._speed = _Speed()
        self._tally = Tally({}, None, 0)

    def begin(self, trials: Sequence[TrialRecord]) -> None:
        """A study goes on that has these trials; its epochs are counted anew, for the speed is this run's."""
        best = best_trial(trials)
        counts = dict(Counter(trial.state for trial in trials))
        self._tally = Tally(counts, None if best is None else best.value, 0)

    def change(self, tally: Tally) -> None:
        """Something was trained or recorded."""
        self._tally = tally
        self.show("training" if tally.confirmed is None else "confirming")

    def tick(self, what: str) -> None:
        """A step of the scoring."""
        if time.monotonic() - self._shown_at > SHOW_SECONDS:
            self.show("scoring", what)

    def show(self, phase: Phase, detail: str = "", waiting: int = 0) -> None:
        """Show where the study stands.

        Args:
            phase: what is being done.
            detail: more of that.
            waiting: records that MLflow does not have yet.
        """
        self._shown_at = time.monotonic()
        search, tally = self._spec.search, self._tally
        rate = self._speed.of(tally.epochs)
        planned = expected_epochs(search, search.trials, len(self._spec.objective)) + final_epochs(self._spec)
        left = planned - tally.epochs
        if tally.confirmed is not None:
            left = (tally.confirmed[1] - tally.confirmed[0]) * search.epochs
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
            )
        )


class _Speed:
    """Epochs per second over the last few seconds, counted from the first record on: before it, workers start."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def of(self, epochs: int) -> float:
        if epochs == 0:
            return 0.0
        now = time.monotonic()
        self._points.append((now, epochs))
        while now - self._points[0][0] > RATE_SECONDS and len(self._points) > 2:
            self._points.popleft()
        before, then = self._points[0]
        return (epochs - then) / (now - before) if now > before else 0.0
