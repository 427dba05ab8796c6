"""Claims about whole studies of labelled data: the same table whatever happens, and the losses of unlabelled data."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from disturbed import run_tuner
from mlflow import MlflowClient
from sklearn.datasets import load_wine
from studies import fresh_folder, tiny

import tuner
from tuner.api.maintenance import prune_files
from tuner.errors import DataError
from tuner.export.model import load_model
from tuner.learning import quality
from tuner.orchestration.launch import Progress

MEASURES = ["effective_dims", "dead_units", "trustworthiness", "probe_accuracy", "anomaly_auroc"]
COLUMNS = [f"measure.{name}" for name in MEASURES]


def declared(**data: object) -> dict[str, Any]:
    """Eight trials on wine as a table, of which two come to the end; the third kind of wine is the anomaly."""
    return tiny(name="labelled", data={"source": "wine.csv", **data}, search={"trials": 8, "cohort": 4})


LABELLED, UNLABELLED = declared(label="odd"), declared(exclude=["odd"])


def with_table(folder: Path) -> Path:
    bunch = load_wine(as_frame=True)
    bunch.data.assign(odd=np.where(bunch.target == 2, "odd", "usual")).to_csv(folder / "wine.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Path:
    """A folder in which the labelled study was run in one process."""
    folder = with_table(fresh_folder(tmp_path_factory.mktemp("labelled"), mlflow_store))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tuner.run(LABELLED, workers=0)
    return folder


@pytest.fixture
def study(finished: Path, monkeypatch: pytest.MonkeyPatch) -> tuner.Study:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(finished)
    return tuner.Study.open("labelled")


def test_every_complete_trial_is_measured_and_no_other(study: tuner.Study) -> None:
    """All five measures, finite and in their ranges; empty cells where a trial did not come to the end."""
    table = study.trials
    assert list(table.columns[-5:]) == COLUMNS
    complete = table["state"] == "complete"
    assert 0 < complete.sum() < len(table)
    assert table.loc[complete, COLUMNS].notna().all(axis=None)
    assert table.loc[~complete, COLUMNS].isna().all(axis=None)
    assert (table.dtypes[COLUMNS] == "float64").all()
    assert table["measure.effective_dims"].dropna().between(1, 2).all()
    assert table.loc[complete, COLUMNS[2:]].stack().between(0, 1).all()
    assert [line.endswith(",,,,,") for line in study.csv().splitlines()[1:]] == (~complete).tolist()


@pytest.mark.parametrize("workers", [1, 2])
def test_the_table_does_not_depend_on_the_number_of_workers(workers: int, study: tuner.Study, workspace: Path) -> None:
    """Worker processes give the measures of this process, bit for bit."""
    expected = study.csv()
    with_table(workspace)
    assert tuner.run(LABELLED, workers=workers).csv() == expected


def test_a_stopped_study_goes_on_to_the_same_table(study: tuner.Study, workspace: Path) -> None:
    """Stopped again and again: what was measured is answered from the record."""
    expected, stops = study.csv(), 0
    with_table(workspace)
    while True:
        stop = threading.Event()

        def watch(progress: Progress, stop: threading.Event = stop) -> None:
            if progress.epochs_per_second > 0:
                stop.set()

        if tuner.run(LABELLED, workers=0, progress=watch, stop=stop).outcome == "finished":
            break
        stops += 1
    assert stops >= 2
    assert tuner.Study.open("labelled").csv() == expected


def test_a_killed_study_goes_on_to_the_same_table(study: tuner.Study, workspace: Path) -> None:
    """The driver is gone right after the first complete trial was recorded, before it was told; run again."""
    expected = study.csv()
    with_table(workspace)
    script = """
import json, os, sys
from tuner.ledger.ledger import Ledger
import tuner

record = Ledger.record_segments

def die(self, study, trained):
    record(self, study, trained)
    if any(curve.measures for _, result in trained for curve in result.curves):
        os._exit(9)

