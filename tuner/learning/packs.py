"""Which kind of pack trains where: the compiled step on the CPU, the stack of tensors on anything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tuner.learning.checkpoint import TrialTraining
from tuner.learning.native.library import library
from tuner.learning.native.pack import NativePack
from tuner.learning.pack import Epoch, Pack, TrainingData
from tuner.spec.work import Trial


class TrainablePack(Protocol):
    """Some trials that stand at the same epoch and are trained together.

    Attributes:
        trials: in no particular order.
        numbers: their numbers, in the order in which they were given.
        epoch: epochs trained.
    """

    trials: list[Trial]
    numbers: list[int]
    epoch: int

    def train_epoch(self) -> Epoch:
        """Train every trial one epoch, then measure the validation loss."""

    def states(self) -> list[TrialTraining]:
        """Each trial's whole state, in the order in which the trials were given."""


def make_pack(
    trials: Sequence[Trial], data: TrainingData, loss: str, states: Sequence[TrialTraining] | None = None
) -> TrainablePack:
    """A pack for where the data lies.

    Args:
        trials: at least one; on anything but the CPU all of one `pack_key`.
        data: both splits on the device.
        loss: `mse` or `bce`.
        states: the trials' states after the same number of epochs; None to start them.
    """
    step = library() if data.train_NF.device.type == "cpu" else None
    return Pack(trials, data, loss, states) if step is None else NativePack(step, trials, data, loss, states)
