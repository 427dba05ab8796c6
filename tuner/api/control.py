"""A study's run, controlled and watched from any process that reaches the ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from tuner.api.workspace import workspace_for
from tuner.errors import StudyError, UnknownStudyError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord, StudyState, StudyTally, unknown_study
from tuner.orchestration.progress import Progress
from tuner.settings import Workspace

WAIT_SECONDS: Final = 0.2  # between two looks while a run ends
WATCH_SECONDS: Final = 0.5  # between two looks while it is watched


@dataclass(frozen=True, slots=True)
class Stopped:
    """What came of a request to stop.

    Attributes:
        name: the study.
        owner: the process that ran it, in words; None where none did.
        is_over: no process runs it any more, as far as was waited for.
        progress: the state of the study now.
    """

    name: str
    owner: str | None
    is_over: bool
    progress: Progress

    @property
    def state(self) -> StudyState:
        """The state of the study now: running, stopped or finished."""
        return self.progress.state


def progress(name: str, database: str | None = None, workspace: Workspace | None = None) -> Progress:
    """The state of a study now, in whichever process and on whichever machine it runs.

    Args:
        name: the study.
        database: the ledger's URL; by default TUNER_DATABASE_URL, or `tuner.db` in the current folder.
        workspace: where the study is kept, in place of the current folder; see `tuner.workspace`.

    Raises:
        StudyError: there is no study of that name.
        LedgerError: the ledger cannot be opened or read.
    """
    with closing(look(workspace_for(workspace, database))) as ledger:
        return progress_of(ledger, known_study(ledger, name).id)


def watch(name: str, database: str | None = None, workspace: Workspace | None = None) -> Iterator[Progress]:
    """The state of a study, twice a second as long as a process runs it, and once more when none does.

    The study is left alone. Raises as `progress` does.
    """
    with closing(look(workspace_for(workspace, database))) as ledger:
        study = known_study(ledger, name)
        while True:
            now = progress_of(ledger, study.id)
            yield now
            if now.owner is None:
                return
            time.sleep(WATCH_SECONDS)


def stop(
    name: str,
    database: str | None = None,
    *,
    workspace: Workspace | None = None,
    wait: bool = True,
    timeout: float | None = None,
) -> Stopped:
    """End a study's run as Ctrl-C in its terminal does: what is recorded stays, and the study can be continued.

    A study that no process runs stays as it is.

    Args:
        name: the study.
        database: as for `progress`.
        workspace: where it is kept, in place of the current folder.
        wait: return when the run has ended, instead of at once.
        timeout: wait so many seconds at most.

    Raises:
        StudyError: there is no study of that name.
        LedgerError: the ledger cannot be opened, read or written.
    """
    with closing(look(workspace_for(workspace, database))) as ledger:
        return stop_by_id(ledger, known_study(ledger, name).id, timeout if wait else 0.0)


def stop_by_id(ledger: Ledger, study_id: int, timeout: float | None) -> Stopped:
    """See `stop`; waits for `timeout` seconds, None for as long as it takes."""
    before, run = progress_of(ledger, study_id), ledger.fence(study_id, "run")
    if before.state != "finished" or before.owner is not None:
        ledger.control.ask_to_stop(study_id)
    deadline = None if timeout is None else time.monotonic() + timeout
    # Another run may have begun when this one ended: then this one's end is what was waited for.
    while not (is_over := _is_over(ledger, study_id, run)) and (deadline is None or time.monotonic() < deadline):
        time.sleep(WAIT_SECONDS)
    return Stopped(before.name, before.owner, is_over, progress_of(ledger, study_id))


def extend(
    name: str,
    database: str | None = None,
    *,
    workspace: Workspace | None = None,
    trials: int | None = None,
    timeout: float | None = None,
) -> Progress:
    """Let a running study go on to a larger budget, as continuing it with a larger `search.trials` would.

    The run takes it up within a second; while it trains the final stage, once that is done.

    Args:
        name: the study.
        database: as for `progress`.
        workspace: where it is kept, in place of the current folder.
        trials: trials in all.
        timeout: seconds that this run may take in all.

    Raises:
        StudyError: there is no study of that name, no process trains it, or the budget is not larger.
        SpecError: the study cannot have so many trials.
        LedgerError: the ledger cannot be opened, read or written.
    """
    from tuner.spec.continuing import with_budget  # (pydantic)

    with closing(look(workspace_for(workspace, database))) as ledger:
        study = known_study(ledger, name)
        now = progress_of(ledger, study.id)
        if now.owner is None or now.phase == "publishing":
            raise StudyError(
                f"study {name}: no process trains it;"
                f" `tuner run FILE --set search.trials={trials or 'N'}` continues it."
            )
        if with_budget(study.spec, trials, timeout) is None:
            has, limit = study.spec.search.trials, study.spec.search.timeout
            raise StudyError(
                f"study {name}: the new budget must be larger than {has} trials"
                f"{f' or {limit:g} seconds' if limit else ''}, got {trials or 'no trials'}"
                f"{f' and {timeout:g} seconds' if timeout else ''}."
            )
        ledger.control.ask_for_budget(study.id, trials, timeout)
        return now


def progress_of(ledger: Ledger, study_id: int) -> Progress:
    """The state of a study: as its run says, or as it is recorded where there is no run or it said nothing yet.

    Raises:
        StudyError: the study was deleted.
    """
    tally = ledger.tally(study_id)
    if tally is None:
        raise StudyError("the study was deleted meanwhile.")
    return progress_by(ledger, study_id, tally)


def progress_by(ledger: Ledger, study_id: int, tally: StudyTally) -> Progress:
    """As `progress_of`, of a study whose tally was just read."""
    said = ledger.control.reported(study_id)
    asked = ledger.control.wanted(study_id)
    seen = {
        "name": tally.name,
        "state": "running" if tally.owner else tally.state,
        "owner": tally.owner,
        "stop_asked_by": asked.by if tally.owner and asked is not None and asked.state == "stop" else None,
    }
    recorded = {
        "total": tally.trials,
        "counts": tally.counts,
        "best": tally.best,
        "epochs_per_second": 0.0,
        "seconds_left": None,
        "waiting": ledger.outbox.waiting_count(study_id),
        "phase": "starting" if tally.owner else "not running",
    }
    if said is None or tally.owner is None:
        return Progress.of_body(recorded, **seen)
    return Progress.of_body({**recorded, **said.body}, at=said.at, **seen)


def _is_over(ledger: Ledger, study_id: int, run: int) -> bool:
    return ledger.holder(study_id, "run") is None or ledger.fence(study_id, "run") != run


def look(workspace: Workspace) -> Ledger:
    """The workspace's ledger, opened without making one."""
    return Ledger.look(workspace.database, workspace.folder)


def known_study(ledger: Ledger, name: str) -> StudyRecord:
    """The study of that name.

    Raises:
        StudyError: there is none; the message names the nearest.
    """
    study = ledger.study(name)
    if study is None:
        raise UnknownStudyError(unknown_study(name, [known.name for known in ledger.studies()]))
    return study
