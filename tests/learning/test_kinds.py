"""Claims about sparse and variational autoencoders, dropout and layer normalisation, on every kind of pack."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from devices import DEVICES
from kinds import Kind, assert_stays_in_its_room, opened, runnable
from plain import digits, dropout_factors, network, plain_losses, trial
from safetensors.numpy import load, save

from tuner.learning import checkpoint, folding, scoring
from tuner.learning.activations import ACTIVATIONS
from tuner.learning.compiled.pack import CompiledPack
from tuner.learning.compiled.planner import seconds
from tuner.learning.inference.network import Network
from tuner.learning.initialization import initial_state
from tuner.learning.layout import Layout, padded_sizes
from tuner.learning.memory import packed
from tuner.learning.rows import PaddedRows
from tuner.learning.stacked.dropout import Masks
from tuner.learning.stacked.pack import Pack, reproducible
from tuner.learning.stacked.training_data import TrainingData
from tuner.learning.training import train, train_alone
from tuner.spec.architecture import Architecture
from tuner.spec.work import Trial

SPARSE = {"kind": "sparse", "sparsity": 0.05}
VARIATIONAL = {"kind": "variational", "beta": 0.5}
pytestmark = pytest.mark.usefixtures("one_thread")
CASES: dict[str, dict[str, Any]] = {
    "sparse": SPARSE,
    "variational": VARIATIONAL,
    "norm": {"norm": "layer"},
    "dropout": {"dropout": 0.2, "width": 20},
    "variational, without hidden layers": {**VARIATIONAL, "depth": 0, "norm": "layer", "dropout": 0.5},
    "sparse, normed, sigmoid": {**SPARSE, "norm": "layer", "activation": "sigmoid", "weight_decay": 0.05},
    "variational, noisy, tanh": {**VARIATIONAL, "beta": 4.0, "input_noise": 0.1, "activation": "tanh"},
    "all at once": {**VARIATIONAL, "norm": "layer", "dropout": 0.1, "activation": "gelu", "width": 20},
    "dropout, sigmoid": {"dropout": 0.5, "activation": "sigmoid", "width": 20, "depth": 1},
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    return CASES[request.param]


@cache
def expected_losses(one: Trial, loss: str, epochs: int) -> tuple[list[float], list[float]]:
    return plain_losses(one, *digits(), loss, epochs)


def assert_plain(one: Trial, curve: Any, loss: str, epochs: int) -> None:
    train_loss, val_loss = expected_losses(one, loss, epochs)
    np.testing.assert_allclose(curve.train_loss, train_loss, rtol=1e-5)
    np.testing.assert_allclose(curve.val_loss, val_loss, rtol=1e-5)


def company(kind: Kind, case: dict[str, Any]) -> list[Trial]:
    """Neighbours of every sort that a pack of this kind may hold beside the case, in the middle of them."""
    one = trial(0, **case)
    same = {name: getattr(one.point, name) for name in ("kind", "norm", "batch_size", "depth", "width")}
    others = [
        {**same, "dropout": 0.3, "activation": "sigmoid", "beta": 2.0 * (one.point.kind == "variational")},
        {**same, "input_noise": 0.2, "learning_rate": 0.01, "activation": "silu"},
    ]
    if one.point.kind != "variational":
        others += [{**same, **SPARSE}, {**same, "kind": "plain"}]
    if kind.step is not None:
        others += [CASES[name] for name in CASES]
    neighbours = [trial(m, **point) for m, point in enumerate(others, start=1)]
    return [*neighbours[:2], one, *neighbours[2:]]


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_every_kind_trains_as_the_plain_loop_does(kind: Kind, case: dict[str, Any], loss: str) -> None:
    """Losses of 4 epochs are those of autograd with the same batches, noise and masks, to 1e-5."""
    one = trial(0, **case)
    with reproducible():
        (curve,) = train(kind.pack([one], kind.data(digits()), loss), 4)
    assert_plain(one, curve, loss, 4)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_every_activation_goes_with_every_part(kind: Kind, activation: str) -> None:
    """A variational, normalised autoencoder with dropout: the plain loop's losses, an odd batch size included."""
    one = trial(0, **VARIATIONAL, norm="layer", dropout=0.1, activation=activation, width=20, depth=1, batch_size=75)
    with reproducible():
        (curve,) = train(kind.pack([one], kind.data(digits()), "mse"), 2)
    assert_plain(one, curve, "mse", 2)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("parts", [{}, VARIATIONAL, {"norm": "layer"}, {**VARIATIONAL, "norm": "layer"}])
