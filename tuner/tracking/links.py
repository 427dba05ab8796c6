"""Addresses of pages in MLflow's web interface."""

from __future__ import annotations

from urllib.parse import quote


def study_url(base_url: str, experiment_id: str, parent_run_id: str, view_key: str | None = None) -> str:
    """The page where a study's trials stand flat, the best first, with their curves beside each other.

    Args:
        base_url: of the tracking server, such as http://127.0.0.1:5000.
        experiment_id: MLflow's experiment.
        parent_run_id: MLflow's run of the study.
        view_key: of the study's saved view, if MLflow has one: its charts are arranged for the study.
    """
    flat = {
        "searchFilter": f"tags.mlflow.parentRunId = '{parent_run_id}'",
        "orderByKey": "metrics.`objective`",
        "orderByAsc": "true",
    }
    query = {**(flat if view_key is None else _shared(view_key)), "compareRunsMode": "CHART"}
    text = "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items())
    return f"{base_url.rstrip('/')}/#/experiments/{quote(experiment_id, safe='')}/runs?{text}"


def _shared(view_key: str) -> dict[str, str]:
    """Opened with the menu for training: MLflow's own choice is the one for language models."""
    return {"viewStateShareKey": view_key, "workflowType": "machine_learning"}
