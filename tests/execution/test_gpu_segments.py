"""Claims about segments as a GPU's worker trains them, on the CPU: the worker is told of another device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plain import digits, trial

from tuner.data.rows import RowsFile
from tuner.execution import worker
from tuner.execution.context import Workplace
from tuner.execution.worker import run_segment
from tuner.learning.checkpoint_store import CheckpointFolder
from tuner.learning.stacked.pack import Pack
from tuner.learning.stacked.training_data import TrainingData
from tuner.spec.length import Length
from tuner.spec.work import Curve, Segment, TrainingPlan, Trial


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """A worker that trains as on a GPU, whose tensors lie on the CPU."""
    data = TrainingData.of(*digits(200, 50))
    monkeypatch.setattr(worker, "_data", lambda *_: data)
    rows, states = RowsFile("", (200, 50, 0), 64), CheckpointFolder(str(tmp_path / "checkpoints"))
    return Workplace(rows, states, "mse", "mps", Length.of(TrainingPlan(9)), "fp32")


def of_all_shapes() -> tuple[Trial, ...]:
    return tuple(trial(m, depth=m % 3, width=20 + 60 * (m % 2), batch_size=(64, 100)[m % 2]) for m in range(8))


def same(left: Sequence[Curve], right: Sequence[Curve]) -> None:
    for one, other in zip(left, right, strict=True):
        assert one.number == other.number
        np.testing.assert_allclose(one.val_loss, other.val_loss, rtol=1e-5)


def test_a_segment_of_all_shapes_goes_on_from_its_states_and_without_some(place: Workplace) -> None:
    """0-2 and 2-4 through files, two of them gone: the losses of 0-4."""
    trials = of_all_shapes()
    whole = run_segment(place, Segment(trials, 0, 4), [()] * 8).curves
    below = run_segment(place, Segment(trials, 0, 2), [()] * 8).curves
    states = [(curve.checkpoint,) if curve.checkpoint else () for curve in below]
    assert all(states)
    for number in (1, 4):
        Path(states[number][0].path).unlink()
    above = run_segment(place, Segment(trials, 2, 4), states).curves
    same([replace(one, val_loss=one.val_loss[2:]) for one in whole], above)


def test_where_a_pack_finds_no_memory_the_segment_is_split(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that holds no two models at a time: each is trained, and none is called infeasible."""
    trials, begin, refused = (*of_all_shapes()[::2], trial(9)), Pack.__init__, []
    expected = run_segment(place, Segment(trials, 0, 2), [()] * 5)

    def limited(self: Pack, members: Sequence[Trial], *rest: Any, **named: Any) -> None:
        if len(members) > 1:
            refused.append(len(members))
            raise torch.OutOfMemoryError
        begin(self, members, *rest, **named)

    monkeypatch.setattr(Pack, "__init__", limited)
    result = run_segment(place, Segment(trials, 0, 2), [()] * 5)
    assert refused
    assert result.infeasible == ()
    same(result.curves, expected.curves)
