"""The main job on real data, as the issue has it: forty trials on digits, and what MLflow then holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from sklearn.datasets import load_digits
from studies import fresh_folder

import tuner
from tuner.data.split import split_rows
from tuner.spec.work import TrialState

SPACE = Path(__file__).parents[1] / "search_spaces/digits.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Path:
    return fresh_folder(tmp_path_factory.mktemp("digits"), mlflow_store)


@pytest.fixture(scope="module")
def study(folder: Path) -> tuner.Study:
    """`tuner run search_spaces/digits.yaml --set search.trials=40`, then the same again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        finished = tuner.run(SPACE, overrides=["search.trials=40"], workers=2)
        assert tuner.run(SPACE, overrides=["search.trials=40"], workers=2).outcome == "nothing-left"
    return finished


@pytest.fixture(scope="module")
def client(study: tuner.Study) -> MlflowClient:
    return MlflowClient(study.summary.mlflow.tracking_uri)


def runs(client: MlflowClient, study: tuner.Study) -> list[Run]:
    return list(client.search_runs([study.summary.mlflow.experiment_id], max_results=1000))


def nested(client: MlflowClient, study: tuner.Study) -> dict[int, Run]:
    parent = study.summary.mlflow.run_id
    children = [run for run in runs(client, study) if run.data.tags.get("mlflow.parentRunId") == parent]
    return {int(run.data.tags["tuner.trial"]): run for run in children if run.data.tags["tuner.stage"] == "search"}


def test_it_beats_pca_at_the_same_code_size(study: tuner.Study) -> None:
    """On the test split, which no trial saw, by a tenth at least."""
    answer = study.summary
    assert answer.final.test_loss < 0.9 * answer.baselines.pca < answer.baselines.mean
    assert answer.best.params["bottleneck"] == 8


def test_the_exported_folder_reproduces_the_reported_test_loss(
    study: tuner.Study, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tuner apply` in a fresh process, far from the ledger, on the test split's raw rows: to 1e-6, ONNX to 1e-4."""
    monkeypatch.chdir(folder)
    study.export(tmp_path / "best")
    raw = load_digits()
    test = split_rows(len(raw.data), 0.2, 0.1, study.spec.search.seed).test
    pd.DataFrame(raw.data[test], columns=raw.feature_names).to_csv(tmp_path / "test.csv", index=False)
    reported = json.loads((tmp_path / "best" / "metrics.json").read_text())["losses"]["test"]
    assert reported == study.summary.final.test_loss
    for option, tolerance in (((), 1e-6), (("--onnx",), 1e-4)):
        words = ["apply", "best", "test.csv", "--what", "score", "-o", "scores.csv", *option]
        subprocess.run([sys.executable, "-m", "tuner", *words], cwd=tmp_path, check=True)
        assert pd.read_csv(tmp_path / "scores.csv")["score"].mean() == pytest.approx(reported, rel=tolerance)


def test_mlflow_holds_one_parent_and_forty_trials(study: tuner.Study, client: MlflowClient) -> None:
    """Beside the final stage's runs, and not one run more, though the study was run twice."""
    final = study.summary.final
    chosen_by = sum(len(one.choosing) for one in final.configurations)
    assert len(runs(client, study)) == 41 + chosen_by + 1 + final.seeds  # the one has the other schedule
    assert sorted(nested(client, study)) == list(range(40))
    assert {run.info.run_name for run in nested(client, study).values()} == {f"trial-{n:04}" for n in range(40)}


def test_every_epoch_of_every_trial_is_there(study: tuner.Study, client: MlflowClient) -> None:
    """Both losses, step = epoch, as often as it was trained; the lowest is its value; times rise with the steps."""
    children = nested(client, study)
    for record in study.records:
        run_id = children[record.number].info.run_id
        train, val = (client.get_metric_history(run_id, name) for name in ("train_loss", "val_loss"))
        assert [point.step for point in val] == [point.step for point in train] == list(range(1, record.epochs + 1))
        lowest = min(point.value for point in val)
        assert record.value == (record.value if record.best_epoch == 0 else lowest) <= lowest
        assert record.value == children[record.number].data.metrics["objective"]
        assert [point.timestamp for point in val] == sorted(point.timestamp for point in val)


def test_every_trial_has_its_parameters_and_true_end(study: tuner.Study, client: MlflowClient) -> None:
    """Parameters as recorded; complete and pruned trials are FINISHED, a pruned one tagged with its reason."""
    children = nested(client, study)
    for record in study.records:
        run = children[record.number]
        assert {name: run.data.params[name] for name in record.shown} == {
            name: str(value) for name, value in record.shown.items()
        }
        assert run.data.tags["tuner.state"] == record.state
        assert run.info.status == ("FAILED" if record.state is TrialState.DIVERGED else "FINISHED")
        assert run.data.tags.get("tuner.reason", "") == record.reason
        assert run.info.start_time <= run.info.end_time


def test_the_parent_has_spec_table_data_and_best(study: tuner.Study, client: MlflowClient, tmp_path: Path) -> None:
    """The files read back, the data set's fingerprint, the best trial's number and losses."""
    parent = client.get_run(study.summary.mlflow.run_id)
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"config.yaml", "trials.csv"} <= files
    table = Path(client.download_artifacts(parent.info.run_id, "trials.csv", str(tmp_path)))
    assert table.read_text() == study.csv()
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["best.trial"] == str(study.best.number)
    assert parent.data.metrics["final.test_loss"] == study.summary.final.test_loss
    assert parent.data.tags["final.winner"] == str(study.winner.trial)
    assert parent.data.tags["tuner.test_uses"] == "1"
    (data,) = parent.inputs.dataset_inputs
    assert parent.data.tags["tuner.fingerprint"].startswith(data.dataset.digest)
