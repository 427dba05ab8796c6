"""Claims about learning-rate schedules and clipped gradients, on every kind of pack, against PyTorch's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from devices import DEVICES
from kinds import Kind, assert_stays_in_its_room, opened, runnable
from plain import digits, trial

from tuner.data.rows import RowsFile
from tuner.execution.worker import Workplace, run_segment
from tuner.learning import plain
from tuner.learning.checkpoint_store import CheckpointFolder
from tuner.learning.compiled.pack import CompiledPack
from tuner.learning.packs import training_data
from tuner.learning.rows import PaddedRows
from tuner.learning.schedule import rates
from tuner.learning.stacked.pack import Pack, reproducible
from tuner.learning.stacked.training_data import TrainingData
from tuner.learning.training import train, train_alone
from tuner.spec.length import Length
from tuner.spec.work import Segment, TrainingPlan

PLAN = TrainingPlan(6)
pytestmark = pytest.mark.usefixtures("one_thread")
CASES: dict[str, dict[str, Any]] = {
    "cosine": {"schedule": "cosine"},
    "linear, warmed up": {"schedule": "linear", "warmup": 0.3, "weight_decay": 0.1},
    "warmed up": {"warmup": 0.5},
    "clipped": {"clip_norm": 0.02},
    "clipped where it is large": {"clip_norm": 0.1, "kind": "variational", "beta": 0.5, "norm": "layer"},
    "both": {
        "schedule": "cosine",
        "warmup": 0.1,
        "clip_norm": 0.05,
        "norm": "layer",
        "dropout": 0.2,
        "input_noise": 0.1,
        "width": 20,
        "weight_decay": 0.05,
    },
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    return CASES[request.param]


def pytorchs(schedule: str, warm: int, total: int, rate: float) -> list[float]:
    """The rate of each step by torch.optim.lr_scheduler."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    of = torch.optim.lr_scheduler
    main: dict[str, Any] = {
        "constant": lambda: of.ConstantLR(optimizer, 1.0),
        "cosine": lambda: of.CosineAnnealingLR(optimizer, T_max=total - warm),
        "linear": lambda: of.LinearLR(optimizer, 1.0, 0.0, total_iters=total - warm),
    }
    rising = of.LinearLR(optimizer, 1 / (warm + 1), total_iters=warm) if warm else None
    after = main[schedule]()
    one = of.SequentialLR(optimizer, [rising, after], milestones=[warm]) if rising is not None else after
    seen = []
    for _ in range(total):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        one.step()
    return seen


