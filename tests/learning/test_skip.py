"""Claims about where trainings start: centred rows, and the linear way around encoder and decoder."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from kinds import Kind, kinds
from mixed import mixed
from plain import digits, trial
from sklearn.decomposition import PCA

from tuner.data.linear_start import LinearStart
from tuner.data.terms import VALIDATION, Terms, split_scale
from tuner.learning.checkpoint import dumps, plain_weights
from tuner.learning.folding import best_weights, folded
from tuner.learning.inference.network import Network
from tuner.learning.plain import plain_losses
from tuner.learning.stacked.pack import reproducible
from tuner.learning.training import train
from tuner.spec.architecture import Architecture
from tuner.spec.work import TrainingPlan, Trial

CODES = (4, 8)
LOSSES = ("mse", "bce", "terms")
PARTS: tuple[dict[str, Any], ...] = (
    {},
    {"depth": 0, "input_noise": 0.1},
    {"kind": "variational", "beta": 0.1, "activation": "gelu"},
    {"kind": "variational", "beta": 0.1, "depth": 0},
    {"norm": "layer", "dropout": 0.2, "clip_norm": 0.5, "activation": "tanh"},
    {"kind": "sparse", "sparsity": 0.01, "depth": 3, "activation": "silu"},
)


@pytest.fixture(params=kinds())
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind.of(request.param)


def rows_of(loss: str) -> tuple[tuple[np.ndarray, np.ndarray], Terms | None]:
    """Rows of 61 features, so that some columns are padding; of terms mixed ones, some of them missing."""
    if loss == "terms":
        terms, rows = mixed(3, 37, missing=True)
        return rows, terms
    train_rows, held_out = digits(300, 101)
    return (train_rows[:, :61].copy(), held_out[:, :61].copy()), None


@cache
def started(loss: str) -> tuple[tuple[np.ndarray, np.ndarray], Terms | None, LinearStart]:
    rows, terms = rows_of(loss)
    return rows, terms, LinearStart.of(rows[0], loss, terms, CODES)


CASES = [  # every part with every loss and every skip, though not with all of both at once
    (parts, LOSSES[(place + turn) % 3], ("none", "linear", "pca")[turn])
    for place, parts in enumerate(PARTS)
    for turn in range(3)
]


@pytest.mark.parametrize(("parts", "loss", "skip"), CASES, ids=lambda value: "-".join(value) or "plain")
def test_losses_are_the_plain_loops(kind: Kind, parts: dict[str, Any], loss: str, skip: str) -> None:
    """Before the first epoch and after each of two, in the units of scaled rows, whatever units training is in."""
    rows, terms, start = started(loss)
    one = trial(1, bottleneck=4, skip=skip, **parts)
    expected = plain_losses(one, *rows, loss, 2, terms=terms, start=start, double=True)
    with reproducible():
        pack = kind.pack([one], kind.data(rows, terms, start), loss, plan=TrainingPlan(2))
        (curve,) = train(pack, 2)
    assert (curve.before is None) is (skip != "pca")
    if curve.before is not None:
        assert curve.before == pytest.approx(expected.before, rel=1e-5)
    # Where gradients are nearly zero, as at PCA, AdamW makes steps of rounding.
    np.testing.assert_allclose(curve.val_loss, expected.validation, rtol=1e-3 if skip == "pca" else 1e-5)
    np.testing.assert_allclose(curve.train_loss, expected.train, rtol=1e-3 if skip == "pca" else 1e-5)


def test_the_start_is_pca(kind: Kind) -> None:
    """Before its first epoch a network has the validation loss of scikit-learn's PCA, whatever surrounds the skip."""
    (train_rows, held_out), _, start = started("mse")
    pca = PCA(4).fit(train_rows.astype(np.float64))
    known = float(np.mean((held_out - pca.inverse_transform(pca.transform(held_out))) ** 2))
    for parts in PARTS:
        with reproducible():
            one = trial(1, bottleneck=4, skip="pca", **parts)
            pack = kind.pack([one], kind.data((train_rows, held_out), None, start), "mse", plan=TrainingPlan(1))
        assert pack.before == [pytest.approx(known, rel=1e-5)]


