"""Claims about a working folder that changes: what was relative when a call began means the same until it ends."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from disturbed import run_tuner
from studies import tiny

import tuner
from tuner.api.maintenance import prune_files
from tuner.api.publishing import sync
from tuner.api.workspace import workspace as workspace_of
from tuner.errors import InputError
from tuner.orchestration.launch import Progress
from tuner.spec.canonical import to_yaml
from tuner.spec.reader import spec_from_mapping


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another folder, empty; whatever is found in it later does not belong there."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.mark.parametrize("workers", [0, 1])
def test_the_working_folder_may_change_while_a_study_runs(workers: int, workspace: Path, elsewhere: Path) -> None:
    """From the first sign of progress on: the same table, answer and folder as undisturbed, and nothing elsewhere."""

    def leave(_: Progress) -> None:
        os.chdir(elsewhere)

    spec = tiny(final={"top": 1, "seeds": 2})
    study = tuner.run(spec, workers=workers, progress=leave)
    assert study.outcome == "finished"
    assert list(elsewhere.iterdir()) == []
    assert study.summary.mlflow.waiting == 0
    assert study.summary.mlflow.tracking_uri.endswith(f"{workspace}/mlflow.db")
    # What was opened there stays there: its checkpoint is read, and its prepared data.
    exported = study.export(workspace / "best")
    assert np.isfinite(tuner.load_model(exported).encode(study.raw_rows(3))).all()
    assert study.report(workspace / "report.html").is_file()
    assert list(elsewhere.iterdir()) == []
    os.chdir(workspace)
    assert tuner.run(spec, workers=workers).outcome == "nothing-left"
    assert study.csv() == tuner.Study.open("tiny").csv()


def test_checkpoints_are_recorded_relative_to_the_folder(workspace: Path) -> None:
    """In the ledger no path of this machine, in the process whole ones: a copy of the folder is complete in itself."""
    tuner.run(tiny(), workers=0)
    with closing(sqlite3.connect(workspace / "tuner.db")) as ledger:
        paths = [Path(path) for (path,) in ledger.execute("SELECT path FROM tuner_checkpoint")]
    assert paths
    assert all(path.parts[:2] == (".tuner", "checkpoints") for path in paths)


def test_an_export_stands_where_it_was_asked_for(workspace: Path, elsewhere: Path) -> None:
    """A relative folder, a relative report and a relative data source, named before the folder changes."""
    rows = np.random.default_rng(0).normal(size=(60, 5))
    np.save("rows.npy", rows)
    study = tuner.run(tiny(data={"source": "rows.npy"}), workers=0)
    assert study.export("best", on_step=lambda _: os.chdir(elsewhere)) == workspace / "best"
    os.chdir(workspace)
    fixed = {"bottleneck": 2, "width": 4, "depth": 1, "learning_rate": 0.01, "batch_size": 16}
    declared = {"name": "one", "data": {"source": "rows.npy"}, "space": fixed, "search": {"trials": 1, "epochs": 2}}
    model = tuner.train(declared, on_epoch=lambda _: os.chdir(elsewhere))
    os.chdir(workspace)
    assert model.export("single", on_step=lambda _: os.chdir(elsewhere)) == workspace / "single"
    os.chdir(elsewhere)
    assert study.report(workspace / "r.html") == workspace / "r.html"
    assert list(elsewhere.iterdir()) == []


def test_a_worker_that_is_replaced_finds_the_tuner_again(
    workspace: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The import path held a relative entry when the run began; after the change a new worker still starts from it."""
    package = Path(tuner.__file__).parents[1]
    monkeypatch.setattr(sys, "path", [os.path.relpath(package), *(p for p in sys.path if Path(p) != package)])
    monkeypatch.delenv("PYTHONPATH", raising=False)
    killed: list[int] = []

    def leave_and_kill(progress: Progress) -> None:
        import psutil

        os.chdir(elsewhere)
        alive = [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]
        workers = [p for p in alive if "tuner.execution.processes" in " ".join(p.cmdline())]
        if progress.phase == "training" and not killed and workers:
            workers[0].kill()
            killed.append(workers[0].pid)

    assert tuner.run(tiny(), workers=1, progress=leave_and_kill).outcome == "finished"
    assert killed


def test_a_workspace_is_of_the_folder_it_was_made_in(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a folder that was removed is named as the reason, with exit code 2."""
    monkeypatch.chdir(tmp_path)
    made = workspace_of(mlflow="http://mlflow")
    monkeypatch.chdir(elsewhere)
    assert (made.folder, made.work) == (tmp_path, tmp_path / ".tuner")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(InputError, match="the current folder must be there"):
        workspace_of(mlflow="http://mlflow")


def test_commands_of_upkeep_look_where_they_began(workspace: Path, elsewhere: Path) -> None:
    """Freed and published is what is in the folder of the call."""
    (workspace / "tiny.yaml").write_text(to_yaml(spec_from_mapping(tiny())))
    assert run_tuner(workspace, "run", "tiny.yaml", "--workers", "0").returncode == 0
    assert [done.waiting for done in sync()] == [0]
    assert [freed.owner for freed in prune_files()] == ["tiny"]
    os.chdir(elsewhere)
    assert sync() == []
    assert prune_files() == []
    assert list(elsewhere.iterdir()) == []
