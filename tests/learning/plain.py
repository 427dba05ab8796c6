"""What the learning tests share: rows, trials, and the plain loop that they hold every kind of pack equal to."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from tuner.data.terms import Terms
from tuner.learning import plain
from tuner.learning.plain import PlainAutoencoder, dropout_factors, network, numpy_generator
from tuner.spec.architecture import Hyperparameters
from tuner.spec.work import Trial, derive_seed

__all__ = ["POINT", "digits", "dropout_factors", "network", "numpy_generator", "plain_losses", "trial"]

POINT = Hyperparameters(
    learning_rate=2e-3,
    batch_size=64,
    depth=2,
    width=50,
    activation="relu",
    bottleneck=8,
    weight_decay=0.0,
    input_noise=0.0,
)


def digits(train: int = 300, validation: int = 101) -> tuple[np.ndarray, np.ndarray]:
    """Some rows of digits between 0 and 1, float32."""
    rows = (load_digits().data / 16).astype(np.float32)
    return rows[:train], rows[train : train + validation]


def trial(number: int, **changes: object) -> Trial:
    """A trial whose seed follows from its number."""
    point = Hyperparameters(**{**POINT.as_dict(), **changes})  # type: ignore[arg-type]
    return Trial(number, point, derive_seed(0, "trial", number))


def plain_losses(
    one: Trial,
    train: np.ndarray,
    validation: np.ndarray,
    loss: str,
    epochs: int,
    model: PlainAutoencoder | None = None,
    terms: Terms | None = None,
) -> tuple[list[float], list[float]]:
    """Training and validation loss of each epoch by the plain loop."""
    losses = plain.plain_losses(one, train, validation, loss, epochs, model=model, terms=terms)
    return losses.train, losses.validation
