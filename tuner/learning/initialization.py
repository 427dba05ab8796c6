"""A trial's state before its first epoch."""

from __future__ import annotations

import math

import numpy as np

from tuner.learning.checkpoint import TrialTraining
from tuner.learning.draws import generator, uniform
from tuner.learning.layout import Layout
from tuner.spec.architecture import Architecture
from tuner.spec.work import Trial


def initial_state(trial: Trial, features: int) -> TrialTraining:
    """Weights and biases from U(-1/sqrt(inputs), 1/sqrt(inputs)), as `nn.Linear` has them by default; moments of zero.

    Args:
        trial: its seed gives every value.
        features: real features of a row.

    Each layer's weight is drawn as (outputs, inputs), then its bias; a variational code's layer is two, the means'
    before the log-variances'. Gains begin as ones and shifts as zeros, as in `nn.LayerNorm`. Rows (P,) have zeros where
    padded.
    """
    shape = Architecture.of(features, trial.point)
    layout, sizes = Layout.own(shape), shape.sizes
    draw = generator(trial.seed, "init")
    row_P = np.zeros(layout.length, np.float32)
    for name, layer, view in layout.tensors(row_P[None]):
        inputs, outputs = sizes[layer], sizes[layer + 1]
        bound = 1 / math.sqrt(inputs)
        if name.endswith("weight"):
            view[0, :inputs, :outputs] = uniform(draw, bound, outputs, inputs).T
        elif name.endswith("bias"):
            view[0, 0, :outputs] = uniform(draw, bound, outputs)
        elif name == "gain":
            view[0, 0, :outputs] = 1
    return TrialTraining(row_P, np.zeros_like(row_P), np.zeros_like(row_P), row_P.copy(), math.inf, 0, 0, 0)
