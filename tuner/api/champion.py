"""A study's winner in MLflow's registry."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.api.study import Study
from tuner.api.workspace import workspace_for
from tuner.errors import StudyError
from tuner.settings import Workspace

if TYPE_CHECKING:
    from tuner.tracking.registry import Registered

EXAMPLE_ROWS = 3  # of one row, MLflow would take the number of rows for fixed


def register(
    name: str, database: str | None = None, force: bool = False, workspace: Workspace | None = None
) -> Registered:
    """Register the model that `tuner export` writes with MLflow, under the study's name, as its champion.

    Args:
        name: the study.
        database: the ledger's URL.
        force: also where MLflow's model of that name is another study's.
        workspace: where it is, in place of the current folder.

    Raises:
        StudyError: there is no such study, no trial of it is complete yet, MLflow does not show it yet, or its model
            of that name is another study's.
        DataError: the prepared rows are gone, and so is the data.
        LedgerError: the ledger cannot be opened or read.
        TrackingError: MLflow cannot be reached or refuses.
    """
    from tuner.export.model import load_model
    from tuner.export.model_card import MODEL
    from tuner.tracking.registry import Champion, register

    workspace = workspace_for(workspace, database)
    study = Study.at(workspace, name)
    run_id = study.summary.mlflow.run_id
    _ = study.best  # raises where no trial is complete, which is to be said first
    if run_id is None:
        raise StudyError(f"study {name}: MLflow must show it first; `tuner sync {name}` publishes it.")
    with tempfile.TemporaryDirectory(prefix="tuner-") as folder:
        model = load_model(study.export(Path(folder) / "best"))
    card = model.card
    tags = {"tuner.study": name, "tuner.trial": str(card.trial)}
    rows = study.raw_rows(EXAMPLE_ROWS)
    champion = Champion(name, run_id, study.key, model.module(), rows, card.files[MODEL], tags)
    return replace(register(champion, workspace.tracking, force), note=study.source_note)
