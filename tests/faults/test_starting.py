"""Workers that cannot be started any more in the middle of a study: it ends with a sentence, or the others go on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from disturbed import disagreements, is_worker, left_behind, table
from studies import tiny

import tuner
from tuner.errors import WorkerError
from tuner.execution import processes
from tuner.ledger.ledger import Ledger
from tuner.orchestration.launch import Progress

SPEC = tiny(search={"trials": 30, "epochs": 81})


@pytest.fixture
def python(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The interpreter that workers are started with, by a name that can be taken away; pauses are short."""
    path = tmp_path_factory.mktemp("bin") / "python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))
    monkeypatch.setattr(processes, "MOST_PAUSE", 0.1)
    return path


def without_python(python: Path, count: int) -> Callable[[Progress], None]:
    """While it trains: takes the interpreter away and kills so many workers, once."""

    def disturb(progress: Progress) -> None:
        workers = [process for process in psutil.Process().children() if is_worker(process)]
        if progress.phase == "training" and progress.epochs_per_second > 0 and python.exists() and len(workers) == 2:
            python.rename(python.with_name("aside"))
            for worker in workers[:count]:
                worker.kill()

    return disturb


@pytest.mark.sample
def test_where_no_worker_can_be_started_the_run_ends_and_the_next_one_goes_on(
    python: Path, workspace: Path, undisturbed: Callable[..., str]
) -> None:
    """One sentence and exit code 1; the study is stopped, nobody holds its lease, no process is left; with workers
    again it ends with the undisturbed table, and no trial was accused."""
    expected = undisturbed(SPEC)
    with pytest.raises(WorkerError, match=r"no worker could be started in 10 attempts.*run the study again") as ended:
        tuner.run(SPEC, workers=2, progress=without_python(python, 2))
    assert ended.value.exit_code == 1
    ledger = Ledger.open("sqlite:///tuner.db")
    record = ledger.study("tiny")
    assert record is not None
    assert record.state == "stopped"
    assert ledger.holder(record.id, "run") is None
    ledger.close()
    assert left_behind(workspace) == []
    python.with_name("aside").rename(python)
    assert tuner.run(SPEC, workers=2).outcome == "finished"
    assert table(workspace) == expected
    assert disagreements(workspace) == []


def test_with_one_of_two_workers_well_the_study_goes_on(
    python: Path, workspace: Path, undisturbed: Callable[..., str]
) -> None:
    """The other one is not to be started again: the run ends as if there had been one all along."""
    assert tuner.run(SPEC, workers=2, progress=without_python(python, 1)).outcome == "finished"
    assert not python.exists()
    assert table(workspace) == undisturbed(SPEC)
    assert left_behind(workspace) == []
