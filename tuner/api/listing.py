"""Studies in a list, side by side, and on MLflow's page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from tuner.api.workspace import workspace_for
from tuner.errors import StudyError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyTally
from tuner.settings import Workspace

if TYPE_CHECKING:
    from tuner.answers.comparison import Comparison


def studies(database: str | None = None, workspace: Workspace | None = None) -> list[StudyTally]:
    """The studies in the ledger, oldest first."""
    workspace = workspace_for(workspace, database)
    with closing(Ledger.look(workspace.database, workspace.folder)) as ledger:
        return ledger.tallies()


def dashboard_page(
    name: str | None, database: str | None = None, workspace: Workspace | None = None
) -> Callable[[str], str]:
    """The page to open on a server: a study's trials, flat, sorted and charted, or the server's front page.

    Args:
        name: the study; by default the newest that MLflow shows, if there is one.
        database: the ledger's URL.
        workspace: where it is, in place of the current folder.

    Raises:
        StudyError: there is no study of that name.
    """
    from tuner.api.study import Study
    from tuner.tracking.links import study_url

    workspace = workspace_for(workspace, database)
    if name is None:
        known = studies(workspace=workspace)
        if not known:
            return lambda server: server
        name = known[-1].name
    mlflow = Study.at(workspace, name).summary.mlflow
    experiment, run_id = mlflow.experiment_id, mlflow.run_id
    if not experiment or not run_id:
        return lambda server: server
    return lambda server: study_url(server, experiment, run_id, mlflow.view)


def compare(names: Sequence[str], database: str | None = None, workspace: Workspace | None = None) -> Comparison:
    """Studies side by side, and whether their losses can be compared; see `tuner.report.comparison.compare`.

    Raises:
        StudyError: fewer than two, or there is none of such a name.
        LedgerError: the ledger cannot be opened or read.
    """
    from tuner.api.study import Study
    from tuner.report import comparison

    if len(names) < 2:
        raise StudyError(f"compare: expected two studies or more, got {', '.join(names) or 'none'}.")
    workspace = workspace_for(workspace, database)
    return comparison.compare([Study.at(workspace, name).facts for name in names])
