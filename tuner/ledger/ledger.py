"""The record of every study: one transaction for each thing that happened, its outbox rows included."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self, final

from sqlalchemy import ColumnElement, and_, bindparam, func, insert, select

from tuner.errors import LedgerError
from tuner.ledger import changes, measurements, outbox, overview, rows, segments, whole_studies
from tuner.ledger.audit import AuditTrail
from tuner.ledger.control import Control, want_run
from tuner.ledger.database import BUSY_SECONDS, Database, cannot_be_written, is_missing
from tuner.ledger.datasets import Datasets
from tuner.ledger.leases import Leases, Purpose
from tuner.ledger.notes import Notes
from tuner.ledger.outbox import Outbox
from tuner.ledger.patience import LOST_SECONDS, harmless_twice, patient
from tuner.ledger.records import (
    CohortRecord,
    Event,
    SegmentRecord,
    StudyRecord,
    StudyState,
    StudyTally,
    TrialRecord,
    search_space,
)
from tuner.ledger.schema import FINAL_COHORT, cohort, event, segment, study, trial
from tuner.ledger.standings import Standings
from tuner.ledger.submissions import Submissions
from tuner.ledger.supervision import Supervision
from tuner.ledger.tokens import Tokens
from tuner.ledger.upgrades import ensure_schema
from tuner.spec.rules import NEWEST
from tuner.spec.work import Checkpoint, Curve, Segment, SegmentResult, Trial, TrialEnd

if TYPE_CHECKING:
    from tuner.answers.summary import Summary

_NAMED: Final = select(study).where(study.c.name == bindparam("named"))


@final
@patient
class Ledger:
    """The durable record. Safe to share between threads and to open from several processes, not across a fork.

    Every method raises LedgerError, one sentence, where the database refuses; then nothing of that call is recorded.
    What changes a study needs its lease (`lease`), of the purpose `run` here and `publish` in `outbox`; only
    `create_study` needs none.

    Attributes:
        where: the database, as messages name it.
        outbox: what MLflow does not show yet, and where it shows the rest.
        control: what is wanted of a study, and how far its run has come.
        submissions, standings, supervision, tokens, datasets, audit, notes: the service's own records.
    """

    def __init__(self, database: Database) -> None:
        self._database, self.where = database, database.where
        self._leases = Leases(database)
        self.outbox = Outbox(database, self._leases)
        self.control = Control(database, self._leases)
        self.submissions = Submissions(database)
        self.standings = Standings(database)
        self.supervision = Supervision(database)
        self.tokens = Tokens(database)
        self.datasets = Datasets(database)
        self.audit = AuditTrail(database)
        self.notes = Notes(database)

    @classmethod
    def open(
        cls,
        url: str,
        busy_seconds: float = BUSY_SECONDS,
        folder: Path | None = None,
        lost_seconds: float = LOST_SECONDS,
    ) -> Self:
        """Open the ledger at an SQLAlchemy url, and make its tables where there are none.

        Args:
            url: sqlite:///tuner.db, or a Postgres database's.
            busy_seconds: how long to wait for another process's lock.
            folder: absolute; what a relative file of `url` and the paths of checkpoints are relative to. Checkpoints
                below it are recorded relative to it and read with their whole paths, so a study that goes on in a copy
                of its folder leaves the original alone. None: the current folder, and paths as they are given.
            lost_seconds: how long a call waits for a database that answered before, as while it is restarted.
        """
        return cls._opened(Database(url, busy_seconds, folder, lost_seconds=lost_seconds))

    @classmethod
    def look(cls, url: str, folder: Path | None = None) -> Self:
        """Open it to read, which needs no right to write.

        Where there is none yet, it is one without studies, and no file is left behind.
        """
        if cannot_be_written(url, folder):
            return cls._opened(Database(url, BUSY_SECONDS, folder, read_only=True))
        return cls.open("sqlite://" if is_missing(url, folder) else url, folder=folder)

    @classmethod
    def _opened(cls, database: Database) -> Self:
        try:
            ensure_schema(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def lease(self, study_id: int, purpose: Purpose) -> AbstractContextManager[None]:
        """Hold a study for one purpose, as `Leases.lease`; another process's lease is a StudyError."""
        return self._leases.lease(study_id, purpose)

    def lease_to_run(self, study_id: int) -> AbstractContextManager[None]:
        """Hold a study to run it: this replaces what was asked for before by the wish that it runs."""
        return self._leases.lease(study_id, "run", want_run)

    def holder(self, study_id: int, purpose: Purpose) -> str | None:
        """Who holds a study, in words; None where no process does."""
        return self._leases.holder(study_id, purpose)

    def fence(self, study_id: int, purpose: Purpose) -> int:
        """How often a study was held for that purpose; 0 where it never was."""
        return self._leases.fence(study_id, purpose)

    def create_study(  # noqa: PLR0913 - all of a row
        self,
        spec_json: str,
        source: str,
        fingerprint: str,
        name: str,
        versions: Mapping[str, str],
        rules: int = NEWEST,
        *,
        began: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> StudyRecord:
        """Record a new study, running, with the events that its declaration follows from; its name must be new."""
        now = time.time()
        row = rows.study_row(name, spec_json, source, fingerprint, versions, rules, now)
        with self._leases.changing_without_lease() as connection:
            if connection.execute(select(study.c.id).where(study.c.name == name)).first():
                raise LedgerError(f"{self.where}: a study must have a new name, but there is one named {name!r}")
            connection.execute(insert(study), [row])
            created = rows.study_record(connection.execute(select(study).where(study.c.name == name)).one())
            for kind, body in began.items():
                connection.execute(insert(event), [rows.event_row(created.id, kind, body, now)])
            outbox.add(connection, created.id, [outbox.row("study")])
        return created

    def study(self, name: str) -> StudyRecord | None:
        """The study of that name."""
        with self._database.reading() as connection:
            row = connection.execute(_NAMED, {"named": name}).first()
        return None if row is None else rows.study_record(row)

    def study_by_id(self, study_id: int) -> StudyRecord:
        """The study of that id; it must be recorded."""
        with self._database.reading() as connection:
            row = connection.execute(select(study).where(study.c.id == study_id)).first()
        if row is None:
            raise LedgerError(
                f"{self.where}: a study must be recorded before it is read, but study {study_id} is unknown"
            )
        return rows.study_record(row)

    def standing(self, record: StudyRecord) -> StudyState:
        """The state of a study: one whose owner was killed counts as stopped."""
        if record.state == "running" and self.holder(record.id, "run") is None:
            return "stopped"
        return record.state

    def studies(self) -> list[StudyRecord]:
        """Every study, oldest first."""
        with self._database.reading() as connection:
            return [rows.study_record(row) for row in connection.execute(select(study).order_by(study.c.id))]

    def tallies(self) -> list[StudyTally]:
        """Every study with its counts and best loss, oldest first: what a list shows, without reading a trial."""
        with self._database.reading() as connection:
            return list(overview.tallies(connection))

    def tally(self, study_id: int) -> StudyTally | None:
        """One study's counts and best loss; None where it is not recorded."""
        with self._database.reading() as connection:
            return next(overview.tallies(connection, study_id), None)

    @harmless_twice
    def update_spec(self, study_id: int, spec_json: str, source: str) -> None:
        """Record the declaration that the study goes on with."""
        self._change_study(study_id, {"spec_json": spec_json, "source": source})

    def rename_study(self, study_id: int, name: str, spec_json: str, actor: str | None = None) -> None:
        """Give a study another name, and record the declaration with it; a name that is taken is a StudyError."""
        with self._leases.changing(study_id, "run") as connection:
            whole_studies.rename(connection, study_id, name, spec_json, actor)

    def delete_study(self, study_id: int, actor: str | None = None) -> None:
        """Remove all that is recorded of a study; its files and what MLflow shows of it stay."""
        with self._leases.changing(study_id, "run") as connection:
            whole_studies.remove(connection, study_id, actor)

    @harmless_twice
    def set_state(self, study_id: int, state: StudyState) -> None:
        """Record the state of the study."""
        self._change_study(study_id, {"state": state}, changed_at=time.time())

    def record_event(self, study_id: int, kind: str, body: Mapping[str, Any]) -> None:
        """Record something that replay must know and cannot compute."""
        self.record_events(study_id, [(kind, body)])

    def record_events(self, study_id: int, events: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Record what belongs together, kind and body each: all of it, or where this process is killed none."""
        now = time.time()
        new = [rows.event_row(study_id, kind, body, now) for kind, body in events]
        with self._leases.changing(study_id, "run") as connection:
            connection.execute(insert(event), new)

    def events(self, study_id: int) -> list[Event]:
        """The study's events in the order in which they were recorded."""
        query = select(event).where(event.c.study_id == study_id).order_by(event.c.seq)
        with self._database.reading() as connection:
            return [Event(row.seq, row.at, row.kind, json.loads(row.body)) for row in connection.execute(query)]

    def events_after(self, seq: int, most: int = 1000) -> list[tuple[str, Event]]:
        """The oldest events of any study after that one, at most so many, each with its study's name."""
        query = select(study.c.name, event).join(study, study.c.id == event.c.study_id)
        with self._database.reading() as connection:
            found = connection.execute(query.where(event.c.seq > seq).order_by(event.c.seq).limit(most))
            return [(row.name, Event(row.seq, row.at, row.kind, json.loads(row.body))) for row in found]

    @property
    def written(self) -> int:
        """Transactions recorded by this object: until there are more, it reads the same, but for what others record."""
        return self._database.written

    def last_event(self) -> int:
        """The number of the newest event of any study; 0 where there is none."""
        with self._database.reading() as connection:
            return int(connection.execute(select(func.max(event.c.seq))).scalar() or 0)

    def record_cohorts(
        self, study_id: int, cohorts: Sequence[tuple[CohortRecord, Sequence[Trial]]], ends: Sequence[TrialEnd] = ()
    ) -> None:
        """Record cohorts and their trials, running, and the ends that came before them: all of it or nothing."""
        now = time.time()
        with self._leases.changing(study_id, "run") as connection:
            changes.add_ends(connection, study_id, ends, self.where)
            for record, trials in cohorts:
                changes.add_cohort(connection, study_id, record, self.where)
                changes.add_trials(connection, [rows.trial_row(study_id, record.number, each, now) for each in trials])

    def cohorts(self, study_id: int) -> list[CohortRecord]:
        """The study's cohorts by number, with their sizes."""
        query = (
            select(cohort.c.number, cohort.c.position, func.count(trial.c.number))
            .outerjoin(trial, (trial.c.study_id == cohort.c.study_id) & (trial.c.cohort == cohort.c.number))
            .where(cohort.c.study_id == study_id, cohort.c.number != FINAL_COHORT)
            .group_by(cohort.c.number, cohort.c.position)
            .order_by(cohort.c.number)
        )
        with self._database.reading() as connection:
            return [CohortRecord(*row) for row in connection.execute(query)]

    def record_finals(self, study_id: int, runs: Sequence[Trial]) -> None:
        """Record runs of the final stage, running; they must be new."""
        now = time.time()
        values = [rows.trial_row(study_id, FINAL_COHORT, each, now) for each in runs]
        with self._leases.changing(study_id, "run") as connection:
            changes.ensure_final_cohort(connection, study_id)
            changes.add_trials(connection, values)

    def trials(self, study_id: int, numbers: Collection[int] | None = None) -> list[TrialRecord]:
        """The search's trials, or what is in `numbers`, runs of the final stage included, by number.

        How far a running one came is taken from its measurements.
        """
        chosen = trial.c.cohort != FINAL_COHORT if numbers is None else trial.c.number.in_(numbers)
        return self._trials(study_id, chosen)

    def finals(self, study_id: int) -> list[TrialRecord]:
        """The final stage's runs by number (`tuner.spec.final`), whichever configurations they are of."""
        return self._trials(study_id, trial.c.cohort == FINAL_COHORT)

    def _trials(self, study_id: int, chosen: ColumnElement[bool]) -> list[TrialRecord]:
        query = select(trial).where(trial.c.study_id == study_id, chosen).order_by(trial.c.number)
        with self._database.reading() as connection:
            bests = measurements.running_bests(connection, study_id)
            declared = connection.execute(select(study.c.spec_json).where(study.c.id == study_id)).scalar()
            space = None if declared is None else search_space(declared)
            return [rows.trial_record(row, bests, space) for row in connection.execute(query)]

    @harmless_twice
    def record_segments(self, study_id: int, trained: Sequence[tuple[Segment, SegmentResult]]) -> None:
        """Record what segments measured: all of them, or where this process is killed none.

        Epochs that are recorded already must have equal losses; they keep their first time, and a segment that brings
        nothing new leaves only its checkpoints. A trial keeps the first measures that came; why one of them has no
        number is an event, `unmeasured`. The rows are the same for any division of the segments among calls.
        """
        with self._leases.changing(study_id, "run") as connection:
            segments.add(connection, study_id, trained, self.where, self._database.folder)

    def segments(self, study_id: int) -> list[SegmentRecord]:
        """The study's segments in the order in which they were recorded."""
        query = select(segment).where(segment.c.study_id == study_id).order_by(segment.c.id)
        with self._database.reading() as connection:
            return [rows.segment_record(row) for row in connection.execute(query)]

    def curves(self, study_id: int, numbers: Collection[int] | None = None) -> dict[int, Curve]:
        """All epochs of each trial and final run, or of those in `numbers`, with its newest checkpoint."""
        with self._database.reading() as connection:
            return measurements.read_curves(connection, study_id, numbers, self._database.folder)

    def checkpoints(self, study_id: int, most: int) -> dict[int, tuple[Checkpoint, ...]]:
        """Each trial's newest checkpoints, at most so many, the newest first; their files may be gone."""
        with self._database.reading() as connection:
            return measurements.newest_checkpoints(connection, study_id, most, self._database.folder)

    def checkpoint_stores(self, study_id: int) -> list[str]:
        """The folders of other stores that states of the study were put in, as URLs."""
        with self._database.reading() as connection:
            return measurements.checkpoint_stores(connection, study_id)

    def epoch_spans(self, study_id: int) -> dict[int, tuple[int, int]]:
        """How many epochs are recorded of each trial, and the last one."""
        with self._database.reading() as connection:
            return measurements.spans(connection, study_id)

    def snapshot(self) -> AbstractContextManager[None]:
        """All that this thread reads within the context is of one moment, unaffected by what others write meanwhile."""
        return self._database.snapshot()

    def faults(self) -> list[str]:
        """What the database finds wrong with itself; empty where it is whole, or where it does not look."""
        return self._database.faults()

    @harmless_twice
    def record_ends(self, study_id: int, ends: Sequence[TrialEnd]) -> None:
        """Record how trials ended; an end that is recorded already must be equal and is ignored."""
        with self._leases.changing(study_id, "run") as connection:
            changes.add_ends(connection, study_id, ends, self.where)

    @harmless_twice
    def record_summary(self, study_id: int, summary: Summary) -> None:
        """Record what came of the study; a later summary takes its place."""
        values = {"summary": summary.stored(), "summary_at": time.time()}
        with self._leases.changing(study_id, "run") as connection:
            changes.update_study(connection, study_id, values)
            outbox.add(connection, study_id, [outbox.row("summary"), outbox.row("answer")])

    def summary(self, study_id: int) -> Summary | None:
        """What came of the study, once that is recorded; a summary that an older version wrote is upgraded.

        Raises:
            LedgerError: it is damaged, or a newer version wrote it.
        """
        from tuner.answers.summary import read_summary  # noqa: PLC0415  (pydantic: a list needs no summary)

        with self._database.reading() as connection:
            text = connection.execute(select(study.c.summary).where(study.c.id == study_id)).scalar_one_or_none()
        try:
            return None if text is None else read_summary(text)
        except ValueError:
            raise LedgerError(
                f"{self.where}: the summary of study {study_id} must be as this version of the tuner or an older one"
                " wrote it, but it is damaged or newer; restore the ledger from a copy, or use the newer version"
            ) from None

    def summary_at(self, study_id: int) -> float | None:
        """When the summary was recorded, Unix time in seconds."""
        with self._database.reading() as connection:
            return connection.execute(select(study.c.summary_at).where(study.c.id == study_id)).scalar_one_or_none()

    def _change_study(self, study_id: int, values: Mapping[str, Any], **stamps: float) -> None:
        """What is recorded already is not recorded, nor shown, again."""
        same = and_(study.c.id == study_id, *(study.c[name] == value for name, value in values.items()))
        with self._leases.changing(study_id, "run") as connection:
            if connection.execute(select(study.c.id).where(same)).first() is None:
                changes.update_study(connection, study_id, {**values, **stamps})
                outbox.add(connection, study_id, [outbox.row("study")])
