"""Claims about packs as they are on a GPU, shown on the CPU by asking for them; the device itself is a mark away."""

import math

import numpy as np
import pytest
import torch
from devices import DEVICES
from plain import digits, plain_losses, trial

from tuner.learning.activations import ACTIVATIONS
from tuner.learning.stacked.pack import Pack, reproducible
from tuner.learning.stacked.training_data import TrainingData
from tuner.learning.training import train
from tuner.spec.architecture import layer_sizes
from tuner.spec.work import Trial


def of_many_sizes(count: int) -> list[Trial]:
    """Trials of one depth and batch size that differ in everything else."""
    names = list(ACTIVATIONS)
    return [
        trial(
            m,
            activation=names[m % len(names)],
            width=20 + 23 * m,
            learning_rate=1e-3 * (1 + m % 3),
            weight_decay=0.05 * (m % 2),
            input_noise=0.1 * (m % 3 == 1),
        )
        for m in range(count)
    ]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_trials_of_many_sizes_train_as_the_plain_loop_does(loss: str, device: str) -> None:
    """Padded to the largest and with the elementwise optimizer, each has the plain loop's losses for 8 epochs."""
    trials, rows = of_many_sizes(9), digits()
    with reproducible():
        curves = train(Pack(trials, TrainingData.of(*rows, device), loss, merged=True), 8)
    for one, curve in zip(trials, curves, strict=True):
        train_loss, val_loss = plain_losses(one, *rows, loss, 8)
        np.testing.assert_allclose(curve.train_loss, train_loss, rtol=1e-5)
        np.testing.assert_allclose(curve.val_loss, val_loss, rtol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_neighbours_change_a_trial_by_rounding_alone(device: str) -> None:
    """Alone or among larger ones, and taken out to its own padding: equal to 1e-5, padding exactly zero."""
    trials, data = of_many_sizes(6), TrainingData.of(*digits(), device)
    with reproducible():
        pack = Pack(trials, data, "mse", merged=True)
        together = train(pack, 3)
        for one, curve, state in zip(trials, together, pack.states(), strict=True):
            alone = Pack([one], data, "mse", merged=True)
            (expected,) = train(alone, 3)
            np.testing.assert_allclose(curve.val_loss, expected.val_loss, rtol=1e-5)
            (own,) = alone.states()
            for name in ("parameters", "first_moments", "second_moments", "best"):
                np.testing.assert_allclose(getattr(state, name), getattr(own, name), rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_states_move_between_packs_of_other_sizes(device: str) -> None:
    """Trained 0-2 with one set of neighbours and 2-5 with another: the losses of 0-5, to 1e-5."""
    trials, data = of_many_sizes(6), TrainingData.of(*digits(), device)
    with reproducible():
        expected = train(Pack(trials, data, "mse", merged=True), 5)
        first = Pack(trials, data, "mse", merged=True)
        train(first, 2)
        states = first.states()
        for part in (slice(0, 2), slice(2, 6)):
            second = train(Pack(trials[part], data, "mse", states[part], merged=True), 5)
            for curve, whole in zip(second, expected[part], strict=True):
                np.testing.assert_allclose(curve.val_loss, whole.val_loss[2:], rtol=1e-5)


def test_a_diverging_trial_leaves_its_neighbours_alone() -> None:
    """A trial whose loss leaves the numbers does not reach the others through the padding or the optimizer."""
    good, data = of_many_sizes(3), TrainingData.of(*digits())
    hopeless = trial(9, learning_rate=1e25, width=200)
    with reproducible():
        expected = train(Pack(good, data, "mse", merged=True), 4)
        first, wild, *rest = train(Pack([good[0], hopeless, *good[1:]], data, "mse", merged=True), 4)
    assert wild.diverged
    assert not math.isfinite(wild.train_loss[-1] + wild.val_loss[-1])
    for curve, alone in zip((first, *rest), expected, strict=True):
        np.testing.assert_allclose(curve.val_loss, alone.val_loss, rtol=1e-5)


def test_trials_of_another_depth_are_refused() -> None:
    """Merging ends at depth and batch size."""
    assert len(layer_sizes(64, trial(1, depth=1).point)) != len(layer_sizes(64, trial(0).point))
    with pytest.raises(ValueError, match="must share batch size and depth"):
        Pack([trial(0), trial(1, depth=1)], TrainingData.of(*digits()), "mse", merged=True)


@pytest.mark.parametrize("device", DEVICES)
def test_bf16_products_train_nearly_as_fp32_ones(device: str) -> None:
    """Losses within 3 % of fp32's over 20 epochs, and not the same: parameters and moments stay fp32."""
    trials, rows = of_many_sizes(4), digits()
    with reproducible():
        full = train(Pack(trials, TrainingData.of(*rows, device), "mse", merged=True), 20)
        pack = Pack(trials, TrainingData.of(*rows, device, "bf16"), "mse", merged=True)
        half = train(pack, 20)
    for one, other in zip(half, full, strict=True):
        assert one.val_loss != other.val_loss
        np.testing.assert_allclose(one.val_loss, other.val_loss, rtol=0.03)
    assert pack.stack.parameters_MP.dtype is torch.float32
