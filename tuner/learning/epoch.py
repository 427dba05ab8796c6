"""What a pack measures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Epoch:
    """What a pack measured in one epoch, one entry per trial; `at` is Unix time in seconds."""

    train_loss: list[float]
    val_loss: list[float]
    at: float
