"""Where a study's files are, unless the environment says otherwise."""

from __future__ import annotations

import os
from pathlib import Path

WORK_FOLDER = Path(".tuner")  # prepared data, checkpoints, locks: safe to delete when no study is running
DASHBOARD = "http://127.0.0.1:5000"  # where `tuner dashboard` serves MLflow's page


def database_url(database: str | None = None) -> str:
    """The ledger: as given, or TUNER_DATABASE_URL, or `tuner.db` in the current folder."""
    return database or os.environ.get("TUNER_DATABASE_URL") or "sqlite:///tuner.db"