def test_merged_packs_train_every_kind_as_the_plain_loop_does(parts: dict[str, Any], device: str) -> None:
    """As on a GPU: trials of many sizes, penalties and rates, padded to the largest: the plain loop's losses."""
    names = list(ACTIVATIONS)
    points: list[dict[str, Any]] = [
        {
            **(SPARSE if m == 1 and not parts.get("kind") else {}),
            **parts,
            "dropout": 0.1 * (m % 3),
            "width": 20 + 9 * m,
            "bottleneck": 4 + 7 * (m % 2),
            "activation": names[(3 * m + 1) % len(names)],
        }
        for m in range(4)
    ]
    trials = [trial(m, **point) for m, point in enumerate(points)]
    with reproducible():
        curves = train(Pack(trials, TrainingData.of(*digits(), device), "mse", merged=True), 3)
    for one, curve in zip(trials, curves, strict=True):
        assert_plain(one, curve, "mse", 3)


def test_neighbours_of_any_kind_never_change_a_bit(kind: Kind, case: dict[str, Any]) -> None:
    """Law 1: among trials of other kinds, a trial's losses and weights are those of the trial alone, bit for bit."""
    trials, data = company(kind, case), kind.data(digits(131, 33))
    with reproducible():
        pack = kind.pack(trials, data, "mse")
        for one, curve, state in zip(trials, train(pack, 3), pack.states(), strict=True):
            alone = kind.pack([one], data, "mse")
            (expected,) = train(alone, 3)
            kind.assert_same((curve.train_loss, curve.val_loss), (expected.train_loss, expected.val_loss))
            kind.assert_same_state(state, alone.states()[0])


def test_a_checkpoint_in_mid_training_changes_no_bit(kind: Kind, case: dict[str, Any], tmp_path: Path) -> None:
    """Trained 0-2-5 through a file, a trial has the losses and the weights of 0-5."""
    one, data = trial(0, **case), kind.data(digits())
    with reproducible():
        whole = kind.pack([one], data, "mse")
        (expected,) = train(whole, 5)
        first = kind.pack([one], data, "mse")
        train(first, 2)
        state = checkpoint.loads(checkpoint.dumps(first.states()[0], Architecture.of(64, one.point)))
        second = kind.pack([one], data, "mse", [state])
        (rest,) = train(second, 5)
    kind.assert_same(rest.val_loss, expected.val_loss[2:])
    kind.assert_same_state(second.states()[0], whole.states()[0])


@pytest.mark.parametrize("parts", [SPARSE, {**VARIATIONAL, "beta": 100.0}, {"dropout": 0.5}])
def test_the_objective_is_the_reconstruction_alone(kind: Kind, parts: dict[str, Any]) -> None:
    """Where nothing is learned, the validation loss is the bare network's: no penalty, no noise, no mask in it."""
    plain, other = trial(0, learning_rate=1e-30), trial(0, learning_rate=1e-30, **parts)
    with reproducible():
        (expected,), (got,) = (train(kind.pack([one], kind.data(digits()), "mse"), 1) for one in (plain, other))
    weights = network(other, 64)
    held_out = torch.from_numpy(digits()[1])
    with torch.no_grad():
        assert got.val_loss[0] == pytest.approx(
            torch.nn.functional.mse_loss(weights(held_out), held_out).item(), rel=1e-6
        )
    if other.point.kind != "variational":  # whose decoder begins with other weights
        kind.assert_same(got.val_loss, expected.val_loss)
        assert kind.merged or (got.train_loss == expected.train_loss) == (other.point.dropout == 0)


def test_a_penalty_does_what_it_is_for(kind: Kind) -> None:
    """A sparse code is smaller than a plain one; a heavy beta makes every unit its prior, a light one uses them all."""
    rows, data = digits(), kind.data(digits())
    with reproducible():
        plain, sparse = (train_alone(trial(0, **case), data, "mse", 30) for case in ({}, {**SPARSE, "sparsity": 1.0}))
        codes = [
            Network((64, 50, 20, 8, 20, 50, 64), "relu", "mse", one.weights).encode(rows[1]) for one in (plain, sparse)
        ]
        assert np.abs(codes[1]).mean() < 0.2 * np.abs(codes[0]).mean()
        for beta, active in ((50.0, 0), (1e-4, 8)):
            one = trial(0, **{**VARIATIONAL, "beta": beta})
            weights = train_alone(one, data, "mse", 30).weights
            assert scoring.active_units(scoring.divergences(encoded(one, weights, rows[1]))) == active


