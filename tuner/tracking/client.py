"""MLflow behind its own client: a server, or a store of any kind and version."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import final

from mlflow import MlflowClient
from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput, Experiment, InputTag, Param, RunTag, ViewType
from mlflow.entities import Metric as MlflowMetric
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import create_sqlalchemy_engine

from tuner.errors import TrackingError
from tuner.tracking.entries import EXISTS, KEY, Dataset, Metric, pieces
from tuner.tracking.store import check_reachable, deleted_experiment_message, is_server, sqlite_path

# A batch may hold 1,000 entities, 100 parameters and 100 tags among them.
_METRICS_PER_BATCH = 800


def mlflow_client(uri: str) -> MlflowClient:
    """MLflow's client, or at once what keeps it from its database: MLflow would try for more than a minute.

    What its tables warn of when they are first used would be the end of it where the caller has warnings as errors.

    Args:
        uri: of a server, or of a store with its whole path.
    """
    check_reachable(uri)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not is_server(uri) and sqlite_path(uri) is None:
            engine = create_sqlalchemy_engine(uri)
            with engine.connect():
                engine.dispose()
        client = MlflowClient(uri)
    if not is_server(uri):
        _forget_places()
    return client


def _forget_places() -> None:
    """MLflow remembers by a run's id where its files lie, also after the store was moved or when a copy is opened."""
    from mlflow.tracking._tracking_service import utils  # noqa: PLC0415  (private, and only a cache)

    getattr(utils, "_artifact_repos_cache", {}).clear()


@final
class ClientExperiments:
    """One MLflow.

    Args:
        uri: of a server, or of a store with its whole path.
    """

    def __init__(self, uri: str) -> None:
        self._client = mlflow_client(uri)

    def ensure(self, name: str, artifacts: str | None) -> str:
        """The id of the experiment of that name, made where there is none.

        Raises:
            TrackingError: it is in MLflow's bin.
        """
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            location = None if artifacts is None else f"{artifacts}/{name}"
            try:
                return str(self._client.create_experiment(name, artifact_location=location))
            except MlflowException as error:
                if error.error_code != EXISTS:
                    raise
                experiment = self._client.get_experiment_by_name(name)
        return self._active(experiment)

    def of_run(self, run_id: str) -> str:
        """The id of a run's experiment.

        Raises:
            TrackingError: it is in MLflow's bin.
        """
        return self._active(self._client.get_experiment(self._client.get_run(run_id).info.experiment_id))

    def runs(self, experiment_id: str) -> ClientRuns:
        """The runs of that experiment."""
        return ClientRuns(self._client, experiment_id)

    def set_tag(self, experiment_id: str, name: str, value: str) -> None:
        """Set a tag of that experiment."""
        self._client.set_experiment_tag(experiment_id, name, value)

    @staticmethod
    def _active(experiment: Experiment) -> str:
        if experiment.lifecycle_stage != "active":
            raise TrackingError(
                deleted_experiment_message(experiment.name, experiment.experiment_id, experiment.lifecycle_stage)
            )
        return str(experiment.experiment_id)


@final
class ClientRuns:
    """The runs of one experiment, each created once, even if replies are lost."""

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        self._client = client
        self._experiment_id = experiment_id

    @contextmanager
    def transaction(self) -> Iterator[bool]:
        """Send each call by itself."""
        yield False

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Send each call by itself."""
        yield

    def ensure(self, name: str, tags: Mapping[str, str], started_at: int) -> str:
        """The id of the run with this key among its tags, made where there is none.

        `create_run` is not idempotent and its reply may be lost, so the key is searched first.
        """
        found = self._search(f"tags.`{KEY}` = '{tags[KEY]}'")
        if found:
            return found[0]
        run = self._client.create_run(self._experiment_id, start_time=started_at, tags=dict(tags), run_name=name)
        return str(run.info.run_id)

    def tagged(self, tags: Mapping[str, str]) -> list[str]:
        """The ids of the runs that carry all of these tags, the oldest first."""
        return self._search(" and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items()))

    def log(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log all of it in as few calls as MLflow's limits allow."""
        run_params = [Param(name, value) for name, value in (params or {}).items()]
        run_tags = [RunTag(name, value) for name, value in (tags or {}).items()]
        for part in pieces(metrics, _METRICS_PER_BATCH):
            self._client.log_batch(run_id, [MlflowMetric(*metric) for metric in part], run_params, run_tags)
            run_params, run_tags = [], []

    def log_dataset(self, run_id: str, dataset: Dataset) -> None:
        """Name the data that the run is about."""
        made = MlflowDataset(
            name=dataset.name,
            digest=dataset.digest,
            source_type=dataset.source_type,
            source=dataset.source,
            profile=dataset.profile,
        )
        self._client.log_inputs(run_id, [DatasetInput(made, [InputTag("mlflow.data.context", "training")])])

    def log_text(self, run_id: str, text: str, file: str) -> None:
        """Keep a text as an artifact."""
        self._client.log_text(run_id, text, file)

    def log_files(self, run_id: str, folder: Path) -> None:
        """Keep all that lies in a folder as artifacts, under their own names."""
        self._client.log_artifacts(run_id, str(folder))

    def set_status(self, run_id: str, status: str, ended_at: int) -> None:
        """Set a run's `status`, and its end unless it is running."""
        if status == "RUNNING":
            self._client.update_run(run_id, status)
        else:
            self._client.set_terminated(run_id, status, ended_at)

    def _search(self, query: str) -> list[str]:
        """Oldest first."""
        found = self._client.search_runs(
            [self._experiment_id], query, ViewType.ACTIVE_ONLY, order_by=["attributes.start_time ASC"]
        )
        return [str(run.info.run_id) for run in found]
