"""What changes a study's and a trial's rows, in a transaction of the ledger's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, select, update

from tuner.errors import LedgerError
from tuner.ledger.records import CohortRecord
from tuner.ledger.schema import cohort, study, trial
from tuner.spec.work import SegmentResult, TrialEnd, TrialState


def update_study(connection: Connection, study_id: int, values: Mapping[str, Any]) -> None:
    """Change a study's row."""
    connection.execute(update(study).where(study.c.id == study_id).values(**values))


def check_new_cohort(connection: Connection, study_id: int, record: CohortRecord, where: str) -> None:
    """Refuse a cohort that is recorded already.

    Raises:
        LedgerError: it is.
    """
    query = select(cohort.c.number).where(cohort.c.study_id == study_id, cohort.c.number == record.number)
    if connection.execute(query).first():
        raise LedgerError(f"{where}: a cohort is recorded once, but cohort {record.number} came again")


def set_started(connection: Connection, study_id: int, result: SegmentResult, numbers: Iterable[int]) -> None:
    """A segment begins `seconds` before its last measurement."""
    fresh = set(numbers)
    times = [at for curve in result.curves if curve.number in fresh for at in curve.at]
    if times:
        started = min(*times, max(times) - result.seconds)
        connection.execute(
            update(trial)
            .where(trial.c.study_id == study_id, trial.c.number.in_(fresh), trial.c.started_at.is_(None))
            .values(started_at=started)
        )


def is_new_end(connection: Connection, study_id: int, end: TrialEnd, where: str) -> bool:
    """Whether a trial's end is news; the same again is none.

    Raises:
        LedgerError: the trial is unknown, has ended otherwise, or the end is none.
    """
    if end.state is TrialState.RUNNING or not (end.value is None or math.isfinite(end.value)):
        raise LedgerError(f"{where}: trial {end.number} must end in a state and with a finite value, got {end}")
    query = select(trial).where(trial.c.study_id == study_id, trial.c.number == end.number)
    row = connection.execute(query).first()
    if row is None:
        raise LedgerError(f"{where}: trial {end.number} must be recorded before its end, but it is unknown")
    if row.state == TrialState.RUNNING:
        return True
    recorded = TrialEnd(end.number, TrialState(row.state), row.value, row.best_epoch, row.epochs, row.reason)
    if recorded != end:
        raise LedgerError(f"{where}: trial {end.number} is recorded as {recorded}, but {end} came")
    return False


def of_trial(study_id: int, number: int) -> Any:
    """A change of one trial's row."""
    return update(trial).where(trial.c.study_id == study_id, trial.c.number == number)


def end_values(end: TrialEnd) -> dict[str, Any]:
    """An end as a trial's row keeps it."""
    return {
        "state": end.state.value,
        "value": end.value,
        "best_epoch": end.best_epoch,
        "epochs": end.epochs,
        "reason": end.reason,
    }
