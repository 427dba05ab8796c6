"""Runs of one experiment, each made once under a key of its own, whatever replies are lost on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

from mlflow import MlflowClient
from mlflow.entities import DatasetInput, Experiment, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

from tuner.errors import TrackingError

KEY = "tuner.key"

# A batch may hold 1,000 entities, 100 parameters and 100 tags among them.
_METRICS_PER_BATCH = 800
_GONE = "RESOURCE_DOES_NOT_EXIST"
_EXISTS = "RESOURCE_ALREADY_EXISTS"
_REJECTIONS = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST"})


def is_gone(error: MlflowException) -> bool:
    """MLflow does not know what it is asked about: its store was removed or is another one."""
    return bool(error.error_code == _GONE)


def is_rejection(error: MlflowException) -> bool:
    """MLflow will never take it."""
    return error.error_code in _REJECTIONS


def ensure_experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    """The id of the experiment of that name, made where there is none.

    Raises:
        TrackingError: it is in MLflow's bin.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        location = None if artifacts is None else f"{artifacts}/{name}"
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            if error.error_code != _EXISTS:
                raise
            experiment = client.get_experiment_by_name(name)
    check_active(experiment)
    return str(experiment.experiment_id)


def check_active(experiment: Experiment) -> None:
    """Raise TrackingError for an experiment in MLflow's bin."""
    if experiment.lifecycle_stage != "active":
        raise TrackingError(
            f"MLflow's experiment {experiment.name!r} must be active, but it is {experiment.lifecycle_stage};"
            f" restore it with `mlflow experiments restore -x {experiment.experiment_id}`"
        )


@final
class Runs:
    """The runs of one experiment."""

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        self._client = client
        self._experiment_id = experiment_id

    def ensure(self, name: str, tags: Mapping[str, str], started_at: int) -> str:
        """The id of the run with this key among its tags, made where there is none.

        `create_run` is not idempotent and its reply may be lost, so the key is searched first.
        """
        found = self._search(f"tags.`{KEY}` = '{tags[KEY]}'")
        if found:
            return found[0]
        run = self._client.create_run(self._experiment_id, start_time=started_at, tags=dict(tags), run_name=name)
        return str(run.info.run_id)

    def tagged(self, parent_run_id: str, name: str, value: str) -> list[str]:
        """The ids of a parent's runs that carry a tag."""
        return self._search(f"tags.mlflow.parentRunId = '{parent_run_id}' and tags.`{name}` = '{value}'")

    def log(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log all of it in as few calls as MLflow's limits allow."""
        run_tags = [RunTag(name, value) for name, value in (tags or {}).items()]
        self._client.log_batch(run_id, list(metrics[:_METRICS_PER_BATCH]), list(params), run_tags)
        for start in range(_METRICS_PER_BATCH, len(metrics), _METRICS_PER_BATCH):
            self._client.log_batch(run_id, list(metrics[start : start + _METRICS_PER_BATCH]))

    def log_dataset(self, run_id: str, dataset: DatasetInput) -> None:
        """Name the data that the run is about."""
        self._client.log_inputs(run_id, [dataset])

    def log_text(self, run_id: str, text: str, file: str) -> None:
        """Keep a text as an artifact."""
        self._client.log_text(run_id, text, file)

    def set_status(self, run_id: str, status: str, ended_at: int) -> None:
        """Let a run stand at `status`, ended at that time unless it goes on."""
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
