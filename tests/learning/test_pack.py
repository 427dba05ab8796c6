"""Claims about packs, each against the plain loop in `plain.py` or against the trial alone."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import digits, plain_losses, trial
from sklearn.decomposition import PCA

from tuner.learning import checkpoint
from tuner.learning.activations import ACTIVATIONS
from tuner.learning.inference import Network
from tuner.learning.layout import pack_key, padded_sizes
from tuner.learning.pack import Pack, TrainingData, reproducible
from tuner.learning.training import train, train_alone
from tuner.spec.architecture import layer_sizes
from tuner.spec.work import Curve, Trial


def curves(trials: list[Trial], rows: tuple[np.ndarray, np.ndarray], loss: str, epochs: int) -> list[Curve]:
    with reproducible():
        return train(Pack(trials, TrainingData.of(*rows), loss), epochs)


def mixed(count: int, **changes: object) -> list[Trial]:
    """Trials of one padded shape that differ in everything that may differ."""
    names = list(ACTIVATIONS)
    return [
        trial(
            m,
            **{
                "activation": names[m % len(names)],
                "learning_rate": 1e-3 * (1 + m % 3),
                "weight_decay": 0.05 * (m % 2),
                "input_noise": 0.1 * (m % 3 == 1),
                "width": 50 + m,
                **changes,
            },
        )
        for m in range(count)
    ]


@pytest.mark.parametrize("loss", ["mse", "bce"])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_every_activation_trains_as_the_plain_loop_does(activation: str, loss: str) -> None:
    """A trial alone has the plain loop's losses for 20 epochs, to 1e-5."""
    one = trial(0, activation=activation, input_noise=0.1, weight_decay=0.05)
    rows = digits()
    (curve,) = curves([one], rows, loss, 20)
    train_loss, val_loss = plain_losses(one, *rows, loss, 20)
    np.testing.assert_allclose(curve.train_loss, train_loss, rtol=1e-5)
    np.testing.assert_allclose(curve.val_loss, val_loss, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_a_mixed_pack_trains_every_trial_as_the_plain_loop_does(count: int, loss: str) -> None:
    """In packs of 1, 3 and 8 that differ in all that may differ, each trial has the plain loop's losses."""
    rows = digits()
    trials = mixed(count)
    for one, curve in zip(trials, curves(trials, rows, loss, 20), strict=True):
        train_loss, val_loss = plain_losses(one, *rows, loss, 20)
        np.testing.assert_allclose(curve.train_loss, train_loss, rtol=1e-5)
        np.testing.assert_allclose(curve.val_loss, val_loss, rtol=1e-5)


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
def test_neighbours_never_change_a_bit(count, rows, held_out, features, batch, depth, width, loss, order) -> None:
    """Law 1: in any pack and place a trial's losses and weights are those of the trial alone, bit for bit."""
    train_rows, val_rows = digits(rows, held_out)
    data = TrainingData.of(train_rows[:, :features].copy(), val_rows[:, :features].copy())
    trials = mixed(count, batch_size=batch, depth=depth, width=width, bottleneck=4)
    order.shuffle(trials)
    with reproducible():
        pack = Pack(trials, data, loss)
        together = train(pack, 3)
        for one, curve, state in zip(trials, together, pack.states(), strict=True):
            alone = Pack([one], data, loss)
            (expected,) = train(alone, 3)
            assert (curve.train_loss, curve.val_loss) == (expected.train_loss, expected.val_loss)
            assert np.array_equal(state.parameters, alone.states()[0].parameters)


def test_a_checkpoint_between_two_segments_changes_no_bit(tmp_path) -> None:
    """Trained 0-7-20 through files, every trial has the losses and best weights of 0-20."""
    rows = digits()
    trials, data = mixed(4), TrainingData.of(*rows)
    with reproducible():
        whole = Pack(trials, data, "mse")
        expected = train(whole, 20)
        first = Pack(trials, data, "mse")
        before = train(first, 7)
        kept = [
            checkpoint.write(tmp_path / f"{m}.safetensors", state, first.sizes[m])
            for m, state in enumerate(first.states())
        ]
        states = [checkpoint.read(one) for one in kept]
        assert all(state is not None for state in states)
        second = Pack(trials, data, "mse", [state for state in states if state is not None])
        after = train(second, 20)
    for one, left, right in zip(expected, before, after, strict=True):
        assert one.val_loss == left.val_loss + right.val_loss
    for one, other in zip(whole.states(), second.states(), strict=True):
        assert np.array_equal(one.best, other.best)
        assert (one.best_value, one.best_epoch) == (other.best_value, other.best_epoch)


def test_a_diverging_trial_ends_alone() -> None:
    """A trial whose loss leaves the numbers ends in that epoch; its neighbours keep every bit."""
    rows, good = digits(), mixed(3)
    expected = curves(good, rows, "mse", 6)
    hopeless = trial(9, learning_rate=1e25, width=60)
    first, wild, *rest = curves([good[0], hopeless, *good[1:]], rows, "mse", 6)
    assert wild.diverged
    assert wild.last == 1
    assert not (math.isfinite(wild.train_loss[-1]) and math.isfinite(wild.val_loss[-1]))
    assert [one.val_loss for one in (first, *rest)] == [one.val_loss for one in expected]
    assert not any(one.diverged for one in (first, *rest))


def test_a_pack_whose_trials_have_all_diverged_stops() -> None:
    """No epoch is trained for nobody."""
    pack = Pack([trial(9, learning_rate=1e25)], TrainingData.of(*digits()), "mse")
    with reproducible():
        train(pack, 50)
    assert pack.epoch == 1


def test_the_kept_weights_are_the_best_epochs() -> None:
    """The kept weights reproduce the lowest validation loss, not the last one."""
    rows = digits()
    one = trial(3, learning_rate=0.05, batch_size=16)
    trained = train_alone(one, TrainingData.of(*rows), "mse", 30)
    lowest = min(trained.curve.val_loss)
    assert lowest < trained.curve.val_loss[-1]
    network = Network(layer_sizes(64, one.point), one.point.activation, "mse", trained.weights)
    assert network.mean_loss(rows[1]) == pytest.approx(lowest, rel=1e-6)


def test_padding_never_leaves_zero() -> None:
    """After training, every padded weight, bias and moment is still exactly zero, whatever f(0) is."""
    trials = mixed(8)
    with reproducible():
        pack = Pack(trials, TrainingData.of(*digits()), "bce")
        train(pack, 3)
        for state, sizes in zip(pack.states(), [layer_sizes(64, t.point) for t in trials], strict=True):
            for row in (state.parameters, state.first_moments, state.second_moments):
                weights, biases = pack.layout.weights(row[None]), pack.layout.biases(row[None])
                for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
                    assert not weight[0, sizes[layer] :].any()
                    assert not weight[0, :, sizes[layer + 1] :].any()
                    assert not bias[0, 0, sizes[layer + 1] :].any()


def test_a_linear_autoencoder_comes_to_pca() -> None:
    """Depth 0 on its training rows ends within 2 % of PCA's error at the same code size: its known optimum."""
    rows, _ = digits(600, 1)
    pca = PCA(4).fit(rows)
    optimum = float(np.mean((rows - pca.inverse_transform(pca.transform(rows))) ** 2))
    one = trial(0, depth=0, bottleneck=4, learning_rate=5e-3, batch_size=100)
    (curve,) = curves([one], (rows, rows), "mse", 250)
    assert optimum * 0.999 < min(curve.val_loss) < optimum * 1.02


def test_noise_is_added_to_training_inputs_alone() -> None:
    """At a rate of nearly zero, noise raises the training loss and leaves the validation loss alone."""
    rows = digits()
    quiet, noisy = curves(
        [trial(0, learning_rate=1e-30), trial(0, learning_rate=1e-30, input_noise=20.0)], rows, "mse", 1
    )
    assert noisy.val_loss == quiet.val_loss
    assert noisy.train_loss[0] > quiet.train_loss[0] * 1.01


def test_trials_of_other_shapes_are_refused() -> None:
    """A pack holds one batch size and one padded shape."""
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
    assert pack_key(point, features) == (point.batch_size, padded_sizes(sizes))
