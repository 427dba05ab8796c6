"""The self-test of a build, of a few milliseconds: tiny trials are trained, and their losses compared with known ones.

The known losses are PyTorch's (a test computes them again by the plain loop), and the bound is wide compared with the
last bits, which depend on compiler and processor, and narrow compared with the effect of a wrong constant or a missing
term.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from tuner.data.terms import Kind, Terms
from tuner.learning.compiled.border import ACTIVATIONS, PLAIN_LOSSES, TERMS
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
KNOWN_OF_TERMS: Final = {  # the same of the loss by terms
    "relu": (0.5503112, 0.4355617),
    "tanh": (0.2835155, 0.4217373),
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


@dataclass(frozen=True, eq=False, slots=True)
class Case:
    """Trials that are trained on the same rows.

    Attributes:
        loss: one of border.py's `LOSSES`.
        rows: training and validation rows.
        terms: of loss TERMS, else None.
        trials: one for each of some activations.
        known: their losses, by activation.
    """

    loss: str
    rows: tuple[NDArray[np.float32], NDArray[np.float32]]
    terms: Terms | None
    trials: tuple[Trial, ...]
    known: dict[str, tuple[float, float]]


def cases() -> Iterator[Case]:
    """Between them they have every part that a trial may have, and every kind of term."""
    for first, loss in enumerate(PLAIN_LOSSES):
        chosen = tuple(
            Trial(number, _point(activation, _PARTS[(number + first) % len(_PARTS)]), number)
            for number, activation in enumerate(ACTIVATIONS)
            if number % len(PLAIN_LOSSES) == first
        )
        yield Case(loss, _split(_values(_FEATURES)), None, chosen, KNOWN)
    points = [_point(activation, _PARTS[0]) for activation in KNOWN_OF_TERMS]
    chosen = tuple(Trial(number, point, number) for number, point in enumerate(points))
    yield Case(TERMS, _split(_mixed()), _terms(), chosen, KNOWN_OF_TERMS)


def _values(features: int) -> NDArray[np.float32]:
    """Multiples of 1/64, so that every machine has the same."""
    return (np.arange(_ROWS * features) * 37 % 61 / 64).astype(np.float32).reshape(_ROWS, features)


def _split(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return rows[:_TRAIN_ROWS], rows[_TRAIN_ROWS:]


def _terms() -> Terms:
    """Every kind, a group of three levels, and missing cells."""
    kinds = np.array([Kind.SQUARE, Kind.LOGIT, *[Kind.SOFTMAX] * 3, Kind.HUBER, Kind.POISSON], np.int32)
    weights, deltas = np.array([4, 1, 0.75, 0.75, 0.75, 2, 0.5], np.float32), np.ones(7, np.float32)
    deltas[5] = 0.25
    return Terms(
        kinds, np.array([[2, 5]], np.int32), weights, deltas, deltas / np.float32(2), True, (0.875, 0.75, 0.75)
    )


def _mixed() -> NDArray[np.float32]:
    """Rows of these kinds; of the seven cells every sixth one is missing."""
    rows = _values(7)
    rows[:, 1] = rows[:, 1] > 0.5
    rows[:, 2:5] = np.eye(3, dtype=np.float32)[rows[:, 2:5].argmax(1)]
    rows[:, 6] = np.floor(4 * rows[:, 6])
    gone = np.arange(rows.size).reshape(rows.shape) % 6 == 0
    gone[:, 2:5] = gone[:, 2:3]
    rows[gone] = np.nan
    return rows


def _point(activation: str, parts: dict[str, Any]) -> Hyperparameters:
    return Hyperparameters.of({"weight_decay": 0.0, "input_noise": 0.0, **_SHAPE, "activation": activation, **parts})


def wrong_numbers(step: Library) -> str | None:
    """What a build gets wrong, in words; None where it trains as PyTorch does."""
    for case in cases():
        pack = CompiledPack(step, case.trials, PaddedRows.of(*case.rows, case.terms), case.loss, plan=TrainingPlan(1))
        epoch = pack.train_epoch()
        for trial, *found in zip(pack.trials, epoch.train_loss, epoch.val_loss, strict=True):
            known = case.known[trial.point.activation]
            if not np.allclose(found, known, rtol=TOLERANCE, atol=0):
                return (
                    f"in its self-test {trial.point.activation} with {case.loss} came to the losses {found[0]:.6g} and"
                    f" {found[1]:.6g} instead of {known[0]:.6g} and {known[1]:.6g}"
                )
    return None
