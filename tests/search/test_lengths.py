"""Claims about how long trials train: found from rows, declared in steps, and where a trial is complete."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest

from tuner.errors import SpecError
from tuner.search.lengths import declared_length, length_of, resolved
from tuner.search.loop import Round, Search
from tuner.spec.length import EVENT, Length
from tuner.spec.reader import read_spec_text, spec_from_mapping
from tuner.spec.study import StudySpec
from tuner.spec.work import Curve, TrainingPlan, TrialState

FILE = """\
name: x
data: {source: "sklearn:digits"}
space:
  learning_rate: {type: float, low: 0.001, high: 0.1, log: true}
  batch_size: 64
  bottleneck: 8
  depth: 1
  width: 64
  activation: relu
  weight_decay: 0.0
  schedule: constant
search: {trials: 27}
"""


def spec(**search: Any) -> StudySpec:
    space = {"learning_rate": {"type": "float", "low": 1e-3, "high": 0.1, "log": True}, "bottleneck": 8, "depth": 1}
    space |= {"batch_size": {"type": "int", "low": 32, "high": 128, "log": True}, "width": 64, "activation": "relu"}
    of = {"name": "x", "data": {"source": "sklearn:digits"}, "space": {**space, "weight_decay": 0.0}}
    return spec_from_mapping({**of, "search": {"trials": 27, "seed": 1, **search}})


def wanted(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize("rows", [20, 125, 1258, 4096, 10_000, 48_000, 10**6])
@pytest.mark.parametrize("pruner", ["halving", "hyperband", "median", "none"])
def test_the_first_rung_is_near_64_steps(rows: int, pruner: str) -> None:
    """Of batches of 64, the middle of the space, within a factor of sqrt(3), where a ninth of an epoch is not more."""
    length = resolved(spec(pruner=pruner), rows, -(-rows // 4))
    assert length.is_open
    assert list(length.rungs) == sorted(set(length.rungs))
    if pruner == "halving":
        steps = length.plan.done(length.rungs[0], math.ceil(rows / 64))
        assert 64 / 1.8 < steps < 64 * 1.8 or length.plan.thirds == 2
        assert len(length.rungs) == 4


def test_every_interval_has_a_step_at_every_batch_size() -> None:
    """However large a batch of the space is."""
    for most in (128, 1000, 9000, 10**5):
        wide = spec().model_dump(mode="json")
        wide["space"]["batch_size"]["high"] = most
        for rows in (100, 3000, 40_000, 10**6):
            plan = resolved(spec_from_mapping(wide), rows, rows // 4).plan
            for batch in (32, most):
                ends = [plan.done(interval, math.ceil(rows / batch)) for interval in range(plan.intervals + 1)]
                assert all(first < last for first, last in pairwise(ends))


def test_a_length_is_read_as_it_was_recorded() -> None:
    """And counts before what a declaration says: new rules change no study that was begun."""

    class Event:
        kind, body = EVENT, Length(TrainingPlan(9, 2), (1, 2), 3.0, 0.5).body()

    assert length_of(spec().search, [Event()]) == Length(TrainingPlan(9, 2), (1, 2), 3.0, 0.5)
    assert length_of(spec(epochs=50).search, []) == declared_length(spec(epochs=50).search)


def test_declared_lengths() -> None:
    """Epochs have the rungs they always had; steps are cut into 27 intervals, thirds come before whole epochs."""
    assert declared_length(spec(epochs=50).search) == Length(TrainingPlan(50), (2, 6, 18, 50))
    assert declared_length(spec(steps=1000).search) == Length(TrainingPlan(27, steps=1000), (1, 3, 9, 27))
    assert declared_length(spec(steps=5).search) == Length(TrainingPlan(5, steps=5), (1, 3, 5))
    assert declared_length(spec(epochs=20, thirds=2).search) == Length(TrainingPlan(22, 2), (1, 2, 3, 5, 11, 22))
    with pytest.raises(ValueError, match="follows from the rows"):
        declared_length(spec().search)


def test_what_is_shown_of_an_interval() -> None:
    """Epochs, parts of the first one, and steps."""
    thirds, steps = Length.of(TrainingPlan(6, 2)), Length.of(TrainingPlan(27, steps=1000))
    assert [thirds.amount(interval) for interval in range(7)] == [0, 0.1111, 0.3333, 1, 2, 3, 4]
    assert [thirds.shown(interval) for interval in (1, 3, 6)] == ["0.1111 epochs", "1 epoch", "4 epochs"]
    assert [thirds.at(interval) for interval in (1, 6)] == ["at epoch 0.1111", "at epoch 4"]
    assert (steps.shown(27), steps.at(1)) == ("1,000 steps", "after 37 steps")


def falling(number: int, first: int, last: int, floor: float) -> Curve:
    """Losses that fall as 1 / epochs to a floor."""
    losses = tuple(floor + 1 / epoch for epoch in range(1, last + 1))
    return Curve(number, 0, losses, losses, losses, False, None)


def test_a_trial_goes_on_until_it_is_flat_or_has_trained_the_most() -> None:
    """Of three at the last rung one is flat there, one after half as much again and again, one is cut at the most."""
    floors = {0: 10.0, 1: 0.3, 2: 0.0}
    length = Length(TrainingPlan(100), (10,))
    search = Search(spec(pruner="none", trials=3), length=length)
    told: Round | None = search.ask(0, 3)
    ends: dict[int, tuple[TrialState, int]] = {}
    lasts = []
    while told is not None:
        lasts.append(told.last)
        curves = {t.number: falling(t.number, told.first, told.last, floors[t.number]) for t in told.trials}
        decision = search.tell(told, curves)
        ends |= {end.number: (end.state, end.epochs) for end in decision.ends}
        told = decision.next
    assert lasts == [10, 15, 23, 35, 53, 80, 100]
    # By hand: 10.0667 is 0.3 % below 10.1; 0.3125 after 80 is 1.997 % below 0.3189 after 53, which was 2.95 % below.
    assert ends == {0: (TrialState.COMPLETE, 15), 1: (TrialState.COMPLETE, 80), 2: (TrialState.COMPLETE, 100)}


def test_amid_the_first_epoch_a_trial_goes_on_to_its_end() -> None:
    """Then by half as much again, in whole epochs."""
    length = Length(TrainingPlan(30, 3), (1, 2))
    seen = [2]
    while seen[-1] < 30:
        seen.append(length.following(seen[-1]))
    assert [length.amount(interval) for interval in seen] == [0.1111, 0.3333, 1, 2, 3, 5, 8, 12, 18, 27]


@pytest.mark.parametrize(
    ("changes", "line", "words"),
    [
        ((("trials: 27", "trials: 27, epochs: 3, steps: 9"),), 12, "steps: must be left out where epochs is given"),
        ((("trials: 27", "trials: 27, thirds: 1"),), 12, "thirds: must be left out unless epochs is given"),
        (
            (("trials: 27", "trials: 27, steps: 90}\nfinal: {epochs: 9"),),
            13,
            "epochs: must be left out where search.steps",
        ),
        ((("schedule: constant", "schedule: cosine"),), 11, "schedule: must be constant where trials train until"),
        ((("schedule: constant", "warmup: {type: float, low: 0, high: 0.1}"),), 11, "warmup: must be 0 where trials"),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_stands(
    changes: tuple[tuple[str, str], ...], line: int, words: str
) -> None:
    """With file, line and what to do."""
    with pytest.raises(SpecError) as refused:
        read_spec_text(wanted(FILE, *changes), "x.yaml")
    (problem,) = refused.value.problems
    assert (problem.source, problem.line) == ("x.yaml", line)
    assert words in str(problem)


@pytest.mark.parametrize("length", ["epochs: 9", "steps: 900"])
def test_schedules_need_a_length(length: str) -> None:
    """Either unit will do."""
    read_spec_text(
        wanted(FILE, ("schedule: constant", "schedule: cosine"), ("trials: 27", f"trials: 27, {length}")), "x"
    )


def test_an_epoch_is_divided_into_no_more_parts_than_it_has_steps() -> None:
    """A declared number of thirds is held to the rows: 300 in batches of 128 are 3 steps."""
    assert resolved(spec(epochs=3, thirds=1), 300, 90).plan == TrainingPlan(4, 1)
    with pytest.raises(SpecError, match="must be at most 1, for an epoch has 3 steps at batch size 128"):
        resolved(spec(epochs=3, thirds=2), 300, 90)
