"""A study's winner in MLflow's registry."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.errors import StudyError
from tuner.study import Study
from tuner.tracking.store import tracking_uri

if TYPE_CHECKING:
    from tuner.tracking.registry import Registered

EXAMPLE_ROWS = 3  # of one row, MLflow would take the number of rows for fixed


def register(name: str, database: str | None = None) -> Registered:
    """Register the model that `tuner export` writes with MLflow, under the study's name, as its champion.

    Args:
        name: the study.
        database: the ledger's URL.

    Raises:
        StudyError: there is no such study, no trial of it is complete yet, or MLflow does not show it yet.
        DataError: the prepared rows are gone, and so is the data.
        LedgerError: the ledger cannot be opened or read.
        TrackingError: MLflow cannot be reached or refuses.
    """
    from tuner.results.card import MODEL
    from tuner.results.load import load_model
    from tuner.tracking.registry import Champion, register

    study = Study.open(name, database)
    run_id = study.summary["mlflow"]["run_id"]
    if study.best and run_id is None:
        raise StudyError(f"study {name}: MLflow must show it first; `tuner sync {name}` publishes it.")
    with tempfile.TemporaryDirectory(prefix="tuner-") as folder:
        model = load_model(study.export(Path(folder) / "best"))
    card = model.card
    tags = {"tuner.study": name, "tuner.trial": str(card.trial)}
    rows = study.raw_rows(EXAMPLE_ROWS)
    made = register(Champion(name, run_id, model.module(), rows, card.files[MODEL], tags), tracking_uri())
    return replace(made, note=study.source_note)
