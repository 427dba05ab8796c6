"""The best trial's weights: from its checkpoint, or trained again to the same bits where that is gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tuner.data.linear_start import LinearStart
from tuner.learning.folding import best_weights
from tuner.learning.rows import PaddedRows
from tuner.learning.training import train_alone
from tuner.spec.final import is_final
from tuner.spec.work import TrainingPlan, Trial

if TYPE_CHECKING:
    from tuner.learning.stacked.training_data import TrainingData
    from tuner.ledger.records import TrialRecord


def plan_of(study: TrainingPlan, record: TrialRecord) -> TrainingPlan:
    """What the whole training of a trial, or of a run of the final stage, was planned by.

    A complete run of the final stage was trained for all of the length that was recorded before its first step; a trial
    that the search ended early was a part of a training as long as the study's.
    """
    return study.lengthened(record.epochs) if is_final(record.number) else study


def winner_weights(  # noqa: PLR0913 - all that training is a function of
    trial: Trial,
    epochs: int,
    state: bytes | None,
    data: Callable[[], PaddedRows | TrainingData],
    loss: str,
    on_epoch: Callable[[int], object] | None = None,
    *,
    plan: TrainingPlan,
    start: LinearStart | None,
) -> dict[str, NDArray[np.float32]]:
    """The weights of a trial's best epoch for scaled rows, by the plain module's names.

    Args:
        trial: the winner.
        epochs: epochs that it was trained.
        state: its newest state as a store keeps it, if there is one.
        data: gives what it is trained on, where it has to be trained again.
        loss: `mse` or `bce`.
        on_epoch: called after each epoch of such a training with its number.
        plan: from `plan_of`.
        start: where trainings on the rows start.
    """
    if state is not None:
        return best_weights(state, start)
    return train_alone(trial, data(), loss, epochs, on_epoch, plan).weights
