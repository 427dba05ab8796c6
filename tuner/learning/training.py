"""Training a pack from one epoch to another: the curves that a segment is recorded by."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tuner.learning.checkpoint import TrialTraining, plain_weights
from tuner.learning.epoch import Epoch
from tuner.learning.folding import folded
from tuner.learning.packs import TrainablePack, make_pack, reproducibly
from tuner.learning.rows import PaddedRows
from tuner.spec.architecture import Architecture
from tuner.spec.length import Length
from tuner.spec.work import Curve, TrainingPlan, Trial

if TYPE_CHECKING:
    from tuner.learning.stacked.training_data import TrainingData


def train(pack: TrainablePack, last: int, on_epoch: Callable[[int], object] | None = None) -> list[Curve]:
    """Train until `last` epochs are done, or until every trial has diverged.

    A non-finite training or validation loss ends its trial's curve at that epoch; the others go on untouched.

    Args:
        pack: started or restored.
        last: epochs in all.
        on_epoch: called after each epoch with its number.

    Returns:
        One curve per trial, in the order in which the pack was given them, without checkpoints.
    """
    record = Record(pack)
    while pack.epoch < last and not record.all_diverged:
        record.add(pack.train_epoch())
        if on_epoch is not None:
            on_epoch(pack.epoch)
    return record.curves()


class Record:
    """The curves of a pack's trials as they grow.

    Args:
        pack: before the segment's first epoch.
    """

    def __init__(self, pack: TrainablePack) -> None:
        self._first, self._numbers, self._before = pack.epoch, pack.numbers, pack.before
        self._points: list[list[tuple[float, float, float]]] = [[] for _ in self._numbers]
        self._diverged = [False] * len(self._numbers)

    @property
    def all_diverged(self) -> bool:
        """Whether no trial is left to train."""
        return all(self._diverged)

    def add(self, epoch: Epoch) -> None:
        """Take an epoch; the first loss that is not finite ends its trial's curve."""
        for m, (train_loss, val_loss) in enumerate(zip(epoch.train_loss, epoch.val_loss, strict=True)):
            if not self._diverged[m]:
                self._points[m].append((train_loss, val_loss, epoch.at))
                self._diverged[m] = not (math.isfinite(train_loss) and math.isfinite(val_loss))

    def curves(self) -> list[Curve]:
        """One per trial, in the order in which the pack was given them, without checkpoints."""
        rows = zip(self._numbers, self._points, self._diverged, self._before, strict=True)
        return [
            replace(_curve(number, self._first, points, diverged), before=before)
            for number, points, diverged, before in rows
        ]


def _curve(number: int, first: int, points: list[tuple[float, float, float]], diverged: bool) -> Curve:
    train_loss, val_loss, at = zip(*points, strict=True)
    return Curve(number, first, train_loss, val_loss, at, diverged, None)


def train_to_its_end(
    trial: Trial,
    data: PaddedRows | TrainingData,
    loss: str,
    length: Length,
    on_epoch: Callable[[int], object] | None = None,
) -> Trained:
    """As `train_alone`, for as long as a trial of a study that is never pruned is trained."""
    with reproducibly(data):
        pack = make_pack([trial], data, loss, length.plan)
        (curve,) = train(pack, length.top, on_epoch)
        first = length.rungs[-2] if length.rungs[1:] else 0
        while not curve.diverged and not length.is_complete(curve.last, curve.until(first).lowest, curve.lowest):
            first = curve.last
            (more,) = train(pack, length.following(first), on_epoch)
            curve = curve.joined(more)
        (state,) = pack.states()
    return _ended(trial, data, curve, state)


@dataclass(frozen=True, slots=True)
class Trained:
    """One trial trained alone: its curve, and the best epoch's weights for scaled rows by the plain module's names."""

    curve: Curve
    weights: dict[str, NDArray[np.float32]]


def train_alone(
    trial: Trial,
    data: PaddedRows | TrainingData,
    loss: str,
    epochs: int,
    on_epoch: Callable[[int], object] | None = None,
    plan: TrainingPlan | None = None,
) -> Trained:
    """Train one trial from its start: the same bits as in any pack of any study (law 1).

    Args:
        trial: the trial.
        data: both splits.
        loss: `mse` or `bce`.
        epochs: how many are trained.
        on_epoch: called after each epoch with its number.
        plan: of the whole training; by default it has as many epochs as are trained.
    """
    with reproducibly(data):
        pack = make_pack([trial], data, loss, plan or TrainingPlan(epochs))
        (curve,) = train(pack, epochs, on_epoch)
        (state,) = pack.states()
    return _ended(trial, data, curve, state)


def _ended(trial: Trial, data: PaddedRows | TrainingData, curve: Curve, state: TrialTraining) -> Trained:
    shape = Architecture.of(data.features, trial.point)
    return Trained(curve, folded(plain_weights(state.best, shape), shape, data.start))
