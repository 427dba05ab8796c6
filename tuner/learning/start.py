"""A trial's state before its first epoch."""

from __future__ import annotations

import math

import torch

from tuner.learning.checkpoint import TrialTraining
from tuner.learning.layout import Layout, padded_sizes
from tuner.spec.architecture import layer_sizes
from tuner.spec.work import Trial, derive_seed


def initial_state(trial: Trial, features: int) -> TrialTraining:
    """Weights and biases drawn as `Autoencoder.initialise` draws them, moments of zero; rows (P,) with padding of zero.

    Args:
        trial: its seed gives every value.
        features: real features of a row.
    """
    sizes = layer_sizes(features, trial.point)
    layout = Layout.of(padded_sizes(sizes))
    generator = torch.Generator().manual_seed(derive_seed(trial.seed, "init"))
    row_P = torch.zeros(layout.length)
    rows_1P = row_P.unsqueeze(0)
    for layer, (weight, bias) in enumerate(zip(layout.weights(rows_1P), layout.biases(rows_1P), strict=True)):
        inputs, outputs = sizes[layer], sizes[layer + 1]
        bound = 1 / math.sqrt(inputs)
        weight[0, :inputs, :outputs] = torch.empty(outputs, inputs).uniform_(-bound, bound, generator=generator).T
        bias[0, 0, :outputs] = torch.empty(outputs).uniform_(-bound, bound, generator=generator)
    zeros_P = torch.zeros_like(row_P)
    return TrialTraining(row_P, zeros_P, zeros_P, row_P, math.inf, 0, 0, 0)
