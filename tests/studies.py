"""The tiny study, and folders to run it in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

IRIS = Path(__file__).parent / "fixtures" / "iris.npy"


@contextmanager
def begun_by(rules: int) -> Iterator[None]:
    """Studies that begin meanwhile, in this process, have the rules of that number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tuner.spec.defaults.NEWEST", rules)
        yield


@contextmanager
def working_in(folder: Path) -> Iterator[Path]:
    """A folder as the current one of this process, with nothing asked of MLflow by the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder


def fresh_folder(folder: Path, mlflow_store: Path) -> Path:
    """Make a folder to run studies in."""
    folder.mkdir(exist_ok=True)
    assert not (folder / "tuner.db").exists()
    shutil.copy(mlflow_store, folder / "mlflow.db")
    return folder


def tiny(**changes: Any) -> dict[str, Any]:
    """A study of seconds: iris, 13 trials in cohorts of 9, three rungs, no final stage.

    Of a file: scikit-learn's sets cost every process two seconds of a core.
    """
    search = {"trials": 13, "epochs": 9, "cohort": 9, "seed": 3, **changes.pop("search", {})}
    return {
        "name": "tiny",
        "data": {"source": str(IRIS)},
        "space": {
            "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
            "batch_size": {"type": "categorical", "choices": [16, 32]},
            "width": {"type": "int", "low": 4, "high": 40},
            "depth": {"type": "int", "low": 0, "high": 2},
            "activation": {"type": "categorical", "choices": ["relu", "tanh", "sigmoid"]},
            "bottleneck": 2,
        },
        "search": search,
        "device": "cpu",
        "final": "none",
        **changes,
    }


def tiny_of_sklearn(**changes: Any) -> dict[str, Any]:
    """The same study of data that has a name: a service takes it, and its columns have names too."""
    return tiny(**{"data": {"source": "sklearn:iris"}, **changes})
