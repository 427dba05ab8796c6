"""The best trial's weights: from its checkpoint, or trained again to the same bits where that is gone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tuner.data.rows import Rows
from tuner.learning.checkpoint import best_weights
from tuner.learning.packs import training_data
from tuner.learning.training import train_alone
from tuner.spec.work import Checkpoint, Trial


def winner_weights(
    trial: Trial, epochs: int, checkpoint: Checkpoint | None, rows: Rows, loss: str, device: str
) -> dict[str, NDArray[np.float32]]:
    """The weights of a trial's best epoch, by the plain module's names.

    Args:
        trial: the winner.
        epochs: epochs that it was trained.
        checkpoint: its newest state, if there is one.
        rows: the prepared splits, read only where the trial has to be trained again.
        loss: `mse` or `bce`.
        device: resolved, for training again.
    """
    weights = best_weights(checkpoint) if checkpoint is not None else None
    if weights is None:
        data = training_data(rows.train, rows.validation, device)
        weights = train_alone(trial, data, loss, epochs).weights
    return weights
