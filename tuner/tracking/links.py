"""Addresses of pages in MLflow's web interface."""

from __future__ import annotations

from urllib.parse import quote


def study_url(base_url: str, experiment_id: str, parent_run_id: str) -> str:
    """The page where a study's trials stand flat, the best first, with their curves beside each other.

    Args:
        base_url: of the tracking server, such as http://127.0.0.1:5000.
        experiment_id: MLflow's experiment.
        parent_run_id: MLflow's run of the study.
    """
    query = {
        "searchFilter": f"tags.mlflow.parentRunId = '{parent_run_id}'",
        "orderByKey": "metrics.`objective`",
        "orderByAsc": "true",
        "compareRunsMode": "CHART",
    }
    text = "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items())
    return f"{base_url.rstrip('/')}/#/experiments/{quote(experiment_id, safe='')}/runs?{text}"
