"""Claims about intervals that are no epochs: parts of the first one, or some optimizer steps, on every kind of pack."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from devices import DEVICES
from kinds import Kind
from plain import digits, trial

from tuner.learning import plain
from tuner.learning.stacked.pack import Pack, reproducible
from tuner.learning.stacked.training_data import TrainingData
from tuner.learning.training import train
from tuner.spec.work import Slice, TrainingPlan

pytestmark = pytest.mark.usefixtures("one_thread")
ROWS = 640  # in batches of 64 (`plain.POINT`), and in one case of 48
THIRDS = TrainingPlan(5, thirds=2)  # after 1, 3, 10, 20 and 30 of 10 steps an epoch
STEPS = TrainingPlan(4, steps=26)  # after 6, 13, 19 and 26: the second and the fourth go over the end of an epoch
PLANS = {"thirds": THIRDS, "steps": STEPS}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "a smaller last batch": {"batch_size": 48},
    "noise and masks": {"input_noise": 0.2, "dropout": 0.2, "width": 20, "norm": "layer"},
    "variational": {"kind": "variational", "beta": 0.5, "norm": "layer", "input_noise": 0.1},
    "scheduled": {"schedule": "cosine", "warmup": 0.2, "clip_norm": 0.1, "weight_decay": 0.05},
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    return CASES[request.param]


@pytest.fixture(params=PLANS)
def plan(request: pytest.FixtureRequest) -> TrainingPlan:
    return PLANS[request.param]


def test_slices_are_the_steps_of_a_training_in_order(plan: TrainingPlan) -> None:
    """All intervals' slices together are each step of the training once, none over the end of an epoch."""
    for steps in (9, 10, 13, 729):
        parts = [part for interval in range(1, plan.intervals + 1) for part in plan.slices(interval, steps)]
        visited = [(epoch, step) for epoch, first, last in parts for step in range(first, last)]
        assert visited == [(step // steps + 1, step % steps) for step in range(plan.total(steps))]
        assert all(first < last <= steps for _, first, last in parts)


def test_where_intervals_end() -> None:
    """Ninths and thirds of the first epoch; equal parts of the steps; and epochs where nothing else is said."""
    assert [THIRDS.done(interval, 10) for interval in range(6)] == [0, 1, 3, 10, 20, 30]
    assert [STEPS.done(interval, 10) for interval in range(5)] == [0, 6, 13, 19, 26]
    assert STEPS.slices(2, 10) == [Slice(1, 6, 10), Slice(2, 0, 3)]
    assert TrainingPlan(3).slices(2, 10) == [Slice(2, 0, 10)]
    assert TrainingPlan(1, steps=25).slices(1, 10) == [Slice(1, 0, 10), Slice(2, 0, 10), Slice(3, 0, 5)]


def test_every_kind_of_pack_trains_as_the_plain_loop_does(kind: Kind, case: dict[str, Any], plan: TrainingPlan) -> None:
    """Losses of every interval are those of PyTorch's loop that is measured after the same steps, to 1e-5."""
    one = trial(0, **case)
    with reproducible():
        (curve,) = train(kind.pack([one], kind.data(digits(ROWS)), "mse", plan=plan), plan.intervals)
    expected = plain.plain_losses(one, *digits(ROWS), "mse", plan.intervals, plan=plan)
    np.testing.assert_allclose(curve.train_loss, expected.train, rtol=1e-5)
    np.testing.assert_allclose(curve.val_loss, expected.validation, rtol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_merged_packs_do_so_as_well(device: str, plan: TrainingPlan) -> None:
    """As on a GPU, with noise, masks and rates of each model's own, in one stack."""
    trials = [trial(m, **{**CASES[name], "width": 20 + 9 * m}) for m, name in enumerate(("plain", "scheduled"))]
    with reproducible():
        data = TrainingData.of(*digits(ROWS), device)
        curves = train(Pack(trials, data, "mse", merged=True, plan=plan), plan.intervals)
    for one, curve in zip(trials, curves, strict=True):
        expected = plain.plain_losses(one, *digits(ROWS), "mse", plan.intervals, plan=plan)
        np.testing.assert_allclose(curve.train_loss, expected.train, rtol=1e-5)
        np.testing.assert_allclose(curve.val_loss, expected.validation, rtol=1e-5)


def test_intervals_change_no_weight(kind: Kind, case: dict[str, Any]) -> None:
    """After three epochs the state is the same bits, trained as 3 intervals, as 5, or as 8 that share other steps."""
    one, data = trial(0, **case), kind.data(digits(ROWS))
    steps = 3 * -(-ROWS // one.point.batch_size)
    with reproducible():
        states = []
        for plan in (TrainingPlan(3), THIRDS, TrainingPlan(8, steps=steps)):
            pack = kind.pack([one], data, "mse", plan=plan)
            train(pack, plan.intervals)
            states += pack.states()
    for state in states[1:]:
        for name in ("parameters", "first_moments", "second_moments"):
            kind.assert_same(getattr(state, name), getattr(states[0], name), 1e-2, 1e-5)
        assert state.steps == states[0].steps


def test_segments_that_end_amid_an_epoch_change_no_bit(kind: Kind, case: dict[str, Any], plan: TrainingPlan) -> None:
    """Laws 1 and 2: a pack made anew from the states after any interval goes on to the losses of one never ended."""
    trials = [trial(0, **case), trial(1, **case)]
    data = kind.data(digits(ROWS))
    with reproducible():
        whole = train(kind.pack(trials, data, "mse", plan=plan), plan.intervals)
        pack = kind.pack(trials, data, "mse", plan=plan)
        found = []
        for interval in range(1, plan.intervals + 1):
            found.append([curve.val_loss[0] for curve in train(pack, interval)])
            pack = kind.pack(trials, data, "mse", pack.states(), plan=plan)
    for losses, curve in zip(zip(*found, strict=True), whole, strict=True):
        kind.assert_same(losses, curve.val_loss)
