"""One owner at a time: who runs a study, and who publishes it.

A lease is held by a process that is there. Whether it is there is looked up where that is possible (the same machine
and namespace), which needs no clock; elsewhere it must have been seen within `LEASE_SECONDS` by the database's clock.
Every new owner gets a higher number, the fence, and what an owner writes is refused once there is a higher one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final, Literal, final

from sqlalchemy import Connection, Row, bindparam, insert, select, text, update

from tuner.errors import LedgerError, StudyError
from tuner.ledger.database import Database
from tuner.ledger.owners import Owner
from tuner.ledger.patience import patient, retried
from tuner.ledger.schema import lease, schema, study
from tuner.waiting import started

Purpose = Literal["run", "publish"]
LEASE_SECONDS: Final = 60.0
BEAT_SECONDS: Final = 10.0
_DOES: Final = {"run": "runs", "publish": "publishes"}
_ROW: Final = select(lease).where(lease.c.study_id == bindparam("study"), lease.c.purpose == bindparam("held_for"))


@final
@patient
class Leases:
    """The leases that one ledger object holds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._fences: dict[tuple[int, str], int] = {}

    @contextmanager
    def lease(
        self, study_id: int, purpose: Purpose, also: Callable[[Connection, int], object] | None = None
    ) -> Iterator[None]:
        """Hold a study for one purpose.

        Args:
            study_id: the study.
            purpose: what for.
            also: called with the transaction that takes the lease, and the study.

        Raises:
            StudyError: another process holds it; nothing was changed.
            HelperError: the thread that shows that this process is there cannot be started; nobody holds the study.
        """
        owner = Owner.this_process()
        owner.hold()
        try:
            fence = self._take(study_id, purpose, owner, also or _nothing_else)
            self._fences[study_id, purpose] = fence
            try:
                with self._beating(study_id, purpose, fence):
                    yield
            finally:
                del self._fences[study_id, purpose]
                with suppress(LedgerError):  # the process will be gone, or its token is
                    self._set(study_id, purpose, fence, owner=None)
        finally:
            owner.let_go()

    def holder(self, study_id: int, purpose: Purpose) -> str | None:
        """Who holds a study, in words; None where no process does."""
        with self._database.reading() as connection:
            row = _row(connection, study_id, purpose)
            return owner_in_words(row) if row is not None and is_held(connection, row) else None

    def fence(self, study_id: int, purpose: Purpose) -> int:
        """How often a study was held for that purpose; 0 where it never was."""
        with self._database.reading() as connection:
            row = _row(connection, study_id, purpose)
            return 0 if row is None else int(row.fence)

    def held_fence(self, study_id: int, purpose: Purpose) -> int | None:
        """The number of the lease that this object holds; None where it holds none."""
        return self._fences.get((study_id, purpose))

    @contextmanager
    def changing(self, study_id: int, purpose: Purpose) -> Iterator[Connection]:
        """A transaction of the study's owner: it changes what a run, or a publisher, has recorded.

        Raises:
            LedgerError: this object holds no such lease, or lost it to another owner; nothing is recorded.
        """
        fence = self.held_fence(study_id, purpose)
        if fence is None:
            raise LedgerError(
                f"{self._database.where}: study {study_id} is changed only by whoever {_DOES[purpose]} it, but this"
                f" ledger object does not hold its lease; take it with `lease({study_id}, {purpose!r})` first."
            )
        with self._database.writing() as connection:
            row = _row(connection, study_id, purpose, lock=True)
            if row is None or row.fence != fence:
                by = "nobody" if row is None or row.owner is None else owner_in_words(row)
                raise LedgerError(
                    f"{self._database.where}: what is recorded must come from the study's owner, but this process"
                    f" was not seen for too long and {by} took its place; what it had recorded stays."
                )
            yield connection

    @contextmanager
    def changing_without_lease(self) -> Iterator[Connection]:
        """A transaction that needs no lease, for it changes nothing that a run or a publisher builds on.

        A new study has no owner yet, and a mark that MLflow took a row, or never will, is true whoever makes it.
        """
        with self._database.writing() as connection:
            yield connection

    @retried
    def _take(self, study_id: int, purpose: Purpose, owner: Owner, also: Callable[[Connection, int], object]) -> int:
        with self._database.writing() as connection:
            # The study's row is locked first: on Postgres two may come to take a lease that was never held.
            name = connection.execute(select(study.c.name).where(study.c.id == study_id).with_for_update()).scalar()
            if name is None:
                raise LedgerError(
                    f"{self._database.where}: a study must be recorded before it is held, but study {study_id}"
                    " is unknown"
                )
            row = _row(connection, study_id, purpose)
            if row is not None and is_held(connection, row):
                raise StudyError(f"study {name}: {owner_in_words(row)}; nothing was changed.")
            now = database_time(connection)
            values = {
                "owner": owner.text,
                "taken_at": now,
                "seen_at": now,
                "fence": 1 if row is None else row.fence + 1,
            }
            if row is None:
                connection.execute(insert(lease), [{"study_id": study_id, "purpose": purpose, **values}])
            else:
                connection.execute(_of(study_id, purpose).values(**values))
            also(connection, study_id)
            return int(values["fence"])

    @contextmanager
    def _beating(self, study_id: int, purpose: Purpose, fence: int) -> Iterator[None]:
        """Show that the owner is there until the block ends."""
        over, what = threading.Event(), (study_id, purpose, fence)
        beat = started(threading.Thread(target=self._beat, args=(*what, over), name="tuner-lease", daemon=True))
        try:
            yield
        finally:
            over.set()
            beat.join()

    def _beat(self, study_id: int, purpose: Purpose, fence: int, over: threading.Event) -> None:
        while not over.wait(BEAT_SECONDS):
            with suppress(LedgerError):  # a full disk or a lost connection: the fence decides
                self._set(study_id, purpose, fence)

    def _set(self, study_id: int, purpose: Purpose, fence: int, **values: str | None) -> None:
        with self._database.writing() as connection:
            mine = _of(study_id, purpose).where(lease.c.fence == fence)
            connection.execute(mine.values(seen_at=database_time(connection), **values))


def _nothing_else(_: Connection, __: int) -> None:
    """What a lease is taken with unless something else is to be recorded in the same transaction."""


def _row(connection: Connection, study_id: int, purpose: str, lock: bool = False) -> Row[Any] | None:
    values = {"study": study_id, "held_for": purpose}
    return connection.execute(_ROW.with_for_update() if lock else _ROW, values).first()


def _of(study_id: int, purpose: str) -> Any:
    return update(lease).where(lease.c.study_id == study_id, lease.c.purpose == purpose)


def is_held(connection: Connection, row: Row[Any]) -> bool:
    """Whether the owner in a lease's row is there still."""
    if row.owner is None:
        return False
    alive = Owner.parse(row.owner).is_alive()
    return abs(database_time(connection) - row.seen_at) < LEASE_SECONDS if alive is None else alive


def owner_in_words(row: Row[Any]) -> str:
    """Who holds a lease, for what, and since when."""
    since = datetime.fromtimestamp(row.taken_at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return f"{Owner.parse(row.owner)} {_DOES[row.purpose]} it since {since}"


def database_time(connection: Connection) -> float:
    """Unix time by the database's clock; SQLite has none of its own."""
    if connection.dialect.name != "postgresql":
        return time.time()
    return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())


def take_turns(connection: Connection) -> None:
    """Wait for others that take turns; on Postgres two may come at once to insert what is to be there once."""
    connection.execute(select(schema.c.version).with_for_update())
