"""The self-test of a build, of a few milliseconds: tiny trials are trained, and their losses compared with known ones.

The known losses are PyTorch's (a test computes them again by the plain loop), and the bound is wide compared with the
last bits, which depend on compiler and processor, and narrow compared with the effect of a wrong constant or a missing
term.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from tuner.learning.compiled.border import ACTIVATIONS, LOSSES
from tuner.learning.compiled.pack import CompiledPack
from tuner.learning.rows import PaddedRows
from tuner.spec.architecture import Hyperparameters
from tuner.spec.work import TrainingPlan, Trial

if TYPE_CHECKING:
    from tuner.learning.compiled.library import Library

TOLERANCE: Final = 1e-4  # relative
KNOWN: Final = {  # training and validation loss of the one epoch
    "relu": (0.2394092, 0.1466824),
    "leaky_relu": (0.6906314, 0.7105334),
    "elu": (0.1445586, 0.1365186),
    "selu": (0.7058797, 0.7331899),
    "gelu": (0.314375, 0.1933857),
    "silu": (0.6969621, 0.7208076),
    "tanh": (0.200856, 0.1366605),
    "sigmoid": (0.6899319, 0.7660916),
}
_TRAIN_ROWS, _ROWS, _FEATURES = 20, 27, 5
_SHAPE: Final = {"learning_rate": 0.02, "batch_size": 8, "depth": 1, "width": 18, "bottleneck": 2}
_PARTS: Final[tuple[dict[str, Any], ...]] = (
    {"input_noise": 0.1, "weight_decay": 0.5},
    {"kind": "sparse", "sparsity": 0.5},
    {"kind": "variational", "beta": 2.0},
    {"norm": "layer", "schedule": "cosine", "warmup": 0.3, "clip_norm": 0.1},
    {"dropout": 0.3},
)


def rows() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Training and validation rows: multiples of 1/64, so that every machine has the same."""
    values = (np.arange(_ROWS * _FEATURES) * 37 % 61 / 64).astype(np.float32).reshape(_ROWS, _FEATURES)
    return values[:_TRAIN_ROWS], values[_TRAIN_ROWS:]


def trials(loss: str) -> list[Trial]:
    """A trial of this loss for every activation; between them they have every part that a trial may have."""
    first = LOSSES.index(loss)
    return [
        Trial(number, _point(activation, _PARTS[(number + first) % len(_PARTS)]), number)
        for number, activation in enumerate(ACTIVATIONS)
        if number % len(LOSSES) == first
    ]


def _point(activation: str, parts: dict[str, Any]) -> Hyperparameters:
    return Hyperparameters.of({"weight_decay": 0.0, "input_noise": 0.0, **_SHAPE, "activation": activation, **parts})


def wrong_numbers(step: Library) -> str | None:
    """What a build gets wrong, in words; None where it trains as PyTorch does."""
    data = PaddedRows.of(*rows())
    for loss in LOSSES:
        pack = CompiledPack(step, trials(loss), data, loss, plan=TrainingPlan(1))
        epoch = pack.train_epoch()
        for trial, *found in zip(pack.trials, epoch.train_loss, epoch.val_loss, strict=True):
            activation = trial.point.activation
            if not np.allclose(found, KNOWN[activation], rtol=TOLERANCE, atol=0):
                return (
                    f"in its self-test {activation} with {loss} came to the losses {found[0]:.6g} and {found[1]:.6g}"
                    f" instead of {KNOWN[activation][0]:.6g} and {KNOWN[activation][1]:.6g}"
                )
    return None
