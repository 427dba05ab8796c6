"""What REST and pages do with studies: they read the ledger and write what is wanted; nothing here trains."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tuner.answers.service import EventItem, StudyDetail, StudyItem
from tuner.answers.study import StudyAnswer
from tuner.api import whole_studies
from tuner.api.control import progress_by
from tuner.api.study import Study
from tuner.errors import InputError, LedgerError, SpecError, StudyError, UnknownStudyError
from tuner.ledger.ledger import Ledger
from tuner.ledger.notes import Note
from tuner.ledger.records import StudyRecord, unknown_study
from tuner.ledger.submissions import ExecutorName, Submission, WantedState
from tuner.service.answered import Answered
from tuner.service.declarations import Declarations
from tuner.service.items import item_of, waits
from tuner.service.quota import DiskQuota
from tuner.settings import Workspace
from tuner.spec.canonical import changed_keys
from tuner.spec.continuing import with_budget
from tuner.spec.study import StudySpec
from tuner.tracking.links import study_url

SHOWN_CHANGES: Final = 5
MOST_ANSWERS: Final = 200  # that are remembered


@dataclass(frozen=True, slots=True)
class ServiceStudies:
    """The studies of one workspace, as the service sees them. Its methods block, and may be called from any thread.

    Attributes:
        workspace: where the studies are kept.
        ledger: open as long as the service is.
        declarations: reads space files that are handed in.
        mlflow_url: where browsers reach MLflow; None where its own address is.
        most_at_once: studies of one actor that wait or run at the same time; None for any number.
        quota: what all of them may take on the disk.
    """

    workspace: Workspace
    ledger: Ledger
    declarations: Declarations
    mlflow_url: str | None = None
    most_at_once: int | None = None
    quota: DiskQuota = field(default_factory=lambda: DiskQuota(()))
    _answers: dict[str, Answered] = field(default_factory=dict)

    def all(self) -> list[StudyItem]:
        """Every study, the newest first: those that are recorded, and those that wait to be."""
        submissions = {each.name: each for each in self.ledger.submissions.all()}
        notes, places = self.ledger.notes.all(), _places(submissions)
        tallies = self.ledger.tallies()
        recorded = {tally.name for tally in tallies}
        items = [item_of(submissions.get(t.name), t, None, notes.get(t.name), places.get(t.name)) for t in tallies]
        waiting = [each for each in submissions.values() if each.name not in recorded]
        items += [item_of(each, None, None, None, places.get(each.name)) for each in waiting]
        return sorted(items, key=lambda item: (-item.created_at, item.name))

    def item(self, name: str) -> StudyItem:
        """One study, with how far its run has come.

        Raises:
            UnknownStudyError: there is none of that name.
        """
        return self._item(*self._known(name))

    def _item(self, submission: Submission | None, record: StudyRecord | None) -> StudyItem:
        may_wait = submission is not None and waits(submission)
        queue = {each.name: each for each in self.ledger.submissions.all()} if may_wait else {}
        place = None if submission is None else _places(queue).get(submission.name)
        if record is None:
            return item_of(submission, None, None, None, place)
        tally = self.ledger.tally(record.id)
        if tally is None:  # deleted meanwhile
            raise self._unknown(record.name)
        now = progress_by(self.ledger, record.id, tally)
        return item_of(submission, tally, now, self.ledger.notes.of(record.id), place)

    def detail(self, name: str) -> StudyDetail:
        """One study, with its declaration and, once it is recorded, its answer.

        Raises:
            UnknownStudyError: there is none of that name.
        """
        submission, record = self._known(name)
        item = self._item(submission, record)
        answer = None if record is None else self._answer(record, item)
        return StudyDetail(item=item, spec_text=self._text(submission, record), answer=answer)

    def _answer(self, record: StudyRecord, item: StudyItem) -> StudyAnswer:
        """A study's answer, made anew once something is recorded that it follows from; while it runs, now and then."""
        of = (record.key, record.changed_at, item.total, item.state, item.counts, item.best, item.waiting, item.detail)
        run, now = (record.key, item.state), time.monotonic()
        known = self._answers.get(record.name)
        if known is not None and known.holds(of, run):
            return known.answer
        answer = self._linked(Study(self.ledger, record, self.workspace, None).summary)
        if len(self._answers) >= MOST_ANSWERS:
            self._answers.clear()
        self._answers[record.name] = Answered(of, run, now, answer)
        return answer

    def record(self, name: str) -> StudyRecord | None:
        """The record of a study; None where it waits to be recorded.

        Raises:
            UnknownStudyError: there is none of that name.
        """
        return self._known(name)[1]

    def begun(self, name: str) -> StudyRecord:
        """The record of a study.

        Raises:
            UnknownStudyError: there is none of that name.
            StudyError: it waits to be recorded.
        """
        record = self._known(name)[1]
        if record is None:
            raise StudyError(f"study {name}: must have begun, but it waits.")
        return record

    def recorded(self, name: str) -> Study | None:
        """A study as the library opens it; None where it waits to be recorded.

        Raises:
            UnknownStudyError: there is none of that name.
        """
        record = self._known(name)[1]
        return None if record is None else Study(self.ledger, record, self.workspace, None)

    def text(self, name: str) -> str:
        """The space file of a study, as it was handed in or as it is recorded.

        Raises:
            UnknownStudyError: there is none of that name.
        """
        return self._text(*self._known(name))

    def _text(self, submission: Submission | None, record: StudyRecord | None) -> str:
        if submission is not None:
            return submission.spec_text
        assert record is not None
        return self.declarations.text_of(record.spec)

    def events(self, name: str) -> list[EventItem]:
        """What happened to a study, in the order in which it was recorded.

        Raises:
            UnknownStudyError: there is none of that name.
        """
        record = self._known(name)[1]
        found = [] if record is None else self.ledger.events(record.id)
        return [EventItem(seq=each.seq, at=each.at, kind=each.kind, body=each.body) for each in found]

    def submit(
        self,
        text: str,
        actor: str,
        idempotency_key: str | None = None,
        warm_start: str | None = None,
        executor: str | None = None,
    ) -> tuple[StudyItem, bool]:
        """Hand a space file in; it waits for a slot. Returns the study, and whether it is new.

        The same declaration again is the same study, however it is written; where an executor comes with it, its next
        run trains there.

        Raises:
            SpecError: every mistake in it, each with its line.
            StudyError: the name, or the idempotency key, is that of another declaration.
            InputError: the operator does not offer that executor.
        """
        spec = self.declarations.read(text)
        chosen = None if executor is None else self._offered(executor)
        if warm_start is not None and self.ledger.study(warm_start) is None:
            raise self._unknown(warm_start)
        known = self.ledger.submissions.get(spec.name)
        if known is None:
            self._check_room(actor)
            try:
                _, is_new = self.ledger.submissions.submit(
                    spec.name,
                    text,
                    actor,
                    idempotency_key=idempotency_key,
                    warm_start=warm_start,
                    executor=chosen,
                )
                return self.item(spec.name), is_new
            except LedgerError:  # on Postgres two may hand the same in at once
                known = self.ledger.submissions.get(spec.name)
                if known is None:
                    raise
        _check_same(known, spec, warm_start)
        if chosen is not None:
            self.ledger.submissions.choose(spec.name, chosen, actor)
        return self.item(spec.name), False

    def want(
        self, name: str, wanted: WantedState, actor: str, trials: int | None = None, timeout: float | None = None
    ) -> StudyItem:
        """Write down what is wanted of a study; the supervisor sees to it. A larger budget goes with `run`.

        Raises:
            StudyError: there is none of that name, or the budget is not larger.
            SpecError: it cannot have so many trials, or may not.
        """
        submission, record = self._known(name)
        if trials is not None or timeout is not None:
            self._check_budget(submission, record, trials, timeout)
        if wanted == "run" and (submission is None or submission.wanted != "run" or submission.outcome is not None):
            self._check_room(actor)
        if submission is None:
            self.ledger.submissions.submit(name, self.text(name), actor, adopted=True)
        self.ledger.submissions.want(name, wanted, actor, trials, timeout)
        return self.item(name)

    def retry(self, name: str, actor: str) -> StudyItem:
        """Let a study that was given up run again.

        Raises:
            StudyError: there is none of that name, or it did not fail.
        """
        item = self.item(name)
        if item.state != "failed":
            raise StudyError(f"study {name}: must have failed to be tried again, but it is {item.state}.")
        return self.want(name, "run", actor)

    def unarchive(self, name: str, actor: str) -> StudyItem:
        """Bring an archived study back among the others; it does not run.

        Raises:
            StudyError: there is none of that name, or it is not archived.
        """
        item = self.item(name)
        if item.state != "archived":
            raise StudyError(f"study {name}: must be archived to be brought back, but it is {item.state}.")
        return self.want(name, "stop", actor)

    def clone(self, name: str, new: str, changes: Sequence[str], actor: str) -> StudyItem:
        """Hand a study's declaration in under another name, with changes as `--set` takes them.

        It trains where the first one's launcher chose, as long as that is offered.

        Raises:
            SpecError: the new declaration has mistakes.
            StudyError: there is none of that name, or one of the new name.
        """
        text = self.declarations.changed(self.text(name), new, changes)
        item, is_new = self.submit(text, actor, executor=self.chosen_executor(name))
        if not is_new:
            raise StudyError(f"study {new}: there is one of that name already; choose another name.")
        return item

    def rename(self, name: str, new: str, actor: str) -> StudyItem:
        """Give a study another name.

        Raises:
            StudyError: there is none of that name, one of the new name, or a process runs it.
            SpecError: the new name cannot be one.
        """
        _, record = self._known(name)
        if record is None:
            self.ledger.submissions.rename(name, new, self.declarations.changed(self.text(name), new, ()), actor)
        else:
            whole_studies.rename(name, new, workspace=self.workspace, actor=actor)
        return self.item(new)

    def annotate(self, name: str, note: Note, actor: str) -> StudyItem:
        """Replace a study's note and tags.

        Raises:
            StudyError: there is none of that name, or it is not recorded yet.
        """
        self.ledger.notes.put(self.begun(name).id, note.text, note.tags, actor)
        return self.item(name)

    def delete(self, name: str, actor: str) -> None:
        """Remove an archived study with all that is recorded of it, and its files.

        Raises:
            StudyError: there is none of that name, it is not archived, or a process runs or publishes it.
        """
        item, (_, record) = self.item(name), self._known(name)
        if item.state != "archived":
            raise StudyError(f"study {name}: must be archived before it is deleted, but it is {item.state}.")
        if record is None:
            self.ledger.submissions.withdraw(name, actor)
        else:
            whole_studies.delete(name, workspace=self.workspace, actor=actor)
            self.quota.forget()

    def _linked(self, answer: StudyAnswer) -> StudyAnswer:
        """The answer with MLflow's page where browsers reach it."""
        links = answer.mlflow
        if self.mlflow_url is None or links.experiment_id is None or links.run_id is None:
            return answer
        url = study_url(self.mlflow_url, links.experiment_id, links.run_id, links.view)
        return answer.model_copy(update={"mlflow": links.model_copy(update={"url": url})})

    def _known(self, name: str) -> tuple[Submission | None, StudyRecord | None]:
        submission, record = self.ledger.submissions.get(name), self.ledger.study(name)
        if submission is None and record is None:
            raise self._unknown(name)
        return submission, record

    def _check_room(self, actor: str) -> None:
        """Refuse one more study where the disk quota is used up, or its actor has as many as may be."""
        self.quota.check()
        if self.most_at_once is None:
            return
        alive = [each.name for each in self.ledger.submissions.all() if each.by == actor and _is_open(each)]
        if len(alive) >= self.most_at_once:
            raise StudyError(
                f"at most {self.most_at_once} studies of one token may wait or run at the same time, and"
                f" {', '.join(alive[:SHOWN_CHANGES])} do; stop one, or wait."
            )

    def chosen_executor(self, name: str) -> ExecutorName | None:
        """Where a study's launcher chose to train, of what is offered; None where that is nothing."""
        submission = self.ledger.submissions.get(name)
        chosen = None if submission is None else submission.executor
        return chosen if chosen in self.ledger.supervision.executors() else None

    def _offered(self, executor: str) -> ExecutorName:
        """An executor that a launcher may choose."""
        offered = self.ledger.supervision.executors()
        if not offered:
            raise InputError(
                f"executor: nothing can be chosen before a supervisor has run, got {executor}; leave it out, or try"
                " again once `tuner supervise` runs."
            )
        if executor not in offered:
            raise InputError(
                f"executor: must be {' or '.join(offered)}, where this service trains, got {executor[:40]}."
            )
        return offered[offered.index(executor)]

    def _check_budget(
        self, submission: Submission | None, record: StudyRecord | None, trials: int | None, timeout: float | None
    ) -> None:
        self.declarations.check_limits(trials, timeout)
        if record is not None:
            spec = record.spec
        else:
            assert submission is not None
            spec = self.declarations.read(submission.spec_text)
        if with_budget(spec, trials, timeout) is None:
            limit = spec.search.timeout
            has = f"{spec.search.trials} trials{'' if limit is None else f' and {limit:g} seconds'}"
            came = [f"{trials} trials"] * (trials is not None) + [f"{timeout} seconds"] * (timeout is not None)
            raise StudyError(f"study {spec.name}: the new budget must be larger than {has}, got {' and '.join(came)}.")

    def _unknown(self, name: str) -> UnknownStudyError:
        names = [study.name for study in self.ledger.studies()]
        names += [each.name for each in self.ledger.submissions.all() if each.name not in names]
        return UnknownStudyError(unknown_study(name, names))


