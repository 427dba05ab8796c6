"""Claims about the compiled step alone; what it shares with torch's stack is in test_pack.py."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds import Kind, assert_stays_in_its_room, opened, runnable
from plain import digits, trial

from tuner.learning.activations import ACTIVATIONS
from tuner.learning.compiled.border import ACTIVATIONS as NUMBERED
from tuner.learning.compiled.library import Library, library
from tuner.learning.compiled.pack import CompiledPack
from tuner.learning.compiled.planner import plan, seconds
from tuner.learning.rows import PaddedRows
from tuner.learning.stacked.pack import Pack, reproducible
from tuner.learning.stacked.training_data import TrainingData
from tuner.learning.training import train
from tuner.spec.architecture import Hyperparameters
from tuner.spec.work import Trial

pytestmark = pytest.mark.skipif(library() is None, reason="no C++ compiler was there when the project was installed")


@pytest.fixture(params=runnable())
def build(request: pytest.FixtureRequest) -> Library:
    return opened(request.param)


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
        compiled, stack = (
            CompiledPack(step, [one], PaddedRows.of(*rows), loss),
            Pack([one], TrainingData.of(*rows), loss),
        )
        curve, expected = train(compiled, 2)[0], train(stack, 2)[0]
    np.testing.assert_allclose(curve.train_loss, expected.train_loss, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(curve.val_loss, expected.val_loss, rtol=1e-5, atol=1e-8)
    assert compiled.states()[0].steps == stack.states()[0].steps


def test_a_call_writes_nothing_outside_its_room(build: Library) -> None:
    """Guards before and behind the work space and the parameters keep their values for shapes with every remainder."""
    for one in Kind(build).company(10):
        assert_stays_in_its_room(CompiledPack(build, [one], PaddedRows.of(*digits(67, 131)), "mse"))


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
    z = torch.cat([torch.linspace(-60, 60, 4096), torch.linspace(-0.5, 0.5, 4096), torch.tensor([0.0] * 16)])
    for number, name in enumerate(NUMBERED):
        h = z.clone()
        slope = torch.from_numpy(build.activate(number, h.numpy()))
        exact = z.double().requires_grad_()
        expected = ACTIVATIONS[name].module()(exact)
        expected.sum().backward()
        for got, wanted in ((h, expected.detach()), (slope, exact.grad)):
            assert wanted is not None
            error = (got.double() - wanted).abs() / wanted.abs().clamp(min=1)
            assert error.max() < 1e-6, name