Ledger.record_segments = die
tuner.run(json.loads(sys.argv[1]), workers=2)
"""
    ran = subprocess.run([sys.executable, "-c", script, json.dumps(LABELLED)], cwd=workspace, check=False)
    assert ran.returncode == 9
    assert tuner.run(LABELLED, workers=0).csv() == expected


def test_labels_change_no_loss(study: tuner.Study, workspace: Path) -> None:
    """The same table as with the column left out, up to the two measures that need labels."""
    with_table(workspace)
    unlabelled = tuner.run(UNLABELLED, workers=0).trials
    pd.testing.assert_frame_equal(study.trials.drop(columns=COLUMNS[3:]), unlabelled, check_exact=True)


def test_mlflow_shows_the_measures(study: tuner.Study, finished: Path) -> None:
    """As metrics of the runs of complete trials, by the names of the table's columns."""
    client = MlflowClient(f"sqlite:///{finished / 'mlflow.db'}")
    found = client.search_runs([study.summary.mlflow.experiment_id])
    by_trial = {int(run.data.tags["tuner.trial"]): run.data.metrics for run in found if "tuner.trial" in run.data.tags}
    for record in study.records:
        shown = {name: value for name, value in by_trial[record.number].items() if name.startswith("measure.")}
        assert shown == {f"measure.{name}": value for name, value in record.measures.items()}


def test_an_export_needs_no_labels(study: tuner.Study, tmp_path: Path) -> None:
    """Its configuration names them, its model takes rows without them."""
    study.export(tmp_path / "best")
    assert "label: odd" in (tmp_path / "best" / "config.yaml").read_text()
    model = load_model(tmp_path / "best")
    assert "odd" not in model.names
    assert model.score(load_wine().data).shape == (178,)


def test_labels_that_change_end_the_study(study: tuner.Study, workspace: Path) -> None:
    """They are part of the data's fingerprint; and so is the declaration of a label."""
    with_table(workspace)
    tuner.run(LABELLED, workers=0)
    with pytest.raises(tuner.errors.StudyError, match=r"data\.label was odd and is now None"):
        tuner.run({**LABELLED, "data": UNLABELLED["data"]}, workers=0)
    content = Path("wine.csv").read_text()
    Path("wine.csv").write_text(content.replace(",usual\n", ",odd\n", 1))
    with pytest.raises(tuner.errors.StudyError, match=r"cannot go on, for the data in wine\.csv has changed"):
        tuner.run(LABELLED, workers=0)


def test_a_file_of_labels_that_is_damaged_meanwhile_ends_the_run_with_a_sentence(workspace: Path) -> None:
    """And the next run mends it."""
    with_table(workspace)

    def damage(progress: Progress) -> None:
        if progress.phase == "training":
            for path in Path(".tuner/prepared").glob("*.labels.npy"):
                path.write_bytes(path.read_bytes()[:-1] + b"\x07")

    with pytest.raises(DataError, match="the file of labels is damaged"):
        tuner.run({**LABELLED, "name": "damaged"}, workers=2, progress=damage)
    assert tuner.run({**LABELLED, "name": "damaged"}, workers=0).outcome == "finished"


def test_prune_files_frees_the_labels_too(workspace: Path) -> None:
    """Nothing of the prepared data stays."""
    with_table(workspace)
    tuner.run(LABELLED, workers=0)
    assert (
        len(list(Path(".tuner/prepared").iterdir())) == 10
    )  # rows, labels, scaling and rows' numbers, each with its digest
    prune_files()
    assert list(Path(".tuner/prepared").iterdir()) == []