@pytest.mark.parametrize("warm", [0, 1, 13, 59])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_every_steps_rate_is_pytorchs(schedule: str, warm: int) -> None:
    """Over 12 epochs of 5 steps: warm-up, milestone and end are those of torch.optim.lr_scheduler, to 1e-9."""
    plan, steps = TrainingPlan(12), 5
    point = trial(0, schedule=schedule, warmup=warm / 60, learning_rate=0.03).point
    found = [rates(point, plan, steps, epoch) for epoch in range(1, plan.intervals + 1)]
    if schedule == "constant" and warm == 0:
        assert found == [None] * plan.intervals
        return
    np.testing.assert_allclose(np.concatenate(found), pytorchs(schedule, warm, 60, 0.03), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_every_kind_of_pack_trains_as_the_plain_loop_does(kind: Kind, case: dict[str, Any], loss: str) -> None:
    """Losses of a whole training are those of PyTorch's AdamW, schedulers and `clip_grad_norm_`, to 1e-5."""
    one = trial(0, **case)
    with reproducible():
        (curve,) = train(kind.pack([one], kind.data(digits()), loss, plan=PLAN), PLAN.intervals)
    expected = plain.plain_losses(one, *digits(), loss, PLAN.intervals)
    np.testing.assert_allclose(curve.train_loss, expected.train, rtol=1e-5)
    np.testing.assert_allclose(curve.val_loss, expected.validation, rtol=1e-5)


def test_each_of_them_changes_what_is_trained(kind: Kind, case: dict[str, Any]) -> None:
    """None of the cases trains what the same trial trains without a schedule and a bound on the gradient."""
    without = {"schedule": "constant", "warmup": 0.0, "clip_norm": 0.0}
    data = kind.data(digits())
    with reproducible():
        bare, used = (
            train(kind.pack([trial(0, **{**case, **more})], data, "mse", plan=PLAN), PLAN.intervals)[0]
            for more in (without, {})
        )
    assert abs(used.val_loss[-1] / bare.val_loss[-1] - 1) > 1e-4


@pytest.mark.parametrize("device", DEVICES)
def test_merged_packs_take_each_models_own_rate(device: str) -> None:
    """As on a GPU, where a graph holds the step: models with and without schedules and bounds, as the plain loop."""
    points = [{}, *(case for case in CASES.values() if case.get("kind") is None and case.get("norm") is None)]
    trials = [trial(m, **{**point, "width": 20 + 9 * m}) for m, point in enumerate(points)]
    with reproducible():
        data = TrainingData.of(*digits(), device)
        curves = train(Pack(trials, data, "mse", merged=True, plan=PLAN), PLAN.intervals)
    for one, curve in zip(trials, curves, strict=True):
        expected = plain.plain_losses(one, *digits(), "mse", PLAN.intervals)
        np.testing.assert_allclose(curve.train_loss, expected.train, rtol=1e-5)
        np.testing.assert_allclose(curve.val_loss, expected.validation, rtol=1e-5)


def test_neighbours_and_segments_change_no_bit(kind: Kind, case: dict[str, Any]) -> None:
    """Laws 1 and 2: in 0-2-6 among trials of other schedules, a trial has the losses and weights of 0-6 alone."""
    like = {name: case[name] for name in ("kind", "norm", "width") if name in case}
    others = [{**like, **more} for more in ({}, {"schedule": "linear"}, {"clip_norm": 0.5}, {"warmup": 1.0})]
    beta = {"beta": 0.5} if "kind" in case else {}
    trials = [trial(m, **{**point, **beta}) for m, point in enumerate([*others[:2], case, *others[2:]])]
    data = kind.data(digits(131, 33))
    with reproducible():
        first = kind.pack(trials, data, "mse", plan=PLAN)
        before = train(first, 2)
        second = kind.pack(trials, data, "mse", first.states(), plan=PLAN)
        after = train(second, PLAN.intervals)
        for one, left, right, state in zip(trials, before, after, second.states(), strict=True):
            alone = kind.pack([one], data, "mse", plan=PLAN)
            (expected,) = train(alone, PLAN.intervals)
            kind.assert_same(left.val_loss + right.val_loss, expected.val_loss)
            kind.assert_same_state(state, alone.states()[0])


def test_a_plan_changes_no_bit_where_nothing_follows_from_it(kind: Kind) -> None:
    """Trials without a schedule train the same under any plan, and beside trials that have one."""
    data, bare = kind.data(digits()), trial(0)
    with reproducible():
        (expected,) = train(kind.pack([bare], data, "mse"), 3)
        for plan in (TrainingPlan(3), TrainingPlan(100)):
            found, _ = train(kind.pack([bare, trial(1, schedule="cosine", clip_norm=0.1)], data, "mse", plan=plan), 3)
            kind.assert_same((found.train_loss, found.val_loss), (expected.train_loss, expected.val_loss))


def test_a_schedule_without_a_plan_is_refused(kind: Kind) -> None:
    """No pack guesses how long a training will be."""
    with reproducible(), pytest.raises(ValueError, match="needs the plan"):
        train(kind.pack([trial(0, schedule="cosine")], kind.data(digits()), "mse"), 1)


@pytest.mark.parametrize("build", runnable())
def test_a_clipped_step_writes_nothing_outside_its_room(build: str) -> None:
    """The gradient of all parameters has its place in the work space: guards before and behind it keep their values."""
    one = trial(0, width=77, norm="layer", kind="variational", beta=0.5, clip_norm=0.05)
    assert_stays_in_its_room(CompiledPack(opened(build), [one], PaddedRows.of(*digits(67, 131)), "mse"))


@pytest.mark.parametrize("step", ["auto", "torch"])
def test_a_rung_is_a_part_of_the_whole_training(step: str, tmp_path: Path) -> None:
    """The segments 0-2 and 2-6 of a worker, the second from a file or from the start, are `train_alone`'s 6 epochs."""
    np.save(tmp_path / "rows.npy", np.concatenate(digits(200, 50)))
    rows, states = RowsFile(str(tmp_path / "rows.npy"), (200, 50, 0), 64), CheckpointFolder(str(tmp_path / "states"))
    place = Workplace(rows, states, "mse", "cpu", Length.of(TrainingPlan(6)), "fp32", step=step)
    one = trial(0, schedule="cosine", warmup=0.2, clip_norm=0.1)
    (low,) = run_segment(place, Segment((one,), 0, 2), [()]).curves
    assert low.checkpoint is not None
    alone = train_alone(one, training_data(*digits(200, 50), "cpu", "fp32", step), "mse", 6).curve
    for states in ((low.checkpoint,), ()):
        (high,) = run_segment(place, Segment((one,), 2, 6), [states]).curves
        assert low.val_loss + high.val_loss == alone.val_loss
        assert low.train_loss + high.train_loss == alone.train_loss
