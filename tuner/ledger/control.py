"""What is wanted of a study, and how far its run has come: rows that other processes write and read beside the run.

What is wanted is one row per study. Whoever launches a study wants it to run, and that replaces what was asked for
before; the row is written with the lease, so that no request is lost between the two. A request needs no lease: it
changes nothing that was recorded, and the run that holds the lease takes it up by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, final

from sqlalchemy import Connection, Table, bindparam, insert, select, update

from tuner.errors import LedgerError
from tuner.ledger.database import Database
from tuner.ledger.leases import Leases, database_time
from tuner.ledger.owners import Owner
from tuner.ledger.patience import harmless_twice, patient
from tuner.ledger.records import Reported, Wanted
from tuner.ledger.schema import lease, progress, study, submission, wanted

_WANTED: Final = (
    select(wanted, submission.c.granted)
    .select_from(
        wanted.join(study.outerjoin(submission, submission.c.name == study.c.name), study.c.id == wanted.c.study_id)
    )
    .where(wanted.c.study_id == bindparam("study"))
)
_OF_RUN: Final = (lease.c.study_id == progress.c.study_id) & (lease.c.fence == progress.c.fence)
_REPORTED: Final = (
    select(progress.c.body, progress.c.at, progress.c.fence)
    .join(lease, _OF_RUN & (lease.c.purpose == "run"))
    .where(progress.c.study_id == bindparam("study"))
)


@final
@patient
class Control:
    """The part of the ledger by which a study is controlled and watched from any process."""

    def __init__(self, database: Database, leases: Leases) -> None:
        self._database, self._leases = database, leases

    def wanted(self, study_id: int) -> Wanted | None:
        """What is wanted of a study; None where it was never launched by a version that asks."""
        with self._database.reading() as connection:
            row = connection.execute(_WANTED, {"study": study_id}).first()
        return None if row is None else Wanted(row.state, row.trials, row.timeout, row.at, row.by, row.granted)

    def granted(self, name: str) -> int | None:
        """Slots of a cluster that the service's supervisor lets a study have now, which need not be recorded yet."""
        with self._database.reading() as connection:
            found: int | None = connection.execute(
                select(submission.c.granted).where(submission.c.name == name)
            ).scalar()
        return found

    @harmless_twice
    def ask_to_stop(self, study_id: int) -> None:
        """Want the study to stop; its run ends within a second or so, as after Ctrl-C."""
        self._ask(study_id, {"state": "stop"})

    @harmless_twice
    def ask_for_budget(self, study_id: int, trials: int | None, timeout: float | None) -> None:
        """Want a running study to go on to more trials in all, or for more seconds; None leaves that as it is."""
        given = {"trials": trials, "timeout": timeout}
        self._ask(study_id, {name: value for name, value in given.items() if value is not None})

    @harmless_twice
    def report(self, study_id: int, body: Mapping[str, Any]) -> None:
        """Write down how far the run has come that this ledger object holds the lease of; what was there is replaced.

        A run that has lost its lease replaces nothing that its follower wrote.
        """
        fence = self._leases.held_fence(study_id, "run")
        values = {"fence": fence, "body": json.dumps(dict(body))}
        with self._leases.changing_without_lease() as connection:
            known = connection.execute(select(progress.c.fence).where(progress.c.study_id == study_id)).scalar()
            if fence is not None and (known is None or known <= fence):
                _put(connection, progress, study_id, {**values, "at": database_time(connection)})

    def reported(self, study_id: int) -> Reported | None:
        """What the study's newest run wrote down last, whether or not it goes on; None where that wrote nothing yet."""
        with self._database.reading() as connection:
            row = connection.execute(_REPORTED, {"study": study_id}).first()
        return None if row is None else Reported(json.loads(row.body), row.at, row.fence)

    def _ask(self, study_id: int, values: Mapping[str, Any]) -> None:
        with self._leases.changing_without_lease() as connection:
            # The study's row is locked first: on Postgres two may come to ask what was never asked.
            if connection.execute(select(study.c.id).where(study.c.id == study_id).with_for_update()).first() is None:
                raise LedgerError(
                    f"{self._database.where}: a study must be recorded to be asked for something, but study {study_id}"
                    " is unknown"
                )
            want(connection, study_id, values)


def want_run(connection: Connection, study_id: int) -> None:
    """Whoever launches a study wants it to run with the budget that it is launched with."""
    want(connection, study_id, {"state": "run", "trials": None, "timeout": None})


def want(connection: Connection, study_id: int, values: Mapping[str, Any]) -> None:
    """Write down what is wanted of a study, in a transaction that changes something else as well."""
    stamps = {"at": database_time(connection), "by": str(Owner.this_process())}
    _put(connection, wanted, study_id, {**values, **stamps})


def _put(connection: Connection, table: Table, study_id: int, values: Mapping[str, Any]) -> None:
    changed = connection.execute(update(table).where(table.c.study_id == study_id).values(**values))
    if not changed.rowcount:
        connection.execute(insert(table), [{"study_id": study_id, **values}])
