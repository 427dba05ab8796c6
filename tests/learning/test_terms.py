"""Claims about training by terms, on every kind of pack: against the plain loop, numpy's cells, or the trial alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from devices import DEVICES
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds import Kind as PackKind
from kinds import assert_stays_in_its_room, opened, runnable
from mixed import NUMBERS, mixed, mixed_rows, mixed_terms
from plain import plain_losses, trial

from tuner.data.terms import VALIDATION, Kind, Terms
from tuner.learning import checkpoint, plain
from tuner.learning.compiled.border import aligned, aligned_copy, model
from tuner.learning.compiled.pack import CompiledPack
from tuner.learning.initialization import initial_state
from tuner.learning.rows import PaddedRows, padded
from tuner.learning.stacked.pack import Pack, reproducible
from tuner.learning.stacked.terms import TermLoss
from tuner.learning.stacked.training_data import TrainingData
from tuner.learning.training import train
from tuner.spec.architecture import Architecture

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"width": 20, "bottleneck": 3, "batch_size": 40}
# Of every part that touches what a network reads or what its loss is added to.
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "noisy": {"input_noise": 0.2, "weight_decay": 0.05},
    "clipped, scheduled": {"clip_norm": 0.1, "schedule": "cosine", "warmup": 0.2},
    "sparse, normed, dropped": {"kind": "sparse", "sparsity": 0.05, "norm": "layer", "dropout": 0.2},
    "variational": {"kind": "variational", "beta": 0.5},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("missing", [False, True])
def test_every_kind_of_autoencoder_trains_as_the_plain_loop_does(kind: PackKind, case: str, missing: bool) -> None:
    """Losses of 10 epochs are those of cross_entropy, huber_loss and the others under autograd, to 2e-6."""
    terms, rows = mixed(3, 37, missing)
    one = trial(0, **SMALL, **CASES[case])
    plan = plain.TrainingPlan(10)
    with reproducible():
        (curve,) = train(kind.pack([one], kind.data(rows, terms), "mixed", plan=plan), 10)
    expected = plain_losses(one, *rows, "mixed", 10, terms=terms)
    np.testing.assert_allclose(curve.train_loss, expected[0], rtol=2e-6)
    np.testing.assert_allclose(curve.val_loss, expected[1], rtol=2e-6)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    features=st.integers(1, 70),
    rows=st.integers(1, 90),
    held_out=st.integers(1, 40),
    batch=st.integers(1, 70),
    missing=st.booleans(),
    kinds=st.sampled_from([tuple(Kind), (Kind.SOFTMAX,), (Kind.SQUARE,), (Kind.SQUARE, Kind.SOFTMAX), NUMBERS]),
    levels=st.sampled_from([2, 9, 40]),
)
def test_any_terms_train_as_the_plain_loop_does(
    kind, seed, features, rows, held_out, batch, missing, kinds, levels
) -> None:
    """Whatever kinds, groups, weights and missing cells, batches and remainders: the plain loop's losses, to 1e-5."""
    terms = mixed_terms(seed, features, missing, kinds, levels)
    both = mixed_rows(seed + 1, terms, rows), mixed_rows(seed + 2, terms, held_out)
    one = trial(3, width=12, bottleneck=2, depth=1, batch_size=batch)
    with reproducible():
        (curve,) = train(kind.pack([one], kind.data(both, terms), "mixed"), 2)
    expected = plain_losses(one, *both, "mixed", 2, terms=terms)
    np.testing.assert_allclose(curve.train_loss, expected[0], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(curve.val_loss, expected[1], rtol=1e-5, atol=1e-7)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(2, 7),
    features=st.integers(1, 70),
    missing=st.booleans(),
    batch=st.integers(1, 70),
    order=st.randoms(use_true_random=False),
)
def test_neighbours_never_change_a_bit(kind, seed, count, features, missing, batch, order) -> None:
    """Law 1: in any pack and place a trial's losses and weights are those of the trial alone, bit for bit."""
    terms = mixed_terms(seed, features, missing)
    data = kind.data((mixed_rows(seed + 1, terms, 77), mixed_rows(seed + 2, terms, 23)), terms)
    trials = kind.company(count, batch_size=batch, depth=1, width=20, bottleneck=4)
    order.shuffle(trials)
    with reproducible():
        pack = kind.pack(trials, data, "mixed")
        together = train(pack, 2)
        for one, curve, state in zip(trials, together, pack.states(), strict=True):
            alone = kind.pack([one], data, "mixed")
            (expected,) = train(alone, 2)
            kind.assert_same((curve.train_loss, curve.val_loss), (expected.train_loss, expected.val_loss))
            kind.assert_same_state(state, alone.states()[0])


