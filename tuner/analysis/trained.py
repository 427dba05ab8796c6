"""A trial's network ready for use, with the rows that it was trained and scored on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from tuner.analysis.winner import plan_of, winner_weights
from tuner.data.examine import examine, fingerprint
from tuner.data.prepare import Prepared, kept, write_prepared
from tuner.data.rows import Rows
from tuner.data.sources import Sources
from tuner.errors import DataError, StudyError
from tuner.learning.checkpoint_store import CheckpointFolder
from tuner.learning.device import resolve
from tuner.learning.inference.network import Network
from tuner.learning.packs import training_data
from tuner.ledger.records import StudyRecord, TrialRecord
from tuner.settings import Workspace
from tuner.spec.architecture import layer_sizes
from tuner.spec.work import Checkpoint, TrainingPlan, Trial

_KEPT = "This is made from the rows that were prepared when it began."


@dataclass(frozen=True, eq=False, slots=True)
class Trained:
    """A trial's network with its best epoch's weights, and the data that it is for.

    Attributes:
        places: each validation row's number in the source, counted from 0.
        device: where it was trained, or would be.
    """

    prepared: Prepared
    rows: Rows
    places: NDArray[np.int64]
    network: Network
    device: str


def prepared_again(study: StudyRecord, workspace: Workspace) -> Prepared:
    """A study's data, as it was when the study began: what was kept of it, or else prepared from its source again.

    Args:
        study: the study's record.
        workspace: where prepared data is kept, and what its source may be.

    Raises:
        StudyError: nothing was kept, and the source has changed.
        DataError: nothing was kept, and the source cannot be used any more.
    """
    known = kept(study.spec, study.fingerprint, workspace.work, study.rules)
    if known is not None:
        return known
    examined = examine(study.spec, _sources(study, workspace), study.rules, begun=True)
    if fingerprint(examined.data, study.spec.data) != study.fingerprint:
        raise StudyError(
            f"study {study.name}: the data in {study.spec.data.source} has changed since the study began, and its"
            " prepared rows are gone; bring the data back."
        )
    return write_prepared(examined, study.spec, workspace.work, study.rules)


def source_note(study: StudyRecord, workspace: Workspace) -> str:
    """What became of the data's source since the study began, in a sentence or two; empty where it is as it was."""
    name = PurePath(study.spec.data.source).name  # without folders, for exports are handed on
    try:
        examined = examine(study.spec, _sources(study, workspace), study.rules, begun=True)
    except DataError:
        return f"The study's data, {name}, is gone or can no longer be read. {_KEPT}"
    same = fingerprint(examined.data, study.spec.data) == study.fingerprint
    return "" if same else f"The study's data, {name}, has changed since the study began. {_KEPT}"


def _sources(study: StudyRecord, workspace: Workspace) -> Sources:
    return Sources(Path(study.source).parent, workspace.data_root)


def trained(
    study: StudyRecord, plan: TrainingPlan, workspace: Workspace, record: TrialRecord, checkpoint: Checkpoint | None
) -> Trained:
    """The network of a trial: its weights from its state, or trained again to the same bits where that is gone.

    Args:
        study: the study's record.
        plan: of its search.
        workspace: where prepared data and states are kept, and what its source may be.
        record: the trial.
        checkpoint: its newest state, if there is one.

    Raises:
        StudyError: the prepared rows are gone, and the data has changed since the study began.
        DataError: the prepared rows are gone, and so is the data.
        DeviceError: the device that it is to be trained on is not there.
    """
    prepared, spec = prepared_again(study, workspace), study.spec
    rows = prepared.open()
    device = resolve(spec.device)
    kinds = device, spec.precision, spec.step
    again = partial(training_data, rows.train, rows.validation, *kinds, rows.terms, start=rows.start)
    trial = Trial(record.number, record.point, record.seed)
    state = None if checkpoint is None else CheckpointFolder.of_study(workspace.work, study.key).get(checkpoint)
    weights = winner_weights(
        trial, record.epochs, state, again, spec.loss, plan=plan_of(plan, record), start=rows.start
    )
    sizes = layer_sizes(prepared.features, trial.point)
    network = Network(sizes, trial.point.activation, spec.loss, weights, rows.terms)
    return Trained(prepared, rows, prepared.validation_numbers(spec), network, device)
