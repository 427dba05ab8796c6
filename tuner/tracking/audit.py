"""Whether MLflow shows what the ledger holds; nothing is changed on either side."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from tuner.errors import TrackingError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord, TrialRecord
from tuner.spec.final import words_of
from tuner.spec.work import TrialState
from tuner.tracking import content
from tuner.tracking.apart import Mlflow
from tuner.tracking.direct import is_known
from tuner.tracking.entries import KEY
from tuner.tracking.store import absolute, sentence, sqlite_path

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class SeenRun:
    """A run as MLflow has it: its status, its parameters, and how many values of the validation loss."""

    status: str
    params: Mapping[str, str]
    values: int


def differences(ledger: Ledger, study: StudyRecord, uri: str) -> Iterator[str]:
    """Where MLflow differs from the record, a sentence each; what waits to be published is no difference.

    Raises:
        TrackingError: MLflow cannot be asked.
    """
    experiment = ledger.experiment_id(study.id)
    waiting = {row.trial for row in ledger.waiting(study.id, ledger.waiting_count(study.id))}
    aside = {row.trial for row in ledger.aside(study.id)}
    seen = _seen(uri, experiment, study) if experiment else {}
    for trial in [*ledger.trials(study.id), *ledger.finals(study.id)]:
        if trial.number in waiting | aside or (trial.started_at is None and trial.state is TrialState.RUNNING):
            continue
        for problem in _of_trial(trial, seen.get(content.key(study, trial.number), [])):
            yield f"{words_of(trial.number)}: {problem}"
    if None not in waiting and len(seen.get(content.key(study, None), [])) != 1:
        yield f"MLflow must show the study as one run, but has {len(seen.get(content.key(study, None), []))}"


def _of_trial(trial: TrialRecord, runs: list[SeenRun]) -> Iterator[str]:
    if len(runs) != 1:
        yield f"MLflow must show it as one run, but has {len(runs)}"
        return
    (run,) = runs
    expected = content.END_STATUS.get(trial.state, "RUNNING")
    if run.status != expected:
        yield f"it is {trial.state}, so its run must be {expected}, but is {run.status}"
    if run.values != trial.epochs:
        yield f"{trial.epochs} epochs are recorded, but MLflow has {run.values} values of val_loss"
    if dict(run.params) != content.params(trial):
        yield "its parameters in MLflow are others"


def _seen(uri: str, experiment: str, study: StudyRecord) -> dict[str, list[SeenRun]]:
    """The runs of a study, deleted ones left out, by their key."""
    try:
        if is_known(uri):
            return _seen_directly(uri, experiment)
        with Mlflow(absolute(uri)) as mlflow:
            return mlflow.call(_seen_by_client, mlflow.uri, experiment, study.key)
    except TrackingError:
        raise
    except Exception as error:  # what MLflow's stores and transports raise
        raise TrackingError(sentence(uri, error)) from None


def _seen_directly(uri: str, experiment: str) -> dict[str, list[SeenRun]]:
    path = sqlite_path(uri)
    with closing(sqlite3.connect(f"{path.as_uri() if path else uri}?mode=ro", uri=True)) as store:
        of = "JOIN runs r USING (run_uuid) WHERE r.experiment_id = ? AND r.lifecycle_stage = 'active'"
        params: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for run, name, value in store.execute(f"SELECT run_uuid, p.key, p.value FROM params p {of}", [experiment]):
            params[run][name] = value
        counted = f"SELECT run_uuid, count(*) FROM metrics m {of} AND m.key = 'val_loss' GROUP BY run_uuid"
        counts = dict(store.execute(counted, [experiment]).fetchall())
        found: defaultdict[str, list[SeenRun]] = defaultdict(list)
        keyed = f"SELECT run_uuid, t.value, r.status FROM tags t {of} AND t.key = ?"
        for run, name, status in store.execute(keyed, [experiment, KEY]):
            found[name].append(SeenRun(status, params[run], counts.get(run, 0)))
        return dict(found)


def _seen_by_client(uri: str, experiment: str, key: str) -> dict[str, list[SeenRun]]:
    from mlflow import MlflowClient  # noqa: PLC0415  (1.3 s)

    client, token = MlflowClient(uri), None
    found: defaultdict[str, list[SeenRun]] = defaultdict(list)
    while True:
        page = client.search_runs([experiment], max_results=_PAGE, page_token=token)
        for run in page:
            name = run.data.tags.get(KEY, "")
            if name.startswith(key):
                values = len(client.get_metric_history(run.info.run_id, "val_loss"))
                found[name].append(SeenRun(run.info.status, dict(run.data.params), values))
        token = page.token
        if not token:
            return dict(found)
