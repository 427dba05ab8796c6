"""Claims about packs side by side and rows that stay on the host, as on a GPU; on the CPU to the bit."""

from __future__ import annotations

import gc
import math
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from devices import DEVICES, NEEDS_CUDA
from plain import digits, plain_losses, trial

from tuner.learning import draws, memory
from tuner.learning.stacked import together
from tuner.learning.stacked.gather import Orders
from tuner.learning.stacked.pack import Pack, reproducible
from tuner.learning.stacked.planner import GPU_SHARE, deal, plan_for_gpu, seconds
from tuner.learning.stacked.staged import Fetched, Staged
from tuner.learning.stacked.together import train_together, waves
from tuner.learning.stacked.training_data import TrainingData
from tuner.learning.training import train
from tuner.spec.work import Trial


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
    """Company changes no bit: every pack of the plan trained by itself has the same losses and states."""
    trials, data = of_all_shapes(12), TrainingData.of(*digits())
    with reproducible():
        curves, states = train_together(trials, data, "mse", None, 3)
        packs = plan_for_gpu(trials, 64, (300, 101), 1, None)
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


def test_packs_one_after_the_other_are_the_packs_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one wave or a pack at a time: the same bits, for every trial."""
    trials, data = of_all_shapes(9), TrainingData.of(*digits())
    curves, states = train_together(trials, data, "mse", None, 3)
    monkeypatch.setattr(together, "LANES", 1)
    assert all(len(wave) == 1 for wave in waves(plan_for_gpu(trials, 64, (300, 101), 1, None), 64, (300, 101), None))
    again, others = train_together(trials, data, "mse", None, 3)
    for one, other, state, other_state in zip(curves, again, states, others, strict=True):
        assert (one.number, one.train_loss, one.val_loss) == (other.number, other.train_loss, other.val_loss)
        assert np.array_equal(state.best, other_state.best)


def test_a_pack_that_has_diverged_is_trained_no_further() -> None:
    """Where all of its trials have, it stops after that epoch; the packs beside it go on to the end."""
    trials, data = of_all_shapes(4), TrainingData.of(*digits())
    hopeless = trial(9, learning_rate=1e25, depth=4)
    ended: list[int] = []
    curves, states = train_together([hopeless, *trials], data, "mse", None, 3, ended.append)
    assert [curve.last for curve in curves] == [1, 3, 3, 3, 3]
    assert [state.epoch for state in states] == [1, 3, 3, 3, 3]
    packs = len(plan_for_gpu(trials, 64, (300, 101), 1, None))
    assert ended == [1] * (packs + 1) + [2] * packs + [3] * packs


def test_a_pack_that_is_dropped_is_gone() -> None:
    """Nothing in it holds itself alive: the next wave gets its memory without waiting for the garbage collector."""
    data = TrainingData.of(*digits(), free=1)
    with reproducible():
        pack = Pack([trial(0, input_noise=0.1)], data, "mse", merged=True)
        train(pack, 1)
    stack = weakref.ref(pack.stack)
    gc.disable()
    try:
        del pack
        assert stack() is None
    finally:
        gc.enable()


def test_an_order_drawn_ahead_is_the_order_of_its_epoch() -> None:
    """Drawn while the epoch before is trained, or when it is asked for: each trial's own order."""
    orders = Orders([5, 7], 90, torch.device("cpu"))
    first = orders.take(1)
    ahead = orders.draw(2)
    assert np.array_equal(first, [draws.permutation(seed, 1, 90) for seed in (5, 7)])
    assert orders.take(2) is ahead
    assert np.array_equal(ahead, [draws.permutation(seed, 2, 90) for seed in (5, 7)])
    assert np.array_equal(orders.take(3), [draws.permutation(seed, 3, 90) for seed in (5, 7)])


@pytest.mark.parametrize("device", DEVICES)
def test_what_the_host_sends_arrives_in_order(device: str) -> None:
    """Many fillings without a word from the device: each is what the work launched after it reads."""
    to = torch.zeros(1000, device=device)
    staged, seen = Staged(to), torch.zeros(50, 1000, device=device)
    for number in range(50):
        staged.buffer().fill_(number)
        staged.send()
        seen[number] = to
    fetched = Fetched(seen)
    fetched.send()
    assert np.array_equal(fetched.wait(), np.tile(np.arange(50.0)[:, None], 1000))


@pytest.mark.parametrize("device", DEVICES)
def test_packs_that_come_and_go_leave_the_others_alone(device: str) -> None:
    """A pack ends, and its recorded steps with it, while others go on, three times over: the losses stay the same."""
    trials, rows = of_all_shapes(6), digits()
    data, hopeless = TrainingData.of(*rows, device), trial(9, learning_rate=1e25, depth=4)
    first, second, third = (train_together([*trials, hopeless], data, "mse", None, 6)[0] for _ in range(3))
    for one, other, another in zip(first[:-1], second[:-1], third[:-1], strict=True):
        assert one.val_loss == other.val_loss == another.val_loss


@pytest.mark.gpu
@NEEDS_CUDA
@pytest.mark.parametrize("streamed", [False, True])
def test_the_host_waits_for_nothing_while_it_launches(streamed: bool) -> None:
    """Once all is recorded, torch's own watch finds no synchronisation in an epoch's launch."""
    data = TrainingData.of(*digits(), device="cuda:0", free=1 if streamed else None)
    with reproducible(), torch.cuda.stream(torch.cuda.Stream()):
        pack = Pack([trial(m, input_noise=0.1 * m) for m in range(3)], data, "mse")
        train(pack, 3)
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in pack.launch():
                pass
        finally:
            torch.cuda.set_sync_debug_mode("default")
        pack.collect()


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
    packs = plan_for_gpu(trials, 64, (500, 90), 1, free)
    made = waves(packs, 64, (500, 90), free)
    assert [pack for wave in made for pack in wave] == packs
    for wave in made:
        wanted = sum(memory.packed(pack, 64, (500, 90)) for pack in wave)
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
