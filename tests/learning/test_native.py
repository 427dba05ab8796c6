"""Claims about the compiled step, each build of it that this machine can run."""

import ctypes
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import digits, plain_losses, trial

from tuner.learning import checkpoint
from tuner.learning.activations import ACTIVATIONS
from tuner.learning.layout import Layout, padded_sizes
from tuner.learning.native.library import ACTIVATIONS as NUMBERED
from tuner.learning.native.library import Library, build_path, library
from tuner.learning.native.pack import NativePack
from tuner.learning.native.planner import plan, seconds
from tuner.learning.pack import Pack, TrainingData, reproducible
from tuner.learning.packs import make_pack
from tuner.learning.rows import PaddedRows
from tuner.learning.training import train
from tuner.spec.architecture import Hyperparameters, layer_sizes
from tuner.spec.work import Trial

pytestmark = pytest.mark.skipif(library() is None, reason="no C++ compiler was there when the project was installed")


def runnable() -> list[str]:
    """The builds that this processor can run: the best one, and those that ask for less."""
    best = library()
    builds = ["avx512", "avx2", "plain"]
    made = [build for build in builds if build_path(build) is not None]
    return [] if best is None else [b for b in made if builds.index(b) >= builds.index(best.name)]


@pytest.fixture(params=runnable())
def build(request) -> Library:
    path = build_path(request.param)
    assert path is not None
    return Library(path)


def varied(count: int, **changes: object) -> list[Trial]:
    """Trials that differ in everything, shape, depth and batch size included."""
    names = list(ACTIVATIONS)
    return [
        trial(
            m,
            **{
                "activation": names[m % len(names)],
                "batch_size": (64, 31, 400, 100, 128)[m % 5],
                "depth": m % 4,
                "width": 20 + 37 * m,
                "weight_decay": 0.05 * (m % 2),
                "input_noise": 0.1 * (m % 3 == 1),
                **changes,
            },
        )
        for m in range(count)
    ]


