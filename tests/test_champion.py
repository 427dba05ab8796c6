"""The winner in MLflow's registry is the exported model, and loads without a pickle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from disturbed import run_tuner
from mlflow import MlflowClient
from studies import tiny

import tuner
from tuner.api import champion
from tuner.errors import StudyError

ROWS = np.random.default_rng(5).random((90, 5, 4)) * 16
LOADED = """
import mlflow, numpy, sys
model = mlflow.pyfunc.load_model("models:/tiny@champion")
rows = numpy.load("rows.npy")
numpy.save("rebuilt.npy", model.predict(rows))
numpy.save("one.npy", model.predict(rows[:1]))
print(model.metadata.signature.inputs, [*sys.modules].count("tuner"))
"""


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_the_champion_reconstructs_raw_rows_in_a_fresh_process(workspace: Path, loss: str) -> None:
    """Registered, loaded by MLflow alone where pickles are forbidden, equal to the export; registered again, it stays
    one version; the study's run keeps its state and end."""
    np.save("rows.npy", ROWS)
    study = tuner.run(tiny(data={"source": "rows.npy"}, loss=loss), workers=0)
    uri = f"sqlite:///{workspace / 'mlflow.db'}"
    client = MlflowClient(uri)
    run = client.get_run(study.summary.mlflow.run_id).info
    first, second = champion.register("tiny"), champion.register("tiny")
    assert (first.version, first.is_new, second.version, second.is_new) == ("1", True, "1", False)
    environment = {
        **os.environ,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_TRACKING_URI": uri,
    }
    ran = subprocess.run([sys.executable, "-c", LOADED], env=environment, capture_output=True, text=True, check=False)
    assert ran.stdout.splitlines()[-1:] == ["[Tensor('float64', (-1, 5, 4))] 0"], ran.stderr
    expected = tuner.load_model(study.export("best")).reconstruct(ROWS)
    np.testing.assert_allclose(np.load("rebuilt.npy"), expected, atol=1e-4)
    np.testing.assert_allclose(np.load("one.npy"), expected[:1], atol=1e-4)
    version = client.get_model_version_by_alias("tiny", "champion")
    assert version.tags["tuner.trial"] == str(study.best.number)
    assert client.get_run(run.run_id).info.end_time == run.end_time
    assert client.get_run(run.run_id).info.status == "FINISHED"


def test_a_study_that_mlflow_does_not_show_is_refused(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do about it, from the command line as well."""
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        tuner.run(tiny(), workers=0)
    with pytest.raises(StudyError, match="`tuner sync tiny` publishes it"):
        champion.register("tiny")
    assert run_tuner(workspace, "sync", "tiny").returncode == 0
    told = run_tuner(workspace, "register", "tiny")
    assert told.stdout.splitlines()[0] == "tiny: version 1 is the champion"
    assert "models:/tiny@champion" in told.stdout
    assert told.stderr == ""
