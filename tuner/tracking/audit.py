"""Whether MLflow shows what the ledger holds; nothing is changed on either side."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

from tuner.errors import TrackingError
from tuner.ledger.ledger import Ledger
from tuner.ledger.readonly import read_only_uri
from tuner.ledger.records import StudyRecord, TrialRecord
from tuner.spec.final import words_of
from tuner.spec.work import TrialState
from tuner.tracking import content
from tuner.tracking.apart import Mlflow
from tuner.tracking.artifacts import local_folder, misplaced
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
    experiment = ledger.outbox.experiment_id(study.id)
    waiting = {row.trial for row in ledger.outbox.waiting(study.id, ledger.outbox.waiting_count(study.id))}
    aside = {row.trial for row in ledger.outbox.aside(study.id)}
    seen = _seen(uri, experiment, study) if experiment else {}
    for trial in [*ledger.trials(study.id), *ledger.finals(study.id)]:
        if trial.number in waiting | aside or (trial.started_at is None and trial.state is TrialState.RUNNING):
            continue
        for problem in _of_trial(trial, seen.get(content.key(study, trial.number), [])):
            yield f"{words_of(trial.number)}: {problem}"
    runs = seen.get(content.key(study, None), [])
    if None not in waiting and len(runs) != 1:
        yield f"MLflow must show the study as one run, but has {len(runs)}"
    elif experiment and None not in waiting | aside:
        yield from _of_files(ledger, study, uri, experiment)


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


def _of_files(ledger: Ledger, study: StudyRecord, uri: str, experiment: str) -> Iterator[str]:
    """Whether the files of the study's run are where MLflow looks for them, in the folder of its store."""
    run_id = ledger.outbox.run_id(study.id, None)
    with _sentences(uri):
        elsewhere = misplaced(uri, experiment)
        found = _files(uri, run_id) if run_id and elsewhere is None else None
    if elsewhere is not None:
        yield f"MLflow's files must lie beside its store, but it has them in {elsewhere}; `tuner sync` corrects that"
    expected = ["config.yaml", *(["trials.csv"] if ledger.summary(study.id) else [])]
    missing = [name for name in expected if found is not None and name not in found]
    if missing:
        yield f"the study's run in MLflow must have the files {' and '.join(expected)}, but {missing[0]} is missing"


def _files(uri: str, run_id: str) -> set[str]:
    """The names of what lies on top of a run's artifacts."""
    if is_known(uri):
        with _read(uri) as store:
            found = store.execute("SELECT artifact_uri FROM runs WHERE run_uuid = ?", [run_id]).fetchone()
        folder = local_folder(found[0]) if found else None
        if folder is not None:
            return {path.name for path in folder.glob("*")}
    with Mlflow(absolute(uri)) as mlflow:
        return mlflow.call(_files_by_client, mlflow.uri, run_id)


def _files_by_client(uri: str, run_id: str) -> set[str]:
    """In the helper process."""
    from tuner.tracking.client import mlflow_client  # noqa: PLC0415  (MLflow, 1.3 s)

    return {each.path for each in mlflow_client(uri).list_artifacts(run_id)}


@contextmanager
def _sentences(uri: str) -> Iterator[None]:
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:  # what MLflow's stores and transports raise
        raise TrackingError(sentence(uri, error)) from None


@contextmanager
def _read(uri: str) -> Iterator[sqlite3.Connection]:
    path = sqlite_path(uri)
    with closing(sqlite3.connect(read_only_uri(path) if path else uri, uri=True)) as store:
        yield store


def _seen(uri: str, experiment: str, study: StudyRecord) -> dict[str, list[SeenRun]]:
    """The runs of a study, deleted ones left out, by their key."""
    with _sentences(uri):
        if is_known(uri):
            return _seen_directly(uri, experiment)
        with Mlflow(absolute(uri)) as mlflow:
            return mlflow.call(_seen_by_client, mlflow.uri, experiment, study.key)


def _seen_directly(uri: str, experiment: str) -> dict[str, list[SeenRun]]:
    with _read(uri) as store:
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
    """In the helper process."""
    from tuner.tracking.client import mlflow_client  # noqa: PLC0415  (MLflow, 1.3 s)

    client, token = mlflow_client(uri), None
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
