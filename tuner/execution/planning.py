"""How segments are cut, and how long one may be silent: the same for every executor."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final, final

from tuner.execution.context import Workplace
from tuner.learning.compiled import planner as compiled_planner
from tuner.learning.stacked import planner
from tuner.spec.work import Segment, SegmentResult, Trial

LEAST_PATIENCE: Final = 60.0  # seconds without a sign of life that no worker is ended for
LATE: Final = 20.0  # a segment is taken to hang after so many times one epoch's estimate, scaled by measured speed
LATE_UNMEASURED: Final = 1000.0  # before anything was measured on this machine


@final
class SegmentPlanner:
    """Cuts trials into packs, and estimates what a segment takes.

    Args:
        place: what the study's segments share.
        workers: how many of them train at once; 0 for this process.
    """

    def __init__(self, place: Workplace, workers: int) -> None:
        self._place, self._workers = place, workers
        self._slowness: float | None = None  # the most that a segment took of its estimate

    def resize(self, workers: int) -> None:
        """From now on so many train at once."""
        self._workers = workers

    def plan(self, trials: Sequence[Trial], epochs: int) -> list[tuple[Trial, ...]]:
        """Cut trials into packs, longest first."""
        features, (train, validation, _) = self._place.rows.features, self._place.rows.counts
        if self._place.compiled:
            return compiled_planner.plan(trials, features, (train, validation), epochs, self._workers)
        if self._place.device == "cpu":
            return planner.plan(trials, features, train, epochs, self._workers)
        return planner.deal(trials, features, train, self._workers)

    def patience(self, segment: Segment) -> float:
        """Seconds without a sign of life after which a segment is taken to hang: an epoch is such a sign."""
        late = LATE_UNMEASURED if self._slowness is None else LATE * self._slowness
        return LEAST_PATIENCE + late * self._estimate(segment.trials, 1)

    def measure(self, segment: Segment, done: Future[SegmentResult]) -> None:
        """Learn from a segment that was trained how fast this machine is."""
        if not done.cancelled() and done.exception() is None:
            slowness = done.result().seconds / self._estimate(segment.trials, segment.last - segment.first)
            self._slowness = max(self._slowness or 0.0, slowness)

    def _estimate(self, trials: Sequence[Trial], epochs: int) -> float:
        """Seconds by the model of cost, which was fitted on another machine."""
        features, (train, validation, _) = self._place.rows.features, self._place.rows.counts
        if self._place.compiled:
            return sum(compiled_planner.seconds(trial, features, (train, validation), epochs) for trial in trials)
        return sum(planner.seconds([trial], features, train, epochs) for trial in trials)
