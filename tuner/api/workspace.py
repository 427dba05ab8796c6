"""Where a call reads and writes: from its arguments, then the environment, then defaults."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from tuner.errors import InputError
from tuner.places import database_url
from tuner.settings import Workspace, current_folder
from tuner.tracking.store import tracking_uri

DATA_ROOT = "TUNER_DATA_ROOT"


def workspace(
    folder: str | Path | None = None,
    *,
    database: str | None = None,
    mlflow: str | None = None,
    data_root: str | Path | None = None,
) -> Workspace:
    """The places of studies, to be given to `run`, `Study.open` and the like; several can be used side by side.

    Args:
        folder: what relative paths in it are relative to, and where prepared data and checkpoints are kept; by default
            the current folder.
        database: the ledger's URL; by default TUNER_DATABASE_URL, or the content of the file that
            TUNER_DATABASE_URL_FILE names, or `tuner.db` in the folder.
        mlflow: MLflow's address; by default MLFLOW_TRACKING_URI, or `mlflow.db` in the folder.
        data_root: no data outside it is read, links followed; by default TUNER_DATA_ROOT, or no limit.

    Raises:
        InputError: a folder is not there.
    """
    place = _folder(folder, "the workspace") if folder is not None else current_folder()
    root = data_root or os.environ.get(DATA_ROOT, "").strip() or None
    return Workspace(
        folder=place,
        database=database_url(database),
        tracking=tracking_uri(mlflow, place),
        data_root=None if root is None else _folder(place / root, f"the data root ({DATA_ROOT})"),
    )


def workspace_for(given: Workspace | None, database: str | None) -> Workspace:
    """The workspace of a call that takes a workspace, a ledger, or neither."""
    if given is None:
        return workspace(database=database)
    return given if database is None else replace(given, database=database)


def _folder(path: str | Path, what: str) -> Path:
    found = Path(path).expanduser().absolute()
    if not found.is_dir():
        raise InputError(f"{found}: {what} must be a folder that is there; make it, or name another.")
    return found
