"""Claims about packs of every kind, each against the plain loop in `plain.py` or against the trial alone."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds import Kind
from plain import digits, plain_losses, trial
from sklearn.decomposition import PCA

from tuner.learning import checkpoint
from tuner.learning.activations import ACTIVATIONS
from tuner.learning.inference.network import Network
from tuner.learning.layout import Layout, pack_key, padded_sizes
from tuner.learning.stacked.pack import Pack, reproducible
from tuner.learning.stacked.training_data import TrainingData
from tuner.learning.training import train
from tuner.spec.architecture import Architecture, layer_sizes
from tuner.spec.work import Curve, Trial

Rows = tuple[np.ndarray, np.ndarray]


def curves(kind: Kind, trials: list[Trial], rows: Rows, loss: str, epochs: int) -> list[Curve]:
    with reproducible():
        return train(kind.pack(trials, kind.data(rows), loss), epochs)


@cache
def expected_losses(one: Trial, loss: str, epochs: int) -> tuple[list[float], list[float]]:
    return plain_losses(one, *digits(), loss, epochs)


def assert_plain(trials: list[Trial], found: list[Curve], loss: str, epochs: int, rtol: float) -> None:
    for one, curve in zip(trials, found, strict=True):
        train_loss, val_loss = expected_losses(one, loss, epochs)
        np.testing.assert_allclose(curve.train_loss, train_loss, rtol=rtol)
        np.testing.assert_allclose(curve.val_loss, val_loss, rtol=rtol)


@pytest.mark.parametrize("loss", ["mse", "bce"])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_every_activation_trains_as_the_plain_loop_does(kind: Kind, activation: str, loss: str) -> None:
    """Losses of 20 epochs are those of nn.Sequential, autograd and torch.optim.AdamW, to 1e-6."""
    trials = [trial(0, activation=activation, input_noise=0.1, weight_decay=0.05)]
    assert_plain(trials, curves(kind, trials, digits(), loss, 20), loss, 20, 1e-6)


@pytest.mark.parametrize(("count", "epochs"), [(3, 20), (9, 3)])
@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_a_mixed_pack_trains_every_trial_as_the_plain_loop_does(kind: Kind, count: int, epochs: int, loss: str) -> None:
    """In packs that differ in all that may differ, batches larger than the data included: the plain loop's losses."""
    trials = kind.company(count)
    assert_plain(trials, curves(kind, trials, digits(), loss, epochs), loss, epochs, 1e-5)


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(2, 9),
    rows=st.integers(1, 90),
    held_out=st.integers(1, 40),
    features=st.integers(1, 64),
    batch=st.integers(1, 70),
    depth=st.integers(0, 3),
    width=st.integers(4, 120),
    loss=st.sampled_from(["mse", "bce"]),
    order=st.randoms(use_true_random=False),
)
def test_neighbours_never_change_a_bit(kind, count, rows, held_out, features, batch, depth, width, loss, order) -> None:
    """Law 1: in any pack and place a trial's losses and weights are those of the trial alone, bit for bit."""
    train_rows, val_rows = digits(rows, held_out)
    data = kind.data((train_rows[:, :features].copy(), val_rows[:, :features].copy()))
    trials = kind.company(count, batch_size=batch, depth=depth, width=width, bottleneck=4)
    order.shuffle(trials)
    with reproducible():
        pack = kind.pack(trials, data, loss)
        together = train(pack, 3)
        for one, curve, state in zip(trials, together, pack.states(), strict=True):
            alone = kind.pack([one], data, loss)
            (expected,) = train(alone, 3)
            kind.assert_same((curve.train_loss, curve.val_loss), (expected.train_loss, expected.val_loss))
            kind.assert_same_state(state, alone.states()[0])


def test_a_checkpoint_between_two_segments_changes_no_bit(kind: Kind) -> None:
    """Trained 0-7-20 through stored bytes, every trial has the losses and best weights of 0-20."""
    trials, data = kind.company(5), kind.data(digits())
    with reproducible():
        whole = kind.pack(trials, data, "mse")
        expected = train(whole, 20)
        first = kind.pack(trials, data, "mse")
        before = train(first, 7)
        kept = [checkpoint.dumps(state, Architecture.of(64, trials[m].point)) for m, state in enumerate(first.states())]
        states = [checkpoint.loads(content) for content in kept]
        second = kind.pack(trials, data, "mse", states)
        after = train(second, 20)
    for one, left, right in zip(expected, before, after, strict=True):
        kind.assert_same(left.val_loss + right.val_loss, one.val_loss)
    for one, other in zip(whole.states(), second.states(), strict=True):
        kind.assert_same_state(other, one)
        kind.assert_same(other.best_value, one.best_value)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_a_diverging_trial_ends_alone(kind: Kind, activation: str) -> None:
    """A trial whose loss leaves the numbers ends in that epoch; its neighbours keep every bit."""
    rows, good = digits(), kind.company(3)
    expected = curves(kind, good, rows, "mse", 3)
    hopeless = trial(9, learning_rate=1e25, activation=activation, width=60)
    first, wild, *rest = curves(kind, [good[0], hopeless, *good[1:]], rows, "mse", 3)
    assert wild.diverged
    assert wild.last == 1
    assert not (math.isfinite(wild.train_loss[-1]) and math.isfinite(wild.val_loss[-1]))
    kind.assert_same([one.val_loss for one in (first, *rest)], [one.val_loss for one in expected])
    assert not any(one.diverged for one in (first, *rest))


