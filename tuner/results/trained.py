"""A trial's network ready for use, with the rows that it was trained and scored on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tuner.data.prepare import Prepared, prepare
from tuner.data.rows import Rows, open_rows
from tuner.data.split import split_rows
from tuner.errors import StudyError
from tuner.learning.device import resolve
from tuner.learning.inference import Network
from tuner.learning.packs import training_data
from tuner.ledger.records import StudyRecord, TrialRecord
from tuner.results.winner import winner_weights
from tuner.spec.architecture import layer_sizes
from tuner.spec.study import StudySpec
from tuner.spec.work import Checkpoint, Trial


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


def prepared_again(study: StudyRecord, folder: Path) -> Prepared:
    """A study's data, as it was when the study began.

    Args:
        study: the study's record.
        folder: where prepared data stands.

    Raises:
        StudyError: it has changed.
        DataError: it cannot be used any more.
    """
    prepared = prepare(study.spec, Path(study.source).parent, folder)
    if prepared.fingerprint != study.fingerprint:
        raise StudyError(f"study {study.name}: the data in {study.spec.data.source} has changed since the study began.")
    return prepared


def trained(
    study: StudyRecord, spec: StudySpec, folder: Path, record: TrialRecord, checkpoint: Checkpoint | None
) -> Trained:
    """The network of a trial: its weights from its state, or trained again to the same bits where that is gone.

    Args:
        study: the study's record.
        spec: its declaration.
        folder: where prepared data stands.
        record: the trial.
        checkpoint: its newest state, if there is one.

    Raises:
        StudyError: the data has changed since the study began.
        DataError: the data is needed again and is gone.
        DeviceError: the device that it is to be trained on is not there.
    """
    prepared = prepared_again(study, folder)
    counts = prepared.train, prepared.validation, prepared.test
    rows = open_rows(prepared.path, prepared.sha256, counts)
    device = resolve(spec.device)
    again = partial(training_data, rows.train, rows.validation, device, spec.precision, spec.step)
    trial = Trial(record.number, record.point, record.seed)
    weights = winner_weights(trial, record.epochs, checkpoint, again, spec.loss)
    network = Network(layer_sizes(prepared.features, trial.point), trial.point.activation, spec.loss, weights)
    places = split_rows(sum(counts), spec.data.validation, spec.data.test, spec.search.seed).validation
    return Trained(prepared, rows, places, network, device)