def _places(submissions: Mapping[str, Submission]) -> dict[str, int]:
    """Places in the queue; a submission whose driver is there waits no longer."""
    waiting = [each for each in submissions.values() if waits(each)]
    return {each.name: place for place, each in enumerate(waiting, 1)}


def _is_open(each: Submission) -> bool:
    return each.wanted == "run" and each.outcome is None


def _check_same(known: Submission, spec: StudySpec, warm_start: str | None) -> None:
    """Refuse another declaration of a name that is taken; the message names the keys.

    Raises:
        StudyError: it is another one.
    """
    try:
        before = Declarations.plain(known.spec_text)
    except SpecError:  # of another version
        raise StudyError(f"study {spec.name}: there is one of that name already; choose another name.") from None
    changes = [f"{each.key} was {each.old} and is now {each.new}" for each in changed_keys(before, spec)]
    if known.warm_start != warm_start:
        changes.append(f"the warm start was {known.warm_start or 'none'} and is now {warm_start or 'none'}")
    if changes:
        more = f", and {len(changes) - SHOWN_CHANGES} more" * (len(changes) > SHOWN_CHANGES)
        raise StudyError(
            f"study {spec.name}: was handed in already with another declaration: {'; '.join(changes[:SHOWN_CHANGES])}"
            f"{more}. Choose another name, or send the same."
        )
