"""Where MLflow's files of a study lie: beside its SQLite store, and after the store when its folder is moved or copied.

MLflow writes whole paths into its store. Where a store was made elsewhere, they point at the old folder: what is
logged would be written there, and what lies here would not be found. So they are corrected whenever a store is opened.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from tuner.errors import TrackingError
from tuner.tracking.entries import KEY
from tuner.tracking.store import artifact_root, ensure_store, sentence, sqlite_path

_BUSY_SECONDS: Final = 20.0
_FOLDER: Final = "mlartifacts"
_FIRST: Final = 0  # the id of MLflow's own experiment `Default`
_OURS: Final = """
SELECT 1 FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid WHERE t.key = ? AND ? IN (r.experiment_id, ?) LIMIT 1
"""
# Every column in which MLflow keeps the place of files; models and their versions are there from MLflow 3 on.
_PLACES: Final = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def open_store(uri: str) -> None:
    """Make a store where there is none, and correct the places of files in one whose folder was moved or copied.

    Args:
        uri: MLflow's; nothing is done for a server or another database.

    Raises:
        TrackingError: the store cannot be made, read or written.
    """
    ensure_store(uri)
    path = sqlite_path(uri)
    if path is None:
        return
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as store:
            for old in set(_elsewhere(store, path)):
                _bring(store, old, artifact_root(uri) or "")
    except (sqlite3.Error, OSError) as error:
        raise TrackingError(sentence(uri, error)) from None


def misplaced(uri: str, experiment_id: str) -> Path | None:
    """Where a SQLite store says that an experiment's files lie, if that is not the folder of the store."""
    path = sqlite_path(uri)
    if path is None or not path.is_file():
        return None
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as store:
        return next((local_folder(root) for root in _elsewhere(store, path, experiment_id)), None)


def local_folder(uri: str) -> Path | None:
    """The folder that an artifact uri names; None where it is no folder of a file system."""
    place = urlsplit(uri)
    return Path(url2pathname(place.path)) if place.scheme in {"", "file"} else None


def _elsewhere(store: sqlite3.Connection, path: Path, experiment_id: str | None = None) -> Iterator[str]:
    """The roots, other than the folder of the store, under which experiments with our runs have their files.

    An experiment whose place a user chose (`file:///data/digits`) is left alone: ours lie in `mlartifacts/<its name>`,
    and models are logged to MLflow's first experiment, whose files lie in `mlartifacts/0` of a store that we made.
    """
    try:
        found = store.execute("SELECT experiment_id, name, artifact_location FROM experiments").fetchall()
    except sqlite3.OperationalError as error:
        if "no such" in str(error):  # no store of MLflow's: it will say so itself
            return
        raise
    for known, name, location in found:
        root = str(location).removesuffix(f"/{_FOLDER}/{known if known == _FIRST else name}")
        if root == location or _is_same(local_folder(root), path.parent) or experiment_id not in (None, str(known)):
            continue
        if store.execute(_OURS, [KEY, known, _FIRST]).fetchone():
            yield f"{root}/{_FOLDER}"


def _is_same(folder: Path | None, other: Path) -> bool:
    """Whether both are one folder, perhaps under two names; what is no folder of a file system cannot be moved."""
    return folder is None or folder == other or (folder.exists() and folder.samefile(other))


def _bring(store: sqlite3.Connection, old: str, new: str) -> None:
    """Let all that the store says to lie under one root lie under another; files that are only there are copied."""
    there, here = local_folder(old), local_folder(new)
    if there is not None and here is not None and there.is_dir() and not here.exists():
        whole = here.with_name(f"{here.name}.new")  # gets its name when all of it is there
        shutil.rmtree(whole, ignore_errors=True)
        shutil.copytree(there, whole)
        whole.rename(here)
    with store:
        for table, column in _existing(store):
            store.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                (new, len(old) + 1, len(old) + 1, f"{old}/"),
            )


def _existing(store: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    for table, column in _PLACES:
        if any(row[1] == column for row in store.execute(f"PRAGMA table_info({table})")):
            yield table, column
