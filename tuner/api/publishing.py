"""What waits in the ledger, brought to MLflow: at any time, from any process, once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tuner.api.workspace import workspace_for
from tuner.errors import StorageError, StudyError, TrackingError, UnknownStudyError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord, unknown_study
from tuner.settings import Workspace
from tuner.tracking.store import identity


@dataclass(frozen=True, slots=True)
class Synced:
    """What `sync` did for one study.

    Attributes:
        name: the study.
        published: records that MLflow took now.
        waiting: records that wait still.
        aside: records that MLflow will never take, each with the reason.
        error: why records wait; None where none does.
    """

    name: str
    published: int
    waiting: int
    aside: tuple[str, ...]
    error: str | None


def sync(name: str | None = None, database: str | None = None, workspace: Workspace | None = None) -> list[Synced]:
    """Bring what waits to MLflow: of one study, or of all.

    A study that another process is publishing at this moment is left to it.

    Raises:
        StudyError: there is no study of that name.
        LedgerError: the ledger cannot be opened or read.
    """
    workspace = workspace_for(workspace, database)
    ledger = Ledger.look(workspace.database, workspace.folder)
    try:
        known = ledger.studies()
        if name is not None and name not in [record.name for record in known]:
            raise UnknownStudyError(unknown_study(name, [record.name for record in known]))
        return [_sync(ledger, record, workspace) for record in known if name in (None, record.name)]
    finally:
        ledger.close()


def _sync(ledger: Ledger, record: StudyRecord, workspace: Workspace) -> Synced:
    from tuner.analysis.trained import prepared_again
    from tuner.learning.device import resolve
    from tuner.orchestration.answers import answer_of
    from tuner.tracking.publisher import publish_once

    def answer(study: StudyRecord) -> Path:
        again = partial(prepared_again, study, workspace)
        return answer_of(ledger, study, workspace, resolve(study.spec.device), again)

    taken: list[int] = []
    uri, error = workspace.tracking, None
    try:
        # Where MLflow is another one or its store was moved, what the old one has is published anew.
        if ledger.outbox.waiting_count(record.id) or ledger.outbox.tracking_store(record.id) not in (
            None,
            identity(uri),
        ):
            publish_once(ledger, record.id, uri, answer=answer, took=taken.append)
    except (TrackingError, StudyError, StorageError) as problem:
        error = str(problem)
    waiting, aside = ledger.outbox.waiting_count(record.id), ledger.outbox.aside(record.id)
    return Synced(record.name, sum(taken), waiting, tuple(row.why for row in aside), error)
