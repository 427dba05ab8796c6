"""Trained weights as those of a network that reads and gives scaled rows, whatever units it was trained in.

With x' = (x - centre) / unit, a layer W x' + b is the layer (W / unit) x + (b - W centre / unit); and one that gives
y' = W h + b gives unit W h + (unit b + centre) where y' unit + centre is asked for. In exact arithmetic both networks
are the same function. The bounds of the outputs, where there are any, are part of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tuner.data.bounds import Bounds
from tuner.data.linear_start import LinearStart
from tuner.learning.checkpoint import best_row, padded_row, plain_weights
from tuner.learning.layout import BOUNDS, SKIPS
from tuner.spec.architecture import Architecture

Weights = dict[str, NDArray[np.float32]]


def folded(weights: Weights, shape: Architecture, start: LinearStart | None) -> Weights:
    """The same network for scaled rows.

    Args:
        weights: the plain module's names to arrays, (outputs, inputs) and (outputs,).
        shape: of the network.
        start: where its training started; None where it read scaled rows.
    """
    if start is None:
        return weights
    wide = {name: values.astype(np.float64) for name, values in weights.items()}
    centre = start.centre_F.astype(np.float64)
    code, output = (_last(weights, half) for half in ("encoder", "decoder"))
    readers = {"encoder.0": "encoder.0", SKIPS[0].removesuffix(".weight"): code}
    if shape.code == 1:  # without hidden layers the log-variances are read off the input as well
        readers["log_variance"] = "log_variance"
    for reader, biased in readers.items():
        if f"{reader}.weight" in wide:
            wide[f"{reader}.weight"] /= start.unit
            wide[f"{biased}.bias"] -= wide[f"{reader}.weight"] @ centre
    if start.targets:
        for name in (f"{output}.weight", f"{output}.bias", SKIPS[1]):
            if name in wide:
                wide[name] *= start.unit
        wide[f"{output}.bias"] += centre
    return {name: values.astype(np.float32) for name, values in wide.items()} | weights_of(start.bounds)


def weights_of(bounds: Bounds | None) -> Weights:
    """The plain module's names to the bounds of its outputs; empty where it has none."""
    return {} if bounds is None else dict(zip(BOUNDS, (bounds.low_F, bounds.high_F), strict=True))


def bounds_of(weights: Weights) -> Bounds | None:
    """The bounds that a network with these weights has."""
    return Bounds(*(weights[name] for name in BOUNDS)) if BOUNDS[0] in weights else None


def best_weights(content: bytes, start: LinearStart | None) -> Weights:
    """The best epoch's weights of a state as bytes, for scaled rows; `start` as for `folded`."""
    row_P, shape = best_row(content)
    return folded(plain_weights(row_P, shape), shape, start)


def folded_row(row_P: NDArray[np.float32], shape: Architecture, start: LinearStart | None) -> NDArray[np.float32]:
    """The same of a padded row of parameters."""
    return row_P if start is None else padded_row(folded(plain_weights(row_P, shape), shape, start), shape)


def _last(weights: Weights, half: str) -> str:
    """The name of a half's last layer."""
    places = [int(name.split(".")[1]) for name in weights if name.startswith(f"{half}.")]
    return f"{half}.{max(places)}"
