"""Claims about whole studies: the same table whatever happens, exact budgets, clean refusals."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import psutil
import pytest
from studies import fresh_folder, tiny

import tuner
from tuner.api.maintenance import doctor
from tuner.errors import InputError, StudyError
from tuner.execution.choice import Processes
from tuner.ledger.ledger import Ledger
from tuner.ledger.table import trials_csv
from tuner.orchestration.launch import Progress


def table(folder: Path, name: str = "tiny") -> str:
    """The trials table, byte for byte, from the ledger alone."""
    ledger = Ledger.open(f"sqlite:///{folder / 'tuner.db'}")
    try:
        record = ledger.study(name)
        assert record is not None
        return trials_csv(ledger.trials(record.id))
    finally:
        ledger.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> str:
    """The table of the tiny study, run once in this process without any event."""
    folder = fresh_folder(tmp_path_factory.mktemp("undisturbed"), mlflow_store)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        study = tuner.run(tiny(), workers=0)
    assert study.outcome == "finished"
    assert len(study.trials) == 13
    return table(folder)


@pytest.mark.parametrize(
    "asked",
    [{"workers": 1}, {"executor": "inline"}, {"executor": "processes", "workers": 2}, {"executor": Processes(3)}],
    ids=str,
)
def test_the_table_does_not_depend_on_the_number_of_workers(
    asked: dict[str, Any], workspace: Path, undisturbed: str
) -> None:
    """Law 2: 1, 2 or 3 worker processes, however asked for, give the table of no worker process, bit for bit."""
    tuner.run(tiny(), **asked)
    assert table(workspace) == undisturbed


def test_where_trials_train_is_taken_from_the_file_and_never_recorded(workspace: Path, undisturbed: str) -> None:
    """Said in the file it is done so, and an argument comes before it; the study goes on with another, or none."""
    few = {"search": {"timeout": 0.001}}
    inline, processes = {"executor": "inline"}, {"executor": "processes", "workers": 2}
    tuner.run(tiny(execution=inline, **few))
    tuner.run(tiny(execution=inline, **few), workers=3)
    tuner.run(tiny(execution=processes, **few))
    study = tuner.run(tiny())
    events = [event.body["workers"] for event in study._events if event.kind == "run"]
    assert events[:3] == [0, 3, 2]
    assert study.spec.execution is None
    assert table(workspace) == undisturbed
    with pytest.raises(InputError, match="address, slots, most and checkpoints are those of a cluster"):
        tuner.run(tiny(execution={"executor": "inline", "most": 2}))


def test_a_study_on_postgres_has_the_same_table(
    workspace: Path, undisturbed: str, postgres: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped half-way and run on, with the record on Postgres: the table of SQLite, bit for bit."""
    monkeypatch.setenv("TUNER_DATABASE_URL", postgres())
    assert tuner.run(tiny(search={"timeout": 0.001}), workers=2).outcome == "timeout"
    study = tuner.run(tiny(), workers=2)
    assert study.csv() == undisturbed
    assert study.summary.mlflow.waiting == 0
    assert [(found.name, found.problems) for found in doctor()] == [(None, ()), ("tiny", ())]


def test_a_second_run_finds_nothing_left(workspace: Path, undisturbed: str) -> None:
    """Nothing is trained, asked for or scored again."""
    tuner.run(tiny(), workers=0)
    before = tuner.Study.open("tiny").summary
    again = tuner.run(tiny(), workers=0)
    assert again.outcome == "nothing-left"
    assert again.summary == before
    assert table(workspace) == undisturbed


def stop_after_some_epochs() -> tuner.Study:
    """Run the tiny study until something was trained that no run before had recorded."""
    stop = threading.Event()

    def watch(progress: Progress) -> None:
        if progress.epochs_per_second > 0:
            stop.set()

    return tuner.run(tiny(), workers=0, progress=watch, stop=stop)


def test_a_stopped_study_goes_on_to_the_same_table(workspace: Path, undisturbed: str) -> None:
    """Stopped after every few epochs, again and again: the study ends with the undisturbed table."""
    stops = 0
    while stop_after_some_epochs().outcome != "finished":
        assert tuner.Study.open("tiny").state == "stopped"
        stops += 1
    assert stops >= 2
    assert table(workspace) == undisturbed


