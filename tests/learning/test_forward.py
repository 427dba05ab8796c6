"""The forward pass without torch is the plain module's."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tuner.learning.activations import ACTIVATIONS
from tuner.learning.checkpoint import plain_weights
from tuner.learning.forward import losses, reconstruct
from tuner.learning.inference import Network
from tuner.learning.start import initial_state
from tuner.spec.architecture import Hyperparameters, layer_sizes
from tuner.spec.work import Trial


@pytest.mark.parametrize("loss", ["mse", "bce"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("depth", [0, 2])
def test_reconstructions_and_losses_are_the_plain_modules(activation: str, loss: str, depth: int) -> None:
    """Every activation, both losses, with and without hidden layers: to single precision those of `Network`."""
    point = Hyperparameters(1e-3, 16, depth, 20, activation, 3, 0.0, 0.0)
    sizes = layer_sizes(12, point)
    row = initial_state(Trial(0, point, 7), 12).parameters
    weights = {name: 3 * value for name, value in plain_weights(row, sizes).items()}
    rows = np.random.default_rng(0).random((5000, 12), np.float32)
    network = Network(sizes, activation, loss, weights)
    guess = reconstruct(point, loss, weights, rows)
    np.testing.assert_allclose(guess, network.reconstruct(rows), rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(losses(loss, rows, guess).mean(1), network.losses(rows), rtol=1e-4, atol=1e-6)


def test_torch_is_not_imported() -> None:
    """That is what it is for."""
    code = "import tuner.learning.forward, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
