"""A trial's state before its first epoch."""

from __future__ import annotations

import math

import numpy as np

from tuner.learning.checkpoint import TrialTraining
from tuner.learning.draws import generator, uniform
from tuner.learning.layout import Layout, padded_sizes
from tuner.spec.architecture import layer_sizes
from tuner.spec.work import Trial


def initial_state(trial: Trial, features: int) -> TrialTraining:
    """Weights and biases from U(-1/sqrt(inputs), 1/sqrt(inputs)), as `nn.Linear` has them by default; moments of zero.

    Args:
        trial: its seed gives every value.
        features: real features of a row.

    Each layer's weight is drawn as (outputs, inputs), then its bias; rows (P,) have zeros where padded.
    """
    sizes = layer_sizes(features, trial.point)
    layout = Layout.of(padded_sizes(sizes))
    draw = generator(trial.seed, "init")
    row_P = np.zeros(layout.length, np.float32)
    for layer, (weight, bias) in enumerate(zip(layout.weights(row_P[None]), layout.biases(row_P[None]), strict=True)):
        inputs, outputs = sizes[layer], sizes[layer + 1]
        bound = 1 / math.sqrt(inputs)
        weight[0, :inputs, :outputs] = uniform(draw, bound, outputs, inputs).T
        bias[0, 0, :outputs] = uniform(draw, bound, outputs)
    return TrialTraining(row_P, np.zeros_like(row_P), np.zeros_like(row_P), row_P.copy(), math.inf, 0, 0, 0)
