"""Losses per trial and epoch: written once, compared when they come again, and read back as curves."""

from __future__ import annotations

import json
import math
import struct
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, bindparam, func, insert, select, update

from tuner.errors import LedgerError
from tuner.ledger.schema import checkpoint, measurement, trial
from tuner.spec.work import Checkpoint, Curve, TrialState, lowest

# SQLite takes 32,766 variables in a statement, Postgres 65,535.
MOST_NUMBERS = 10_000


class Best(NamedTuple):
    """What is measured of a trial so far; value and best_epoch are None where no epoch was finite.

    Epoch 0 is the solution that a trial starts at, where it starts at one.
    """

    value: float | None
    best_epoch: int | None
    epochs: int


def add_curves(
    connection: Connection, study_id: int, curves: Sequence[Curve], where: str
) -> list[tuple[int, int, int]]:
    """Record the epochs that are new and check that the others are equal to the record.

    Returns:
        trial, first and last of each run of new epochs.

    Raises:
        LedgerError: an epoch contradicts the record, leaves a gap before it, or belongs to a trial that has ended.
    """
    states = _states(connection, study_id, [curve.number for curve in curves])
    known = _last_epochs(connection, study_id, list(states))
    added = []
    for curve in curves:
        last = known.get(curve.number, 0)
        _check_place(curve, states.get(curve.number), last, where)
        if curve.first < last:
            _check_equal(connection, study_id, curve, where)
        if curve.last > last:
            added.append((curve.number, max(curve.first, last), curve.last))
    _insert_epochs(connection, study_id, {curve.number: curve for curve in curves}, added)
    _insert_checkpoints(connection, study_id, curves)
    return added


def add_measures(connection: Connection, study_id: int, curves: Sequence[Curve]) -> None:
    """Record what trials are worth beside their losses; what is recorded already stays as it is."""
    rows = [
        {"of_study": study_id, "of_trial": curve.number, "found": json.dumps(dict(curve.measures))}
        for curve in curves
        if curve.measures
    ]
    if rows:
        of_trial = (trial.c.study_id == bindparam("of_study")) & (trial.c.number == bindparam("of_trial"))
        unknown = update(trial).where(of_trial, trial.c.measures.is_(None))
        connection.execute(unknown.values(measures=bindparam("found")), rows)


def failed_measures(curves: Sequence[Curve], numbers: Collection[int]) -> list[dict[str, Any]]:
    """Which measures' arithmetic failed, and why, as bodies of events; of these trials alone."""
    return [
        {"trial": curve.number, "measure": name, "reason": reason}
        for curve in curves
        if curve.number in numbers
        for name, reason in curve.unmeasured.items()
    ]


def below(curve: Curve, folder: Path | None) -> Curve:
    """The curve as it is recorded: its checkpoint's path relative to the folder, where it is below it."""
    state = curve.checkpoint
    if state is None or folder is None or not Path(state.path).is_relative_to(folder):
        return curve
    return replace(curve, checkpoint=replace(state, path=str(Path(state.path).relative_to(folder))))


def read_curves(
    connection: Connection, study_id: int, numbers: Collection[int] | None = None, folder: Path | None = None
) -> dict[int, Curve]:
    """Each trial's epochs from the first one on, with its newest checkpoint; trials without an epoch are left out.

    A checkpoint's path that was recorded relative is below `folder`.
    """
    chunks: Sequence[Sequence[int] | None] = [None] if numbers is None else _chunks(sorted(numbers))
    read = (_read_chunk(connection, study_id, chunk, folder) for chunk in chunks)
    return {number: curve for curves in read for number, curve in curves.items()}


def checkpoint_stores(connection: Connection, study_id: int) -> list[str]:
    """The folders of other stores that states of the study were put in, as URLs."""
    query = (
        select(checkpoint.c.path).where(checkpoint.c.study_id == study_id, checkpoint.c.path.contains("://")).distinct()
    )
    return sorted({path.rpartition("/")[0] for path in connection.execute(query).scalars()})


