"""Where MLflow shows a study: addresses of pages in its web interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from tuner.answers.study import MlflowLinks
from tuner.places import DASHBOARD
from tuner.tracking.store import is_server, shown

if TYPE_CHECKING:
    from tuner.ledger.ledger import Ledger

_MOST_REASONS: Final = 3


def study_url(base_url: str, experiment_id: str, parent_run_id: str, view_key: str | None = None) -> str:
    """The page that lists a study's trials, the best first, with their curves side by side.

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


def study_links(ledger: Ledger, study_id: int, uri: str) -> MlflowLinks:
    """Where MLflow shows a study, and what it does not show.

    Its ids are None until something of it is published; `error`, why something waits, is known to the end of a run.
    """
    experiment, run_id = ledger.outbox.experiment_id(study_id), ledger.outbox.run_id(study_id, None)
    view, base = ledger.outbox.view_key(study_id), shown(uri) if is_server(uri) else DASHBOARD
    aside = ledger.outbox.aside(study_id)
    return MlflowLinks(
        tracking_uri=shown(uri),
        experiment_id=experiment,
        run_id=run_id,
        view=view,
        url=study_url(base, experiment, run_id, view) if experiment and run_id else None,
        local=not is_server(uri),
        waiting=ledger.outbox.waiting_count(study_id),
        aside=len(aside),
        reasons=tuple(dict.fromkeys(row.why for row in aside))[:_MOST_REASONS],
    )
