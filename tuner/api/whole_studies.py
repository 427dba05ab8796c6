"""A study gets another name, or is deleted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from tuner.api.control import known_study, look
from tuner.api.maintenance import files_of, remove_elsewhere, remove_files, states_elsewhere
from tuner.api.workspace import workspace_for
from tuner.errors import StudyError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord
from tuner.settings import Workspace
from tuner.spec.reader import spec_from_mapping
from tuner.spec.rules import FIRST
from tuner.tracking.links import study_links


@dataclass(frozen=True, slots=True)
class Remains:
    """What a study has that is deleted with it, and what of it stays.

    Attributes:
        name: the study.
        trials: its trials in the ledger.
        files: checkpoints, files for MLflow, and prepared data that no other study needs.
        size: bytes of those.
        experiment_id: MLflow's experiment, which stays with its runs; None where MLflow shows nothing of it.
        tracking: MLflow's address.
    """

    name: str
    trials: int
    files: int
    size: int
    experiment_id: str | None
    tracking: str


def remains(name: str, database: str | None = None, workspace: Workspace | None = None) -> Remains:
    """What `delete` would delete, and what it would leave; nothing is changed.

    Raises:
        StudyError: there is no study of that name, or a process runs it.
        LedgerError: the ledger cannot be opened or read.
        StorageError: a store that its states were put in does not answer.
    """
    workspace = workspace_for(workspace, database)
    with closing(look(workspace)) as ledger:
        record = known_study(ledger, name)
        holder = ledger.holder(record.id, "run")
        if holder is not None:
            raise StudyError(f"study {name}: {holder}; `tuner stop {name}` stops it first.")
        return _remains(ledger, record, workspace)


def delete(
    name: str, database: str | None = None, workspace: Workspace | None = None, actor: str | None = None
) -> Remains:
    """Remove a study from the ledger, with its checkpoints, files for MLflow, and prepared data that it alone needs.

    MLflow's runs and what was exported stay. `actor` is who asked the service for it.

    Raises:
        StudyError: there is no study of that name, or a process runs or publishes it.
        LedgerError: the ledger cannot be opened or written.
        StorageError: a store that its states were put in does not answer; nothing was deleted.
    """
    workspace = workspace_for(workspace, database)
    with closing(look(workspace)) as ledger:
        record = known_study(ledger, name)
        with _alone(ledger, record):
            found, files = _remains(ledger, record, workspace), files_of(ledger, record, workspace.work)
            elsewhere = states_elsewhere(ledger, record)
            # The record first: what a crash leaves behind is files of no study, which `tuner prune-files --all` frees.
            ledger.delete_study(record.id, actor)
            remove_files(files, workspace.work)
            remove_elsewhere(elsewhere)
        return found


def rename(
    old: str, new: str, database: str | None = None, workspace: Workspace | None = None, actor: str | None = None
) -> None:
    """Give a study another name; it is continued by a file with that name.

    Its trials, draws and files do not depend on the name. MLflow's experiment and run keep the old one; their tag
    `tuner.study` follows when the study is published next. `actor` is who asked the service for it.

    Raises:
        StudyError: there is no study of the old name, one of the new name is there, a process runs or publishes it, or
            its draws depend on its name, as those of hyperband do in studies of rules 1.
        SpecError: the new name cannot be one.
        LedgerError: the ledger cannot be opened or written.
    """
    with closing(look(workspace_for(workspace, database))) as ledger:
        record = known_study(ledger, old)
        if new == old:
            raise StudyError(f"study {old}: it has that name already; choose another one.")
        spec = record.spec
        if record.rules == FIRST and spec.search.pruner == "hyperband":
            raise StudyError(
                f"study {old}: must keep its name, from which hyperband draws in studies that were begun by rules 1."
            )
        renamed = spec_from_mapping({**spec.model_dump(mode="json"), "name": new})
        with _alone(ledger, record):
            ledger.rename_study(record.id, new, renamed.model_dump_json(), actor)


def _remains(ledger: Ledger, record: StudyRecord, workspace: Workspace) -> Remains:
    files, tally = files_of(ledger, record, workspace.work), ledger.tally(record.id)
    elsewhere = states_elsewhere(ledger, record)
    links = study_links(ledger, record.id, workspace.tracking)
    return Remains(
        record.name,
        0 if tally is None else sum(tally.counts.values()),
        len(files) + len(elsewhere),
        sum(file.stat().st_size for file in files) + sum(elsewhere.values()),
        links.experiment_id,
        links.tracking_uri,
    )


@contextmanager
def _alone(ledger: Ledger, record: StudyRecord) -> Iterator[None]:
    """Nobody runs the study nor publishes it meanwhile."""
    with ledger.lease(record.id, "run"), ledger.lease(record.id, "publish"):
        yield
