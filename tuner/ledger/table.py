"""The trials table: the one view of a study that is the same, byte for byte, however the study came about."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import UTC, datetime

from tuner.ledger.records import TrialRecord
from tuner.spec.length import Length
from tuner.spec.work import TrainingPlan

Cell = str | int | float | None
MEASURE = "measure."  # before the name of a measure of codes, here and in MLflow
_EPOCHS = Length.of(TrainingPlan(1))
TIMES = ("asked_at", "started_at", "ended_at")


def rows(trials: Iterable[TrialRecord], times: bool = False, length: Length | None = None) -> list[dict[str, Cell]]:
    """One row per trial, by number: number, state, value, best_epoch, epochs, reason, then `param.<name>` each.

    Where trials train for a number of steps, best_step and steps stand in the place of best_epoch and epochs.
    A hyperparameter that is not active at a trial's point is None; those that the study has no use for are left out.
    Last come the measures of codes, `measure.<name>` each, where any trial has them.

    Args:
        trials: the study's trials.
        times: add asked_at, started_at and ended_at, in UTC; they alone differ between two runs of the same study.
        length: how long trials train; by default what is recorded are epochs.
    """
    ordered = sorted(trials, key=lambda trial: trial.number)
    measures = measured(ordered)
    return [_row(trial, times, measures, length or _EPOCHS) for trial in ordered]


def measured(trials: Iterable[TrialRecord]) -> list[str]:
    """The names of all measures that any of the trials has, in the order in which they are measured."""
    most = sorted((list(trial.measures) for trial in trials), key=len, reverse=True)
    return list(dict.fromkeys(name for names in most for name in names))


def trials_csv(trials: Iterable[TrialRecord], times: bool = False, length: Length | None = None) -> str:
    """The table as CSV; floats are written so that reading them gives the same value."""
    table = rows(trials, times, length)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]) if table else ["number", "state"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def _row(trial: TrialRecord, times: bool, measures: list[str], length: Length) -> dict[str, Cell]:
    row: dict[str, Cell] = {
        "number": trial.number,
        "state": str(trial.state),
        "value": trial.value,
        f"best_{length.unit[:-1]}": None if trial.best_epoch is None else length.amount(trial.best_epoch),
        length.unit: length.amount(trial.epochs),
        "reason": trial.reason,
    }
    row |= {f"param.{name}": value for name, value in trial.shown.items()}
    row |= {f"{MEASURE}{name}": trial.measures.get(name) for name in measures}
    if times:
        row |= {name: _utc(getattr(trial, name)) for name in TIMES}
    return row


def _utc(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