def test_a_pack_whose_trials_have_all_diverged_stops(kind: Kind) -> None:
    """No epoch is trained for nobody."""
    pack = kind.pack([trial(9, learning_rate=1e25)], kind.data(digits()), "mse")
    with reproducible():
        train(pack, 50)
    assert pack.epoch == 1


def test_the_kept_weights_are_the_best_epochs(kind: Kind) -> None:
    """The kept weights reproduce the lowest validation loss, not the last one."""
    rows, one = digits(), trial(3, learning_rate=0.05, batch_size=16)
    pack, sizes = kind.pack([one], kind.data(rows), "mse"), layer_sizes(64, one.point)
    with reproducible():
        (curve,) = train(pack, 30)
    lowest = min(curve.val_loss)
    assert lowest < curve.val_loss[-1]
    network = Network(
        sizes, one.point.activation, "mse", checkpoint.plain_weights(pack.states()[0].best, Architecture(sizes))
    )
    assert network.mean_loss(rows[1]) == pytest.approx(lowest, rel=1e-6)


def test_padding_never_leaves_zero(kind: Kind) -> None:
    """After training, every padded weight, bias and moment is still exactly zero, whatever f(0) is."""
    trials = kind.company(8)
    pack = kind.pack(trials, kind.data(digits()), "bce")
    with reproducible():
        train(pack, 3)
    for one, state in zip(trials, pack.states(), strict=True):
        sizes = layer_sizes(64, one.point)
        layout = Layout.of(padded_sizes(sizes))
        for row in (state.parameters, state.first_moments, state.second_moments):
            pairs = zip(layout.weights(row[None]), layout.biases(row[None]), strict=True)
            for layer, (weight, bias) in enumerate(pairs):
                assert not weight[0, sizes[layer] :].any()
                assert not weight[0, :, sizes[layer + 1] :].any()
                assert not bias[0, 0, sizes[layer + 1] :].any()


def test_a_linear_autoencoder_comes_to_pca(kind: Kind) -> None:
    """Depth 0 on its training rows ends within 2 % of PCA's error at the same code size: its known optimum."""
    rows, _ = digits(600, 1)
    pca = PCA(4).fit(rows)
    optimum = float(np.mean((rows - pca.inverse_transform(pca.transform(rows))) ** 2))
    one = trial(0, depth=0, bottleneck=4, learning_rate=5e-3, batch_size=100)
    (curve,) = curves(kind, [one], (rows, rows), "mse", 250)
    assert optimum * 0.999 < min(curve.val_loss) < optimum * 1.02


def test_noise_is_added_to_training_inputs_alone(kind: Kind) -> None:
    """At a rate of nearly zero, noise raises the training loss and leaves the validation loss alone."""
    still = [trial(0, learning_rate=1e-30), trial(0, learning_rate=1e-30, input_noise=20.0)]
    quiet, noisy = curves(kind, still, digits(), "mse", 1)
    kind.assert_same(noisy.val_loss, quiet.val_loss)
    assert noisy.train_loss[0] > quiet.train_loss[0] * 1.01


def test_trials_of_other_shapes_are_refused_by_the_stack() -> None:
    """It holds one batch size and one padded shape."""
    with pytest.raises(ValueError, match="must share"):
        Pack([trial(0), trial(1, batch_size=32)], TrainingData.of(*digits()), "mse")


@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(0, 6), st.integers(1, 500))
def test_a_padded_shape_is_the_trials_own(features: int, width: int, depth: int, bottleneck: int) -> None:
    """Every padded size is a multiple of 16, at least the real one, and wastes at most a quarter beyond 64 units."""
    point = trial(0, width=width, depth=depth, bottleneck=bottleneck).point
    sizes = layer_sizes(features, point)
    for real, size in zip(sizes, padded_sizes(sizes), strict=True):
        assert size % 16 == 0
        assert real <= size < max(real + 16, real * 5 / 4)
    assert pack_key(point, features)[:2] == (point.batch_size, padded_sizes(sizes))
