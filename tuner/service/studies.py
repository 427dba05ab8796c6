"""What REST and pages do with studies: they read the ledger and write what is wanted; nothing here trains."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.answers.service import ServiceState, StudyDetail, StudyItem
from tuner.api.control import progress_of
from tuner.api.study import Study
from tuner.errors import StudyError
from tuner.ledger.ledger import Ledger
from tuner.ledger.notes import Note
from tuner.ledger.records import StudyTally, unknown_study
from tuner.ledger.submissions import Submission, WantedState
from tuner.service.declarations import Declarations
from tuner.settings import Workspace
from tuner.spec.continuing import with_budget

if TYPE_CHECKING:
    from tuner.orchestration.progress import Progress


@dataclass(frozen=True, slots=True)
class ServiceStudies:
    """The studies of one workspace, as the service sees them. Its methods block, and may be called from any thread.

    Attributes:
        workspace: where the studies are kept.
        ledger: open as long as the service is.
        declarations: reads space files that are handed in.
    """

    workspace: Workspace
    ledger: Ledger
    declarations: Declarations

    def all(self) -> list[StudyItem]:
        """Every study, the newest first: those that are recorded, and those that wait to be."""
        submissions = {each.name: each for each in self.ledger.submissions.all()}
        notes, places = self.ledger.notes.all(), self._places(submissions)
        tallies = self.ledger.tallies()
        recorded = {tally.name for tally in tallies}
        items = [_item(submissions.get(t.name), t, None, notes.get(t.name), places.get(t.name)) for t in tallies]
        waiting = [each for each in submissions.values() if each.name not in recorded]
        items += [_item(each, None, None, None, places.get(each.name)) for each in waiting]
        return sorted(items, key=lambda item: (-item.created_at, item.name))

    def item(self, name: str) -> StudyItem:
        """One study, with how far its run has come.

        Raises:
            StudyError: there is none of that name.
        """
        submission, record = self.ledger.submissions.get(name), self.ledger.study(name)
        if submission is None and record is None:
            raise self._unknown(name)
        queue = {each.name: each for each in self.ledger.submissions.all()} if submission is not None else {}
        place = self._places(queue).get(name)
        if record is None:
            return _item(submission, None, None, None, place)
        tally, now = self.ledger.tally(record.id), progress_of(self.ledger, record.id)
        return _item(submission, tally, now, self.ledger.notes.of(record.id), place)

    def detail(self, name: str) -> StudyDetail:
        """One study, with its declaration and, once it is recorded, its answer.

        Raises:
            StudyError: there is none of that name.
        """
        item, submission = self.item(name), self.ledger.submissions.get(name)
        if self.ledger.study(name) is None:
            assert submission is not None
            return StudyDetail(item=item, spec_text=submission.spec_text, answer=None)
        study = Study.at(self.workspace, name)
        text = submission.spec_text if submission is not None else self.declarations.text_of(study.spec)
        return StudyDetail(item=item, spec_text=text, answer=study.summary)

    def submit(
        self, text: str, actor: str, idempotency_key: str | None = None, warm_start: str | None = None
    ) -> tuple[StudyItem, bool]:
        """Hand a space file in; it waits for a slot. Returns the study, and whether it is new.

        Raises:
            SpecError: every mistake in it, each with its line.
            StudyError: the name, or the key, is that of another declaration.
        """
        spec = self.declarations.read(text)
        if warm_start is not None and self.ledger.study(warm_start) is None:
            raise self._unknown(warm_start)
        _, is_new = self.ledger.submissions.submit(
            spec.name, text, actor, idempotency_key=idempotency_key, warm_start=warm_start
        )
        return self.item(spec.name), is_new

    def want(
        self, name: str, wanted: WantedState, actor: str, trials: int | None = None, timeout: float | None = None
    ) -> StudyItem:
        """Write down what is wanted of a study; the supervisor sees to it. A larger budget goes with `run`.

        Raises:
            StudyError: there is none of that name, or the budget is not larger.
            SpecError: it cannot have so many trials.
        """
        record, submission = self.ledger.study(name), self.ledger.submissions.get(name)
        if record is None and submission is None:
            raise self._unknown(name)
        is_larger = trials is not None or timeout is not None
        if record is not None and is_larger and with_budget(record.spec, trials, timeout) is None:
            raise StudyError(
                f"study {name}: the new budget must be larger than {record.spec.search.trials} trials,"
                f" got {trials if timeout is None else f'{trials} and {timeout:g} seconds'}."
            )
        if record is not None and submission is None:
            text = self.declarations.text_of(record.spec)
            self.ledger.submissions.submit(name, text, actor, adopted=True)
        self.ledger.submissions.want(name, wanted, actor, trials, timeout)
        return self.item(name)

    def _places(self, submissions: Mapping[str, Submission]) -> dict[str, int]:
        """Places in the queue; a submission whose driver is there waits no longer."""
        waiting = [each for each in submissions.values() if _waits(each)]
        return {each.name: place for place, each in enumerate(waiting, 1)}

    def _unknown(self, name: str) -> StudyError:
        names = [study.name for study in self.ledger.studies()]
        names += [each.name for each in self.ledger.submissions.all() if each.name not in names]
        return StudyError(unknown_study(name, names))


def _waits(each: Submission) -> bool:
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
        return "starting" if each.wanted == "run" else "stopping"
    if each.wanted == "archived":
        return "archived"
    return each.outcome or ("queued" if each.wanted == "run" else recorded)


def _item(
    each: Submission | None,
    tally: StudyTally | None,
    now: Progress | None,
    note: Note | None,
    place: int | None,
) -> StudyItem:
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
    )


def _with_pause(each: Submission) -> str:
    wait = each.not_before - time.time()
    again = f"Tried again in {wait:.0f} seconds.\n" if each.outcome is None and wait > 1 else ""
    return f"{again}{each.message}"
