"""What the end of a driver means: whether its study rests, waits again, or is given up."""

from __future__ import annotations

from typing import Final

from tuner.errors import LedgerError, SpecError
from tuner.ledger.records import StudyRecord
from tuner.ledger.standings import Ending, Standing
from tuner.spec.continuing import with_budget

DONE: Final = 0
INPUT_WRONG: Final = 2
STOPPED_BY_REQUEST: Final = 3
CLUSTER_AWAY: Final = 4  # the operator's, and nobody's fault who handed a study in
MOST_ATTEMPTS: Final = 5  # in a row, without anything that was recorded meanwhile
LONGEST_PAUSE: Final = 60.0  # seconds
CLUSTER_PAUSE: Final = 15.0
AGAIN: Final = Ending(None)


def ending_of(code: int | None, now: Standing, record: StudyRecord | None) -> Ending | None:
    """How a submission is left whose driver is there no more; None where that driver failed.

    What is recorded of the study decides, and the exit code only where that leaves it open.

    Args:
        code: the driver's exit code; negative for a signal; None where it is unknown.
        now: read after the driver's end.
        record: the study, read then as well.
    """
    each = now.submission
    if now.is_leased:
        return AGAIN  # another process runs it, launched by hand: what there is to do is known when that one ends
    newer = each.started_at is not None and each.wanted_at > each.started_at
    asks_for_more = record is not None and _is_larger(record, each.trials, each.timeout)
    # A budget that the study could not take, such as trials that its minutes had no room for, is not given again.
    if now.state == "finished" and (not asks_for_more or (code == DONE and not newer)):
        return None if _must_publish(code, now) else Ending("finished")
    if each.wanted != "run":
        return Ending("stopped")
    if code == DONE:
        return AGAIN if newer or now.state == "finished" else Ending("stopped")  # its time was up
    if code == STOPPED_BY_REQUEST:
        return Ending("stopped") if now.asked == "stop" else AGAIN
    return None


def after_failure(code: int | None, attempts: int, went_on: bool, message: str) -> Ending:
    """How a submission is left whose driver failed.

    Args:
        code: as for `ending_of`; what the user has to mend is not tried again, and a cluster is waited for.
        attempts: drivers in a row that had failed before.
        went_on: something was recorded before it failed, so it counts as the first in a row.
        message: what it said last.
    """
    if code == CLUSTER_AWAY:
        return Ending(None, message, 0 if went_on else attempts, CLUSTER_PAUSE)
    count = 1 if went_on else attempts + 1
    if code == INPUT_WRONG or count >= MOST_ATTEMPTS:
        return Ending("failed", message, count)
    return Ending(None, message, count, min(2.0 ** (count - 1), LONGEST_PAUSE))


def _must_publish(code: int | None, now: Standing) -> bool:
    """Whether a driver was killed while it published what it had finished; another one publishes the rest."""
    each = now.submission
    return code != DONE and now.waiting > 0 and each.wanted == "run" and each.attempts + 1 < MOST_ATTEMPTS


def _is_larger(record: StudyRecord, trials: int | None, timeout: float | None) -> bool:
    try:
        return with_budget(record.spec, trials, timeout) is not None
    except (SpecError, LedgerError):
        return True  # its driver says what is wrong with it