def test_a_training_that_only_gets_worse_leaves_pca(kind: Kind) -> None:
    """The best epoch is 0, and its weights are the first ones; a trial that starts elsewhere is not touched."""
    rows, _, start = started("mse")
    worse, other = trial(1, skip="pca", learning_rate=3.0), trial(2, skip="linear", learning_rate=3.0)
    with reproducible():
        pack = kind.pack([worse, other], kind.data(rows, None, start), "mse", plan=TrainingPlan(3))
        first = pack.states()[0].parameters.copy()
        curves = train(pack, 3)
        state, beside = pack.states()
    assert min(curves[0].val_loss) > curves[0].before
    assert (state.best_epoch, state.best_value) == (0, curves[0].before)
    kind.assert_same(state.best, first)
    assert beside.best_epoch == 1 + int(np.argmin(curves[1].val_loss))


@pytest.mark.parametrize("loss", LOSSES)
def test_neighbours_and_interruptions_change_no_bit(kind: Kind, loss: str) -> None:
    """Alone, in company, and gone on from a state: the same states."""
    rows, terms, start = started(loss)
    company = [trial(m, skip=skip) for m, skip in enumerate(("pca", "linear", "pca"))]

    def trained(trials: list[Trial]) -> Any:
        data = kind.data(rows, terms, start)
        with reproducible():
            pack = kind.pack(trials, data, loss, plan=TrainingPlan(3))
            train(pack, 1)
            again = kind.pack(trials, data, loss, pack.states(), plan=TrainingPlan(3))
            curves = train(again, 3)
        assert all(curve.before is None for curve in curves)
        return again.states()

    with reproducible():
        whole = kind.pack(company, kind.data(rows, terms, start), loss, plan=TrainingPlan(3))
        train(whole, 3)
    for number, state in enumerate(whole.states()):
        (alone,) = trained([company[number]])
        kind.assert_same_state(alone, state)
        assert alone.best_epoch == state.best_epoch


@pytest.mark.parametrize(("parts", "loss", "skip"), CASES, ids=lambda value: "-".join(value) or "plain")
def test_folded_weights_are_the_same_function_of_scaled_rows(parts: dict[str, Any], skip: str, loss: str) -> None:
    """A plain module with them has the loss that training measured, and gives the codes of the unfolded one."""
    kind, (rows, terms, start) = Kind(None), started(loss)
    one = trial(1, bottleneck=4, skip=skip, **parts)
    with reproducible():
        pack = kind.pack([one], kind.data(rows, terms, start), loss, plan=TrainingPlan(2))
        train(pack, 2)
        (state,) = pack.states()
    shape = Architecture.of(rows[0].shape[1], one.point)
    weights = best_weights(dumps(state, shape), start)
    network = Network(shape.sizes, one.point.activation, loss, weights, terms)
    known = network.mean_loss(rows[1]) * split_scale(terms, VALIDATION)
    assert known == pytest.approx(state.best_value, rel=1e-4)
    unfolded = Network(shape.sizes, one.point.activation, loss, plain_weights(state.best, shape))
    filled = rows[1] if terms is None else terms.filled(rows[1]).astype(np.float32)
    codes = unfolded.encode(start.read(filled))
    np.testing.assert_allclose(network.encode(rows[1]), codes, atol=1e-4 * np.abs(codes).max())


def test_weights_trained_on_scaled_rows_are_left_as_they_are() -> None:
    """By rules before 4 nothing is folded, and no bit of an export changes."""
    weights = {"encoder.0.weight": np.ones((2, 3), np.float32)}
    assert folded(weights, Architecture((3, 2, 3)), None) is weights


@pytest.mark.parametrize("loss", LOSSES)
def test_a_start_comes_back_from_its_file(loss: str) -> None:
    """Equal starts give equal bytes, computed again as well."""
    *_, start = started(loss)
    content = start.to_bytes()
    (train_rows, _), terms = rows_of(loss)
    assert LinearStart.of(train_rows, loss, terms, CODES).to_bytes() == content
    assert LinearStart.from_bytes(content).to_bytes() == content
    assert LinearStart.from_bytes(content).targets is start.targets is (loss == "mse")


def test_what_a_network_reads_is_centred_and_of_size_one() -> None:
    """Each column's mean is 0 and the mean square is 1; rows that are so already are left alone to the bit."""
    (train_rows, _), _, start = started("mse")
    read = start.read(train_rows).astype(np.float64)
    np.testing.assert_allclose(read.mean(axis=0), 0, atol=1e-6)
    assert (read**2).mean() == pytest.approx(1, rel=1e-6)
    again = LinearStart.of(start.read(train_rows), "mse", None, ())
    np.testing.assert_array_equal(again.read(start.read(train_rows)), start.read(train_rows))
