"""A trial's state before its first epoch."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tuner.data.linear_start import LinearStart
from tuner.learning.checkpoint import TrialTraining
from tuner.learning.draws import generator, uniform
from tuner.learning.layout import SKIPS, Layout, skip_inputs
from tuner.spec.architecture import Architecture, Hyperparameters
from tuner.spec.work import Trial


def initial_state(trial: Trial, features: int, start: LinearStart | None = None) -> TrialTraining:
    """Weights and biases from U(-1/sqrt(inputs), 1/sqrt(inputs)), as `nn.Linear` has them by default; moments of zero.

    Args:
        trial: its seed gives every value.
        features: real features of a row.
        start: where trainings on the rows start. Then the outputs' biases begin at what it says, and a skip that is to
            begin at PCA does: the layers that end in the code and in the output begin with zeros, so that the network
            is PCA.

    Each layer's weight is drawn as (outputs, inputs), then its bias; a variational code's layer is two, the means'
    before the log-variances'. Gains begin as ones and shifts as zeros, as in `nn.LayerNorm`. Rows (P,) have zeros where
    padded.
    """
    shape = Architecture.of(features, trial.point)
    layout, sizes = Layout.own(shape), shape.sizes
    draw = generator(trial.seed, "init")
    row_P = np.zeros(layout.length, np.float32)
    for name, layer, view in layout.tensors(row_P[None]):
        inputs, outputs = skip_inputs(name, shape) or sizes[layer], sizes[layer + 1]
        bound = 1 / math.sqrt(inputs)
        if name.endswith("weight"):
            view[0, :inputs, :outputs] = uniform(draw, bound, outputs, inputs).T
        elif name.endswith("bias"):
            view[0, 0, :outputs] = uniform(draw, bound, outputs)
        elif name == "gain":
            view[0, 0, :outputs] = 1
    if start is not None:
        _begin(row_P, layout, trial, shape, start)
    return TrialTraining(row_P, np.zeros_like(row_P), np.zeros_like(row_P), row_P.copy(), math.inf, 0, 0, 0)


def starts_at_solution(point: Hyperparameters, start: LinearStart | None) -> bool:
    """Whether the network is PCA before its first epoch."""
    return point.skip == "pca" and start is not None


def _begin(row_P: NDArray[np.float32], layout: Layout, trial: Trial, shape: Architecture, start: LinearStart) -> None:
    """Put the start's values in place of drawn ones."""
    features, code = shape.sizes[0], shape.sizes[shape.code]
    views = {(name, layer): view[0] for name, layer, view in layout.tensors(row_P[None])}
    output = len(layout.places) - 1
    decoder_CF, outputs_F = start.decoder(code)
    if trial.point.skip != "pca":
        views["bias", output][0, :features] = start.outputs_F
        return
    for name, layer in (("weight", shape.code - 1), ("bias", shape.code - 1), ("weight", output)):
        views[name, layer][:] = 0
    views["bias", output][0, :features] = outputs_F
    views[SKIPS[0], shape.code - 1][:features, :code] = start.encoder_FK[:, :code]
    views[SKIPS[1], output][:code, :features] = decoder_CF
