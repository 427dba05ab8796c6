"""Where a study's files are, unless the environment says otherwise."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from tuner.errors import InputError

WORK_FOLDER = Path(".tuner")  # prepared data, checkpoints, locks: safe to delete when no study is running
DASHBOARD = "http://127.0.0.1:5000"  # where `tuner dashboard` serves MLflow's page
DATABASE: Final = "TUNER_DATABASE_URL"
OF_FILE: Final = "_FILE"  # ends the name of a variable that names a file with the value
_READ_BY_MLFLOW: Final = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


def database_url(database: str | None = None) -> str:
    """The ledger: as given, or TUNER_DATABASE_URL, or what is in TUNER_DATABASE_URL_FILE, or `tuner.db` here.

    Raises:
        InputError: the variable names a file that cannot be read, or has nothing in it.
    """
    return database or os.environ.get(DATABASE) or _of_file(DATABASE) or "sqlite:///tuner.db"


def settle_credentials() -> None:
    """Let MLflow, which reads no files of secrets, find in the environment what MLFLOW_TRACKING_PASSWORD_FILE names.

    For programs, whose environment is their own; processes that they start have it as well.

    Raises:
        InputError: as for `database_url`.
    """
    for name in _READ_BY_MLFLOW:
        if not os.environ.get(name) and (found := _of_file(name)):
            os.environ[name] = found


def _of_file(name: str) -> str | None:
    """What is in the file that `name`_FILE names, without the end of its line; None where that is not set."""
    path = os.environ.get(name + OF_FILE, "").strip()
    if not path:
        return None
    try:
        found = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise InputError(f"{name}{OF_FILE}: must name a file that can be read, got {path}: {why}.") from None
    if not found:
        raise InputError(f"{name}{OF_FILE}: must name a file with one line in it, got {path}, which is empty.")
    return found