def test_a_cell_that_arithmetic_left_empty_says_why_in_the_record(
    study: tuner.Study, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trials are complete, the table has the other measures' bits, each empty cell has its event, once; run again,
    nothing is left and nothing is added."""
    with_table(workspace)

    def broken(*_: object) -> float:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(quality, "effective_dims", broken)
    for outcome in ("finished", "nothing-left"):
        found = tuner.run(LABELLED, workers=0)
        assert found.outcome == outcome
        left = [name for name in found.trials.columns if name != "measure.effective_dims"]
        assert "measure.effective_dims" not in found.trials.columns
        pd.testing.assert_frame_equal(found.trials[left], study.trials[left], check_exact=True)
        events = [event.body for event in found.facts.events if event.kind == "unmeasured"]
        complete = {record.number for record in found.records if record.state == "complete"}
        assert sorted(event["trial"] for event in events) == sorted(complete)
        assert {(e["measure"], e["reason"]) for e in events} == {
            ("effective_dims", "ZeroDivisionError: division by zero")
        }


def test_a_measure_that_breaks_fails_its_trial_and_leaves_no_empty_cell(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in a measure is a trial's failure, with the reason, as any other mistake in training is."""
    with_table(workspace)
    real, seen = quality.auroc, list[object]()

    def broken(*arguments: Any) -> float:
        seen.append(arguments)
        if len(seen) > 1:
            raise TypeError("no such thing")
        return real(*arguments)

    monkeypatch.setattr(quality, "auroc", broken)
    found = tuner.run(LABELLED, workers=0)
    complete = [record for record in found.records if record.state == "complete"]
    failed = [record for record in found.records if record.state == "failed"]
    assert failed
    assert all("met TypeError: no such thing" in record.reason for record in failed)
    assert all(list(record.measures) == MEASURES for record in complete)


def test_a_study_of_faults_trains_on_normal_rows_and_says_what_it_finds(workspace: Path) -> None:
    """From the declaration to the folder: no fault trains, none sets the threshold, and its recall is in the README;
    apply tells it with the anomalies, and which rows are in another unit."""
    draw = np.random.default_rng(0)
    rows, fault = draw.normal(size=(600, 4)) @ draw.normal(size=(4, 4)), np.arange(600) % 12 == 0
    np.savez("machine.npz", rows=rows + 9 * fault[:, None], fault=np.where(fault, "worn", "fine"))
    data = {"source": "machine.npz", "array": "rows", "label": "fault", "train_on": "normal"}
    study = tuner.run(tiny(name="faults", data=data, search={"trials": 4, "cohort": 4}), workers=0)
    assert study.trials["measure.anomaly_auroc"].dropna().gt(0.9).all()
    assert "measure.probe_accuracy" not in study.trials  # one class alone is trained on
    folder = study.export("best")
    known = json.loads((folder / "metrics.json").read_text())["anomaly"]
    assert known["faults"]["rows"] + known["faults"]["normal"] == 120
    assert known["faults"]["found"] == known["faults"]["rows"] > 0
    readme = " ".join((folder / "README.md").read_text().split())
    assert f"it finds {known['faults']['found']} (recall 100 %)" in readme
    np.save("new.npy", np.vstack([rows[1:3], rows[3:5] * 1e5]))
    ran = run_tuner(workspace, "apply", "best", "new.npy", "--what", "score", "-o", "scores.csv")
    assert "(recall 100 %)" in ran.stdout, ran.stderr
    assert "2 of 4 rows lie far outside the training rows' range, by more than 10 times its width: x0 has" in ran.stdout


def test_an_export_of_older_rules_sets_its_threshold_on_all_rows(study: tuner.Study, tmp_path: Path) -> None:
    """The numbers of a study that was begun by rules 2 stay what they were."""
    new = json.loads((study.export(tmp_path / "new") / "metrics.json").read_text())["anomaly"]
    study._record = replace(study._record, rules=2)
    old = json.loads((study.export(tmp_path / "old") / "metrics.json").read_text())["anomaly"]
    assert new["faults"] is not None
    assert old["faults"] is None
    assert old["rows"] > new["rows"]
