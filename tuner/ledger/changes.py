"""What changes a study's and a trial's rows, in a transaction of the ledger's."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from tuner.errors import LedgerError
from tuner.ledger import outbox
from tuner.ledger.measurements import MOST_NUMBERS
from tuner.ledger.records import CohortRecord
from tuner.ledger.schema import FINAL_COHORT, cohort, study, trial
from tuner.spec.work import SegmentResult, TrialEnd, TrialState

_OF_AN_END: Final = ("number", "state", "value", "best_epoch", "epochs", "reason")
_OF_TRIAL: Final = (trial.c.study_id == bindparam("of_study"), trial.c.number == bindparam("of_trial"))
_START: Final = update(trial).where(*_OF_TRIAL, trial.c.started_at.is_(None)).values(started_at=bindparam("at"))
_END: Final = update(trial).where(*_OF_TRIAL)


def update_study(connection: Connection, study_id: int, values: Mapping[str, Any]) -> None:
    """Change a study's row."""
    connection.execute(update(study).where(study.c.id == study_id).values(**values))


def add_cohort(connection: Connection, study_id: int, record: CohortRecord, where: str) -> None:
    """Record a cohort, still without trials.

    Raises:
        LedgerError: it is recorded already.
    """
    if _has_cohort(connection, study_id, record.number):
        raise LedgerError(f"{where}: a cohort is recorded once, but cohort {record.number} came again")
    of_cohort = {"study_id": study_id, "number": record.number, "position": record.position}
    connection.execute(insert(cohort), [of_cohort])


def ensure_final_cohort(connection: Connection, study_id: int) -> None:
    """Record the cohort of the final stage's runs, where it is not."""
    if not _has_cohort(connection, study_id, FINAL_COHORT):
        connection.execute(insert(cohort), [{"study_id": study_id, "number": FINAL_COHORT, "position": 0}])


def _has_cohort(connection: Connection, study_id: int, number: int) -> bool:
    query = select(cohort.c.number).where(cohort.c.study_id == study_id, cohort.c.number == number)
    return connection.execute(query).first() is not None


def add_trials(connection: Connection, values: Sequence[Mapping[str, Any]]) -> None:
    """Record new trials of a study, by `rows.trial_row`, and let them wait for MLflow."""
    if values:
        connection.execute(insert(trial), values)
        outbox.add(connection, values[0]["study_id"], [outbox.row("trial", each["number"]) for each in values])


def set_started(
    connection: Connection, study_id: int, results: Iterable[SegmentResult], fresh: Collection[int]
) -> None:
    """A segment begins `seconds` before its last measurement, and so do those of its trials that are in `fresh`."""
    started = []
    for result in results:
        begun = [curve for curve in result.curves if curve.number in fresh]
        times = [at for curve in begun for at in curve.at]
        if times:
            at = min(*times, max(times) - result.seconds)
            started += [{"of_study": study_id, "of_trial": curve.number, "at": at} for curve in begun]
    if started:
        connection.execute(_START, started)


def add_ends(connection: Connection, study_id: int, ends: Sequence[TrialEnd], where: str) -> None:
    """Record how trials ended, and let it wait for MLflow; an end that is recorded already is passed over.

    Raises:
        LedgerError: a trial is unknown, has ended otherwise, or its end is none.
    """
    known = _known(connection, study_id, [end.number for end in ends])
    fresh = [end for end in ends if _is_new(end, known.get(end.number), where)]
    now = time.time()
    if fresh:
        connection.execute(_END, [_end_row(study_id, end, now) for end in fresh])
        outbox.add(connection, study_id, [outbox.row("end", end.number) for end in fresh])


def _known(connection: Connection, study_id: int, numbers: Sequence[int]) -> dict[int, Row[Any]]:
    found: dict[int, Row[Any]] = {}
    for start in range(0, len(numbers), MOST_NUMBERS):
        some = trial.c.number.in_(numbers[start : start + MOST_NUMBERS])
        query = select(*(trial.c[name] for name in _OF_AN_END)).where(trial.c.study_id == study_id, some)
        found |= {row.number: row for row in connection.execute(query)}
    return found


def _is_new(end: TrialEnd, row: Row[Any] | None, where: str) -> bool:
    if end.state is TrialState.RUNNING or not (end.value is None or math.isfinite(end.value)):
        raise LedgerError(f"{where}: trial {end.number} must end in a state and with a finite value, got {end}")
    if row is None:
        raise LedgerError(f"{where}: trial {end.number} must be recorded before its end, but it is unknown")
    if row.state == TrialState.RUNNING:
        return True
    recorded = TrialEnd(end.number, TrialState(row.state), row.value, row.best_epoch, row.epochs, row.reason)
    if recorded != end:
        raise LedgerError(f"{where}: trial {end.number} is recorded as {recorded}, but {end} came")
    return False


def _end_row(study_id: int, end: TrialEnd, now: float) -> dict[str, Any]:
    """An end as the parameters of `_END`."""
    return {
        "of_study": study_id,
        "of_trial": end.number,
        "state": end.state.value,
        "value": end.value,
        "best_epoch": end.best_epoch,
        "epochs": end.epochs,
        "reason": end.reason,
        "ended_at": now,
    }
