"""Space files that were handed in to the service, and what is wanted of them.

Those who ask write what is wanted; the supervisor compares it with what is, which the study's lease shows, and writes
how its drivers ended (`tuner.ledger.standings`). A study that was launched by hand has no row here until the service
is asked to do something with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, final

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from tuner.errors import StudyError
from tuner.ledger.audit import note_down
from tuner.ledger.control import want
from tuner.ledger.database import Database
from tuner.ledger.leases import database_time, take_turns
from tuner.ledger.owners import Owner
from tuner.ledger.schema import study, submission

WantedState = Literal["run", "stop", "archived"]
Outcome = Literal["finished", "stopped", "failed"]
ExecutorName = Literal["processes", "ray"]
_NAMED: Final = select(submission).where(submission.c.name == bindparam("named"))
_QUEUE: Final = select(submission).order_by(submission.c.wanted_at, submission.c.id)


@dataclass(frozen=True, slots=True)
class Submission:
    """A space file that was handed in.

    Attributes:
        id: in this ledger; the order in which they came.
        name: the study's.
        idempotency_key: what its sender called the request; None where nothing.
        spec_text: the file, as it came.
        warm_start: the study whose best configurations it begins with; None for none.
        trials: trials in all that it is to go on to; None for those that the file says.
        timeout: seconds that a run may take; None for those that the file says.
        wanted: run, stop or archived.
        wanted_at: when that was asked for, Unix time in seconds; the order of the queue.
        by: who handed it in.
        at: when.
        driver: the process that was started to run it; None where none was.
        started_at: when it was started.
        outcome: how it came to rest; None while it waits or runs.
        message: the last lines of a driver that failed, else empty.
        attempts: drivers in a row that failed.
        not_before: the next driver is not started before, Unix time in seconds.
        executor: where its launcher chose to train; None for wherever the operator lets those train who chose nothing.
        ran_on: where its newest driver trains or trained; None before there was one.
        granted: slots of the service's cluster that its driver may have now; None for as many as it gets.
    """

    id: int
    name: str
    idempotency_key: str | None
    spec_text: str
    warm_start: str | None
    trials: int | None
    timeout: float | None
    wanted: WantedState
    wanted_at: float
    by: str
    at: float
    driver: Owner | None
    started_at: float | None
    outcome: Outcome | None
    message: str
    attempts: int
    not_before: float
    executor: ExecutorName | None = None
    ran_on: ExecutorName | None = None
    granted: int | None = None


@final
class Submissions:
    """The submissions, in the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def submit(  # noqa: PLR0913 - all of a row
        self,
        name: str,
        spec_text: str,
        actor: str,
        *,
        idempotency_key: str | None = None,
        warm_start: str | None = None,
        executor: ExecutorName | None = None,
        adopted: bool = False,
    ) -> tuple[Submission, bool]:
        """Hand a space file in; it is wanted to run. Returns it, and whether it is new.

        The same name and text again is the same submission, whatever executor it is to train on.

        Args:
            name: the study's.
            spec_text: the file.
            actor: whose token hands it in.
            idempotency_key: the sender's name for this request.
            warm_start: a study to begin with.
            executor: where it is to train; None for the operator's default.
            adopted: the study is recorded already, launched by hand, and the service takes it over.

        Raises:
            StudyError: the name, or the key, is that of something else.
        """
        given = {"name": name, "spec_text": spec_text, "warm_start": warm_start}
        with self._database.writing() as connection:
            take_turns(connection)
            known = _find(connection, submission.c.name == name)
            if known is None and idempotency_key is not None:
                known = _find(connection, submission.c.idempotency_key == idempotency_key)
            if known is not None:
                _check_same(known, given)
                return known, False
            recorded = connection.execute(select(study.c.id).where(study.c.name == name)).first()
            if recorded is not None and not adopted:
                raise StudyError(
                    f"study {name}: there is one of that name already; choose another name, or continue it."
                )
            now = database_time(connection)
            row = {
                **given,
                "idempotency_key": idempotency_key,
                "wanted": "run",
                "wanted_at": now,
                "by": actor,
                "at": now,
                "executor": executor,
            }
            connection.execute(insert(submission), [row])
            note_down(connection, actor, "submit", name, {"warm_start": warm_start})
            made = _find(connection, submission.c.name == name)
        assert made is not None
        return made, True

    def want(
        self, name: str, wanted: WantedState, actor: str, trials: int | None = None, timeout: float | None = None
    ) -> Submission:
        """Write down what is wanted of a submission, for the supervisor and for a run that is under way.

        A new wish to run begins anew: failures before it do not count, and a larger budget holds for all runs to come.

        Raises:
            StudyError: there is no submission of that name.
        """
        budget = {key: value for key, value in (("trials", trials), ("timeout", timeout)) if value is not None}
        with self._database.writing() as connection:
            known = connection.execute(
                select(submission.c.id).where(submission.c.name == name).with_for_update()
            ).scalar()
            if known is None:
                raise StudyError(f"study {name}: it was not handed in to the service.")
            values: dict[str, Any] = {"wanted": wanted, "wanted_at": database_time(connection), **budget}
            if wanted == "run":
                values |= {"outcome": None, "message": "", "attempts": 0, "not_before": 0.0}
            connection.execute(update(submission).where(submission.c.id == known).values(**values))
            number = connection.execute(select(study.c.id).where(study.c.name == name)).scalar()
            if number is not None:
                want(connection, number, {"state": "run" if wanted == "run" else "stop", **budget})
            note_down(connection, actor, wanted, name, budget)
            made = _find(connection, submission.c.id == known)
        assert made is not None
        return made

    def choose(self, name: str, executor: ExecutorName, actor: str) -> None:
        """Let the next driver of a submission train there; one that runs goes on where it is."""
        with self._database.writing() as connection:
            other = submission.c.executor.is_distinct_from(executor)
            changed = update(submission).where(submission.c.name == name, other).values(executor=executor)
            if connection.execute(changed).rowcount:
                note_down(connection, actor, "executor", name, {"executor": executor})

    def get(self, name: str) -> Submission | None:
        """The submission of that name."""
        with self._database.reading() as connection:
            row = connection.execute(_NAMED, {"named": name}).first()
        return None if row is None else submission_record(row._mapping)

    def all(self) -> list[Submission]:
        """Every one, in the order of the queue."""
        with self._database.reading() as connection:
            return [submission_record(row._mapping) for row in connection.execute(_QUEUE)]

    def rename(self, name: str, new: str, spec_text: str, actor: str) -> None:
        """Give a submission whose study is not recorded yet another name, in its file too.

        Raises:
            StudyError: there is none of that name, one of the new name is there, or its driver was started.
        """
        with self._database.writing() as connection:
            known = _find(connection, submission.c.name == name)
            taken = [
                connection.execute(select(each.c.id).where(each.c.name == new)).first() for each in (study, submission)
            ]
            if known is None or known.driver is not None:
                raise StudyError(f"study {name}: must wait to be renamed, or have begun and not run.")
            if any(taken):
                raise StudyError(f"study {new}: there is one of that name already; choose another name.")
            free = update(submission).where(submission.c.id == known.id, submission.c.driver.is_(None))
            if not connection.execute(free.values(name=new, spec_text=spec_text)).rowcount:
                raise StudyError(f"study {name}: it was started just now.")
            note_down(connection, actor, "rename", new, {"from": name})

    def withdraw(self, name: str, actor: str) -> bool:
        """Remove a submission whose study was never recorded. Whether there was one.

        Raises:
            StudyError: its study is recorded, and is deleted with it by `Ledger.delete_study`; or it is being started.
        """
        with self._database.writing() as connection:
            if connection.execute(select(study.c.id).where(study.c.name == name)).first():
                raise StudyError(f"study {name}: it is recorded; delete the study.")
            check_no_driver(connection, name)
            gone = connection.execute(delete(submission).where(submission.c.name == name)).rowcount
            if gone:
                note_down(connection, actor, "delete", name, {})
        return bool(gone)


def check_no_driver(connection: Connection, name: str) -> None:
    """Refuse what must not be done to a study whose driver was started: it would record it under its old name.

    Raises:
        StudyError: there is such a driver.
    """
    row = connection.execute(select(submission).where(submission.c.name == name).with_for_update()).first()
    if row is not None and row.driver is not None and Owner.parse(row.driver).is_alive() is not False:
        raise StudyError(f"study {name}: {Owner.parse(row.driver)} was started to run it; stop it first.")


def _check_same(known: Submission, given: Mapping[str, Any]) -> None:
    different = [key for key, value in given.items() if getattr(known, key) != value]
    if different:
        words = {"name": "name", "spec_text": "declaration", "warm_start": "warm start"}
        raise StudyError(
            f"study {known.name}: it was handed in already, with another {words[different[0]]}; choose another name, or"
            " send the same."
        )


def _find(connection: Connection, where: Any) -> Submission | None:
    row = connection.execute(select(submission).where(where)).first()
    return None if row is None else submission_record(row._mapping)


def submission_record(row: Mapping[Any, Any]) -> Submission:
    """The row as a value."""
    values = dict(row)
    driver = values.pop("driver")
    return Submission(**values, driver=None if driver is None else Owner.parse(driver))