@pytest.mark.parametrize("far", [-40.0, 40.0])
def test_a_log_variance_out_of_bounds_is_the_nearest_bound(kind: Kind, far: float) -> None:
    """Beyond -30 or 20 it counts as that, and has no gradient: the plain loop's clamp, on every kind of pack."""
    one = trial(0, **VARIATIONAL, learning_rate=1e-6)
    state = initial_state(one, 64)
    for name, _, view in Layout.own(Architecture.of(64, one.point)).tensors(state.parameters[None]):
        if name == "log_variance.bias":
            view[0, 0, 2] = far
    model = network(one, 64)
    assert model.log_variance is not None
    with torch.no_grad():
        model.log_variance.bias[2] = far
    with reproducible():
        (curve,) = train(kind.pack([one], kind.data(digits()), "mse", [state]), 2)
    train_loss, val_loss = plain_losses(one, *digits(), "mse", 2, model)
    np.testing.assert_allclose(curve.train_loss, train_loss, rtol=1e-5)
    np.testing.assert_allclose(curve.val_loss, val_loss, rtol=1e-5)


def test_padding_stays_zero_in_every_kind(kind: Kind, case: dict[str, Any]) -> None:
    """After training, everything in a row that is not a real unit's is still exactly zero."""
    one = trial(0, **case)
    shape, pack = Architecture.of(64, one.point), kind.pack([one], kind.data(digits()), "bce")
    with reproducible():
        train(pack, 2)
    (state,) = pack.states()
    for row in (state.parameters, state.first_moments, state.second_moments):
        real = checkpoint.padded_row(checkpoint.plain_weights(row, shape), shape)
        assert np.array_equal(row, real)
        assert np.count_nonzero(row) > 0.5 * np.count_nonzero(state.parameters)


def test_the_kept_weights_are_a_networks(kind: Kind, case: dict[str, Any], tmp_path: Path) -> None:
    """Through a file, they give the best loss; decoded codes are reconstructions; all weights are counted."""
    one, (_, held_out) = trial(0, **case), digits()
    shape, pack = Architecture.of(64, one.point), kind.pack([one], kind.data(digits()), "mse")
    with reproducible():
        train(pack, 3)
    (state,) = pack.states()
    weights = folding.best_weights(checkpoint.dumps(state, shape), None)
    Network(shape.sizes, one.point.activation, "mse", weights).save(tmp_path / "weights")
    again = Network.read((tmp_path / "weights").read_bytes(), "weights", shape.sizes, one.point.activation, "mse")
    assert again.mean_loss(held_out) == pytest.approx(state.best_value, rel=1e-6)
    assert scoring.mean_loss(one.point, "mse", weights, held_out, compiled=True) == pytest.approx(
        state.best_value, rel=1e-6
    )
    assert np.array_equal(again.decode(again.encode(held_out)), again.reconstruct(held_out))
    assert again.parameters == shape.parameters == sum(value.size for value in weights.values())
    assert (again.variational, again.norm) == (shape.variational, shape.norm and one.point.depth > 0)


def encoded(one: Trial, weights: Mapping[str, Any], rows: np.ndarray, compiled: bool = True) -> scoring.Encoded:
    row = checkpoint.padded_row(
        {name: np.asarray(value) for name, value in weights.items()}, Architecture.of(64, one.point)
    )
    return scoring.encode(one.point, "mse", row, rows, compiled)


