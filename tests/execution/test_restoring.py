"""Claims about a segment's start: from the newest good state there is, whatever became of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from plain import digits, trial

from tuner.data.rows import RowsFile
from tuner.execution import worker
from tuner.execution.context import Workplace
from tuner.execution.worker import run_segment
from tuner.learning.checkpoint_store import CheckpointFolder
from tuner.spec.length import Length
from tuner.spec.work import Checkpoint, Segment, TrainingPlan


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    train, validation = digits()
    rows = np.concatenate([train, validation, validation[:5]])
    np.save(tmp_path / "rows.npy", rows)
    prepared = RowsFile(str(tmp_path / "rows.npy"), (len(train), len(validation), 5), 64)
    return Workplace(
        prepared, CheckpointFolder(str(tmp_path / "states")), "mse", "cpu", Length.of(TrainingPlan(9)), "fp32"
    )


def states(place: Workplace, epochs: Sequence[int]) -> list[Checkpoint]:
    """The trial's states after these epochs, the newest first."""
    kept: list[Checkpoint] = []
    for first, last in zip([0, *epochs], epochs, strict=False):
        (curve,) = run_segment(place, Segment((trial(0),), first, last), [kept]).curves
        assert curve.checkpoint is not None
        kept.insert(0, curve.checkpoint)
    return kept


@pytest.mark.parametrize(
    ("damaged", "trained_from"), [((), []), ((0,), [3]), ((0, 1), [0])], ids=["none", "newest", "both"]
)
def test_a_segment_goes_on_from_the_newest_good_state(
    place: Workplace, damaged: tuple[int, ...], trained_from: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the newest file torn, only the epochs since the one before are trained again; the losses keep every bit."""
    (whole,) = run_segment(place, Segment((trial(0),), 0, 9), [()]).curves
    kept = states(place, (3, 6))
    for number in damaged:
        path = Path(kept[number].path)
        path.write_bytes(path.read_bytes()[:-7])
    began: list[int] = []
    real = worker.train

    def watched(pack, last, on_epoch=None):
        if last == 6:
            began.append(pack.epoch)
        return real(pack, last, on_epoch)

    monkeypatch.setattr(worker, "train", watched)
    (curve,) = run_segment(place, Segment((trial(0),), 6, 9), [kept]).curves
    assert curve.val_loss == whole.val_loss[6:]
    assert began == trained_from


def test_a_state_from_a_later_epoch_is_no_start(place: Workplace) -> None:
    """A file that a crash left ahead of the record is not taken for an earlier one."""
    (whole,) = run_segment(place, Segment((trial(0),), 0, 6), [()]).curves
    kept = states(place, (3, 6))
    (curve,) = run_segment(place, Segment((trial(0),), 3, 6), [kept]).curves
    assert curve.val_loss == whole.val_loss[3:]
    assert replace(curve, first=0).last == 3
