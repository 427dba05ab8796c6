"""Claims about what trained weights make of rows, without torch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from plain import trial

from tuner.learning.activations import ACTIVATIONS
from tuner.learning.checkpoint import plain_weights
from tuner.learning.inference.network import Network
from tuner.learning.initialization import initial_state
from tuner.learning.scoring import mean_loss, reconstruct
from tuner.spec.architecture import Architecture

KINDS = [{}, {"depth": 0}, {"kind": "variational", "beta": 1.0}, {"norm": "layer", "taper": 0.5}]


@pytest.mark.parametrize("loss", ["mse", "bce"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("changes", KINDS)
def test_reconstructions_are_the_plain_modules(activation: str, loss: str, changes: dict[str, object]) -> None:
    """Every activation, both losses, kinds and depths: to single precision those of `Network`, and of the loss told."""
    point = trial(0, activation=activation, width=20, bottleneck=3, **changes).point
    shape = Architecture.of(12, point)
    row = initial_state(trial(0, **point.as_dict()), 12).parameters
    weights = {name: 2 * value for name, value in plain_weights(row, shape).items()}
    rows = np.random.default_rng(0).random((300, 12), np.float32)
    network = Network(shape.sizes, activation, loss, weights)
    rebuilt = reconstruct(point, loss, weights, rows, compiled=True)
    np.testing.assert_allclose(rebuilt, network.reconstruct(rows), rtol=3e-5, atol=3e-5)
    assert mean_loss(point, loss, weights, rows, compiled=True) == pytest.approx(network.mean_loss(rows), rel=1e-5)


def test_torch_is_not_imported() -> None:
    """That is what it is for."""
    code = "import tuner.learning.scoring, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
