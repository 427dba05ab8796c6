"""Studies in a list, side by side, and on MLflow's page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tuner.answers.comparison import Comparison
from tuner.api.study import Study
from tuner.errors import StudyError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord, TrialRecord, best_trial
from tuner.settings import Workspace
from tuner.spec.work import TrialState
from tuner.tracking.links import study_url
from tuner.tracking.store import tracking_uri


@dataclass(frozen=True, slots=True)
class Overview:
    """A study in a list: `ended` of `trials` trials have ended."""

    name: str
    state: str
    ended: int
    trials: int
    best: float | None
    created_at: float


def studies(database: str | None = None) -> list[Overview]:
    """The studies in the ledger, oldest first."""
    workspace = Workspace.here(database, tracking_uri())
    ledger = Ledger.look(workspace.database, workspace.folder)
    try:
        return [_overview(record, ledger.standing(record), ledger.trials(record.id)) for record in ledger.studies()]
    finally:
        ledger.close()


def _overview(record: StudyRecord, state: str, trials: Sequence[TrialRecord]) -> Overview:
    best = best_trial(trials)
    return Overview(
        record.name,
        state,
        sum(trial.state is not TrialState.RUNNING for trial in trials),
        record.spec.search.trials,
        None if best is None else best.value,
        record.created_at,
    )


def dashboard_page(name: str | None, database: str | None = None) -> Callable[[str], str]:
    """The page to open on a server: a study's trials, flat, sorted and charted, or the server's front page.

    Args:
        name: the study; by default the newest that MLflow shows, if there is one.
        database: the ledger's URL.

    Raises:
        StudyError: there is no study of that name.
    """
    if name is None:
        known = studies(database)
        if not known:
            return lambda server: server
        name = known[-1].name
    mlflow = Study.open(name, database).summary.mlflow
    experiment, run_id = mlflow.experiment_id, mlflow.run_id
    if not experiment or not run_id:
        return lambda server: server
    return lambda server: study_url(server, experiment, run_id, mlflow.view)


def compare(names: Sequence[str], database: str | None = None) -> Comparison:
    """Studies side by side, and whether their losses can be compared; see `tuner.report.comparison.compare`.

    Raises:
        StudyError: fewer than two, or there is none of such a name.
        LedgerError: the ledger cannot be opened or read.
    """
    from tuner.report import comparison

    if len(names) < 2:
        raise StudyError(f"compare: expected two studies or more, got {', '.join(names) or 'none'}.")
    return comparison.compare([Study.open(name, database).facts for name in names])