def test_a_checkpoint_between_two_segments_changes_no_bit(kind: PackKind) -> None:
    """Trained 0-3-8 through stored bytes, every trial has the losses and best weights of 0-8."""
    terms, rows = mixed(5, 40)
    trials, data = kind.company(4, depth=1), kind.data(rows, terms)
    with reproducible():
        whole = kind.pack(trials, data, "mixed")
        expected = train(whole, 8)
        first = kind.pack(trials, data, "mixed")
        before = train(first, 3)
        kept = [checkpoint.dumps(state, Architecture.of(40, trials[m].point)) for m, state in enumerate(first.states())]
        second = kind.pack(trials, data, "mixed", [checkpoint.loads(content) for content in kept])
        after = train(second, 8)
    for one, left, right in zip(expected, before, after, strict=True):
        kind.assert_same(left.val_loss + right.val_loss, one.val_loss)
    for one, other in zip(whole.states(), second.states(), strict=True):
        kind.assert_same_state(other, one)


def test_a_missing_cell_costs_and_moves_nothing(kind: PackKind) -> None:
    """At a cell that is missing in all rows the loss does not change with its weight, nor any parameter in training."""
    terms, rows = mixed(7, 40)
    gone = np.arange(40) % 7 == 3
    for first, last in terms.groups:
        gone[first:last] = gone[first]
    for part in rows:
        part[:, gone] = np.nan
    heavier = replace(terms, weights=np.where(gone, 50, terms.weights).astype(np.float32))
    with reproducible():
        packs = [kind.pack([trial(0, **SMALL)], kind.data(rows, each), "mixed") for each in (terms, heavier)]
        (curve,), (other,) = (train(pack, 3) for pack in packs)
    assert (curve.train_loss, curve.val_loss) == (other.train_loss, other.val_loss)
    assert np.array_equal(*(pack.states()[0].parameters for pack in packs))


def test_what_fills_a_missing_cell_is_read_and_not_asked_for(kind: PackKind) -> None:
    """A value in place of NaN with weight 0 is the same as NaN that is filled with it."""
    terms = mixed_terms(11, 40, kinds=[Kind.SQUARE])
    train_rows, held_out = mixed_rows(12, terms, 150, 0), mixed_rows(13, terms, 61, 0)
    fixed = np.arange(40) < 7
    there = [np.where(fixed, terms.fill, rows).astype(np.float32) for rows in (train_rows, held_out)]
    gone = [np.where(fixed, np.float32(np.nan), rows) for rows in (train_rows, held_out)]
    silent = replace(terms, weights=np.where(fixed, 0, terms.weights).astype(np.float32))
    with reproducible():
        packs = [
            kind.pack([trial(0, **SMALL)], kind.data((rows[0], rows[1]), each), "mixed")
            for rows, each in ((there, silent), (gone, terms))
        ]
        (curve,), (other,) = (train(pack, 3) for pack in packs)
    kind.assert_same((curve.train_loss, curve.val_loss), (other.train_loss, other.val_loss))


