"""What many tests stand on: a folder of their own with MLflow's store ready made, and a tiny study."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh SQLite store of MLflow; its making takes seconds, so it is made once and copied."""
    from tuner.tracking.store import ensure_store

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    ensure_store(f"sqlite:///{path}")
    return path


@pytest.fixture
def workspace(tmp_path: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, as a user's, with no variables of the environment that would lead out of it."""
    for name in ("MLFLOW_TRACKING_URI", "TUNER_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    fresh_folder(tmp_path, mlflow_store)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fresh_folder(folder: Path, mlflow_store: Path) -> Path:
    """Make a folder to run studies in."""
    folder.mkdir(exist_ok=True)
    shutil.copy(mlflow_store, folder / "mlflow.db")
    return folder


def tiny(**changes: Any) -> dict[str, Any]:
    """A study of seconds: iris, 13 trials in cohorts of 9, three rungs."""
    search = {"trials": 13, "epochs": 9, "cohort": 9, "seed": 3, **changes.pop("search", {})}
    return {
        "name": "tiny",
        "data": {"source": "sklearn:iris"},
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
        **changes,
    }