def test_a_timeout_stops_and_the_next_run_goes_on(workspace: Path, undisturbed: str) -> None:
    """A timeout of a millisecond leaves a stopped study that a run without one finishes to the same table."""
    assert tuner.run(tiny(search={"timeout": 0.001}), workers=0).outcome == "timeout"
    assert tuner.run(tiny(), workers=0).outcome == "finished"
    assert table(workspace) == undisturbed


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.long)])
def test_a_killed_study_goes_on_to_the_same_table(kills: int, workspace: Path, undisturbed: str) -> None:
    """kill -9 of the driver in the middle of training; run again: the exact budget, and the undisturbed table."""
    (workspace / "spec.json").write_text(json.dumps(tiny()))
    for _ in range(kills):
        driver = start_driver(workspace)
        assert driver.stdout is not None
        for line in driver.stdout:
            if line.startswith("training"):
                break
        workers = psutil.Process(driver.pid).children(recursive=True)
        driver.kill()
        driver.wait()
        gone, alive = psutil.wait_procs(workers, timeout=20)
        assert not alive, "a worker outlived its driver"
        assert gone
    assert tuner.run(tiny(), workers=0).outcome == "finished"
    assert table(workspace) == undisturbed


def start_driver(folder: Path) -> subprocess.Popen[str]:
    """A run with two workers in a process of its own, from a script without a main guard; a line for each progress."""
    script = folder / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import json, tuner
            tuner.run(json.load(open("spec.json")), workers=2,
                      progress=lambda p: print(p.phase, sum(p.counts.values()), flush=True))
            """
        )
    )
    return subprocess.Popen([sys.executable, str(script)], cwd=folder, stdout=subprocess.PIPE, text=True)


def test_a_killed_worker_costs_nothing(workspace: Path, undisturbed: str) -> None:
    """kill -9 of a worker process in the middle: its segments are trained again, the table is the undisturbed one."""
    killed: list[int] = []

    def kill_one(progress: Progress) -> None:
        alive = [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]
        workers = [p for p in alive if "tuner.execution.processes" in " ".join(p.cmdline())]
        if progress.phase == "training" and not killed and workers and any(progress.counts.values()):
            workers[0].kill()
            killed.append(workers[0].pid)

    study = tuner.run(tiny(), workers=2, progress=kill_one)
    assert killed
    assert study.outcome == "finished"
    assert table(workspace) == undisturbed


def test_lost_checkpoints_are_trained_again_to_the_same_bits(workspace: Path, undisturbed: str) -> None:
    """With every file under .tuner deleted between two halves of a study, the table stays the undisturbed one."""
    for _ in range(2):
        assert stop_after_some_epochs().outcome == "stopped"
    shutil.rmtree(".tuner")
    assert tuner.run(tiny(), workers=0).outcome == "finished"
    assert table(workspace) == undisturbed


def test_a_study_that_goes_on_in_a_copy_of_its_folder_leaves_the_original_alone(
    workspace: Path, undisturbed: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No state of the original is removed or used; both end with the undisturbed table."""
    assert stop_after_some_epochs().outcome == "stopped"
    copy = tmp_path_factory.mktemp("copy") / "study"
    shutil.copytree(workspace, copy)
    before = {path: path.read_bytes() for path in (workspace / ".tuner").rglob("*.safetensors")}
    assert before
    monkeypatch.chdir(copy)
    assert tuner.run(tiny(), workers=0).outcome == "finished"
    assert {path: path.read_bytes() for path in (workspace / ".tuner").rglob("*.safetensors")} == before
    monkeypatch.chdir(workspace)
    assert tuner.run(tiny(), workers=0).outcome == "finished"
    assert table(workspace) == table(copy) == undisturbed


def test_a_larger_budget_goes_on_and_repeats_itself(workspace: Path, undisturbed: str, mlflow_store: Path) -> None:
    """13 trials, then 20: the first 13 stay as they are; stopped half-way in another folder, the same 20."""
    tuner.run(tiny(), workers=0)
    tuner.run(tiny(search={"trials": 20}), workers=0)
    grown = table(workspace)
    assert grown.startswith(undisturbed)
    assert grown.count("\n") == 21

    other = fresh_folder(workspace / "other", mlflow_store)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(other)
        tuner.run(tiny(), workers=0)
        assert tuner.run(tiny(search={"trials": 20, "timeout": 0.001}), workers=0).outcome == "timeout"
        assert tuner.run(tiny(search={"trials": 20}), workers=0).outcome == "finished"
    assert table(other) == grown


