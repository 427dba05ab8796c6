"""Claims about whole studies whose hyperparameters depend on each other."""

from __future__ import annotations

import csv
import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from studies import fresh_folder, tiny

import tuner
from tuner.api.maintenance import doctor
from tuner.ledger.table import trials_csv
from tuner.orchestration.launch import Progress
from tuner.spec.reader import read_spec

NEWER = ("kind", "sparsity", "beta", "dropout", "taper", "norm")


def kinds(**search: Any) -> dict[str, Any]:
    """The tiny study over kinds and depths."""
    space = {
        **tiny()["space"],
        "width": {"type": "int", "low": 4, "high": 40, "when": {"depth": [1, 2]}},
        "kind": {"type": "categorical", "choices": ["plain", "sparse", "variational"]},
        "beta": {"type": "float", "low": 0.01, "high": 1.0, "log": True, "when": {"kind": "variational"}},
    }
    return tiny(space=space, search={"trials": 20, **search})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> str:
    """The table of the study, run once in this process without any event."""
    folder = fresh_folder(tmp_path_factory.mktemp("conditional"), mlflow_store)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return tuner.run(kinds(), workers=0).csv()


def test_a_conditional_study_goes_on_to_the_same_table(workspace: Path, undisturbed: str) -> None:
    """Stopped after every few epochs, again and again, then by two workers: bit for bit the undisturbed table."""
    for runs in range(3):
        stop = threading.Event()

        def watch(progress: Progress, stop: threading.Event = stop) -> None:
            if progress.epochs_per_second > 0:
                stop.set()

        assert tuner.run(kinds(), workers=0, progress=watch, stop=stop).outcome == "stopped", runs
    study = tuner.run(kinds(), workers=2)
    assert study.outcome == "finished"
    assert study.csv() == undisturbed


def test_what_is_not_in_force_is_empty_in_the_table(undisturbed: str) -> None:
    """And what the study has no use for has no column."""
    rows = list(csv.DictReader(io.StringIO(undisturbed)))
    assert [name for name in NEWER if f"param.{name}" in rows[0]] == ["kind", "sparsity", "beta"]
    assert {row["param.kind"] for row in rows} == {"plain", "sparse", "variational"}
    for row in rows:
        kind = row["param.kind"]
        assert (row["param.sparsity"], bool(row["param.beta"])) == ("0.001" * (kind == "sparse"), kind == "variational")
        assert bool(row["param.width"]) == (row["param.depth"] != "0")


def test_mlflow_and_the_export_have_what_is_in_force(workspace: Path, mlflow_store: Path) -> None:
    """A run's parameters are its row's, the exported declaration is that of the winner, and doctor agrees."""
    study = tuner.run(kinds(), workers=0)
    client, mlflow = MlflowClient(), study.summary.mlflow
    runs = client.search_runs([mlflow.experiment_id], f"tags.mlflow.parentRunId = '{mlflow.run_id}'")
    shown = {run.data.tags["tuner.trial"]: dict(run.data.params) for run in runs}
    for record in study.records:
        expected = {name: str(value) for name, value in record.shown.items() if value is not None}
        assert shown[str(record.number)] == {**expected, "seed": str(record.seed)}
    assert [found.problems for found in doctor()] == [(), ()]
    exported = read_spec(study.export("best") / "config.yaml").space
    assert exported.point({}) == study.best.point
    assert study.summary.best.params.keys() == {n for n, v in study.best.shown.items() if v is not None}
    assert str(study.trials["param.width"].dtype) == "Int64"


def test_a_study_without_news_has_the_table_and_parameters_of_before(workspace: Path) -> None:
    """The eight hyperparameters that there always were, and the default skip, in the table, the summary and MLflow."""
    study = tuner.run(tiny(search={"trials": 3, "epochs": 1}), workers=0)
    before = [*list(study.best.point.as_dict())[:8], "skip"]
    assert list(study.best.shown) == list(study.summary.best.params) == before
    columns = trials_csv(study.records).splitlines()[0].split(",")
    assert [name for name in columns if name.startswith("param.")] == [f"param.{name}" for name in before]
    assert json.loads(study.json())[0]["param.width"] == study.records[0].point.width
