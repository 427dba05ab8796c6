"""What many tests stand on: a folder of their own with MLflow's store ready made."""

from __future__ import annotations

from pathlib import Path

import pytest
from studies import fresh_folder


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