def test_the_validation_loss_is_a_mean_over_what_is_observed(kind: PackKind) -> None:
    """It is numpy's sum of cells over rows and features, times the training split's share over its own."""
    terms, rows = mixed(9, 40)
    one = trial(0, **SMALL, learning_rate=1e-30)
    with reproducible():
        (curve,) = train(kind.pack([one], kind.data(rows, terms), "mixed"), 1)
    network = plain.network(one, 40).double()
    with torch.no_grad():
        outputs = network(torch.from_numpy(terms.filled(rows[1])).double()).numpy()
    expected = terms.cells(outputs, rows[1]).sum() / rows[1].size * terms.scale(VALIDATION)
    np.testing.assert_allclose(curve.val_loss[0], expected, rtol=1e-6)


def extreme(seed: int) -> tuple[Terms, np.ndarray, np.ndarray]:
    """Terms, outputs up to the hundreds, and targets with counts up to 10,000 and any distributions."""
    terms, draw = mixed_terms(seed, 48), np.random.default_rng(seed + 3)
    targets = mixed_rows(seed + 4, terms, 37)
    poisson = terms.kinds == Kind.POISSON
    targets[:, poisson] = np.floor(targets[:, poisson] * draw.choice([1, 2000], poisson.sum()))
    for first, last in terms.groups:
        spread = draw.random((37, last - first)).astype(np.float32)
        targets[:, first:last] = np.where(
            np.isnan(targets[:, first:last]), np.nan, spread / spread.sum(1, keepdims=True)
        )
    return terms, (draw.standard_normal((37, 48)) * draw.choice([0.1, 3, 200], 48)).astype(np.float32), targets


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("device", DEVICES)
def test_the_stacks_cells_and_slopes_are_autograds(device: str, seed: int) -> None:
    """For outputs up to the hundreds, large counts and any distribution: numpy's cells, and their derivatives."""
    terms, outputs, targets = extreme(seed)
    loss = TermLoss(terms, 48, torch.device(device))
    y, target = (torch.from_numpy(each[:36].reshape(2, 18, 48)).to(device) for each in (outputs, targets))
    losses, slopes = (found.cpu().numpy().reshape(36, 48) for found in loss.losses(y, target))
    np.testing.assert_allclose(losses, terms.cells(outputs[:36], targets[:36]), rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(slopes, slopes_of(terms, outputs[:36], targets[:36]), rtol=1e-4, atol=2e-5)


def slopes_of(terms: Terms, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The plain loop's loss of each row, derived by autograd in double precision."""
    y = torch.from_numpy(outputs).double().requires_grad_()
    (slopes,) = torch.autograd.grad(plain._by_terms(terms, y, torch.from_numpy(targets).double()) * y.numel(), y)
    return slopes.numpy()


@pytest.mark.parametrize("seed", range(3))
def test_autograds_slopes_are_finite_differences_of_numpys_cells(seed: int) -> None:
    """So that the oracles agree with each other."""
    terms, targets = mixed_terms(seed, 30), mixed_rows(seed, mixed_terms(seed, 30), 4)
    outputs, h = np.random.default_rng(seed).standard_normal((4, 30)), 1e-5
    slopes = slopes_of(terms, outputs.astype(np.float64), targets)
    for column in range(30):
        step = h * (np.arange(30) == column)
        rise = (terms.cells(outputs + step, targets) - terms.cells(outputs - step, targets)).sum(1) / (2 * h)
        np.testing.assert_allclose(slopes[:, column], rise, rtol=1e-5, atol=1e-6)


def linear_step(terms: Terms) -> tuple[Any, Any, int]:
    """A trial of depth 0, with its model and room for its parameters' gradients."""
    one = trial(0, depth=0, bottleneck=8, batch_size=37, clip_norm=0.0, learning_rate=1.0)
    return one, model(len(terms.kinds), one.point, "mixed", terms), len(terms.kinds)


@pytest.mark.parametrize("build", runnable())
@pytest.mark.parametrize("seed", range(5))
def test_the_compiled_steps_cells_are_numpys(build: str, seed: int) -> None:
    """For outputs up to the hundreds: each row's sum of cells is numpy's of the very outputs that it gives."""
    terms, _, targets = extreme(seed)
    step, (one, described, features) = opened(build), linear_step(terms)
    parameters = aligned_copy(initial_state(one, features).parameters * 8)
    outputs, rows = np.empty((37, 48), np.float32), padded(targets)
    _, sums = step.encode(described, rows, 16, parameters, outputs)
    np.testing.assert_allclose(sums, terms.cells(outputs[:, :features], targets).sum(1), rtol=1e-5, atol=1e-4)
    total = step.measure(described, rows, 16, parameters, aligned(step.room(described, 16)))
    assert total == pytest.approx(sums.sum(), rel=1e-6)


@pytest.mark.parametrize("build", runnable())
@pytest.mark.parametrize("seed", range(3))
def test_the_compiled_steps_first_moment_is_autograds_gradient(build: str, seed: int) -> None:
    """After one step AdamW's first moment is a tenth of the gradient: that of the plain loop, for every parameter."""
    terms = mixed_terms(seed, 40)
    rows, one = mixed_rows(seed, terms, 37), trial(0, depth=0, bottleneck=8, batch_size=37)
    pack = CompiledPack(opened(build), [one], PaddedRows.of(rows, rows, terms), "mixed")
    pack.train_epoch()
    order = plain.numpy_generator(one.seed, "shuffle", 1).permutation(37)
    network, target = plain.network(one, 40).double(), torch.from_numpy(rows[order]).double()
    plain._by_terms(terms, network(torch.from_numpy(terms.filled(rows[order])).double()), target).backward()
    found = checkpoint.plain_weights(pack.states()[0].first_moments, Architecture.of(40, one.point))
    for name, value in network.named_parameters():
        assert value.grad is not None
        np.testing.assert_allclose(found[name], 0.1 * value.grad.numpy(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("build", runnable())
@pytest.mark.parametrize("features", [1, 16, 45])
def test_a_call_writes_nothing_outside_its_room(build: str, features: int) -> None:
    """Guards before and behind the work space keep their values, with remainders of rows and columns."""
    terms, rows = mixed(1, features)
    for one in PackKind(opened(build)).company(6, depth=1):
        assert_stays_in_its_room(CompiledPack(opened(build), [one], PaddedRows.of(*rows, terms), "mixed"))


@pytest.mark.parametrize("device", DEVICES)
def test_merged_packs_train_by_terms_as_the_plain_loop_does(device: str) -> None:
    """As on a GPU, trials of several widths padded to the largest: the plain loop's losses, to 1e-5."""
    terms, rows = mixed(21, 45)
    trials = [trial(m, width=20 + 23 * m, bottleneck=3, input_noise=0.1 * (m % 2)) for m in range(4)]
    with reproducible():
        curves = train(Pack(trials, TrainingData.of(*rows, device, terms=terms), "mixed", merged=True), 5)
    for one, curve in zip(trials, curves, strict=True):
        expected = plain_losses(one, *rows, "mixed", 5, terms=terms)
        np.testing.assert_allclose(curve.train_loss, expected[0], rtol=1e-5)
        np.testing.assert_allclose(curve.val_loss, expected[1], rtol=1e-5)


def test_squares_of_one_weight_are_mse(kind: PackKind) -> None:
    """Terms that say what mse says, with nothing missing, come to its losses, to 1e-6."""
    ones, count = np.ones(40, np.float32), 40
    terms = Terms(np.zeros(count, np.int32), np.zeros((0, 2), np.int32), ones, ones, ones, False, (1.0, 1.0, 1.0))
    rows = mixed_rows(1, terms, 150), mixed_rows(2, terms, 61)
    with reproducible():
        (curve,) = train(kind.pack([trial(0, **SMALL)], kind.data(rows, terms), "mixed"), 10)
        (expected,) = train(kind.pack([trial(0, **SMALL)], kind.data(rows), "mse"), 10)
    np.testing.assert_allclose(curve.val_loss, expected.val_loss, rtol=1e-6)