def newest_checkpoints(
    connection: Connection, study_id: int, most: int, folder: Path | None = None
) -> dict[int, tuple[Checkpoint, ...]]:
    """Each trial's newest checkpoints, the newest first, their paths as for `read_curves`."""
    files: defaultdict[int, list[Checkpoint]] = defaultdict(list)
    for row in connection.execute(_checkpoints(study_id)):
        files[row.trial].append(_checkpoint(row, folder))
    return {number: tuple(reversed(known[-most:])) for number, known in files.items()}


def spans(connection: Connection, study_id: int) -> dict[int, tuple[int, int]]:
    """How many epochs each trial has, and the last one's number."""
    epoch = measurement.c.epoch
    query = select(measurement.c.trial, func.count(epoch).label("number"), func.max(epoch).label("last")).where(
        measurement.c.study_id == study_id, epoch > 0
    )
    return {row.trial: (row.number, row.last) for row in connection.execute(query.group_by(measurement.c.trial))}


def running_bests(connection: Connection, study_id: int) -> dict[int, Best]:
    """How far each running trial has come."""
    query = (
        select(measurement.c.trial, measurement.c.epoch, measurement.c.val_loss)
        .join(trial, (trial.c.study_id == measurement.c.study_id) & (trial.c.number == measurement.c.trial))
        .where(measurement.c.study_id == study_id, trial.c.state == TrialState.RUNNING.value)
        .order_by(measurement.c.trial, measurement.c.epoch)
    )
    losses: defaultdict[int, list[float]] = defaultdict(list)
    before: dict[int, float] = {}
    for number, epoch, loss in connection.execute(query):
        if epoch == 0:
            before[number] = loss
        else:
            losses[number].append(loss)
    return {number: best_of(series, before.get(number)) for number, series in losses.items()}


def best_of(losses: Sequence[float], before: float | None = None) -> Best:
    """The lowest finite loss and the first epoch that reached it; `before` is that of the solution it started at."""
    value, epoch = lowest(losses, before)
    return Best(None if epoch is None else value, epoch, len(losses))


def _states(connection: Connection, study_id: int, numbers: Sequence[int]) -> dict[int, str]:
    query = select(trial.c.number, trial.c.state).where(trial.c.study_id == study_id)
    found = (connection.execute(query.where(trial.c.number.in_(some))) for some in _chunks(numbers))
    return {row.number: row.state for result in found for row in result}


def _last_epochs(connection: Connection, study_id: int, numbers: Sequence[int]) -> dict[int, int]:
    query = (
        select(measurement.c.trial, func.max(measurement.c.epoch).label("last"))
        .where(measurement.c.study_id == study_id)
        .group_by(measurement.c.trial)
    )
    found = (connection.execute(query.where(measurement.c.trial.in_(some))) for some in _chunks(numbers))
    return {row.trial: row.last for result in found for row in result}


def _check_place(curve: Curve, state: str | None, last: int, where: str) -> None:
    if state is None:
        raise LedgerError(f"{where}: trial {curve.number} must be recorded before its epochs, but it is unknown")
    if curve.first > last:
        raise LedgerError(
            f"{where}: trial {curve.number} must go on from epoch {last}, but epochs from {curve.first + 1} on came"
        )
    if curve.last > last and state != TrialState.RUNNING:
        raise LedgerError(
            f"{where}: trial {curve.number} ended as {state} after {last} epochs, but epoch {curve.last} came"
        )


def _check_equal(connection: Connection, study_id: int, curve: Curve, where: str) -> None:
    query = _epochs(study_id).where(
        measurement.c.trial == curve.number, measurement.c.epoch > curve.first, measurement.c.epoch <= curve.last
    )
    for row, train_loss, val_loss in zip(connection.execute(query), curve.train_loss, curve.val_loss, strict=False):
        recorded, came = (row.train_loss, row.val_loss), (train_loss, val_loss)
        if _bits(recorded) != _bits(came):
            raise LedgerError(
                f"{where}: epoch {row.epoch} of trial {curve.number} is recorded with training and validation loss"
                f" {recorded}, but {came} came"
            )


