"""MLflow's SQLite store, written without MLflow: a hundred trials in one transaction instead of a thousand calls.

MLflow's own client takes 1.3 s to import and 20-35 ms a trial, most of it in Python; the rows it leaves behind are few
and plain. They are written here as it writes them (a test compares both stores row by row), and only into a store whose
schema is of the very revision that this was written for. For any other the client is used.
"""

from __future__ import annotations

import math
import shutil
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import final

from tuner.errors import TrackingError
from tuner.ledger.readonly import read_only_uri
from tuner.tracking.apart import ApartRuns, Mlflow
from tuner.tracking.artifacts import local_folder
from tuner.tracking.entries import GONE, INVALID, KEY, Dataset, Metric, StoreError
from tuner.tracking.store import deleted_experiment_message, is_server, sqlite_path

# Alembic's, of the releases that pyproject.toml allows; the tests compare what both ways write, with the newest one.
REVISION, RELEASES = "dc11669786a5", "3.17"
_BUSY_SECONDS = 20.0

_LATEST = """
INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (key, run_uuid) DO UPDATE
SET value = excluded.value, timestamp = excluded.timestamp, step = excluded.step, is_nan = excluded.is_nan
WHERE (excluded.step, excluded.timestamp, excluded.value)
    > (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)
"""
_RUN = """
INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time,
    source_version, lifecycle_stage, artifact_uri, experiment_id, deleted_time)
VALUES (?, ?, 'UNKNOWN', '', '', ?, 'RUNNING', ?, NULL, '', 'active', ?, ?, NULL)
"""


def is_known(uri: str) -> bool:
    """Whether the store at that uri is a SQLite file with the schema that is written here."""
    path = sqlite_path(uri)
    if path is None or not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(read_only_uri(path), timeout=_BUSY_SECONDS, uri=True)) as connection:
            return connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(REVISION,)]
    except sqlite3.Error:
        return False


def way_of_writing(uri: str) -> str:
    """How a study's results will get to MLflow there, in words."""
    if is_server(uri):
        return "through MLflow's client, for it is a server"
    path = sqlite_path(uri)
    if path is None:
        return "through MLflow's client, for the store is no SQLite file"
    is_new = not path.is_file()
    if is_known(uri) or (is_new and version("mlflow").startswith(f"{RELEASES}.")):
        return "written directly" + ", once the store is made" * is_new
    return f"through MLflow's client, for the store is of another release than {RELEASES}"


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


@final
class DirectExperiments:
    """The experiments of one store.

    Args:
        mlflow: of a SQLite file that `is_known`; its helper process keeps artifacts that are no files.
    """

    def __init__(self, mlflow: Mlflow) -> None:
        path = sqlite_path(mlflow.uri)
        if path is None:
            raise ValueError(f"{mlflow.uri} must be a SQLite file's")
        self._path, self._mlflow = path, mlflow

    def ensure(self, name: str, artifacts: str | None) -> str:
        """The id of the experiment of that name, made where there is none.

        Raises:
            TrackingError: it is in MLflow's bin.
        """
        now = round(time.time() * 1000)
        with _connected(self._path) as connection:
            connection.execute(
                "INSERT OR IGNORE INTO experiments"
                " (name, artifact_location, lifecycle_stage, creation_time, last_update_time, workspace)"
                " VALUES (?, ?, 'active', ?, ?, 'default')",
                (name, f"{artifacts}/{name}", now, now),
            )
            found = connection.execute(
                "SELECT experiment_id, name, lifecycle_stage FROM experiments WHERE name = ? AND workspace = 'default'",
                (name,),
            ).fetchone()
        return _active(found)

    def of_run(self, run_id: str) -> str:
        """The id of a run's experiment.

        Raises:
            StoreError: there is no such run.
            TrackingError: the experiment is in MLflow's bin.
        """
        with _connected(self._path) as connection:
            found = connection.execute(
                "SELECT e.experiment_id, e.name, e.lifecycle_stage FROM experiments e JOIN runs r"
                " ON r.experiment_id = e.experiment_id WHERE r.run_uuid = ?",
                (run_id,),
            ).fetchone()
        if found is None:
            raise StoreError(GONE, f"there is no run {run_id}")
        return _active(found)

    def runs(self, experiment_id: str) -> DirectRuns:
        """The runs of that experiment."""
        return DirectRuns(self._path, self._mlflow, int(experiment_id))

    def set_tag(self, experiment_id: str, name: str, value: str) -> None:
        """Set a tag of that experiment."""
        with _connected(self._path) as connection:
            connection.execute(
                "INSERT INTO experiment_tags (key, value, experiment_id) VALUES (?, ?, ?)"
                " ON CONFLICT (key, experiment_id) DO UPDATE SET value = excluded.value",
                (name, value, int(experiment_id)),
            )


