"""What the supervisor compares: what is wanted of each submission beside what is, in one query, and what it writes.

All that it writes carries its fence, and holds only for the wish that it had read: what was asked for meanwhile is
never overwritten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, final

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select, update

from tuner.ledger.control import want
from tuner.ledger.database import Database
from tuner.ledger.leases import database_time, is_held
from tuner.ledger.owners import Owner
from tuner.ledger.records import StudyState
from tuner.ledger.schema import lease, outbox, segment, study, submission, wanted
from tuner.ledger.submissions import ExecutorName, Outcome, Submission, submission_record
from tuner.ledger.supervision import check_fence

MESSAGE_LENGTH: Final = 4000


@dataclass(frozen=True, slots=True)
class Standing:
    """A submission beside the study that it became.

    Attributes:
        submission: what was handed in, and is wanted.
        study_id: None where nothing is recorded of the study yet.
        state: of the study, as it is recorded.
        is_leased: a process runs it.
        asked: what that process was asked for; None where it never was.
        segments: how many are recorded; 0 where they were not counted.
        waiting: records that MLflow does not show yet; 0 where they were not counted.
    """

    submission: Submission
    study_id: int | None
    state: StudyState | None
    is_leased: bool
    asked: Literal["run", "stop"] | None
    segments: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Ending:
    """How the end of its driver leaves a submission.

    Attributes:
        outcome: how it came to rest; None where it waits again.
        message: what its driver said last, where it failed.
        attempts: drivers in a row that failed.
        pause: seconds before the next one may be started.
    """

    outcome: Outcome | None
    message: str = ""
    attempts: int = 0
    pause: float = 0.0


@final
class Standings:
    """What is wanted and what is, for the supervisor, in the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self) -> list[Standing]:
        """Those that have a driver or did not come to rest, in the order of the queue."""
        unsettled = submission.c.driver.is_not(None) | submission.c.outcome.is_(None)
        query = _query(unsettled).order_by(submission.c.wanted_at, submission.c.id)
        with self._database.reading() as connection:
            return [_standing(connection, row) for row in connection.execute(query)]

    def of(self, number: int) -> Standing | None:
        """One submission's, with its segments and waiting records counted; None where it was deleted."""
        with self._database.reading() as connection:
            row = connection.execute(_query(submission.c.id == number)).first()
            if row is None:
                return None
            trained = select(func.count()).where(segment.c.study_id == row.study_id)
            waits = select(func.count()).where(outbox.c.study_id == row.study_id, outbox.c.reason.is_(None))
            return _standing(connection, row, *(connection.execute(count).scalar_one() for count in (trained, waits)))

    def started(
        self,
        each: Submission,
        fence: int,
        driver: Owner,
        executor: ExecutorName = "processes",
        granted: int | None = None,
    ) -> bool:
        """Write down the driver of a submission, unless something else was asked for since `each` was read.

        Args:
            each: as it was read.
            fence: the supervisor's.
            driver: the process.
            executor: where it trains.
            granted: slots of a cluster that it begins with; None for as many as it gets.

        Returns:
            Whether it was written: only then may the driver run.

        Raises:
            LedgerError: another supervisor took this one's place; nothing is recorded.
        """
        free = (submission.c.driver.is_(None), submission.c.outcome.is_(None), submission.c.wanted == "run")
        with self._database.writing() as connection:
            check_fence(connection, fence)
            begun = {"driver": driver.text, "started_at": database_time(connection)}
            values = {**begun, "ran_on": executor, "granted": granted}
            return bool(connection.execute(_same(each).where(*free).values(**values)).rowcount)

    def grant(self, each: Submission, fence: int, granted: int | None) -> None:
        """Write down how many slots of a cluster the driver of a submission may have now, if it has one.

        Raises:
            LedgerError: as for `started`.
        """
        mine = update(submission).where(submission.c.id == each.id, submission.c.driver.is_not(None))
        with self._database.writing() as connection:
            check_fence(connection, fence)
            connection.execute(mine.values(granted=granted))

    def ended(self, each: Submission, fence: int, ending: Ending) -> bool:
        """Write down that a submission has no driver any more, and how that leaves it.

        Returns:
            Whether it rests or waits so; not where something else was asked for since `each` was read.

        Raises:
            LedgerError: as for `started`.
        """
        gone = update(submission).where(submission.c.id == each.id)
        with self._database.writing() as connection:
            check_fence(connection, fence)
            if each.driver is not None:
                mine = gone.where(submission.c.driver == each.driver.text)
                connection.execute(mine.values(driver=None, granted=None))
            values = {
                "outcome": ending.outcome,
                "message": ending.message[-MESSAGE_LENGTH:],
                "attempts": ending.attempts,
                "not_before": database_time(connection) + ending.pause,
            }
            free = _same(each).where(submission.c.driver.is_(None))
            return bool(connection.execute(free.values(**values)).rowcount)

    def ask_to_stop(self, standing: Standing, fence: int) -> None:
        """Ask the study's run to stop, for a launch has replaced that wish; not where it is wanted to run by now.

        Raises:
            LedgerError: as for `started`.
        """
        each, study_id = standing.submission, standing.study_id
        same = select(submission.c.id).where(submission.c.id == each.id, submission.c.wanted_at == each.wanted_at)
        with self._database.writing() as connection:
            check_fence(connection, fence)
            if study_id is not None and connection.execute(same.with_for_update()).first() is not None:
                want(connection, study_id, {"state": "stop"})


def _same(each: Submission) -> Any:
    mine = (submission.c.id == each.id, submission.c.name == each.name, submission.c.wanted_at == each.wanted_at)
    return update(submission).where(*mine)


def _query(chosen: ColumnElement[bool]) -> Select[Any]:
    of_run = (lease.c.study_id == study.c.id) & (lease.c.purpose == "run")
    of_study = [study.c.id.label("study_id"), study.c.state, wanted.c.state.label("asked")]
    joined = (
        submission.outerjoin(study, study.c.name == submission.c.name)
        .outerjoin(lease, of_run)
        .outerjoin(wanted, wanted.c.study_id == study.c.id)
    )
    return select(submission, *of_study, lease.c.owner, lease.c.seen_at).select_from(joined).where(chosen)


def _standing(connection: Connection, row: Row[Any], segments: int = 0, waiting: int = 0) -> Standing:
    own = {column.name: row._mapping[column] for column in submission.c}
    is_leased = row.owner is not None and is_held(connection, row)
    return Standing(submission_record(own), row.study_id, row.state, is_leased, row.asked, segments, waiting)
