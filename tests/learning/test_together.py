"""Claims about packs side by side and rows that stay on the host, as on a GPU; on the CPU to the bit."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from plain import digits, plain_losses, trial

from tuner.learning import memory
from tuner.learning.pack import Pack, TrainingData, reproducible
from tuner.learning.planner import GPU_SHARE, deal, plan_for_gpu, seconds
from tuner.learning.together import train_together, waves
from tuner.learning.training import train
from tuner.spec.work import Trial

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")]
    ),
]


def of_all_shapes(count: int) -> list[Trial]:
    """Trials that make many packs: depths, batch sizes and widths differ."""
    return [
        trial(
            m,
            depth=m % 3,
            batch_size=(64, 100)[m % 2],
            width=20 + 60 * (m % 5),
            activation=("relu", "tanh", "gelu")[m % 3],
            input_noise=0.1 * (m % 4 == 1),
        )
        for m in range(count)
    ]


@pytest.mark.parametrize("device", DEVICES)
def test_packs_side_by_side_train_as_the_plain_loop_does(device: str) -> None:
    """Twelve trials of all shapes at the same time, in the order given: each has the plain loop's losses."""
    trials, rows = of_all_shapes(12)[::-1], digits()
    with reproducible():
        curves, states = train_together(trials, TrainingData.of(*rows, device), "mse", None, 5)
    assert [curve.number for curve in curves] == [one.number for one in trials]
    for one, curve, state in zip(trials, curves, states, strict=True):
        train_loss, val_loss = plain_losses(one, *rows, "mse", 5)
        np.testing.assert_allclose(curve.train_loss, train_loss, rtol=1e-5)
        np.testing.assert_allclose(curve.val_loss, val_loss, rtol=1e-5)
        assert (state.epoch, state.best_value) == (5, min(curve.val_loss))


def test_packs_side_by_side_are_each_as_if_alone() -> None:
    """Threads change no bit: every pack of the plan trained by itself has the same losses and states."""
    trials, data = of_all_shapes(12), TrainingData.of(*digits())
    with reproducible():
        curves, states = train_together(trials, data, "mse", None, 3)
        packs = plan_for_gpu(trials, 64, len(data.train_NF), 1, None)
        assert len(packs) >= 4
        for members in packs:
            pack = Pack(members, data, "mse", merged=True)
            for curve, state in zip(train(pack, 3), pack.states(), strict=True):
                assert curve.val_loss == curves[curve.number].val_loss
                assert np.array_equal(state.parameters, states[curve.number].parameters)


def test_states_go_on_in_other_company() -> None:
    """Trained 0-2 together and 2-5 in two parts: the losses of 0-5, to rounding."""
    trials, data = of_all_shapes(8), TrainingData.of(*digits())
    with reproducible():
        whole, _ = train_together(trials, data, "mse", None, 5)
        _, states = train_together(trials, data, "mse", None, 2)
        for part in (slice(0, 3), slice(3, 8)):
            curves, _ = train_together(trials[part], data, "mse", states[part], 5)
            for curve, expected in zip(curves, whole[part], strict=True):
                np.testing.assert_allclose(curve.val_loss, expected.val_loss[2:], rtol=1e-5)


def test_a_diverging_trial_ends_alone() -> None:
    """Its own curve ends; its pack's neighbours and the other packs go on."""
    trials, data = of_all_shapes(6), TrainingData.of(*digits())
    hopeless = replace(trials[2], point=replace(trials[2].point, learning_rate=1e25))
    with reproducible():
        curves, _ = train_together([*trials[:2], hopeless, *trials[3:]], data, "mse", None, 3)
    assert [curve.diverged for curve in curves] == [False, False, True, False, False, False]
    assert not math.isfinite(curves[2].train_loss[-1] + curves[2].val_loss[-1])
    assert all(curve.last == 3 for curve in curves if not curve.diverged)


@pytest.mark.parametrize("device", DEVICES)
def test_rows_that_stay_on_the_host_are_the_same_rows(device: str) -> None:
    """Gathered on the host and copied batch by batch, noise and last batch included: the losses keep every bit."""
    rows = digits()
    resident = TrainingData.of(*rows, device)
    streamed = TrainingData.of(*rows, device, free=rows[0].nbytes)
    assert (resident.streamed, streamed.streamed) == (False, True)
    assert streamed.train_NF.device.type == "cpu"
    trials = [trial(m, input_noise=0.1 * m, batch_size=70) for m in range(3)]
    with reproducible():
        expected, got = (train(Pack(trials, data, "mse", merged=True), 4) for data in (resident, streamed))
    assert [curve.val_loss for curve in got] == [curve.val_loss for curve in expected]
    assert [curve.train_loss for curve in got] == [curve.train_loss for curve in expected]


@pytest.mark.parametrize("free", [1_000_000, 10_000_000, 100_000_000])
def test_what_is_trained_at_the_same_time_fits(free: int) -> None:
    """No wave needs more than the memory it may take, but for a pack that alone does; none is lost or doubled."""
    trials = of_all_shapes(30)
    packs = plan_for_gpu(trials, 64, 500, 1, free)
    made = waves(packs, 64, 500, free)
    assert [pack for wave in made for pack in wave] == packs
    for wave in made:
        wanted = sum(len(pack) * max(memory.needed(one, 64, 500) for one in pack) for pack in wave)
        assert wanted <= GPU_SHARE * free or len(wave) == 1


def test_loads_are_dealt_evenly() -> None:
    """Three GPUs: every trial once, and no load longer than another by more than its shortest trial."""
    trials = of_all_shapes(40)
    loads = deal(trials, 64, 500, 3)
    assert sorted(one.number for load in loads for one in load) == list(range(40))
    costs = [[seconds([one], 64, 500, 1) for one in load] for load in loads]
    totals = [sum(load) for load in costs]
    assert max(totals) - min(totals) <= max(map(max, costs))
    assert totals == sorted(totals, reverse=True)
    assert sorted(len(load) for load in deal(trials[:2], 64, 500, 8)) == [1, 1]