def test_a_run_killed_before_its_summary_is_summed_up_by_the_next(workspace: Path) -> None:
    """Grown from 13 to 30 trials and ended while the winner is scored: the next run's summary is of all 30."""

    class Killed(BaseException):
        pass

    def kill(progress: Progress) -> None:
        if progress.phase == "scoring":
            raise Killed

    tuner.run(tiny(), workers=0)
    grown = tiny(search={"trials": 30})
    with pytest.raises(Killed):
        tuner.run(grown, workers=0, progress=kill)
    study = tuner.run(grown, workers=0)
    assert study.outcome == "nothing-left"
    best = study.summary.best
    assert best is not None
    assert best.number == min(study.trials[study.trials.state == "complete"].index, key=study.trials.value.get)
    assert best.test_loss is not None
    assert best.number >= 13, "the larger budget must have found a better trial for this test to say anything"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"space": {**tiny()["space"], "depth": 1}}, "space.depth"),
        ({"loss": "bce"}, "loss"),
        ({"search": {"seed": 4}}, "search.seed"),
        ({"search": {"pruner": "none"}}, "search.pruner"),
        ({"search": {"trials": 5}}, "search.trials"),
        ({"data": {"source": "sklearn:wine"}}, "data.source"),
    ],
)
def test_a_changed_study_is_refused_by_the_key(changes: dict[str, Any], named: str, workspace: Path) -> None:
    """What would make the table another one is refused, naming the key; the record stays as it was."""
    tuner.run(tiny(search={"trials": 9, "epochs": 1}), workers=0)
    before = table(workspace)
    search = {"trials": 9, "epochs": 1, **changes.pop("search", {})}
    with pytest.raises(StudyError, match=named.replace(".", r"\.")):
        tuner.run(tiny(search=search, **changes), workers=0)
    assert table(workspace) == before


def test_changed_data_is_refused(workspace: Path) -> None:
    """One changed value in the file ends the continuation before any trial."""
    rows = np.random.default_rng(0).normal(size=(60, 5))
    np.save("rows.npy", rows)
    declared = tiny(data={"source": "rows.npy"}, search={"trials": 3, "epochs": 1})
    tuner.run(declared, workers=0)
    rows[7, 2] += 1e-9
    np.save("rows.npy", rows)
    with pytest.raises(StudyError, match=r"rows\.npy"):
        tuner.run(tiny(data={"source": "rows.npy"}, search={"trials": 6, "epochs": 1}), workers=0)


def test_a_study_is_run_once_at_a_time(workspace: Path) -> None:
    """While it is being run, a second run of it is refused and changes nothing."""
    refused: list[str] = []

    def second(progress: Progress) -> None:
        if progress.phase == "training" and not refused:
            with pytest.raises(StudyError) as error:
                tuner.run(tiny(), workers=0)
            refused.append(str(error.value))

    assert tuner.run(tiny(search={"trials": 9, "epochs": 1}), workers=0, progress=second).outcome == "finished"
    assert len(refused) == 1


def test_diverging_trials_end_the_study_as_well_as_any(workspace: Path) -> None:
    """A space where most rates diverge: exact budget, the best is finite, every diverged trial has its reason."""
    space = {**tiny()["space"], "learning_rate": {"type": "float", "low": 1e-3, "high": 100.0, "log": True}}
    study = tuner.run(
        tiny(
            space=space,
            search={"pruner": "none", "sampler": "random"},
            data={"source": "sklearn:wine", "scaling": "none"},
        ),
        workers=0,
    )
    assert len(study.trials) == 13
    assert np.isfinite(study.best.value)
    assert (study.trials.loc[study.trials.state == "diverged", "reason"].str.len() > 0).all()


def test_a_study_is_an_optuna_study_too(workspace: Path) -> None:
    """Optuna's plots and importances work on it, and the best trial is the same."""
    study = tuner.run(tiny(), workers=0)
    assert study.optuna_study.best_trial.number == study.best.number
    assert optuna.importance.get_param_importances(study.optuna_study)
    for plot in ("plot_optimization_history", "plot_parallel_coordinate", "plot_slice", "plot_intermediate_values"):
        assert getattr(optuna.visualization, plot)(study.optuna_study).data


def test_an_exported_configuration_trains_to_the_same_loss(workspace: Path) -> None:
    """`train` on the exported file gets the winner's validation loss, bit for bit."""
    study = tuner.run(tiny(), workers=0)
    folder = study.export("best")
    again = tuner.train(folder / "config.yaml")
    assert again.value == study.best.value
    assert again.best_epoch == study.best.best_epoch
    shutil.rmtree(".tuner")
    assert study.export("best", force=True) == folder
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["fingerprint"]


def test_test_loss_is_that_of_the_exported_model(workspace: Path) -> None:
    """The summary's test loss is the mean score of the exported model on the raw test rows."""
    from sklearn.datasets import load_iris

    from tuner.data.split import split_rows

    study = tuner.run(tiny(), workers=0)
    model = tuner.load_model(study.export("best"))
    raw = load_iris().data
    test = split_rows(len(raw), 0.2, 0.1, 3).test
    assert float(np.mean(model.score(raw[test]))) == pytest.approx(study.summary.best.test_loss, rel=1e-6)