def _bits(losses: tuple[float, float]) -> bytes:
    """Equal for equal bits, and for any two NaNs."""
    return struct.pack("<2d", *(math.nan if math.isnan(loss) else loss for loss in losses))


def _insert_epochs(
    connection: Connection, study_id: int, curves: Mapping[int, Curve], added: Iterable[tuple[int, int, int]]
) -> None:
    rows: list[dict[str, Any]] = [
        {
            "study_id": study_id,
            "trial": number,
            "epoch": epoch + 1,
            "train_loss": curves[number].train_loss[epoch - curves[number].first],
            "val_loss": curves[number].val_loss[epoch - curves[number].first],
            "at": curves[number].at[epoch - curves[number].first],
        }
        for number, first, last in added
        for epoch in range(first, last)
    ]
    begun = [number for number, first, _ in added if first == 0 and curves[number].before is not None]
    rows += [
        {
            "study_id": study_id,
            "trial": number,
            "epoch": 0,
            "train_loss": math.nan,
            "val_loss": curves[number].before,
            "at": curves[number].at[0],
        }
        for number in begun
    ]
    if rows:
        connection.execute(insert(measurement), rows)


def _insert_checkpoints(connection: Connection, study_id: int, curves: Sequence[Curve]) -> None:
    """A checkpoint counts even where its epochs are recorded already: the file may have been lost and made again."""
    rows = [
        {
            "study_id": study_id,
            "trial": curve.number,
            "epoch": curve.checkpoint.epoch,
            "path": curve.checkpoint.path,
            "sha256": curve.checkpoint.sha256,
        }
        for curve in curves
        if curve.checkpoint is not None
    ]
    if rows:
        connection.execute(insert(checkpoint), rows)


def _checkpoint(row: Row[Any], folder: Path | None) -> Checkpoint:
    is_file = folder is not None and "://" not in row.path
    return Checkpoint(str(folder / row.path) if is_file else row.path, row.sha256, row.epoch)


def _read_chunk(
    connection: Connection, study_id: int, numbers: Sequence[int] | None, folder: Path | None
) -> dict[int, Curve]:
    epochs, files = _epochs(study_id), _checkpoints(study_id)
    if numbers is not None:
        epochs = epochs.where(measurement.c.trial.in_(numbers))
        files = files.where(checkpoint.c.trial.in_(numbers))
    newest = {row.trial: _checkpoint(row, folder) for row in connection.execute(files)}
    rows: defaultdict[int, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(epochs):
        rows[row.trial].append(row)
    return {number: _curve(number, series, newest.get(number)) for number, series in rows.items()}


def _epochs(study_id: int) -> Select[Any]:
    return (
        select(*(measurement.c[name] for name in ("trial", "epoch", "train_loss", "val_loss", "at")))
        .where(measurement.c.study_id == study_id)
        .order_by(measurement.c.trial, measurement.c.epoch)
    )


def _checkpoints(study_id: int) -> Select[Any]:
    """In such an order that the last row of each trial is the one that counts."""
    return (
        select(checkpoint.c.trial, checkpoint.c.epoch, checkpoint.c.path, checkpoint.c.sha256)
        .where(checkpoint.c.study_id == study_id)
        .order_by(checkpoint.c.trial, checkpoint.c.epoch, checkpoint.c.id)
    )


def _curve(number: int, rows: Sequence[Row[Any]], newest: Checkpoint | None) -> Curve:
    before = rows[0].val_loss if rows[0].epoch == 0 else None
    rows, last = rows[before is not None :], rows[-1]
    return Curve(
        number=number,
        first=0,
        train_loss=tuple(row.train_loss for row in rows),
        val_loss=tuple(row.val_loss for row in rows),
        at=tuple(row.at for row in rows),
        diverged=not (math.isfinite(last.train_loss) and math.isfinite(last.val_loss)),
        checkpoint=newest,
        before=before,
    )


def _chunks(numbers: Sequence[int]) -> list[Sequence[int]]:
    return [numbers[start : start + MOST_NUMBERS] for start in range(0, len(numbers), MOST_NUMBERS)]
