"""What an autoencoder makes of rows, without torch: for a few rows that are to be shown, importing it takes longer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from tuner.spec.architecture import Hyperparameters, layer_sizes

Matrix = NDArray[np.float32]
ROWS_AT_ONCE = 4096
_EPSILON = 1e-7  # a reconstruction's distance from 0 and 1 in the cross entropy


def reconstruct(point: Hyperparameters, loss: str, weights: Mapping[str, Matrix], rows: Matrix) -> Matrix:
    """Scaled rows (N, F) to their reconstructions (N, F), to single precision those of `Autoencoder.reconstruct`.

    Args:
        point: the trial's hyperparameters.
        loss: `mse` or `bce`.
        weights: the plain module's names to arrays.
        rows: scaled rows (N, F).
    """
    sizes = layer_sizes(rows.shape[1], point)
    if not _is_plain(weights, sizes):
        from tuner.learning.inference import Network  # noqa: PLC0415  (torch, 0.8 s)

        return Network(sizes, point.activation, loss, dict(weights)).reconstruct(rows)
    parts = [rows[start : start + ROWS_AT_ONCE] for start in range(0, max(1, len(rows)), ROWS_AT_ONCE)]
    return np.concatenate([_reconstructed(part, point.activation, loss, weights) for part in parts])


def losses(loss: str, rows: Matrix, guess: Matrix) -> NDArray[np.float64]:
    """The (N, F) loss of each feature of rows (N, F), given their reconstructions (N, F)."""
    if loss == "mse":
        return np.square(rows.astype(np.float64) - guess)
    chance = np.clip(guess.astype(np.float64), _EPSILON, 1 - _EPSILON)
    return np.asarray(-(rows * np.log(chance) + (1 - rows) * np.log1p(-chance)))


def _is_plain(weights: Mapping[str, Matrix], sizes: tuple[int, ...]) -> bool:
    """Whether there is nothing but linear layers of these sizes."""
    shapes = sorted(weight.shape for weight in weights.values())
    pairs = zip(sizes[1:], sizes[:-1], strict=True)
    return shapes == sorted([*pairs, *((size,) for size in sizes[1:])])


def _reconstructed(rows: Matrix, activation: str, loss: str, weights: Mapping[str, Matrix]) -> Matrix:
    for half in ("encoder", "decoder"):
        layers = sorted({int(name.split(".")[1]) for name in weights if name.startswith(f"{half}.")})
        for layer in layers:
            rows = rows @ weights[f"{half}.{layer}.weight"].T + weights[f"{half}.{layer}.bias"]
            rows = rows if layer == layers[-1] else _FUNCTIONS[activation](rows)
    return _sigmoid(rows) if loss == "bce" else rows


def _sigmoid(z: Matrix) -> Matrix:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * z)), np.float32)


def _gelu(z: Matrix) -> Matrix:
    from scipy.special import erf  # noqa: PLC0415  (0.1 s)

    return np.asarray(0.5 * z * (1 + erf(z / np.sqrt(2))), np.float32)


def _elu(z: Matrix) -> Matrix:
    return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))


_SELU_ALPHA, _SELU_SCALE = np.float32(1.6732632423543772), np.float32(1.0507009873554805)
_FUNCTIONS: dict[str, Callable[[Matrix], Matrix]] = {
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, np.float32(0.01) * z),
    "elu": _elu,
    "selu": lambda z: _SELU_SCALE * np.where(z > 0, z, _SELU_ALPHA * np.expm1(np.minimum(z, 0))),
    "gelu": _gelu,
    "silu": lambda z: z * _sigmoid(z),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
}
