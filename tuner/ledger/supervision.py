"""Who starts the runs of submissions: one supervisor at a time, with a fence as a study's lease has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, final

from sqlalchemy import Connection, Row, insert, select, update

from tuner.errors import LedgerError
from tuner.ledger.database import Database
from tuner.ledger.leases import database_time, is_held, take_turns
from tuner.ledger.owners import Owner
from tuner.ledger.schema import supervisor
from tuner.ledger.submissions import ExecutorName

_ONE: Final = 1


@final
class Supervision:
    """The supervisor's lease: taken, seen again and again, and let go; a higher fence ends an older one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, owner: Owner, executors: Sequence[ExecutorName] = ("processes",)) -> int | None:
        """The fence of a new supervisor; None where another one is there still.

        Args:
            owner: this process; it holds its token as long as it supervises.
            executors: where it lets studies train, first where those do whose launcher chooses nothing.
        """
        with self._database.writing() as connection:
            take_turns(connection)
            row = _row(connection)
            if row is not None and is_held(connection, row):
                return None
            now = database_time(connection)
            fence = 1 if row is None else int(row.fence) + 1
            offered = json.dumps(list(executors))
            values = {"fence": fence, "owner": owner.text, "taken_at": now, "seen_at": now, "executors": offered}
            if row is None:
                connection.execute(insert(supervisor), [{"id": _ONE, **values}])
            else:
                connection.execute(update(supervisor).values(**values))
        return fence

    def seen(self, fence: int) -> bool:
        """Say that the supervisor is there; False where another one has taken its place."""
        with self._database.writing() as connection:
            mine = update(supervisor).where(supervisor.c.fence == fence, supervisor.c.owner.is_not(None))
            return bool(connection.execute(mine.values(seen_at=database_time(connection))).rowcount)

    def let_go(self, fence: int) -> None:
        """The supervisor ends; another one may begin at once."""
        with self._database.writing() as connection:
            connection.execute(update(supervisor).where(supervisor.c.fence == fence).values(owner=None))

    def holder(self) -> str | None:
        """Who supervises, in words; None where no process does."""
        with self._database.reading() as connection:
            row = _row(connection)
            return str(Owner.parse(row.owner)) if row is not None and is_held(connection, row) else None

    def executors(self) -> tuple[ExecutorName, ...]:
        """Where the newest supervisor lets studies train, its default first; empty where none has said it yet."""
        with self._database.reading() as connection:
            row = _row(connection)
            return () if row is None or row.executors is None else tuple(json.loads(row.executors))

    def writer(self) -> int | None:
        """The process that has a write transaction open on SQLite; None for none, or where that is unknown."""
        return self._database.writer()


def check_fence(connection: Connection, fence: int) -> None:
    """Refuse what a supervisor writes that lost its place.

    Raises:
        LedgerError: there is a newer one.
    """
    row = connection.execute(select(supervisor).with_for_update()).first()
    if row is None or row.owner is None or row.fence != fence:
        raise LedgerError("another supervisor took this one's place; what it had recorded stays.")


def _row(connection: Connection) -> Row[Any] | None:
    return connection.execute(select(supervisor)).first()
