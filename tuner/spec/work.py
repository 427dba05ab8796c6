"""The words that the rooms speak to each other in: trials, segments of training, and what comes back."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from tuner.spec.architecture import Hyperparameters


class TrialState(StrEnum):
    """The state of a trial."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    FAILED = "failed"
    INFEASIBLE = "infeasible"


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial's training depends on, apart from the data: law 1.

    Attributes:
        number: place in the study, counted from 0.
        point: the hyperparameters.
        seed: the only source of the trial's randomness, 0 <= seed < 2**63.
    """

    number: int
    point: Hyperparameters
    seed: int


class Slice(NamedTuple):
    """Optimizer steps `first` (counted from 0) to `last` (left out) of an epoch (counted from 1)."""

    epoch: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What a whole training is planned by, whichever segment of it a pack trains.

    A training is cut into intervals, counted from 1; at the end of each the validation loss is measured. Segments,
    curves, checkpoints and rungs count intervals. An interval is an epoch, unless the plan says otherwise.

    Attributes:
        intervals: of a trial that is never pruned; where its length follows from its losses, the most there can be.
        thirds: how often the first epoch is divided by three: with 2, intervals end after a ninth of it, a third and
            all of it. These are the same rows for all batch sizes, to one batch.
        steps: optimizer steps in all, which the intervals cut into equal parts, whatever the batch size; None where
            they are epochs.
    """

    intervals: int
    thirds: int = 0
    steps: int | None = None

    def done(self, interval: int, steps: int) -> int:
        """Optimizer steps that a trial with so many `steps` an epoch has taken when an interval ends."""
        if self.steps is not None:
            return self.steps * interval // self.intervals
        if interval <= self.thirds:
            return 0 if interval == 0 else steps // 3 ** (self.thirds + 1 - interval)
        return (interval - self.thirds) * steps

    def total(self, steps: int) -> int:
        """Optimizer steps of the whole training."""
        return self.done(self.intervals, steps)

    def lengthened(self, intervals: int) -> TrainingPlan:
        """Of so many intervals as long as these: whole epochs, or as many steps each."""
        if self.steps is None:
            return TrainingPlan(intervals)
        return TrainingPlan(intervals, steps=self.steps * intervals // self.intervals)

    def slices(self, interval: int, steps: int) -> list[Slice]:
        """An interval's steps, epoch by epoch, of a trial with so many `steps` an epoch."""
        at, end = self.done(interval - 1, steps), self.done(interval, steps)
        cuts = [at, *range((at // steps + 1) * steps, end, steps), end]
        return [
            Slice(first // steps + 1, first % steps, (last - 1) % steps + 1)
            for first, last in pairwise(cuts)
            if first < last
        ]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trial's whole training state after some interval, as a safetensors file.

    Attributes:
        path: the file.
        sha256: hexadecimal digest of the file's bytes.
        epoch: intervals of its plan (`TrainingPlan`) that were trained: epochs, unless that says otherwise.
    """

    path: str
    sha256: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Curve:
    """What one trial measured in one segment; its epochs are the intervals of a `TrainingPlan`.

    Attributes:
        number: the trial.
        first: epochs trained before the segment; the curve's first entry is epoch `first + 1`.
        train_loss: mean training loss of each epoch, over its batches as they were trained.
        val_loss: loss over the whole validation split after each epoch.
        at: when each was measured, Unix time in seconds.
        diverged: the last epoch's loss is not finite, and the trial ended there.
        checkpoint: the state after the last epoch; None for a trial that diverged.
        measures: of a trial that came to the study's last epoch, what its code is worth, by name; finite numbers.
        unmeasured: why a measure that applies to the trial has no number, by name: its arithmetic failed.
        before: validation loss before the first epoch, of a trial that starts at a solution; else None.
    """

    number: int
    first: int
    train_loss: tuple[float, ...]
    val_loss: tuple[float, ...]
    at: tuple[float, ...]
    diverged: bool
    checkpoint: Checkpoint | None
    measures: Mapping[str, float] = field(default_factory=dict)
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    before: float | None = None

    @property
    def last(self) -> int:
        """Epochs trained when the curve ends."""
        return self.first + len(self.val_loss)

    @property
    def lowest(self) -> float:
        """The lowest finite validation loss after an epoch: what a trial is ranked by, for many may start alike.

        Infinity where there is none.
        """
        return lowest(self.val_loss)[0]

    @property
    def best(self) -> tuple[float, int | None]:
        """The lowest finite validation loss and its epoch, the first of equals; (infinity, None) where there is none.

        Epoch 0 is the solution that the trial starts at, where it starts at one.
        """
        return lowest(self.val_loss, self.before, self.first)

    def joined(self, new: Curve) -> Curve:
        """This curve and the one that goes on from it."""
        return Curve(
            self.number,
            self.first,
            self.train_loss + new.train_loss,
            self.val_loss + new.val_loss,
            self.at + new.at,
            new.diverged,
            new.checkpoint,
            before=self.before,
        )

    def until(self, epoch: int) -> Curve:
        """The curve as it stood after that epoch."""
        if self.last <= epoch:
            return self
        kept = epoch - self.first
        train_loss, val_loss = self.train_loss[:kept], self.val_loss[:kept]
        return replace(self, train_loss=train_loss, val_loss=val_loss, at=self.at[:kept], diverged=False)


@dataclass(frozen=True, slots=True)
class Segment:
    """The unit of work, of recording and of retry: train the trials of a pack from interval `first` to `last`.

    Attributes:
        plan: of these trials' whole training, where that is not the study's: in the final stage.
        lowest: where their length follows from their losses: number and lowest loss so far of those that have one.
    """

    trials: tuple[Trial, ...]
    first: int
    last: int
    plan: TrainingPlan | None = None
    lowest: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class SegmentResult:
    """What came of a segment.

    Attributes:
        curves: one per trial that was trained, in the segment's order.
        seconds: what it took.
        worker: who did it.
        infeasible: the other trials, each with the reason why it cannot be trained here.
    """

    curves: tuple[Curve, ...]
    seconds: float
    worker: str
    infeasible: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TrialEnd:
    """How a trial ended.

    Attributes:
        number: the trial.
        state: anything but RUNNING.
        value: the best epoch's validation loss; None where no epoch was finite.
        best_epoch: that epoch, counted from 1; 0 for the solution that the trial starts at; None where none was finite.
        epochs: epochs trained.
        reason: one sentence for any state but COMPLETE, else empty.
    """

    number: int
    state: TrialState
    value: float | None
    best_epoch: int | None
    epochs: int
    reason: str


def lowest(losses: Sequence[float], before: float | None = None, first: int = 0) -> tuple[float, int | None]:
    """The lowest finite loss and its epoch, the first of equals; (infinity, None) where there is none.

    Args:
        losses: after epochs `first + 1`, `first + 2`, ...
        before: after epoch 0, of a trial that starts at a solution.
        first: epochs before those.
    """
    known = [] if before is None else [(before, 0)]
    known += [(loss, epoch) for epoch, loss in enumerate(losses, start=first + 1)]
    finite = [(loss, epoch) for loss, epoch in known if math.isfinite(loss)]
    return min(finite) if finite else (math.inf, None)


def derive_seed(seed: int, *names: str | int) -> int:
    """A seed below 2**63 for the thing of that name, drawn from a study's seed.

    SHA-256 of the path of names, so that no draw depends on how many others there are or in which order.
    """
    path = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") >> 1