def _active(found: tuple[int, str, str]) -> str:
    experiment_id, name, stage = found
    if stage != "active":
        raise TrackingError(deleted_experiment_message(name, str(experiment_id), stage))
    return str(experiment_id)


@final
class DirectRuns:
    """The runs of one experiment."""

    def __init__(self, path: Path, mlflow: Mlflow, experiment_id: int) -> None:
        self._path, self._experiment_id = path, experiment_id
        self._apart = ApartRuns(mlflow, str(experiment_id))
        self._connection: sqlite3.Connection | None = None
        self._by_key: dict[str, str] | None = None

    @contextmanager
    def transaction(self) -> Iterator[bool]:
        """All that is logged within, or nothing of it."""
        with _connected(self._path) as connection:
            connection.execute("BEGIN IMMEDIATE")
            self._connection, self._by_key = connection, None
            try:
                yield True
                connection.execute("COMMIT")
            finally:
                self._connection = None
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A part of the transaction that can fail by itself."""
        self._sql.execute("SAVEPOINT attempt")
        try:
            yield
        except BaseException:
            self._sql.execute("ROLLBACK TO attempt")
            self._by_key = None
            raise
        finally:
            self._sql.execute("RELEASE attempt")

    def ensure(self, name: str, tags: Mapping[str, str], started_at: int) -> str:
        """The id of the run with this key among its tags, made where there is none."""
        if self._connection is None:
            with self.transaction():
                return self.ensure(name, tags, started_at)
        known = self._known()
        if tags[KEY] not in known:
            known[tags[KEY]] = self._create(name, tags, started_at)
        return known[tags[KEY]]

    @property
    def _sql(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("no transaction is open")
        return self._connection

    def _known(self) -> dict[str, str]:
        """The run of each key; the oldest of several. Read once a transaction: MLflow has no index for it."""
        if self._by_key is None:
            rows = self._sql.execute(
                "SELECT t.value, t.run_uuid FROM tags t JOIN runs r ON r.run_uuid = t.run_uuid"
                " WHERE t.key = ? AND r.experiment_id = ? AND r.lifecycle_stage = 'active' ORDER BY r.start_time DESC",
                (KEY, self._experiment_id),
            )
            self._by_key = dict(rows.fetchall())
        return self._by_key

    def _create(self, name: str, tags: Mapping[str, str], started_at: int) -> str:
        run_id = uuid.uuid4().hex
        (location,) = self._sql.execute(
            "SELECT artifact_location FROM experiments WHERE experiment_id = ?", (self._experiment_id,)
        ).fetchone()
        user, artifacts = tags.get("mlflow.user", "unknown"), f"{location.rstrip('/')}/{run_id}/artifacts"
        self._sql.execute(_RUN, (run_id, name, user, started_at, artifacts, self._experiment_id))
        self._set_tags(run_id, {**tags, "mlflow.runName": name})
        return run_id

    def tagged(self, tags: Mapping[str, str]) -> list[str]:
        """The ids of the runs that carry all of these tags, the oldest first."""
        has = " AND EXISTS (SELECT 1 FROM tags t WHERE t.run_uuid = r.run_uuid AND t.key = ? AND t.value = ?)"
        rows = self._sql.execute(
            "SELECT r.run_uuid FROM runs r WHERE r.experiment_id = ? AND r.lifecycle_stage = 'active'"
            f"{has * len(tags)} ORDER BY r.start_time",
            (self._experiment_id, *(word for pair in tags.items() for word in pair)),
        )
        return [run_id for (run_id,) in rows.fetchall()]

    def log(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log all of it; metrics and parameters that are there already stay as they are.

        Raises:
            StoreError: there is no such run, or a parameter has another value.
        """
        self._artifact_uri(run_id)
        self._set_params(run_id, params or {})
        rows = [_stored(metric) for metric in metrics]
        self._sql.executemany(
            "INSERT OR IGNORE INTO metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, ?, ?)",
            [(*row, run_id) for row in rows],
        )
        newest: dict[str, tuple[str, float, int, int, bool]] = {}
        for row in rows:
            if row[0] not in newest or _place(row) > _place(newest[row[0]]):
                newest[row[0]] = row
        self._sql.executemany(_LATEST, [(*row, run_id) for row in newest.values()])
        self._set_tags(run_id, tags or {})

    def _set_params(self, run_id: str, params: Mapping[str, str]) -> None:
        self._sql.executemany(
            "INSERT OR IGNORE INTO params (key, value, run_uuid) VALUES (?, ?, ?)",
            [(name, value, run_id) for name, value in params.items()],
        )
        stored = dict(self._sql.execute("SELECT key, value FROM params WHERE run_uuid = ?", (run_id,)).fetchall())
        changed = [name for name, value in params.items() if stored[name] != value]
        if changed:
            raise StoreError(
                INVALID, f"Changing param values is not allowed: {changed[0]} was {stored[changed[0]]} in run {run_id}"
            )

    def _set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        self._sql.executemany(
            "INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)"
            " ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value",
            [(name, value, run_id) for name, value in tags.items()],
        )

    def log_dataset(self, run_id: str, dataset: Dataset) -> None:
        """Name the data that the run is about."""
        self._sql.execute(
            "INSERT OR IGNORE INTO datasets (dataset_uuid, experiment_id, name, digest, dataset_source_type,"
            " dataset_source, dataset_schema, dataset_profile) VALUES (?, ?, ?, ?, ?, ?, NULL, ?)",
            (uuid.uuid4().hex, self._experiment_id, *dataset),
        )
        (dataset_id,) = self._sql.execute(
            "SELECT dataset_uuid FROM datasets WHERE experiment_id = ? AND name = ? AND digest = ?",
            (self._experiment_id, dataset.name, dataset.digest),
        ).fetchone()
        input_id = uuid.uuid4().hex
        made = self._sql.execute(
            "INSERT OR IGNORE INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id)"
            " VALUES (?, 'DATASET', ?, 'RUN', ?)",
            (input_id, dataset_id, run_id),
        )
        if made.rowcount:
            self._sql.execute(
                "INSERT INTO input_tags (input_uuid, name, value) VALUES (?, 'mlflow.data.context', 'training')",
                (input_id,),
            )

    def log_text(self, run_id: str, text: str, file: str) -> None:
        """Keep a text as an artifact; where the experiment's are not files, MLflow's client brings it there."""
        folder = self._folder(run_id)
        if folder is None:
            self._apart.log_text(run_id, text, file)
            return
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def log_files(self, run_id: str, folder: Path) -> None:
        """Keep all that lies in a folder as artifacts, under their own names; existing ones are replaced."""
        place = self._folder(run_id)
        if place is None:
            self._apart.log_files(run_id, folder)
        else:
            shutil.copytree(folder, place, copy_function=shutil.copyfile, dirs_exist_ok=True)

    def _folder(self, run_id: str) -> Path | None:
        """Where a run's artifacts lie; None where they are no files."""
        return local_folder(self._artifact_uri(run_id))

    def set_status(self, run_id: str, status: str, ended_at: int) -> None:
        """Set a run's `status`, and its end unless it is running."""
        end = None if status == "RUNNING" else ended_at
        self._sql.execute(
            "UPDATE runs SET status = ?, end_time = coalesce(?, end_time) WHERE run_uuid = ?", (status, end, run_id)
        )

    def _artifact_uri(self, run_id: str) -> str:
        found = self._sql.execute(
            "SELECT artifact_uri FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'", (run_id,)
        ).fetchone()
        if found is None:
            raise StoreError(GONE, f"there is no active run {run_id}")
        return str(found[0])


def _stored(metric: Metric) -> tuple[str, float, int, int, bool]:
    """A metric's columns; SQL knows no NaN."""
    nan = math.isnan(metric.value)
    return metric.key, 0.0 if nan else metric.value, metric.timestamp, metric.step, nan


def _place(row: tuple[str, float, int, int, bool]) -> tuple[int, int, float]:
    """What makes a value the newest: its step, its time, itself."""
    return row[3], row[2], row[1]
