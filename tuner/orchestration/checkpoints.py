"""Which states a run keeps: those that a trial goes on from, and of the trials that ended the best few's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from tuner.execution.base import Workers
from tuner.spec.work import Checkpoint, Segment, TrialEnd, TrialState

KEPT: Final = 2  # states of a running trial
LEADERS: Final = 3  # trials that ended and keep their state: MLflow shows what they make of some rows


@final
class KeptCheckpoints:
    """The states of one run's trials.

    Args:
        workers: they know where the states are stored.
        kept: each trial's newest, at most `KEPT`, the newest first.
    """

    def __init__(self, workers: Workers, kept: dict[int, tuple[Checkpoint, ...]]) -> None:
        self._workers, self._kept = workers, kept
        self._leaders: list[tuple[float, int]] = []  # the best trials that ended, by value

    @property
    def best(self) -> float | None:
        """The best value that a trial ended with."""
        return self._leaders[0][0] if self._leaders else None

    def lead(self, value: float, number: int) -> None:
        """The best trial of a search that was not replayed; it leads where no other does."""
        self._leaders = self._leaders or [(value, number)]

    def of(self, segment: Segment) -> list[Sequence[Checkpoint]]:
        """The states that a segment's trials may go on from."""
        return [self._kept.get(trial.number, ()) for trial in segment.trials]

    def add(self, number: int, checkpoint: Checkpoint) -> None:
        """Keep the newest state and the one before it, should the newest turn out damaged."""
        self._keep(number, (checkpoint, *self._kept.get(number, ())), KEPT)

    def end(self, end: TrialEnd) -> None:
        """Of the trials that ended the best few's states are worth their space: any other can be trained again."""
        before = {end.number, *(number for _, number in self._leaders)}
        if end.state is TrialState.COMPLETE and end.value is not None:
            self._leaders = sorted([*self._leaders, (end.value, end.number)])[:LEADERS]
        leading = {number for _, number in self._leaders}
        for number in before:
            self._keep(number, self._kept.get(number, ()), 1 if number in leading else 0)

    def _keep(self, number: int, checkpoints: Sequence[Checkpoint], most: int) -> None:
        self._kept[number] = tuple(checkpoints[:most])
        if checkpoints[most:]:
            self._workers.checkpoints.remove(checkpoints[most:])