@pytest.mark.parametrize("loss", ["mse", "bce"])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_every_activation_trains_as_the_plain_loop_does(build: Library, activation: str, loss: str) -> None:
    """Losses of 20 epochs are those of nn.Sequential, autograd and torch.optim.AdamW, to 1e-6."""
    one, rows = trial(0, activation=activation, input_noise=0.1, weight_decay=0.05), digits()
    with reproducible():
        (curve,) = train(NativePack(build, [one], PaddedRows.of(*rows), loss), 20)
    train_loss, val_loss = plain_losses(one, *rows, loss, 20)
    np.testing.assert_allclose(curve.train_loss, train_loss, rtol=1e-6)
    np.testing.assert_allclose(curve.val_loss, val_loss, rtol=1e-6)


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_trials_of_any_shape_share_a_pack_and_train_as_the_plain_loop_does(build: Library, loss: str) -> None:
    """Depths 0-3, widths 20-316, batches with a remainder or larger than the data: the plain loop's losses, to 1e-5."""
    trials, rows = varied(9), digits()
    with reproducible():
        curves = train(NativePack(build, trials, PaddedRows.of(*rows), loss), 3)
    for one, curve in zip(trials, curves, strict=True):
        train_loss, val_loss = plain_losses(one, *rows, loss, 3)
        np.testing.assert_allclose(curve.train_loss, train_loss, rtol=1e-5)
        np.testing.assert_allclose(curve.val_loss, val_loss, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 150),
    held_out=st.integers(1, 140),
    features=st.integers(1, 64),
    batch=st.integers(1, 160),
    depth=st.integers(0, 3),
    width=st.integers(4, 300),
    loss=st.sampled_from(["mse", "bce"]),
    activation=st.sampled_from(list(ACTIVATIONS)),
)
def test_every_shape_trains_as_the_stack_does(rows, held_out, features, batch, depth, width, loss, activation) -> None:
    """Whatever the tiles' remainders, losses and weights are those of torch's own functions, to 1e-5."""
    train_rows, val_rows = digits(rows, held_out)
    rows = (train_rows[:, :features].copy(), val_rows[:, :features].copy())
    one = trial(3, batch_size=batch, depth=depth, width=width, bottleneck=3, activation=activation)
    step = library()
    assert step is not None
    with reproducible():
        native, stack = NativePack(step, [one], PaddedRows.of(*rows), loss), Pack([one], TrainingData.of(*rows), loss)
        curve, expected = train(native, 2)[0], train(stack, 2)[0]
    np.testing.assert_allclose(curve.train_loss, expected.train_loss, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(curve.val_loss, expected.val_loss, rtol=1e-5, atol=1e-8)
    assert native.states()[0].steps == stack.states()[0].steps


@pytest.mark.parametrize("seed", range(3))
def test_neighbours_never_change_a_bit(build: Library, seed: int) -> None:
    """Law 1: in any company and place a trial's losses and weights are those of the trial alone, bit for bit."""
    data, trials = PaddedRows.of(*digits()), varied(8)
    random.Random(seed).shuffle(trials)
    with reproducible():
        pack = NativePack(build, trials, data, "mse")
        together = train(pack, 3)
        for one, curve, state in zip(trials, together, pack.states(), strict=True):
            alone = NativePack(build, [one], data, "mse")
            (expected,) = train(alone, 3)
            assert (curve.train_loss, curve.val_loss) == (expected.train_loss, expected.val_loss)
            assert np.array_equal(state.parameters, alone.states()[0].parameters)


def test_a_checkpoint_between_two_segments_changes_no_bit(tmp_path) -> None:
    """Trained 0-2-5 through files, every trial has the losses and best weights of 0-5."""
    trials, data = varied(6), PaddedRows.of(*digits())
    with reproducible():
        whole = make_pack(trials, data, "mse")
        expected = train(whole, 5)
        first = make_pack(trials, data, "mse")
        before = train(first, 2)
        kept = [
            checkpoint.write(tmp_path / f"{m}.safetensors", state, layer_sizes(64, trials[m].point))
            for m, state in enumerate(first.states())
        ]
        states = [state for state in map(checkpoint.read, kept) if state is not None]
        second = make_pack(trials, data, "mse", states)
        after = train(second, 5)
    for one, left, right in zip(expected, before, after, strict=True):
        assert one.val_loss == left.val_loss + right.val_loss
    for one, other in zip(whole.states(), second.states(), strict=True):
        assert np.array_equal(one.best, other.best)
        assert (one.best_value, one.best_epoch) == (other.best_value, other.best_epoch)


def test_a_diverging_trial_ends_alone() -> None:
    """A trial whose loss leaves the numbers ends in that epoch; its neighbours keep every bit."""
    data, good = PaddedRows.of(*digits()), varied(3)
    for activation in ACTIVATIONS:
        with reproducible():
            expected = train(make_pack(good, data, "mse"), 3)
            hopeless = trial(9, learning_rate=1e25, activation=activation)
            first, wild, *rest = train(make_pack([good[0], hopeless, *good[1:]], data, "mse"), 3)
        assert wild.diverged
        assert wild.last == 1
        assert not (math.isfinite(wild.train_loss[-1]) and math.isfinite(wild.val_loss[-1]))
        assert [one.val_loss for one in (first, *rest)] == [one.val_loss for one in expected]


def test_padding_never_leaves_zero(build: Library) -> None:
    """After training, every padded weight, bias and moment is still exactly zero, whatever f(0) is."""
    trials = varied(8, batch_size=64)
    with reproducible():
        pack = NativePack(build, trials, PaddedRows.of(*digits()), "bce")
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


def test_the_activations_are_numbered_as_the_library_numbers_them() -> None:
    """Every activation that a study may name has its place."""
    assert set(NUMBERED) == set(ACTIVATIONS)


def test_a_call_writes_nothing_outside_its_room(build: Library) -> None:
    """Guards before and behind the work space and the parameters keep their values for shapes with every remainder."""
    guard = np.full(64, 7.0, np.float32)
    for one in varied(10):
        with reproducible():
            pack = NativePack(build, [one], PaddedRows.of(*digits(67, 131)), "mse")
            room = pack.work.size
            whole = np.concatenate([guard, pack.work, guard])
            pack.work = whole[64 : 64 + room]
            pack.train_epoch()
        assert (whole[:64] == guard).all()
        assert (whole[64 + room :] == guard).all()


def test_a_plan_is_nearly_as_good_as_the_best_of_many_random_ones() -> None:
    """On recorded times, two and four workers end within 15 % of the best of 1,000 random splits and orders."""
    cases = json.loads((Path(__file__).parent / "timings.json").read_text())
    groups: dict[tuple[int, int, int], dict[int, tuple[Trial, float]]] = {}
    for number, case in enumerate(cases):
        data = (case.pop("features"), case.pop("train"), case.pop("validation"))
        took = case.pop("seconds") * 100
        groups.setdefault(data, {})[number] = (Trial(number, Hyperparameters(**case), number), took)
    draw = random.Random(0)
    for (features, train_rows, held_out), members in groups.items():
        trials = [one for one, _ in members.values()]
        for workers in (2, 4):
            planned = plan(trials, features, (train_rows, held_out), 100, workers)
            assert sorted(one.number for pack in planned for one in pack) == sorted(members)
            best = min(makespan(random_plan(trials, draw), members, workers) for _ in range(1000))
            assert makespan(planned, members, workers) <= 1.15 * best


def random_plan(trials: list[Trial], draw: random.Random) -> list[tuple[Trial, ...]]:
    order, packs = draw.sample(trials, len(trials)), draw.randint(1, len(trials))
    cuts = sorted(draw.sample(range(1, len(trials)), packs - 1))
    return [tuple(order[a:b]) for a, b in zip([0, *cuts], [*cuts, len(trials)], strict=True)]


def makespan(packs, members, workers: int) -> float:
    """When the last of the workers is done, each taking the next pack as soon as it can."""
    free = [0.0] * workers
    for pack in packs:
        first = min(range(workers), key=lambda place: free[place])
        free[first] += sum(members[one.number][1] for one in pack)
    return max(free)


def test_the_model_of_cost_tells_recorded_times_to_within_a_third() -> None:
    """Of 70 recorded trials, from 10 to 784 features, none is off by more."""
    for case in json.loads((Path(__file__).parent / "timings.json").read_text()):
        features, rows = case.pop("features"), (case.pop("train"), case.pop("validation"))
        took = case.pop("seconds")
        estimate = seconds(Trial(0, Hyperparameters(**case), 0), features, rows, 1)
        assert 2 / 3 < estimate / took < 3 / 2


def test_the_functions_of_sixteen_values_are_as_exact_as_float32_lets_them_be(build: Library) -> None:
    """Each activation and its slope, and both losses' parts, from -60 to 60: within 1e-6 of float64."""
    functions = ctypes.CDLL(str(build.path))
    z = torch.cat([torch.linspace(-60, 60, 4096), torch.linspace(-0.5, 0.5, 4096), torch.tensor([0.0] * 16)])
    for number, name in enumerate(NUMBERED):
        h, slope = z.clone(), torch.empty_like(z)
        functions.tuner_activate(
            number, ctypes.c_int64(len(z)), ctypes.c_void_p(h.data_ptr()), ctypes.c_void_p(slope.data_ptr())
        )
        exact = z.double().requires_grad_()
        expected = ACTIVATIONS[name].module()(exact)
        expected.sum().backward()
        for got, wanted in ((h, expected.detach()), (slope, exact.grad)):
            assert wanted is not None
            error = (got.double() - wanted).abs() / wanted.abs().clamp(min=1)
            assert error.max() < 1e-6, name
