"""Claims about studies that stop when they are flat: the same table whatever happens meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from disturbed import run_tuner
from studies import fresh_folder, tiny
from test_study import table

import tuner
from tuner.orchestration.launch import Progress

PATIENT: dict[str, Any] = {"trials": 90, "epochs": 3, "cohort": 6, "patience": 2, "min_improvement": 0.3}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> str:
    """The table of the patient study, run once in this process."""
    folder = fresh_folder(tmp_path_factory.mktemp("flat"), mlflow_store)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        tuner.run(tiny(search=PATIENT), workers=0)
    return table(folder)


def test_a_flat_study_stops_and_is_scored(workspace: Path, undisturbed: str) -> None:
    """It asks for fewer trials than it may, ends with its reason and a test loss; a second run does nothing."""
    study = tuner.run(tiny(search=PATIENT), workers=2)
    assert table(workspace) == undisturbed, "2 workers"
    assert study.outcome == "finished"
    assert study.state == "finished"
    assert 12 < len(study.records) < 90
    assert study.summary.stopped_early.as_dict() == {"patience": 2, "min_improvement": 0.3}
    assert study.summary.best.test_loss is not None
    again = tuner.run(tiny(search=PATIENT), workers=0)
    assert (again.outcome, again.summary) == ("nothing-left", study.summary)


def test_the_last_cohorts_of_a_flat_study_brought_nothing(undisturbed: str) -> None:
    """Recomputed from the table: a cohort's best is told in order; the last two are within 30 % of the best before."""
    rows = [line.split(",") for line in undisturbed.splitlines()[1:]]
    bests = [
        min(float(row[2]) for row in rows[first : first + 6] if row[1] == "complete")
        for first in range(0, len(rows), 6)
    ]
    marks, flat = [bests[0]], 0
    for value in bests[1:]:
        flat = 0 if value < 0.7 * min(marks) else flat + 1
        marks += [value] * (flat == 0)
    assert flat >= 2


def test_stopped_again_and_again_it_becomes_flat_at_the_same_trial(workspace: Path, undisturbed: str) -> None:
    """Time-outs, a crash while scoring: what was decided is decided again."""

    class Killed(BaseException):
        pass

    def kill(progress: Progress) -> None:
        if progress.phase == "scoring":
            raise Killed

    assert tuner.run(tiny(search={**PATIENT, "timeout": 0.001}), workers=0).outcome == "timeout"
    with pytest.raises(Killed):
        tuner.run(tiny(search=PATIENT), workers=0, progress=kill)
    assert tuner.run(tiny(search=PATIENT), workers=0).summary.best.test_loss is not None
    assert table(workspace) == undisturbed


def test_more_patience_or_trials_go_on_and_repeat_themselves(
    workspace: Path, undisturbed: str, mlflow_store: Path
) -> None:
    """The first rows stay; stopped half-way in another folder the longer table is the same; larger trials wait anew."""
    longer = {**PATIENT, "patience": 3}
    tuner.run(tiny(search=PATIENT), workers=0)
    tuner.run(tiny(search=longer), workers=0)
    grown = table(workspace)
    assert grown.startswith(undisturbed)
    assert len(grown) > len(undisturbed)

    other = fresh_folder(workspace / "other", mlflow_store)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(other)
        tuner.run(tiny(search=PATIENT), workers=0)
        assert tuner.run(tiny(search={**longer, "timeout": 0.001}), workers=0).outcome == "timeout"
        tuner.run(tiny(search=longer), workers=2)
    assert table(other) == grown
    more = tuner.run(tiny(search={**longer, "trials": 120}), workers=0)
    assert more.csv().startswith(grown)
    assert len(more.records) >= grown.count("\n") - 1 + 18


def test_the_command_line_says_why_it_stopped(workspace: Path) -> None:
    """In the run's first line and in `show`."""
    import json

    (workspace / "tiny.yaml").write_text(json.dumps(tiny(search=PATIENT)))
    ran = run_tuner(workspace, "run", "tiny.yaml", "--workers", "0")
    assert "stopped early after" in ran.stdout.splitlines()[0], ran.stderr
    assert "the last 2 cohorts brought less than 30 %" in run_tuner(workspace, "show", "tiny").stdout
    doctor = run_tuner(workspace, "doctor")
    assert (doctor.returncode, doctor.stdout.splitlines()[0]) == (0, "tiny: all agrees"), doctor.stdout