@pytest.mark.parametrize("path", ["compiled", "torch"])
def test_divergences_are_those_of_torchs_distributions(path: str) -> None:
    """Each unit's, averaged over the rows; the log-variance's bounds included."""
    one = trial(0, **VARIATIONAL, norm="layer", width=37, bottleneck=5)
    model, rows = network(one, 64), digits()[1]
    assert model.log_variance is not None
    with torch.no_grad():
        model.log_variance.bias[1], model.log_variance.bias[2] = 45.0, -45.0
        mean, log_variance = model.posterior(torch.from_numpy(rows))
    normal = torch.distributions.Normal(mean.double(), (log_variance.double() / 2).exp())
    prior = torch.distributions.Normal(torch.zeros(()).double(), torch.ones(()).double())
    expected = torch.distributions.kl_divergence(normal, prior).mean(0)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    each = scoring.divergences(encoded(one, weights, rows, path == "compiled"))
    np.testing.assert_allclose(each, expected.numpy(), rtol=1e-5)
    assert scoring.active_units(each) == int((expected > 0.01).sum())
    with pytest.raises(TypeError, match="variational"):
        scoring.divergences(encoded(trial(0), network(trial(0), 64).state_dict(), rows))


def test_masks_are_splitmix64_and_as_frequent_as_the_rate_says() -> None:
    """The stack's are the written-out generator's, for every layer and row; they differ in every epoch and place."""
    trials = [trial(0, dropout=0.3, width=40), trial(1, dropout=0.0, width=20), trial(2, dropout=0.65, width=33)]
    shapes = [Architecture.of(64, one.point) for one in trials]
    sizes = tuple(max(layer) for layer in zip(*(padded_sizes(shape.sizes) for shape in shapes), strict=True))
    masks = Masks(trials, shapes, sizes, 50, torch.device("cpu"))
    seen = []
    for epoch, position in ((1, 0), (1, 50), (2, 0)):
        masks.prepare(epoch, position)
        masks.draw()
        for m, one in enumerate(trials):
            for place, factors in masks.factors.items():
                layer = sum(shapes[0].hidden(before) for before in range(place))
                at = layer if place < shapes[0].code else layer + 1
                expected = dropout_factors(one, epoch, range(position, position + 50), at)
                assert torch.equal(factors[m, :, : expected.shape[1]], expected)
                share = (expected == 0).double().mean().item()
                assert abs(share - one.point.dropout) < 5 * (0.25 / expected.numel()) ** 0.5
                seen += [expected.numpy().tobytes()] if one.point.dropout else []
    assert len(set(seen)) == len(seen)


@pytest.mark.skipif(not runnable(), reason="no C++ compiler was there when the project was installed")
@pytest.mark.parametrize("build", runnable())
def test_a_call_writes_nothing_outside_its_room(build: str, case: dict[str, Any]) -> None:
    """Guards before and behind the work space keep their values."""
    one = trial(0, **{**case, "width": 77})
    assert_stays_in_its_room(CompiledPack(opened(build), [one], PaddedRows.of(*digits(67, 131)), "mse"))


def test_a_packs_memory_is_told_for_every_kind(case: dict[str, Any]) -> None:
    """Every tensor that its passes hold is counted: no more than was told, and no less than half of it."""
    import gc

    data, one = TrainingData.of(*digits()), trial(0, **{**case, "width": 64})
    gc.collect()
    before = storages()
    pack = Pack([one], data, "mse", merged=True)
    after = storages()
    held = sum(after[place] for place in after.keys() - before.keys())
    assert pack.members.shapes[0] == Architecture.of(64, one.point)
    assert packed([one], 64, (300, 101)) / 2 <= held <= packed([one], 64, (300, 101))


def storages() -> dict[int, int]:
    import gc

    tensors = [one for one in gc.get_objects() if type(one) is torch.Tensor and one.layout == torch.strided]
    return {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}


def test_what_a_kind_has_more_is_thought_to_take_longer() -> None:
    """The compiled step's model of cost counts the head's other half, noise, masks and normalisation."""
    plain = seconds(trial(0), 64, (1000, 100), 1)
    for more in (VARIATIONAL, {"norm": "layer"}, {"dropout": 0.1}, {"input_noise": 0.1}):
        assert plain < seconds(trial(0, **more), 64, (1000, 100), 1) < 2.5 * plain


def test_a_state_of_the_version_before_is_a_plain_ones() -> None:
    """Its header says nothing of parts: the weights are those of a plain autoencoder."""
    one = trial(0)
    shape, state = Architecture.of(64, one.point), initial_state(one, 64)
    content = checkpoint.dumps(state, shape)
    header = {name: value for name, value in checkpoint._header(content).items() if name != "parts"}
    weights = folding.best_weights(save(load(content), header), None)
    expected = checkpoint.plain_weights(state.best, shape)
    assert all(np.array_equal(weights[name], value) for name, value in expected.items())
