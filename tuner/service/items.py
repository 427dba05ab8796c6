"""What a list shows of a study: what is recorded, beside what was handed in and is wanted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tuner.answers.service import ServiceState, StudyItem
from tuner.ledger.notes import Note
from tuner.ledger.records import StudyTally
from tuner.ledger.submissions import ExecutorName, Submission

if TYPE_CHECKING:
    from tuner.orchestration.progress import Progress


def waits(each: Submission) -> bool:
    """Whether it waits for a slot."""
    return each.wanted == "run" and each.outcome is None and not _has_driver(each)


def _has_driver(each: Submission) -> bool:
    return each.driver is not None and each.driver.is_alive() is not False


def standing(each: Submission | None, tally: StudyTally | None) -> ServiceState:
    """The state of a study in the service: what is, beside what is wanted."""
    if tally is not None and tally.owner is not None:
        return "stopping" if each is not None and each.wanted != "run" else "running"
    recorded = tally.state if tally is not None else "stopped"
    if each is None:
        return recorded
    if _has_driver(each):
        begun = tally is not None and each.started_at is not None and tally.changed_at >= each.started_at
        coming: ServiceState = "running" if begun else "starting"  # at its end it holds no lease any more
        return coming if each.wanted == "run" else "stopping"
    if each.wanted == "archived":
        return "archived"
    return each.outcome or ("queued" if each.wanted == "run" else recorded)


def item_of(
    each: Submission | None,
    tally: StudyTally | None,
    now: Progress | None,
    note: Note | None,
    place: int | None,
) -> StudyItem:
    """A study in a list; a submission, a tally, or both are given.

    Args:
        each: as it was handed in.
        tally: as it is recorded.
        now: how far its run has come, where that was asked for.
        note: what people wrote of it.
        place: in the queue.
    """
    note = note or Note()
    counts = {state.value: count for state, count in (tally.counts if tally is not None else {}).items()}
    asked_for = each.trials if each is not None else None
    total = max(tally.trials if tally is not None else 0, asked_for or 0)
    named = tally or each
    assert named is not None
    return StudyItem(
        name=named.name,
        state=standing(each, tally),
        phase="not running" if now is None else now.phase,
        wanted=None if each is None else each.wanted,
        total=total if now is None else max(now.total, asked_for or 0),
        ended=tally.ended if tally is not None else 0,
        counts=counts,
        best=tally.best if tally is not None else None,
        epochs_per_second=0.0 if now is None else now.epochs_per_second,
        seconds_left=None if now is None else now.seconds_left,
        unit="epochs" if now is None else now.unit,
        detail="" if now is None else now.detail,
        waiting=0 if now is None else now.waiting,
        message="" if each is None else _with_pause(each),
        attempts=0 if each is None else each.attempts,
        place=place,
        created_at=tally.created_at if each is None and tally is not None else (each.at if each is not None else 0.0),
        by="" if each is None else each.by,
        tags=note.tags,
        note=note.text,
        executor=None if each is None else _executor(each),
        slots=None if now is None else now.slots,
        nodes=None if now is None else now.nodes,
    )


def _executor(each: Submission) -> ExecutorName | None:
    return each.executor if waits(each) or each.ran_on is None else each.ran_on


def _with_pause(each: Submission) -> str:
    wait = each.not_before - time.time()
    again = f"Tried again in {wait:.0f} seconds.\n" if each.outcome is None and wait > 1 else ""
    return f"{again}{each.message}"
