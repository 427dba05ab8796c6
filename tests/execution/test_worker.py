"""Claims about the function that every executor runs: which states it keeps, and what it does where memory runs out."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plain import digits, trial

from tuner.data.rows import RowsFile
from tuner.errors import WorkerError
from tuner.execution import worker
from tuner.execution.context import Workplace
from tuner.execution.worker import run_segment
from tuner.learning import checkpoint, memory
from tuner.learning.checkpoint_store import CheckpointFolder
from tuner.learning.packs import compiled
from tuner.spec.length import Length
from tuner.spec.work import Segment, SegmentResult, TrainingPlan, Trial

EPOCHS = 3


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """A study of three epochs on some rows of digits."""
    rows = np.concatenate(digits(200, 50))
    np.save(tmp_path / "rows.npy", rows)
    prepared = RowsFile(str(tmp_path / "rows.npy"), (200, len(rows) - 200, 0), 64)
    return Workplace(
        prepared,
        CheckpointFolder(str(tmp_path / "checkpoints")),
        "mse",
        "cpu",
        Length.of(TrainingPlan(EPOCHS)),
        "fp32",
    )


def kept(place: Workplace, result: SegmentResult) -> set[int]:
    """The trials whose states are there, whole and at the segment's end; no other file is."""
    checkpoints = {curve.number: curve.checkpoint for curve in result.curves if curve.checkpoint is not None}
    files = {str(path) for path in Path(place.checkpoints.folder).glob("*")}
    assert files == {one.path for one in checkpoints.values()}
    states = {number: checkpoint.loads(place.checkpoints.get(one) or b"") for number, one in checkpoints.items()}
    assert all(state.epoch == checkpoints[number].epoch for number, state in states.items())
    return set(states)


def of_rates(*rates: float) -> tuple[Trial, ...]:
    return tuple(trial(number, learning_rate=rate) for number, rate in enumerate(rates))


def test_below_the_top_rung_every_living_trials_state_is_kept(place: Workplace) -> None:
    """Any of them may climb on; the one that diverged may not."""
    result = run_segment(place, Segment(of_rates(1e-4, 1e25, 1e-2, 1e-3), 0, EPOCHS - 1), [()] * 4)
    assert [curve.diverged for curve in result.curves] == [False, True, False, False]
    assert kept(place, result) == {0, 2, 3}


def test_at_the_top_rung_only_the_best_living_trials_state_is_kept(place: Workplace) -> None:
    """No other is asked for again; a trial that was better until it diverged is not the best."""
    trials = of_rates(1e-4, 1e-2, 1e-3, 1e-5)
    below = run_segment(place, Segment(trials, 0, EPOCHS - 1), [()] * 4)
    best = min(below.curves, key=lambda curve: min(curve.val_loss)).number
    assert best == 1
    again = replace(place, checkpoints=CheckpointFolder(f"{place.checkpoints.folder}-of-the-top"))
    climbing = (trials[0], replace(trials[1], point=trial(1, learning_rate=1e25).point), *trials[2:])
    states = [(curve.checkpoint,) if curve.checkpoint else () for curve in below.curves]
    top = run_segment(again, Segment(climbing, EPOCHS - 1, EPOCHS), states)
    assert [curve.diverged for curve in top.curves] == [False, True, False, False]
    assert kept(again, top) == {2}


LIMITED = """
import json, pickle, resource, sys
from tuner.execution.worker import run_segment

megabytes, place, warm_up, segment = pickle.load(sys.stdin.buffer)
run_segment(place, warm_up, [()])
size = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize:"))
resource.setrlimit(resource.RLIMIT_AS, (size * 1024 + megabytes * 10**6,) * 2)
result = run_segment(place, segment, [()] * len(segment.trials))
print(json.dumps([{curve.number: curve.val_loss for curve in result.curves}, dict(result.infeasible)]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process' memory like this")
@pytest.mark.skipif(not compiled("cpu", "auto"), reason="no C++ compiler was there: torch's stack mixes no sizes")
@pytest.mark.parametrize(
    ("widths", "megabytes", "infeasible"),
    [
        pytest.param((50, 65_536, 50), 700, {1}, id="the second cannot be begun"),
        pytest.param((50, 8_192, 50), 235, {1}, id="the second can be trained but not written"),
        pytest.param((8_192, 8_192, 8_192), 400, set(), id="each fits alone, not all together"),
    ],
)
def test_where_memory_runs_out_only_those_that_do_not_fit_alone_are_given_up(
    place: Workplace, widths: tuple[int, ...], megabytes: int, infeasible: set[int]
) -> None:
    """The process lives, and the others have the curves that they have where there is no limit."""
    trials = tuple(trial(number, width=width) for number, width in enumerate(widths))
    sent = pickle.dumps((megabytes, place, Segment((trial(9),), 0, 1), Segment(trials, 0, 2)))
    ran = subprocess.run([sys.executable, "-c", LIMITED], input=sent, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()[-2000:]
    curves, refused = json.loads(ran.stdout)
    assert {int(number) for number in refused} == infeasible
    fitting = tuple(one for one in trials if one.number not in infeasible)
    expected = run_segment(place, Segment(fitting, 0, 2), [()] * len(fitting))
    assert curves == {str(curve.number): list(curve.val_loss) for curve in expected.curves}


def test_where_the_data_do_not_fit_no_trial_is_to_blame(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends, and no trial with it; once there is memory, the same segment is trained."""
    real, sizes = worker.training_data, [2**58, 1]

    def tight(*arguments: Any, **named: Any) -> Any:
        np.empty(sizes.pop(0))
        return real(*arguments, **named)

    monkeypatch.setattr(worker, "training_data", tight)
    with pytest.raises(
        WorkerError, match=r"no memory for the prepared rows \(.*rows\.npy\) on cpu.*run the study again"
    ):
        run_segment(place, Segment((trial(0),), 0, 1), [()])
    assert len(run_segment(place, Segment((trial(0),), 0, 1), [()]).curves) == 1


def test_torch_says_in_its_own_way_that_there_is_no_memory() -> None:
    """On the CPU it raises a plain RuntimeError; it is told from one of a mistake."""
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**50)
    assert memory.ran_out(refused.value)
    with pytest.raises(RuntimeError) as mistake:
        torch.zeros(2) @ torch.zeros(3)
    assert not memory.ran_out(mistake.value)
